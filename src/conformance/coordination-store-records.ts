/** Conformance: records, versions, guards, order and pages. */
import { expect } from "vitest";
import type { StoreCheck } from "./coordination-store.js";
import {
  bytes,
  codeOf,
  commitAll,
  keysOf,
  listAll,
  live,
  openSession,
  put,
  read,
  text,
  versionOf,
} from "./coordination-store-tools.js";

export const RECORD_CHECKS: readonly StoreCheck[] = [
  {
    group: "records",
    name: "every session reads what was committed, as soon as it is acknowledged",
    run: async ({ store }) => {
      const [writer, reader] = [await openSession(store), await openSession(store)];
      await put(writer, "a", "one");
      expect(await read(writer, "a")).toBe("one");
      expect(await read(reader, "a")).toBe("one");
      expect(await read(reader, "b")).toBeUndefined();
    },
  },
  {
    group: "records",
    name: "a created record has version 0, every put adds 1, and a deleted one starts at 0 again",
    run: async ({ store }) => {
      const session = await openSession(store);
      const created = await put(session, "a", "1");
      expect(created.ok && created.versions.get("a")).toBe(0);
      expect(await versionOf(session, "a")).toBe(0);
      const changed = await put(session, "a", "2");
      expect(changed.ok && changed.versions.get("a")).toBe(1);
      await put(session, "a", "2");
      expect(await versionOf(session, "a")).toBe(2);
      await commitAll(session, { delete: "a" });
      expect(await session.get("a", live)).toBeUndefined();
      await put(session, "a", "3");
      expect(await versionOf(session, "a")).toBe(0);
    },
  },
  {
    group: "records",
    name: "values keep every byte, and a change of the caller's array changes nothing",
    run: async ({ store }) => {
      const session = await openSession(store);
      const value = Uint8Array.from({ length: 256 }, (_, index) => index);
      await commitAll(session, { put: "all", value }, { put: "empty", value: new Uint8Array(0) });
      value.fill(7);
      expect([...((await session.get("all", live))?.value ?? [])]).toEqual(Array.from({ length: 256 }, (_, index) => index));
      expect((await session.get("empty", live))?.value.length).toBe(0);
    },
  },
  {
    group: "records",
    name: "deleting an absent record does nothing, and the revision grows with every commit",
    run: async ({ store }) => {
      const session = await openSession(store);
      const results = [await put(session, "a", "1"), await commitAll(session, { delete: "missing" }), await put(session, "b", "1")];
      const revisions = results.map((result) => (result.ok ? result.revision : Number.NaN));
      expect(revisions[1]).toBeGreaterThan(revisions[0] ?? Number.NaN);
      expect(revisions[2]).toBeGreaterThan(revisions[1] ?? Number.NaN);
      expect(await keysOf(session, "")).toEqual(["a", "b"]);
    },
  },
  {
    group: "records",
    name: "a seen read holds the session's own answered commits, what an earlier read has shown, and nothing that was refused",
    run: async ({ store }) => {
      const [session, other] = [await openSession(store), await openSession(store)];
      const seen = { ...live, seen: true };
      await put(other, "a", "others'");
      expect(await read(session, "a")).toBe("others'");
      expect(text((await session.get("a", seen))?.value)).toBe("others'");
      for (let count = 0; count < 20; count++) {
        await put(session, "b", `${count}`);
        const [got, listed] = await Promise.all([session.get("b", seen), session.list({ prefix: "b", limit: 1 }, seen)]);
        expect([text(got?.value), text(listed.records[0]?.value)]).toEqual([`${count}`, `${count}`]);
      }
      const refused = session.commit({ guards: [{ key: "a", version: 7 }], writes: [{ put: "b", value: bytes("no") }] }, live);
      expect(text((await session.get("b", seen))?.value)).toBe("19");
      expect((await refused).ok).toBe(false);
      expect(text((await session.get("b", seen))?.value)).toBe("19");
    },
  },
  {
    group: "guards",
    name: "a version holds exactly, and a commit with a guard that does not hold applies nothing and names it",
    run: async ({ store }) => {
      const session = await openSession(store);
      await put(session, "a", "1");
      await put(session, "a", "2");
      for (const version of [0, 2, 100]) {
        const refused = await session.commit({ guards: [{ key: "a", version }], writes: [{ put: "a", value: bytes("no") }] }, live);
        expect(refused).toEqual({ ok: false, failedGuard: { key: "a", version } });
      }
      expect(await read(session, "a")).toBe("2");
      const accepted = await session.commit(
        { guards: [{ key: "a", version: 1 }], writes: [{ put: "a", value: bytes("3") }] },
        live,
      );
      expect(accepted.ok).toBe(true);
      expect(await read(session, "a")).toBe("3");
    },
  },
  {
    group: "guards",
    name: "version 0 means version 0, never any version",
    run: async ({ store }) => {
      const session = await openSession(store);
      const guarded = () => session.commit({ guards: [{ key: "a", version: 0 }], writes: [{ put: "b", value: bytes("x") }] }, live);
      expect((await guarded()).ok, "the record is absent").toBe(false);
      await put(session, "a", "1");
      expect((await guarded()).ok, "the record has version 0").toBe(true);
      await put(session, "a", "2");
      expect((await guarded()).ok, "the record has version 1").toBe(false);
      expect(await versionOf(session, "b")).toBe(0);
    },
  },
  {
    group: "guards",
    name: "absent holds only while there is no such record",
    run: async ({ store }) => {
      const session = await openSession(store);
      const create = () =>
        session.commit({ guards: [{ key: "a", absent: true }], writes: [{ put: "a", value: bytes("x") }] }, live);
      expect((await create()).ok).toBe(true);
      expect(await create()).toEqual({ ok: false, failedGuard: { key: "a", absent: true } });
      await commitAll(session, { delete: "a" });
      expect((await create()).ok).toBe(true);
    },
  },
  {
    group: "guards",
    name: "several guards must all hold, also on records that the commit does not write",
    run: async ({ store }) => {
      const session = await openSession(store);
      await commitAll(session, { put: "a", value: bytes("1") }, { put: "b", value: bytes("1") });
      const commit = (versionOfB: number) =>
        session.commit(
          {
            guards: [
              { key: "a", version: 0 },
              { key: "b", version: versionOfB },
              { key: "c", absent: true },
            ],
            writes: [{ put: "d", value: bytes("x") }, { delete: "a" }],
          },
          live,
        );
      expect((await commit(1)).ok).toBe(false);
      expect(await keysOf(session, "")).toEqual(["a", "b"]);
      expect((await commit(0)).ok).toBe(true);
      expect(await keysOf(session, "")).toEqual(["b", "d"]);
    },
  },
  {
    group: "guards",
    name: "a commit applies all its writes or none",
    run: async ({ store }) => {
      const session = await openSession(store);
      const writes = Array.from({ length: 100 }, (_, index) => ({ put: `all/${index}`, value: bytes("x") }));
      await session.commit({ guards: [{ key: "none", version: 0 }], writes }, live);
      expect(await keysOf(session, "all/")).toEqual([]);
      await session.commit({ guards: [{ key: "none", absent: true }], writes }, live);
      expect((await keysOf(session, "all/")).length).toBe(100);
    },
  },
  {
    group: "guards",
    name: "counting by compare-and-set from several sessions at once loses no count",
    run: async ({ store }) => {
      const sessions = await Promise.all([1, 2, 3, 4].map(() => openSession(store)));
      await put(sessions[0] ?? (await openSession(store)), "count", "0");
      const countTo = async (session: (typeof sessions)[number], times: number) => {
        for (let done = 0; done < times; ) {
          const record = await session.get("count", live);
          if (record === undefined) throw new Error("the count is gone");
          const next = bytes(String(Number(new TextDecoder().decode(record.value)) + 1));
          const guards = [{ key: "count", version: record.version }];
          if ((await session.commit({ guards, writes: [{ put: "count", value: next }] }, live)).ok) done++;
        }
      };
      await Promise.all(sessions.map((session) => countTo(session, 10)));
      expect(await read(await openSession(store), "count")).toBe("40");
    },
  },
  {
    group: "guards",
    name: "an old epoch cannot write after a new one: what was accepted is a prefix of what was asked",
    run: async ({ store }) => {
      const [old, next] = [await openSession(store), await openSession(store)];
      await put(old, "epoch", "1");
      const fenced = (index: number) =>
        old.commit({ guards: [{ key: "epoch", version: 0 }], writes: [{ put: `w/${1000 + index}`, value: bytes("x") }] }, live);
      const writes = Array.from({ length: 60 }, (_, index) => fenced(index));
      const taken = next.commit({ guards: [{ key: "epoch", version: 0 }], writes: [{ put: "epoch", value: bytes("2") }] }, live);
      expect((await taken).ok).toBe(true);
      writes.push(...Array.from({ length: 20 }, (_, index) => fenced(60 + index)));
      const accepted = (await Promise.all(writes)).map((result) => result.ok);
      const refusedFrom = accepted.indexOf(false);
      expect(refusedFrom).toBeGreaterThanOrEqual(0);
      expect(refusedFrom).toBeLessThanOrEqual(60);
      expect(accepted.slice(refusedFrom).every((ok) => !ok)).toBe(true);
      expect((await listAll(next, "w/")).length).toBe(refusedFrom);
    },
  },
  {
    group: "lists",
    name: "records come in ascending order of their keys' UTF-8 bytes",
    run: async ({ store }) => {
      const session = await openSession(store);
      const ordered = ["k/", "k/!", "k/10", "k/9", "k/A", "k/a", "k/a/b", "k/a0", "k/ab", "k/é", "k/\uffee", "k/😀"];
      for (const key of [...ordered].reverse()) await put(session, key, "x");
      await put(session, "j", "x");
      await put(session, "l", "x");
      expect(await keysOf(session, "k/")).toEqual(ordered);
      expect(await keysOf(session, "k/a")).toEqual(["k/a", "k/a/b", "k/a0", "k/ab"]);
      expect(await keysOf(session, "nothing/")).toEqual([]);
    },
  },
  {
    group: "lists",
    name: "pages of any size give every record once, and only `next` says that there are more",
    run: async ({ store }) => {
      const session = await openSession(store);
      const keys = Array.from({ length: 25 }, (_, index) => `p/${String(index).padStart(2, "0")}`);
      await commitAll(session, ...keys.map((key) => ({ put: key, value: bytes(key) })));
      for (const limit of [1, 4, 5, 24, 25, 26]) {
        const records = await listAll(session, "p/", limit);
        expect(records.map((record) => record.key)).toEqual(keys);
        expect(records.map((record) => new TextDecoder().decode(record.value))).toEqual(keys);
      }
      const exact = await session.list({ prefix: "p/", limit: 25 }, live);
      expect(exact.next).toBeUndefined();
    },
  },
  {
    group: "lists",
    name: "`after` may be a key that does not exist, or one outside the prefix",
    run: async ({ store }) => {
      const session = await openSession(store);
      for (const key of ["p/1", "p/3", "q/1"]) await put(session, key, "x");
      const after = async (key: string) =>
        (await session.list({ prefix: "p/", after: key, limit: 10 }, live)).records.map((record) => record.key);
      expect(await after("p/2")).toEqual(["p/3"]);
      expect(await after("a")).toEqual(["p/1", "p/3"]);
      expect(await after("q/")).toEqual([]);
    },
  },
  {
    group: "lists",
    name: "a page has bounded bytes, and the pages together still give everything",
    run: async ({ store }) => {
      const session = await openSession(store);
      const value = new Uint8Array(store.limits.maxValueBytes - 1_000).fill(65);
      for (let index = 0; index < 12; index++) await commitAll(session, { put: `big/${10 + index}`, value });
      expect((await listAll(session, "big/", 100)).map((record) => record.value.length)).toEqual(
        Array.from({ length: 12 }, () => value.length),
      );
    },
  },
  {
    group: "lists",
    name: "more records than a page may hold are refused, and so is a page of none",
    run: async ({ store }) => {
      const session = await openSession(store);
      expect(await codeOf(session.list({ prefix: "", limit: store.limits.maxPageRecords + 1 }, live))).toBe("LIMIT_EXCEEDED");
      expect(await codeOf(session.list({ prefix: "", limit: 0 }, live))).toBe("INVALID_ARGUMENT");
    },
  },
];
