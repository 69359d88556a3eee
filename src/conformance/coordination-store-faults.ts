/** Conformance under faults: unknown outcomes, broken connections, sessions that expire, lost watches, a disk that fails. */
import { expect } from "vitest";
import type { OpenedStore, StoreCheck, StoreFaultControls } from "./coordination-store.js";
import {
  bytes,
  codeOf,
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

function faultsOf(opened: OpenedStore): StoreFaultControls {
  if (opened.faults === undefined) throw new Error("this suite needs `faults`");
  return opened.faults;
}

function check(name: string, run: (opened: OpenedStore, faults: StoreFaultControls) => Promise<void>): StoreCheck {
  return { group: "faults", name, needs: "faults", run: (opened) => run(opened, faultsOf(opened)) };
}

export const FAULT_CHECKS: readonly StoreCheck[] = [
  check("a commit of unknown outcome that was applied shows when it is read back, once", async ({ store }, faults) => {
    const session = await openSession(store);
    await put(session, "a", "1");
    faults.failNextCommit("unknown-applied");
    expect(await codeOf(put(session, "a", "2"))).toBe("OUTCOME_UNKNOWN");
    expect(await read(session, "a")).toBe("2");
    await put(session, "b", "x");
    expect(await versionOf(session, "a")).toBe(1);
  }),
  check("a commit of unknown outcome that was not applied is not applied later", async ({ store }, faults) => {
    const session = await openSession(store);
    await put(session, "a", "1");
    faults.failNextCommit("unknown-not-applied");
    expect(await codeOf(put(session, "a", "2"))).toBe("OUTCOME_UNKNOWN");
    expect(await read(session, "a")).toBe("1");
    await faults.advance(TTL_MS);
    await put(session, "b", "x");
    expect(await read(session, "a")).toBe("1");
    expect(await versionOf(session, "a")).toBe(0);
  }),
  check("a commit of unknown outcome is applied whole or not at all", async ({ store }, faults) => {
    const session = await openSession(store);
    for (const outcome of ["unknown-applied", "unknown-not-applied"] as const) {
      faults.failNextCommit(outcome);
      const writes = Array.from({ length: 50 }, (_, index) => ({ put: `${outcome}/${index}`, value: bytes("x") }));
      expect(await codeOf(session.commit({ guards: [], writes }, live))).toBe("OUTCOME_UNKNOWN");
      expect((await keysOf(session, `${outcome}/`)).length).toBe(outcome === "unknown-applied" ? 50 : 0);
    }
  }),
  check("a lost connection applies nothing, and the session goes on", async ({ store }, faults) => {
    const session = await openSession(store);
    faults.failNextCommit("connection-lost");
    expect(await codeOf(put(session, "a", "1"))).toBe("CONNECTION_LOST");
    expect(await read(session, "a")).toBeUndefined();
    expect((await put(session, "a", "2")).ok).toBe(true);
  }),
  check("a failed disk ends the session, whether the commit was applied or not", async ({ store }, faults) => {
    for (const outcome of ["disk-failed-applied", "disk-failed-not-applied"] as const) {
      const session = await openSession(store);
      await put(session, "e", "x", { ephemeral: true });
      faults.failNextCommit(outcome);
      expect(await codeOf(put(session, outcome, "x"))).toBe("DISK_FAILED");
      expect((await within(session.ended, "the session has not ended")).code).toBe("DISK_FAILED");
      expect(await codeOf(put(session, "more", "x"))).toBe("SESSION_ENDED");
      expect(await faults.look("more")).toBeUndefined();
    }
  }),
  check("while disconnected, calls are refused and apply nothing", async ({ store }, faults) => {
    const session = await openSession(store);
    faults.disconnect("reject");
    expect(await codeOf(put(session, "a", "1"))).toBe("CONNECTION_LOST");
    expect(await codeOf(session.get("a", live))).toBe("CONNECTION_LOST");
    faults.reconnect();
    expect(await read(session, "a")).toBeUndefined();
    expect((await put(session, "a", "2")).ok).toBe(true);
  }),
  check("a session outlives a short disconnection with its ephemeral records", async ({ store }, faults) => {
    const session = await openSession(store);
    await put(session, "e", "x", { ephemeral: true });
    const seen = watching(session, "e");
    faults.disconnect("hang");
    const hanging = put(session, "a", "1");
    await faults.advance(TTL_MS / 3);
    faults.reconnect();
    expect((await within(hanging, "the commit still hangs")).ok).toBe(true);
    await seen.until((events) => events.some((event) => event.kind === "lost"));
    await faults.advance(TTL_MS * 2);
    expect(await read(session, "e")).toBe("x");
  }),
  check(
    "a session that expires while disconnected is over: deadline first, then its records, then the session",
    async ({ store }, faults) => {
      const session = await openSession(store);
      await put(session, "e", "x", { ephemeral: true });
      const deadline = session.deadline();
      faults.disconnect("hang");
      const hanging = codeOf(put(session, "late", "x"));
      await faults.advance(TTL_MS * 0.8);
      expect(session.deadline(), "the local deadline stands still while nothing is heard").toBeLessThanOrEqual(
        deadline + TTL_MS * 0.1,
      );
      expect(text(await faults.look("e")), "the store has not given the session up yet").toBe("x");
      await faults.advance(TTL_MS);
      expect(await faults.look("e"), "the store has given the session up").toBeUndefined();
      faults.reconnect();
      expect((await within(session.ended, "the session has not learnt of its end")).code).toBe("SESSION_ENDED");
      expect(await within(hanging, "the commit still hangs")).toBe("SESSION_ENDED");
      expect(await codeOf(session.get("e", live))).toBe("SESSION_ENDED");
      expect(await faults.look("late")).toBeUndefined();
      expect((await put(await openSession(store), "e", "y", { ephemeral: true })).ok).toBe(true);
    },
  ),
  check("a call that was given up while disconnected is never applied", async ({ store }, faults) => {
    const session = await openSession(store);
    faults.disconnect("hang");
    const giveUp = new AbortController();
    const commit = session.commit({ guards: [], writes: [{ put: "a", value: bytes("x") }] }, { signal: giveUp.signal });
    const reason = new Error("given up");
    giveUp.abort(reason);
    await expect(commit).rejects.toBe(reason);
    faults.reconnect();
    expect(await read(session, "a")).toBeUndefined();
  }),
  check("a session that expires during a commit ends, and the commit is whole or absent", async ({ store }, faults) => {
    for (const outcome of ["expired-applied", "expired-not-applied"] as const) {
      const session = await openSession(store);
      await put(session, "e", "x", { ephemeral: true });
      faults.failNextCommit(outcome);
      const code = await codeOf(put(session, outcome, "x"));
      expect(code).toMatch(outcome === "expired-applied" ? /^OUTCOME_UNKNOWN$/ : /^(OUTCOME_UNKNOWN|SESSION_ENDED)$/);
      expect((await within(session.ended, "the session has not ended")).code).toBe("SESSION_ENDED");
      expect(await codeOf(session.get("e", live))).toBe("SESSION_ENDED");
      expect(await faults.look("e")).toBeUndefined();
      expect(text(await faults.look(outcome))).toBe(outcome === "expired-applied" ? "x" : undefined);
    }
  }),
  check("a watcher that lost events is told so, and reads the last state", async ({ store }, faults) => {
    const [watcher, writer] = [await openSession(store), await openSession(store)];
    const seen = watching(watcher, "w");
    faults.loseWatches();
    await put(writer, "w", "unseen");
    await faults.advance(1_000);
    await seen.until((events) => events.some((event) => event.kind === "lost"));
    expect(await read(watcher, "w")).toBe("unseen");
    await put(writer, "w", "seen");
    await seen.until((events) => events.some((event) => event.kind === "changed"));
  }),
];
