import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { isoTime } from "../../../src/base/iso-time.js";
import { utf8Decode, utf8Encode } from "../../../src/base/utf8.js";
import {
  decode,
  decodeApplicationRecord,
  decodeRemovalsRecord,
  decodeWorkerRecord,
  encode,
  encodeApplicationRecord,
  encodeRemovalsRecord,
  encodeWorkerRecord,
  type RecordFormat,
  submissionKeyIn,
} from "../../../src/wire/records.js";
import { applicationRecord } from "../job/driver-world.js";

const worker = {
  workerId: "w1",
  incarnation: 2,
  address: "h:1",
  resources: { cores: 2.5, memoryBytes: 1024 },
  state: "draining",
  changedAt: 5,
} as const;
const bytes = (text: string) => new TextEncoder().encode(text);

test("a record is versioned JSON and reads back as it was", () => {
  const encoded = encodeWorkerRecord(worker);
  // The golden text: it must never change for version 1.
  expect(new TextDecoder().decode(encoded)).toBe(
    '{"v":1,"kind":"worker","body":{"workerId":"w1","incarnation":2,"address":"h:1","resources":{"cores":2.5,"memoryBytes":1024},"state":"draining","changedAt":5}}',
  );
  expect(decodeWorkerRecord(encoded)).toEqual({ ok: true, record: worker });
});

test("what a worker's operator said of it is kept, and may be absent: records of earlier releases have none of it", () => {
  const gone = { ...worker, state: "gone", drainUntil: null, retired: true } as const;
  expect(decodeWorkerRecord(encodeWorkerRecord(gone))).toEqual({ ok: true, record: gone });
});

test("checkpoints of an application read back as they were, and a record of an earlier release has none", () => {
  const before = applicationRecord();
  expect(decodeApplicationRecord(encodeApplicationRecord(before))).toEqual({ ok: true, record: before });
  const completed = {
    id: 2 ** 40,
    attempt: 3,
    try: 2,
    manifest: { sha256: "f".repeat(64), sizeBytes: 12 },
    sizeBytes: 4_000,
    completedAt: 1_700_000_000_000,
    durationMs: 25,
    records: { in: 10, out: 4 },
  };
  const after = { ...before, checkpoints: { storage: "/shared", nextId: 2 ** 40 + 17, completed: [completed] } };
  expect(decodeApplicationRecord(encodeApplicationRecord(after))).toEqual({ ok: true, record: after });
  const wrong = { ...after, checkpoints: { ...after.checkpoints, completed: [{ ...completed, id: 2 ** 60 }] } };
  expect(decodeApplicationRecord(encodeApplicationRecord(wrong))).toMatchObject({ ok: false });
});

test("the operator's word about removals reads back as it was", () => {
  const encoded = encodeRemovalsRecord({ held: true, changedAt: 5 });
  expect(new TextDecoder().decode(encoded)).toBe('{"v":1,"kind":"removals","body":{"held":true,"changedAt":5}}');
  expect(decodeRemovalsRecord(encoded)).toEqual({ ok: true, record: { held: true, changedAt: 5 } });
});

test("what cannot be read is told with its reason", () => {
  const reason = (encoded: Uint8Array) => {
    const decoded = decodeApplicationRecord(encoded);
    return decoded.ok ? null : decoded.reason;
  };
  expect(reason(new Uint8Array([0xff, 0xfe]))).toBe("not UTF-8");
  expect(reason(bytes("{"))).toBe("not JSON");
  expect(reason(bytes("7"))).toBe("not a record");
  expect(reason(encodeWorkerRecord(worker))).toBe('of kind "worker" instead of application');
  expect(reason(bytes('{"v":2,"kind":"application","body":{}}'))).toBe("of version 2, this program knows versions up to 1");
  expect(reason(bytes('{"v":0,"kind":"application","body":{}}'))).toBe("without a version");
  expect(reason(bytes('{"v":1,"kind":"application","body":{}}'))).toContain("not valid at id");
});

/** A record format that was changed twice: the name was split in version 2, the age is told since version 3. */
const person = z.object({ first: z.string(), last: z.string(), age: z.number().nullable() });
const PERSON: RecordFormat<z.infer<typeof person>> = {
  kind: "person",
  version: 3,
  schema: person,
  upgrades: {
    1: (body) => {
      const [first, last] = (body as { name: string }).name.split(" ");
      return { first, last };
    },
    2: (body) => ({ ...(body as object), age: null }),
  },
};
const stored = (v: number, body: unknown) => bytes(JSON.stringify({ v, kind: "person", body }));

test("a record of an older version is upgraded step by step, and written in the new one", () => {
  const ada = { first: "Ada", last: "Lovelace", age: null };
  expect(decode(PERSON, stored(1, { name: "Ada Lovelace" }))).toEqual({ ok: true, record: ada });
  expect(decode(PERSON, stored(2, { first: "Ada", last: "Lovelace" }))).toEqual({ ok: true, record: ada });
  expect(decode(PERSON, stored(3, ada))).toEqual({ ok: true, record: ada });
  expect(new TextDecoder().decode(encode(PERSON, ada))).toBe(
    '{"v":3,"kind":"person","body":{"first":"Ada","last":"Lovelace","age":null}}',
  );
});

test("a newer version, a version without an upgrade and a body that is not of its version are values, never exceptions", () => {
  expect(decode(PERSON, stored(4, { any: 1 }))).toEqual({
    ok: false,
    reason: "of version 4, this program knows versions up to 3",
    body: { any: 1 },
  });
  const { 1: _, ...later } = PERSON.upgrades;
  expect(decode({ ...PERSON, upgrades: later }, stored(1, {}))).toMatchObject({
    ok: false,
    reason: "of version 1, from which there is no upgrade",
  });
  expect(decode(PERSON, stored(1, 7))).toMatchObject({ ok: false, reason: "of version 1, and not what that version was" });
  expect(decode(PERSON, stored(2, { first: "Ada" }))).toMatchObject({
    ok: false,
    reason: expect.stringMatching(/^not valid at last: /),
  });
});

test("of a record that cannot be read its submission key is still known, where it is there", () => {
  const newer = decodeApplicationRecord(bytes('{"v":9,"kind":"application","body":{"submissionKey":"daily"}}'));
  expect(newer.ok ? null : submissionKeyIn(newer.body)).toBe("daily");
  expect([undefined, null, 7, {}, { submissionKey: 7 }].map(submissionKeyIn)).toEqual([null, null, null, null, null]);
});

test("any bytes are decoded or refused, never an exception", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (any) => typeof decodeApplicationRecord(any).ok === "boolean"));
});

test("UTF-8 is that of the platform", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      expect([...utf8Encode(text)]).toEqual([...bytes(text)]);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), (any) => {
      let expected: string | null = null;
      try {
        expected = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(any);
      } catch {}
      expect(utf8Decode(any)).toBe(expected);
    }),
    { numRuns: 2000 },
  );
  expect(utf8Decode(utf8Encode("ä€😀".repeat(20_000)))).toBe("ä€😀".repeat(20_000));
});

test("times are ISO 8601", () => {
  fc.assert(
    fc.property(fc.date({ min: new Date(0), max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true }), (date) => {
      expect(isoTime(date.getTime())).toBe(date.toISOString());
    }),
  );
});
