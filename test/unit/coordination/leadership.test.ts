import { describe, expect, test } from "vitest";
import { codeOf } from "../../../src/conformance/coordination-store-tools.js";
import { decodeEpoch } from "../../../src/coordination/epoch-records.js";
import { EPOCH_KEY, RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import { campaign } from "../../../src/coordination/leadership.js";
import { createMemoryStore } from "../../../src/coordination/memory-store.js";
import { createManualClock } from "../../support/manual-clock.js";
import { LEADERSHIP_CHECKS } from "./leadership-checks.js";
import { live, openStage, readAll, TTL_MS, write } from "./leadership-stage.js";

describe("leadership", () => {
  for (const check of LEADERSHIP_CHECKS) test(check.name, () => check.run({}));

  test("the first epoch is 1, and a resignation lets the next candidate lead with the next epoch", async () => {
    const stage = openStage();
    const first = await stage.process("first").lead();
    const waiting: string[] = [];
    const next = stage.process("second").startCampaign({ onWaiting: ({ owner, reason }) => waiting.push(`${owner}: ${reason}`) });
    await stage.clock.advance(60_000);
    expect([first.epoch, waiting]).toEqual([1, ["first: it leads with epoch 1"]]);
    await first.resign();
    expect((await stage.pump(next)).epoch).toBe(2);
    expect((await first.ended).code).toBe("CLOSED");
    expect(await codeOf(first.commit([write("a", "1")], live))).toBe("CLOSED");
  });

  test("a leader that has nothing to write learns that it is deposed", async () => {
    const stage = openStage();
    const first = await stage.process("first").lead();
    await stage.process("second").lead({ takeOver: true });
    await stage.clock.advance(0);
    expect((await first.ended).code).toBe("FENCED");
    expect(first.active()).toBe(false);
  });

  test("a leader that lost its watch learns that it is deposed when the watch reports so", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const first = await process.lead();
    process.store.loseWatches(500);
    await stage.process("second").lead({ takeOver: true });
    expect(first.active()).toBe(true);
    await stage.clock.advance(500);
    expect(first.active()).toBe(false);
  });

  test("a suspicion that comes while a candidate waits makes it take over", async () => {
    const stage = openStage();
    const first = await stage.process("first").lead();
    const suspicion = new AbortController();
    const next = stage.process("second").startCampaign({ suspicion: suspicion.signal });
    await stage.clock.advance(1_000);
    suspicion.abort();
    expect((await stage.pump(next)).epoch).toBe(2);
    expect((await first.ended).code).toBe("FENCED");
  });

  test("of two candidates that suspect the same leader one leads and the other waits for it", async () => {
    const stage = openStage();
    await stage.process("first").lead();
    const suspicion = new AbortController();
    const candidates = ["second", "third"].map((name) => stage.process(name).startCampaign({ suspicion: suspicion.signal }));
    await stage.clock.advance(1_000);
    suspicion.abort();
    const winner = await stage.pump(Promise.race(candidates));
    await stage.clock.advance(60_000);
    expect([winner.epoch, winner.active()]).toEqual([2, true]);
  });

  test("a suspicion is not held against a later leader, when the candidate's session expired in between", async () => {
    const stage = openStage();
    const suspicion = new AbortController();
    const process = stage.process("second");
    process.store.disconnect("hang");
    const next = process.startCampaign({ suspicion: suspicion.signal });
    let leads = false;
    void next.then(() => {
      leads = true;
    });
    process.store.reconnect();
    process.store.failNextCommit("expired-not-applied");
    suspicion.abort();
    const first = await stage.process("first").lead();
    await stage.clock.advance(5_000);
    expect([leads, first.active()]).toEqual([false, true]);
  });

  test("a leader whose process dies without a word is followed when its session has expired", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const first = await process.lead();
    await first.commit([write("a", "1")], live);
    const next = stage.process("second").startCampaign();
    process.store.crash();
    const before = stage.clock.now();
    const second = await stage.pump(next);
    expect(stage.clock.now() - before).toBeGreaterThanOrEqual(TTL_MS - 100);
    expect(await readAll(second)).toEqual({ a: "1" });
  });

  test("a leader cut off from the store is inactive from its local deadline, before its successor can lead", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const first = await process.lead();
    const next = stage.process("second").startCampaign();
    let successorLeads = false;
    void next.then(() => {
      successorLeads = true;
    });
    process.store.disconnect("hang");
    await stage.clock.advance(TTL_MS * 0.6);
    expect([first.active(), successorLeads]).toEqual([true, false]);
    await stage.clock.advance(TTL_MS * 0.1);
    expect([first.active(), successorLeads]).toEqual([false, false]);
    await stage.clock.advance(TTL_MS * 0.4);
    expect(successorLeads).toBe(true);
    process.store.reconnect();
    expect((await stage.pump(first.ended)).code).toBe("SESSION_ENDED");
  });

  test("a leader goes on after a short disconnection, and a commit that hung is applied once", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const first = await process.lead();
    process.store.disconnect("hang");
    const commit = first.commit([write("a", "1")], live);
    await stage.clock.advance(TTL_MS / 2);
    process.store.reconnect();
    await stage.pump(commit);
    expect([stage.look("a"), first.active()]).toEqual([{ value: "1", version: 0 }, true]);
  });

  test("a commit of unknown outcome whose leader is deposed meanwhile is not acknowledged, and the successor reads what became of it", async () => {
    for (const outcome of ["unknown-applied", "unknown-not-applied"] as const) {
      const stage = openStage();
      const process = stage.process("first");
      const first = await process.lead();
      const second = stage.process("second");
      process.store.failNextCommit(outcome);
      process.store.loseWatches(100_000);
      const commit = codeOf(first.commit([write("a", "1")], live));
      process.store.disconnect("hang");
      const successor = await second.lead({ takeOver: true });
      process.store.reconnect();
      expect(await stage.pump(commit)).toBe("FENCED");
      const applied = stage.history.some(({ transaction }) =>
        transaction.writes.some((item) => "put" in item && item.put === `${RECORDS_PREFIX}a`),
      );
      expect(Object.keys(await readAll(successor))).toEqual(applied ? ["a"] : []);
    }
  });

  test("taking the epoch survives unknown outcomes, applied or not, and still bumps once", async () => {
    for (const outcome of ["unknown-applied", "unknown-not-applied", "connection-lost"] as const) {
      const stage = openStage();
      const process = stage.process("first");
      process.store.failNextCommit(outcome, (transaction) =>
        transaction.writes.some((item) => "put" in item && item.put === EPOCH_KEY),
      );
      const leadership = await process.lead();
      expect(leadership.epoch, outcome).toBe(1);
      await leadership.commit([write("a", "1")], live);
      expect(stage.look("a")?.value).toBe("1");
    }
  });

  test("a candidate whose session expires while it waits goes on with a new one", async () => {
    const stage = openStage();
    const first = await stage.process("first").lead();
    const process = stage.process("second");
    const next = process.startCampaign();
    await stage.clock.advance(1_000);
    await process.store.expireSessions();
    await stage.clock.advance(1_000);
    await first.resign();
    expect((await stage.pump(next)).epoch).toBe(2);
  });

  test("a campaign that is given up leaves no candidate and no ephemeral record behind", async () => {
    const stage = openStage();
    await stage.process("first").lead();
    const memory = createMemoryStore();
    const giveUp = new AbortController();
    const clock = createManualClock();
    const leader = await campaign(memory, { candidate: "a", ttlMs: TTL_MS, clock, ...live });
    const waiting = campaign(memory, { candidate: "b", ttlMs: TTL_MS, clock, signal: giveUp.signal });
    await clock.advance(10);
    const reason = new Error("given up");
    giveUp.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await leader.resign();
    const session = await memory.openSession({ candidate: "c", ttlMs: TTL_MS, ...live });
    const { records } = await session.list({ prefix: "", limit: 100 }, live);
    expect(records.map((record) => record.key)).toEqual(["commit/last", "epoch"]);
  });

  test("the epoch can be made to exceed what workers have seen, for a store that forgets", async () => {
    const stage = openStage();
    expect((await stage.process("first").lead({ minimumEpoch: 41 })).epoch).toBe(41);
    expect((await stage.process("second").lead({ takeOver: true, minimumEpoch: 7 })).epoch).toBe(42);
  });

  test("the cluster's id is written once, by the first leader that brings one", async () => {
    const stage = openStage();
    expect((await stage.process("first").lead()).clusterId).toBeUndefined();
    expect((await stage.process("second").lead({ takeOver: true, clusterId: "c-1" })).clusterId).toBe("c-1");
    expect((await stage.process("third").lead({ takeOver: true, clusterId: "c-2" })).clusterId).toBe("c-1");
  });

  test("an epoch record of a newer version stops the campaign and is left as it is", async () => {
    const clock = createManualClock();
    const value = new TextEncoder().encode(JSON.stringify({ v: 2, epoch: 9 }));
    const memory = createMemoryStore({ initialRecords: [{ key: EPOCH_KEY, value, version: 8 }] });
    expect(await codeOf(campaign(memory, { candidate: "a", ttlMs: TTL_MS, clock, ...live }))).toBe("STORE_FORMAT");
    expect(memory.records()).toEqual([{ key: EPOCH_KEY, value, version: 8 }]);
  });

  test("concurrent commits are applied in the order of their calls", async () => {
    const stage = openStage();
    const leadership = await stage.process("first").lead();
    await stage.pump(Promise.all(Array.from({ length: 20 }, (_, index) => leadership.commit([write("a", String(index))], live))));
    expect(stage.look("a")).toEqual({ value: "19", version: 19 });
  });

  test("a commit past the limits is refused whole, and leadership goes on", async () => {
    const stage = openStage();
    const leadership = await stage.process("first").lead();
    const { maxWrites, maxKeyBytes, maxValueBytes, maxCommitBytes } = leadership.limits;
    const many = Array.from({ length: maxWrites + 1 }, (_, index) => write(`m/${index}`, "x"));
    expect(await codeOf(leadership.commit(many, live))).toBe("LIMIT_EXCEEDED");
    expect(await codeOf(leadership.commit([write("a", "1"), write("a", "2")], live))).toBe("INVALID_ARGUMENT");
    expect(await readAll(leadership)).toEqual({});
    await leadership.commit(many.slice(1), live);
    await leadership.commit([write("k".repeat(maxKeyBytes), "x")], live);
    await leadership.commit([{ key: "v", value: new Uint8Array(maxValueBytes) }], live);
    const part = new Uint8Array(Math.floor((maxCommitBytes - maxWrites * 10) / maxWrites));
    await leadership.commit(
      Array.from({ length: maxWrites }, (_, index) => ({ key: `full/${1000 + index}`, value: part })),
      live,
    );
    expect(leadership.active()).toBe(true);
  });

  test("an abort while a commit waits in the queue drops it, an abort in flight does not disturb the next", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const leadership = await process.lead();
    process.store.disconnect("hang");
    const giveUp = new AbortController();
    const reason = new Error("given up");
    const inFlight = leadership.commit([write("a", "1")], { signal: giveUp.signal });
    const queued = leadership.commit([write("b", "1")], { signal: giveUp.signal });
    await stage.clock.advance(10);
    giveUp.abort(reason);
    await expect(inFlight).rejects.toBe(reason);
    await expect(queued).rejects.toBe(reason);
    process.store.reconnect();
    await stage.pump(leadership.commit([write("c", "1")], live));
    expect([stage.look("a")?.value, stage.look("b"), stage.look("c")?.value]).toEqual(["1", undefined, "1"]);
  });

  test("a store that never tells an outcome ends the leadership after a bounded time", async () => {
    const stage = openStage();
    const process = stage.process("first");
    const leadership = await process.lead();
    for (let count = 0; count < 100; count++) process.store.failNextCommit("unknown-not-applied");
    const before = stage.clock.now();
    expect(await codeOf(stage.pump(leadership.commit([write("a", "1")], live)))).toBe("OUTCOME_UNKNOWN");
    expect(stage.clock.now() - before).toBeLessThan(30_000);
    expect((await leadership.ended).code).toBe("OUTCOME_UNKNOWN");
  });

  test("records come back in pages, below a prefix, without leadership's own records", async () => {
    const stage = openStage();
    const leadership = await stage.process("first").lead();
    for (let batch = 0; batch < 12; batch++) {
      await leadership.commit(
        Array.from({ length: 100 }, (_, index) => write(`n/${batch * 100 + index}`, "x")),
        live,
      );
    }
    await leadership.commit([write("other", "y"), { key: "n/0", value: null }], live);
    const pages: number[] = [];
    for await (const page of leadership.readRecords({ prefix: "n/", signal: live.signal })) pages.push(page.length);
    expect(pages.length).toBeGreaterThan(1);
    expect(pages.reduce((sum, count) => sum + count, 0)).toBe(1_199);
    expect(Object.keys(await readAll(leadership, "o"))).toEqual(["other"]);
  });

  test("a candidate with another cluster's secret is refused while a leader lives, whatever it suspects, and admitted after that", async () => {
    const stage = openStage();
    const leadership = await stage.process("first").lead({ binding: "ours" });
    for (const more of [{ binding: "theirs" }, { binding: "theirs", takeOver: true }, {}])
      await expect(stage.process("other").lead(more)).rejects.toMatchObject({ code: "WRONG_CLUSTER" });
    expect(leadership.active()).toBe(true);
    await leadership.resign();
    expect((await stage.process("other").lead({ binding: "theirs" })).epoch).toBe(2);
    await expect(stage.process("first").lead({ binding: "ours", takeOver: true })).rejects.toMatchObject({ code: "WRONG_CLUSTER" });
  });

  test("an epoch that was taken by a version without bindings admits every candidate", () => {
    const value = new TextEncoder().encode(JSON.stringify({ v: 1, epoch: 3, session: "s", candidate: "c" }));
    expect(decodeEpoch({ key: EPOCH_KEY, value, version: 0 })).toEqual({
      epoch: 3,
      session: "s",
      candidate: "c",
      binding: undefined,
    });
  });

  test("the epoch record says who leads", async () => {
    const memory = createMemoryStore();
    await campaign(memory, { candidate: "host:7077", ttlMs: TTL_MS, clock: createManualClock(), ...live });
    const record = memory.records().find(({ key }) => key === EPOCH_KEY);
    expect(record === undefined ? undefined : decodeEpoch(record)).toMatchObject({ epoch: 1, candidate: "host:7077" });
  });
});
