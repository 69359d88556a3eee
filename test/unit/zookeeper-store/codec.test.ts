/** What is written is read, and what was not written like this is refused. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import {
  decodeEntry,
  decodeEphemeral,
  decodeHead,
  decodeManifest,
  decodePage,
  encodeEntry,
  encodeEphemeral,
  encodeHead,
  encodeManifest,
  encodePage,
  stateBytes,
} from "../../../src/zookeeper-store/codec.js";

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
const blob = fc.uint8Array({ maxLength: 300 });
const state = fc
  .tuple(key, fc.option(fc.tuple(count, blob)))
  .map(([name, put]) => ({ key: name, record: put === null ? undefined : { key: name, version: put[0], value: put[1] } }));
const states = fc.array(state, { maxLength: 20 });
const entry = fc.record({
  index: count,
  revision: count,
  sessionId: fc.string(),
  nonce: fc.string(),
  states,
  touched: fc.array(fc.string(), { maxLength: 4 }),
});
const manifest = fc.record({
  to: count,
  revision: count,
  runs: fc.array(
    fc.record({ from: count, to: count, pages: fc.array(fc.record({ name: fc.string(), sizeBytes: count }), { maxLength: 3 }) }),
    { maxLength: 4 },
  ),
});

describe("what is written", () => {
  test("is read again", () => {
    fc.assert(fc.property(entry, (value) => void expect(decodeEntry(encodeEntry(value), "p")).toEqual(value)));
    fc.assert(fc.property(states, (value) => void expect(decodePage(encodePage(value), "p")).toEqual(value)));
    fc.assert(fc.property(manifest, (value) => void expect(decodeManifest(encodeManifest(value), "p")).toEqual(value)));
    fc.assert(
      fc.property(
        fc.record({ key, value: blob }),
        (value) => void expect(decodeEphemeral(encodeEphemeral(value), "p")).toEqual(value),
      ),
    );
    fc.assert(
      fc.property(
        fc.record({ index: count, revision: count }),
        (value) => void expect(decodeHead(encodeHead(value), "p")).toEqual(value),
      ),
    );
  });

  test("is never larger than it was reckoned", () => {
    fc.assert(fc.property(states, (value) => encodePage(value).length <= value.reduce((sum, each) => sum + stateBytes(each), 32)));
  });

  test("and was cut or changed anywhere is refused with a code", () => {
    fc.assert(
      fc.property(entry, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, flip) => {
        const bytes = encodeEntry(value);
        const changed = Uint8Array.from(bytes);
        const place = at % changed.length;
        changed[place] = (changed[place] ?? 0) ^ flip;
        for (const wrong of [changed, bytes.slice(0, place)]) expect(() => decodeEntry(wrong, "p")).toThrow(CodedError);
      }),
    );
  });

  test("as one kind is not read as another", () => {
    expect(() => decodeManifest(encodeHead({ index: 1, revision: 1 }), "p")).toThrow(CodedError);
  });
});
