/** Conformance: sessions, ephemeral records, order of commits, watches, close and opening again. */
import { expect } from "vitest";
import type { StoreCheck } from "./coordination-store.js";
import {
  bytes,
  codeOf,
  commitAll,
  keysOf,
  live,
  openSession,
  put,
  read,
  TTL_MS,
  text,
  versionOf,
  watching,
  within,
} from "./coordination-store-tools.js";

export const SESSION_CHECKS: readonly StoreCheck[] = [
  {
    group: "sessions",
    name: "the end of a session removes its ephemeral records and only those",
    run: async ({ store }) => {
      const [ending, staying] = [await openSession(store), await openSession(store)];
      await put(ending, "e/1", "x", { ephemeral: true });
      await put(ending, "e/2", "x", { ephemeral: true });
      await put(ending, "p/1", "x");
      await put(staying, "e/3", "x", { ephemeral: true });
      await ending.close();
      expect((await ending.ended).code).toBe("CLOSED");
      expect(await keysOf(staying, "")).toEqual(["e/3", "p/1"]);
    },
  },
  {
    group: "sessions",
    name: "a record stays as it was created, ephemeral or not, whoever puts it later",
    run: async ({ store }) => {
      const [creator, other] = [await openSession(store), await openSession(store)];
      await put(creator, "ephemeral", "1", { ephemeral: true });
      await put(creator, "persistent", "1");
      await put(other, "ephemeral", "2");
      await put(other, "persistent", "2", { ephemeral: true });
      expect(await versionOf(creator, "ephemeral")).toBe(1);
      const third = await openSession(store);
      await other.close();
      expect(await read(third, "persistent")).toBe("2");
      expect(await read(third, "ephemeral")).toBe("2");
      await creator.close();
      expect(await keysOf(third, "")).toEqual(["persistent"]);
    },
  },
  {
    group: "sessions",
    name: "of two contenders one wins, and the other wins when the first one's session has ended",
    run: async ({ store }) => {
      const contenders = [await openSession(store), await openSession(store)] as const;
      const claim = (index: 0 | 1) =>
        contenders[index].commit(
          { guards: [{ key: "seat", absent: true }], writes: [{ put: "seat", value: bytes(String(index)), ephemeral: true }] },
          live,
        );
      const results = await Promise.all([claim(0), claim(1)]);
      expect(results.filter((result) => result.ok).length).toBe(1);
      const winner = results[0].ok ? 0 : 1;
      const loser = winner === 0 ? 1 : 0;
      expect(await read(contenders[loser], "seat")).toBe(String(winner));
      await contenders[winner].close();
      expect((await claim(loser)).ok).toBe(true);
    },
  },
  {
    group: "sessions",
    name: "every session has an id of its own and is certainly alive for a while",
    run: async ({ store }) => {
      const sessions = await Promise.all([openSession(store), openSession(store), openSession(store)]);
      expect(new Set(sessions.map((session) => session.id)).size).toBe(3);
      for (const session of sessions) expect(session.deadline()).toBeGreaterThan(0);
    },
  },
  {
    group: "sessions",
    name: "after its end a session answers nothing, and closing it again does no harm",
    run: async ({ store }) => {
      const session = await openSession(store);
      await put(session, "a", "1");
      await session.close();
      await session.close();
      expect(await codeOf(session.get("a", live))).toMatch(/^(CLOSED|SESSION_ENDED)$/);
      expect(await codeOf(session.list({ prefix: "", limit: 1 }, live))).toMatch(/^(CLOSED|SESSION_ENDED)$/);
      expect(await codeOf(put(session, "a", "2"))).toMatch(/^(CLOSED|SESSION_ENDED)$/);
      expect(await read(await openSession(store), "a")).toBe("1");
    },
  },
  {
    group: "sessions",
    name: "commits of one session apply in the order they were called",
    run: async ({ store }) => {
      const session = await openSession(store);
      const results = await Promise.all(Array.from({ length: 50 }, (_, index) => put(session, "a", String(index))));
      expect(results.map((result) => result.ok && result.versions.get("a"))).toEqual(
        Array.from({ length: 50 }, (_, index) => index),
      );
      const revisions = results.map((result) => (result.ok ? result.revision : Number.NaN));
      expect([...revisions].sort((a, b) => a - b)).toEqual(revisions);
      expect(await read(session, "a")).toBe("49");
    },
  },
  {
    group: "sessions",
    name: "of reads that are called together a later one never sees an older state than an earlier one",
    run: async ({ store }) => {
      const [reader, writer] = [await openSession(store), await openSession(store)];
      const rounds = 40;
      const writing = (async () => {
        for (let round = 1; round <= rounds; round++) {
          await put(writer, "first", String(round));
          await put(writer, "then/second", String(round));
        }
      })();
      let seen = 0;
      while (seen < rounds) {
        const [second, first] = await Promise.all([reader.list({ prefix: "then/", limit: 1 }, live), reader.get("first", live)]);
        seen = Number(text(second.records[0]?.value) ?? 0);
        expect(Number(text(first?.value) ?? 0)).toBeGreaterThanOrEqual(seen);
      }
      await writing;
    },
  },
  {
    group: "sessions",
    name: "a call with an aborted signal rejects with the signal's reason and applies nothing",
    run: async ({ store }) => {
      const session = await openSession(store);
      const reason = new Error("not wanted any more");
      const signal = AbortSignal.abort(reason);
      await expect(session.commit({ guards: [], writes: [{ put: "a", value: bytes("x") }] }, { signal })).rejects.toBe(reason);
      await expect(session.get("a", { signal })).rejects.toBe(reason);
      await expect(session.list({ prefix: "", limit: 1 }, { signal })).rejects.toBe(reason);
      await expect(store.openSession({ ttlMs: TTL_MS, signal, candidate: "c" })).rejects.toBe(reason);
      expect(await keysOf(session, "")).toEqual([]);
    },
  },
  {
    group: "watches",
    name: "a watch tells of changes by anybody below its prefix, after they can be read",
    run: async ({ store }) => {
      const [watcher, writer] = [await openSession(store), await openSession(store)];
      const seen = watching(watcher, "w/");
      await put(writer, "w/1", "x");
      await put(watcher, "w/2", "x");
      await put(writer, "other", "x");
      await seen.until(() => ["w/1", "w/2"].every((key) => seen.keys().includes(key)));
      expect(await keysOf(watcher, "w/")).toEqual(["w/1", "w/2"]);
      expect(seen.keys()).not.toContain("other");
    },
  },
  {
    group: "watches",
    name: "a watch tells of deletions and of ephemeral records that went with their session",
    run: async ({ store }) => {
      const [watcher, writer] = [await openSession(store), await openSession(store)];
      await put(writer, "w/1", "x");
      await put(writer, "w/2", "x", { ephemeral: true });
      const seen = watching(watcher, "w/");
      await commitAll(watcher, { delete: "w/1" });
      await seen.until(() => seen.keys().includes("w/1"));
      await writer.close();
      await seen.until(() => seen.keys().includes("w/2"));
      expect(await keysOf(watcher, "w/")).toEqual([]);
    },
  },
  {
    group: "watches",
    name: "a seen read holds what a watch has reported, for changes, deletions and ended sessions",
    run: async ({ store }) => {
      const [watcher, writer] = [await openSession(store), await openSession(store)];
      const watch = watching(watcher, "w/");
      const seenKeys = async () =>
        (await watcher.list({ prefix: "w/", limit: 100 }, { ...live, seen: true })).records.map(({ key }) => key);
      await put(writer, "w/1", "x");
      await put(writer, "w/2", "x", { ephemeral: true });
      await watch.until(() => ["w/1", "w/2"].every((key) => watch.keys().includes(key)));
      expect(await seenKeys()).toEqual(["w/1", "w/2"]);
      const before = watch.events.length;
      await commitAll(writer, { delete: "w/1" });
      await watch.until((events) => events.slice(before).some((event) => event.kind === "changed" && event.key === "w/1"));
      expect(await seenKeys()).toEqual(["w/2"]);
      await writer.close();
      await watch.until(async () => (await seenKeys()).length === 0);
    },
  },
  {
    group: "watches",
    name: "whoever reads on every event ends up with the last state, however fast it changes",
    run: async ({ store }) => {
      const [watcher, writer] = [await openSession(store), await openSession(store)];
      const seen = watching(watcher, "w/");
      let state: string | undefined;
      const writes = Array.from({ length: 40 }, (_, index) => put(writer, "w/1", String(index)));
      await seen.until(async () => {
        state = await read(watcher, "w/1");
        return state === "39";
      });
      await Promise.all(writes);
      expect(state).toBe("39");
    },
  },
  {
    group: "watches",
    name: "a closed watch is silent, and no listener is called from within a call",
    run: async ({ store }) => {
      const session = await openSession(store);
      const closed = watching(session, "w/");
      const open = watching(session, "w/");
      closed.close();
      const commit = put(session, "w/1", "x");
      expect(open.events).toEqual([]);
      await commit;
      await open.until((events) => events.length > 0);
      expect(closed.events).toEqual([]);
    },
  },
  {
    group: "close",
    name: "closing the store ends its sessions, and it opens none afterwards",
    run: async ({ store }) => {
      const session = await openSession(store);
      await put(session, "a", "1");
      await store.close();
      expect((await within(session.ended, "the session has not ended")).code).toBe("CLOSED");
      expect(await codeOf(session.get("a", live))).toMatch(/^(CLOSED|SESSION_ENDED)$/);
      expect(await codeOf(openSession(store))).toBe("CLOSED");
    },
  },
  {
    group: "close",
    name: "an acknowledged commit outlives its session",
    run: async ({ store }) => {
      const session = await openSession(store);
      await put(session, "a", "1");
      await session.close();
      const next = await openSession(store);
      expect(await read(next, "a")).toBe("1");
      expect(next.id).not.toBe(session.id);
    },
  },
  {
    group: "reopening",
    name: "records, versions and the revision are kept, ephemeral records are not",
    needs: "reopen",
    run: async ({ store, reopen }) => {
      if (reopen === undefined) throw new Error("this suite needs `reopen`");
      const session = await openSession(store);
      for (const value of ["1", "2", "3"]) await put(session, "kept", value);
      await put(session, "ephemeral", "x", { ephemeral: true });
      await put(session, "gone", "x");
      await commitAll(session, { delete: "gone" });
      const last = await put(session, "last", "x");
      const again = await openSession(await reopen());
      expect(await keysOf(again, "")).toEqual(["kept", "last"]);
      expect(await read(again, "kept")).toBe("3");
      expect(await versionOf(again, "kept")).toBe(2);
      const next = await put(again, "kept", "4");
      expect(next.ok && next.versions.get("kept")).toBe(3);
      expect(next.ok && last.ok && next.revision > last.revision).toBe(true);
      expect(again.id).not.toBe(session.id);
    },
  },
];
