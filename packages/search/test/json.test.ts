import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_DEPTH, isObject, readJson, toJson } from '../src/json.ts';
import { refusing } from '../src/refusing.ts';

const refuse = refusing('index');
const read = (text: string): unknown => readJson(text, refuse);
const refused = expect.objectContaining({ code: 'OPERATION_REFUSED' }) as Error;

describe('strict JSON', () => {
  it('reads what JSON.parse reads, however it is spaced', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(JSON.stringify(read(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
      { numRuns: 1_000 },
    );
  });

  it('refuses what JSON.parse refuses', () => {
    const broken = fc.jsonValue().chain((value) => {
      const text = JSON.stringify(value);
      return fc
        .tuple(fc.nat(text.length), fc.constantFrom('', ',', '}', ']', '"', '\\', '\u0000', '\n', "'", 'x'))
        .map(([at, put]) => text.slice(0, at) + put + text.slice(at + 1));
    });
    fc.assert(
      fc.property(broken, (text) => {
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        if (!valid) expect(() => read(text)).toThrow(refused);
      }),
      { numRuns: 2_000 },
    );
    for (const text of [
      '',
      ' ',
      'nul',
      '{}{}',
      '{"a":1}\n{"b":2}',
      "{'a':1}",
      '{a:1}',
      '[1,]',
      '{"a":1,}',
      '01',
      '1.',
      '+1',
      'NaN',
      '// x\n1',
      '\ufeff{}',
      '"\t"',
    ]) {
      expect(() => read(text)).toThrow(refused);
    }
  });

  it('refuses a key that stands twice, also when it is spelled differently', () => {
    expect(read('{"a":{"b":1},"b":{"b":2}}')).toEqual({ a: { b: 1 }, b: { b: 2 } });
    for (const text of [
      '{"a":1,"a":2}',
      '{"a":1,"\\u0061":2}',
      '{"x":[{"a":1, "a":1}]}',
      '{"__proto__":1,"__proto__":2}',
    ]) {
      expect(() => read(text)).toThrow(refused);
    }
  });

  it('has no prototype to pollute', () => {
    const value = read('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"x": 1}}}');
    expect(isObject(value) && Object.keys(value)).toEqual(['__proto__', 'constructor']);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('keeps the digits of numbers that JavaScript would round', () => {
    const text =
      '{"long":9007199254740993,"real":0.1000000000000000055511151231257827,"exp":1e400,"zero":-0}';
    expect(JSON.stringify(read(` ${text}`))).toBe(text);
    expect(read(' [1, 1.5, -2, 1e3]')).toEqual([1, 1.5, -2, expect.anything()]);
  });

  it('refuses nesting that would end the process, quickly', () => {
    const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
    expect(() => read(deep(MAX_DEPTH))).not.toThrow();
    expect(() => read(` ${deep(MAX_DEPTH + 2)}`)).toThrow(/nested deeper/);
    expect(() => read(deep(1_000_000))).toThrow(refused);
    expect(() => read('{"a":'.repeat(1_000_000))).toThrow(refused);
    expect(() => read('"'.repeat(1_000_001))).toThrow(refused);
  });

  it('reads a text of megabytes', () => {
    const long = 'x\\"é'.repeat(2_000_000);
    expect(read(` {"long": ${JSON.stringify(long)}}`)).toEqual({ long });
  });

  it('takes from an object what the server would see of it', () => {
    const query = { toJSON: () => ({ match_all: {} }) };
    expect(toJson({ query, at: new Date(0), no: undefined, big: 5n }, refuse)).toEqual({
      query: { match_all: {} },
      at: '1970-01-01T00:00:00.000Z',
      big: 5,
    });
    expect(JSON.stringify(toJson({ big: 9007199254740993n }, refuse))).toBe('{"big":9007199254740993}');
    const cycle: Record<string, unknown> = {};
    cycle['cycle'] = cycle;
    expect(() => toJson(cycle, refuse)).toThrow(expect.objectContaining({ name: 'SerializationError' }));
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level += 1) deep = [deep];
    expect(() => toJson({ deep }, refuse)).toThrow(/nested deeper/);
  });
});
