const trap = () => {
  throw new Error('a trap');
};

/** Throws what cannot be looked at. */
export default async (job) => {
  if (job.name === 'throw')
    throw new Proxy(new Error('x'), {
      get: trap,
      has: trap,
      ownKeys: trap,
      getPrototypeOf: trap,
      getOwnPropertyDescriptor: trap,
    });
  if (job.name === 'revoked') {
    const { proxy, revoke } = Proxy.revocable(new Error('x'), {});
    revoke();
    throw proxy;
  }
  return job.id;
};
