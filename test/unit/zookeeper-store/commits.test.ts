/** Commits whose answers are lost, sessions that race, connections that come back late. */
import { describe, expect, test } from "vitest";
import { codeOf } from "../../../src/conformance/coordination-store-tools.js";
import type { CoordinationSession } from "../../../src/env/coordination-store.js";
import {
  bytes,
  contentOf,
  countIsExact,
  goneOwnerIsNoticed,
  isCommit,
  lostPlaceIsNoticed,
  put,
  read,
  sameForAll,
} from "./checks.js";
import { fakeStore, live, open } from "./fake-stores.js";

const as = async <T>(run: (store: ReturnType<typeof fakeStore>) => Promise<T>): Promise<T> => {
  const store = fakeStore();
  try {
    return await run(store);
  } finally {
    await store.close();
  }
};

describe("a commit whose answer is lost", () => {
  for (const fate of ["lost-before", "lost-after", "late"] as const) {
    test(`is acknowledged and applied once (${fate})`, () =>
      as(async (store) => {
        const session = await open(store);
        await put(session, "a", "1");
        let lost = 0;
        store.tree.fate = (call) => (isCommit(call) && lost++ === 0 ? fate : undefined);
        expect(await put(session, "a", "2")).toMatchObject({ ok: true });
        store.tree.releaseLate();
        expect(lost).toBeGreaterThan(0);
        expect(Object.fromEntries(await contentOf(session))).toEqual({ a: "1:2" });
        await put(session, "b", "x");
        expect(Object.fromEntries(await sameForAll(store, [session]))).toEqual({ a: "1:2", b: "0:x" });
      }));
  }

  test("is not taken for applied when another session took its place in the log", () => lostPlaceIsNoticed(() => {}));

  test("is applied once also when each of its copies is lost, and the first comes last", () =>
    as(async (store) => {
      const session = await open(store);
      await put(session, "a", "1");
      const fates = ["late", "late", "lost-before", "lost-after"] as const;
      let lost = 0;
      store.tree.fate = (call) => (isCommit(call) ? fates[lost++] : undefined);
      expect(await put(session, "a", "2")).toMatchObject({ ok: true });
      store.tree.releaseLate();
      expect(lost).toBe(fates.length);
      expect(Object.fromEntries(await sameForAll(store, [session]))).toEqual({ a: "1:2" });
    }));

  test("is of unknown outcome when its session ends before it could be read back", () =>
    as(async (store) => {
      const session = await open(store);
      store.tree.fate = (call) => (isCommit(call) ? "lost-after" : undefined);
      const [ensemble] = store.ensembles;
      if (ensemble !== undefined) ensemble.healsAlone = false;
      const commit = codeOf(put(session, "a", "1"));
      await new Promise((resolve) => setTimeout(resolve, 20));
      ensemble?.expire();
      expect(await commit).toBe("OUTCOME_UNKNOWN");
      expect((await session.ended).code).toBe("SESSION_ENDED");
      expect(await read(await open(store), "a")).toBe("1");
    }));

  test.each(Array.from({ length: 40 }, (_, index) => index + 1))("counts exactly among three sessions (seed %i)", (seed) =>
    countIsExact(() => {}, seed),
  );
});

describe("a session without a connection", () => {
  test("keeps its calls until it has one, and drops those that were given up", () =>
    as(async (store) => {
      const session = await open(store);
      const [ensemble] = store.ensembles;
      ensemble?.cut();
      const given = new AbortController();
      const dropped = session.commit({ guards: [], writes: [{ put: "dropped", value: bytes("x") }] }, { signal: given.signal });
      const kept = put(session, "kept", "x");
      given.abort(new Error("given up"));
      await expect(dropped).rejects.toThrow("given up");
      ensemble?.heal();
      expect(await kept).toMatchObject({ ok: true });
      expect([...(await contentOf(session)).keys()]).toEqual(["kept"]);
    }));

  test("catches up with everything that the others did meanwhile", () =>
    as(async (store) => {
      const [one, other] = [await open(store), await open(store)];
      await put(other, "e", "x", true);
      expect(await read(one, "e")).toBe("x");
      store.ensembles[0]?.cut();
      for (let index = 0; index < 700; index++) await put(other, `k/${index % 50}`, String(index));
      await other.close();
      const third = await open(store);
      await put(third, "e", "y");
      store.ensembles[0]?.heal();
      await sameForAll(store, [one, third]);
      expect((await one.get("e", live))?.version).toBe(0);
    }));
});

describe("ephemeral records", () => {
  test("do not satisfy a guard when their session has ended unseen", () => goneOwnerIsNoticed(() => {}));

  test("that are made again are other records to whoever relied on the old ones", () =>
    as(async (store) => {
      const [one, other] = [await open(store), await open(store)];
      await put(one, "seat", "one", true);
      const guarded = (session: CoordinationSession) =>
        session.commit({ guards: [{ key: "seat", version: 0 }], writes: [{ put: "a", value: bytes("x") }] }, live);
      expect(await guarded(other)).toMatchObject({ ok: true });
      // The owner's end is not seen by the other session: its watch is silent.
      store.tree.endSession(one.id);
      expect(await guarded(other)).toMatchObject({ ok: false });
      await put(other, "seat", "other", true);
      expect(await guarded(other)).toMatchObject({ ok: true });
      expect((await other.get("seat", live))?.value).toEqual(bytes("other"));
    }));

  test("may be followed by a persistent record of the same key, and the other way round", () =>
    as(async (store) => {
      const [one, other] = [await open(store), await open(store)];
      await put(one, "k", "1", true);
      await read(other, "k");
      await one.close();
      await put(other, "k", "2");
      expect(Object.fromEntries(await sameForAll(store, [other]))).toEqual({ k: "0:2" });
      const third = await open(store);
      await other.commit({ guards: [], writes: [{ delete: "k" }] }, live);
      await put(third, "k", "3", true);
      expect(Object.fromEntries(await sameForAll(store, [other, third]))).toEqual({ k: "0:3" });
      await third.close();
      expect(Object.fromEntries(await sameForAll(store, [other]))).toEqual({});
    }));

  test("are made, changed and removed within one group of commits", () =>
    as(async (store) => {
      const [one, other] = [await open(store), await open(store)];
      const results = await Promise.all([
        put(one, "e", "1", true),
        put(one, "e", "2"),
        one.commit({ guards: [{ key: "e", version: 1 }], writes: [{ put: "e", value: bytes("3") }] }, live),
        put(one, "gone", "x", true),
        one.commit({ guards: [], writes: [{ delete: "gone" }] }, live),
        one.commit({ guards: [{ key: "gone", absent: true }], writes: [{ put: "gone", value: bytes("p") }] }, live),
      ]);
      expect(results.every((result) => result.ok)).toBe(true);
      expect(Object.fromEntries(await sameForAll(store, [one, other]))).toEqual({ e: "2:3", gone: "0:p" });
      await one.close();
      expect(Object.fromEntries(await sameForAll(store, [other]))).toEqual({ gone: "0:p" });
    }));
});
