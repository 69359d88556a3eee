/** Conformance: limits of size and number, and malformed calls. Whatever is refused has changed nothing. */
import { expect } from "vitest";
import type { CoordinationSession, Write } from "../env/coordination-store.js";
import type { StoreCheck } from "./coordination-store.js";
import { bytes, codeOf, commitAll, keysOf, live, openSession, put, TTL_MS } from "./coordination-store-tools.js";

async function refuses(session: CoordinationSession, code: string, ...writes: Write[]): Promise<void> {
  expect(await codeOf(commitAll(session, { put: "beside", value: bytes("x") }, ...writes))).toBe(code);
  expect(await keysOf(session, "")).toEqual([]);
}

export const LIMIT_CHECKS: readonly StoreCheck[] = [
  {
    group: "limits",
    name: "they are large enough for what Holdfast writes",
    run: async ({ store }) => {
      const { maxKeyBytes, maxValueBytes, maxCommitOperations, maxCommitBytes, maxPageRecords } = store.limits;
      expect(maxKeyBytes).toBeGreaterThanOrEqual(200);
      expect(maxValueBytes).toBeGreaterThanOrEqual(500_000);
      expect(maxCommitOperations).toBeGreaterThanOrEqual(128);
      expect(maxCommitBytes).toBeGreaterThan(maxValueBytes);
      expect(maxPageRecords).toBeGreaterThanOrEqual(100);
    },
  },
  {
    group: "limits",
    name: "a value of the greatest size is kept, one byte more is refused",
    run: async ({ store }) => {
      const session = await openSession(store);
      await refuses(session, "LIMIT_EXCEEDED", { put: "big", value: new Uint8Array(store.limits.maxValueBytes + 1) });
      await commitAll(session, { put: "big", value: new Uint8Array(store.limits.maxValueBytes).fill(1) });
      expect((await session.get("big", live))?.value.length).toBe(store.limits.maxValueBytes);
    },
  },
  {
    group: "limits",
    name: "a key of the greatest size is kept, a longer one is refused, in bytes and not in characters",
    run: async ({ store }) => {
      const session = await openSession(store);
      const longest = "é".repeat(Math.floor(store.limits.maxKeyBytes / 2));
      await refuses(session, "LIMIT_EXCEEDED", { put: `${longest}éé`, value: bytes("x") });
      expect(await codeOf(session.get(`${longest}éé`, live))).toBe("LIMIT_EXCEEDED");
      await put(session, longest, "x");
      expect(await keysOf(session, "")).toEqual([longest]);
    },
  },
  {
    group: "limits",
    name: "guards and writes together fill a commit, one operation more is refused",
    run: async ({ store }) => {
      const session = await openSession(store);
      const guards = Array.from({ length: 8 }, (_, index) => ({ key: `g/${index}`, absent: true }) as const);
      const writes = (count: number) => Array.from({ length: count }, (_, index) => ({ put: `w/${index}`, value: bytes("x") }));
      const room = store.limits.maxCommitOperations - guards.length;
      expect(await codeOf(session.commit({ guards, writes: writes(room + 1) }, live))).toBe("LIMIT_EXCEEDED");
      expect(await keysOf(session, "")).toEqual([]);
      expect((await session.commit({ guards, writes: writes(room) }, live)).ok).toBe(true);
    },
  },
  {
    group: "limits",
    name: "a commit with too many bytes altogether is refused",
    run: async ({ store }) => {
      const session = await openSession(store);
      const value = new Uint8Array(Math.floor(store.limits.maxCommitBytes / 4));
      await refuses(session, "LIMIT_EXCEEDED", ...["1", "2", "3", "4", "5"].map((key) => ({ put: key, value })));
    },
  },
  {
    group: "limits",
    name: "a candidate's note of more than 512 bytes is refused",
    run: async ({ store }) => {
      const open = (candidate: string) => store.openSession({ ttlMs: TTL_MS, signal: live.signal, candidate });
      expect(await codeOf(open("c".repeat(513)))).toBe("INVALID_ARGUMENT");
      await (await open("c".repeat(512))).close();
    },
  },
  {
    group: "malformed calls",
    name: "an empty key, a control character and half a surrogate pair are refused",
    run: async ({ store }) => {
      const session = await openSession(store);
      for (const key of ["", "a\u0000b", "a\nb", "a\ud800b", "\udc00"]) {
        await refuses(session, "INVALID_ARGUMENT", { put: key, value: bytes("x") });
        await refuses(session, "INVALID_ARGUMENT", { delete: key });
        expect(await codeOf(session.get(key, live))).toBe("INVALID_ARGUMENT");
      }
    },
  },
  {
    group: "malformed calls",
    name: "a record written twice in one commit is refused",
    run: async ({ store }) => {
      const session = await openSession(store);
      await refuses(session, "INVALID_ARGUMENT", { put: "a", value: bytes("1") }, { delete: "a" });
    },
  },
];
