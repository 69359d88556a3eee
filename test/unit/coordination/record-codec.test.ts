import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../../src/base/json.js";
import { decodeRecord, encodeRecord, type RecordSchema, recordRegistry } from "../../../src/coordination/record-codec.js";

interface Worker {
  readonly id: string;
  readonly cores: number;
}

const worker: RecordSchema<Worker> = {
  kind: "worker",
  version: 3,
  upgrades: new Map<number, (body: JsonValue) => JsonValue>([
    [1, (body) => ({ id: body })],
    [2, (body) => ({ ...(body as { readonly id: string }), cores: 1 })],
  ]),
  parse(body) {
    const { id, cores } = body as { readonly id?: unknown; readonly cores?: unknown };
    if (typeof id !== "string" || typeof cores !== "number") throw new Error("id and cores are needed");
    return { id, cores };
  },
};
const registry = recordRegistry([worker]);
const bytes = (text: string) => new TextEncoder().encode(text);

describe("a record's envelope", () => {
  test("gives back what was written", () => {
    const encoded = encodeRecord("worker", 3, { id: "w", cores: 4 });
    expect(decodeRecord(encoded, registry)).toEqual({ ok: true, kind: "worker", storedVersion: 3, body: { id: "w", cores: 4 } });
  });

  test("has stable bytes", () => {
    expect(new TextDecoder().decode(encodeRecord("worker", 3, { id: "w" }))).toBe('{"v":3,"kind":"worker","body":{"id":"w"}}');
  });

  test("of an older version is upgraded step by step", () => {
    expect(decodeRecord(encodeRecord("worker", 1, "w"), registry)).toEqual({
      ok: true,
      kind: "worker",
      storedVersion: 1,
      body: { id: "w", cores: 1 },
    });
  });

  test("that cannot be read is a reason, never an exception and never nothing", () => {
    const problem = (value: Uint8Array) => {
      const decoded = decodeRecord(value, registry);
      return decoded.ok ? "readable" : [decoded.problem, decoded.kind, decoded.storedVersion];
    };
    expect(problem(encodeRecord("worker", 4, {}))).toEqual(["newer-version", "worker", 4]);
    expect(problem(encodeRecord("planet", 1, {}))).toEqual(["unknown-kind", "planet", 1]);
    expect(problem(encodeRecord("worker", 3, { id: 7 }))).toEqual(["invalid-body", "worker", 3]);
    expect(problem(encodeRecord("worker", 1, null))).toEqual(["invalid-body", "worker", 1]);
    for (const damaged of [
      "",
      "{",
      "null",
      "[]",
      '"x"',
      "{}",
      '{"v":0,"kind":"worker","body":1}',
      '{"v":1,"kind":"worker"}',
      '{"v":1,"kind":7,"body":1}',
    ]) {
      expect(problem(bytes(damaged)), damaged).toEqual(["damaged", null, null]);
    }
    expect(problem(Uint8Array.of(0xff, 0xfe, 0x00))).toEqual(["damaged", null, null]);
  });

  test("of a version without an upgrade path is not guessed at", () => {
    const { upgrades: _left, ...withoutUpgrades } = worker;
    const decoded = decodeRecord(encodeRecord("worker", 1, "w"), recordRegistry([withoutUpgrades]));
    expect(decoded).toMatchObject({
      ok: false,
      problem: "invalid-body",
      reason: expect.stringContaining("no upgrade from version 1"),
    });
  });
});
