/** What wakes somebody who waits; it stays rung until it is reset. */
export class Bell {
  #rung = Promise.withResolvers<void>();
  #isRung = false;

  get isRung(): boolean {
    return this.#isRung;
  }

  ring(): void {
    this.#isRung = true;
    this.#rung.resolve();
  }

  reset(): void {
    if (!this.#isRung) return;
    this.#isRung = false;
    this.#rung = Promise.withResolvers();
  }

  /** Resolves when it rings, at the latest after some milliseconds. */
  async within(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      if (Number.isFinite(ms)) timer = setTimeout(resolve, ms);
    });
    try {
      await Promise.race([this.#rung.promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
