/**
 * Several processes campaign and write while connections break, sessions expire, processes die and outcomes are lost, all from one seed.
 * Checked against the store's own history: I2 (epochs in order), I3 (no write of a deposed leader), I4 (acknowledged is kept) and
 * I5 (applied once) of reliability.md. The simulator does this with whole masters; here a failure points at coordination/ alone.
 */
import { describe, expect, test } from "vitest";
import { decodeLastCommit } from "../../../src/coordination/epoch-records.js";
import { LAST_COMMIT_KEY, RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import type { Leadership } from "../../../src/coordination/leadership.js";
import type { AppliedCommit } from "../../../src/coordination/local-store.js";
import { openStage, type Parts, type Process, readAll, type Stage, write } from "./leadership-stage.js";
import { withoutFence } from "./planted-bugs.js";

const OUTCOMES = ["unknown-applied", "unknown-not-applied", "connection-lost", "disk-failed-applied", "expired-applied"] as const;

function chanceFrom(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 3_266_489_917) >>> 0;
    return state % below;
  };
}

interface Run {
  readonly stage: Stage;
  readonly acknowledged: Set<string>;
}

/** A process that suspects the leader when it is told to. */
interface Actor {
  readonly name: string;
  readonly process: Process;
  suspicion: AbortController;
}

/** One process: campaigns, writes while it leads, campaigns again, until the end. */
async function act(run: Run, actor: Actor, signal: AbortSignal): Promise<void> {
  const { name, process } = actor;
  let count = 0;
  while (!signal.aborted) {
    let leadership: Leadership;
    try {
      actor.suspicion = new AbortController();
      leadership = await process.startCampaign({ signal, suspicion: actor.suspicion.signal });
    } catch {
      continue;
    }
    for (; leadership.active() && !signal.aborted; count++) {
      const key = `${name}/${count}`;
      await leadership.commit([write(key, "x"), write("last", key)], { signal }).then(
        () => run.acknowledged.add(key),
        () => {},
      );
      await new Promise<void>((resolve) => void run.stage.clock.at(run.stage.clock.now() + 40, resolve));
    }
    void leadership.resign().catch(() => {});
  }
}

async function chaos(seed: number, parts: Parts): Promise<Run> {
  const chance = chanceFrom(seed);
  const stage = openStage(parts);
  const run: Run = { stage, acknowledged: new Set() };
  const stop = new AbortController();
  const actors = ["a", "b", "c"].map((name): Actor => ({ name, process: stage.process(name), suspicion: new AbortController() }));
  for (const actor of actors) void act(run, actor, stop.signal);
  for (let step = 0; step < 60; step++) {
    const actor = actors[chance(actors.length)];
    const { store } = (actor ?? { process: stage.process("spare") }).process;
    const fault = chance(12);
    if (fault < 4) store.failNextCommit(OUTCOMES[chance(OUTCOMES.length)] ?? "unknown-applied");
    else if (fault === 4) store.disconnect(chance(2) === 0 ? "hang" : "reject");
    else if (fault === 5) await store.expireSessions();
    else if (fault < 9) {
      // A take-over on suspicion that the leader is not told of: only the fence stands between the two.
      for (const { process } of actors) process.store.loseWatches(2_000);
      actor?.suspicion.abort();
    } else for (const { process } of actors) process.store.reconnect();
    await stage.clock.advance(50 + chance(1_500));
  }
  for (const { process } of actors) process.store.reconnect();
  await stage.clock.advance(20_000);
  stop.abort(new Error("the run is over"));
  await stage.clock.advance(5_000);
  return run;
}

/** Every fenced commit of the history as (epoch, sequence), in the store's order. */
function positions(
  history: readonly AppliedCommit[],
): { readonly epoch: number; readonly sequence: number; readonly keys: string[] }[] {
  return history.flatMap(({ transaction }) => {
    const keys = transaction.writes.flatMap((item) =>
      "put" in item && item.put.startsWith(RECORDS_PREFIX) ? [item.put.slice(RECORDS_PREFIX.length)] : [],
    );
    const last = transaction.writes.find((item) => "put" in item && item.put === LAST_COMMIT_KEY);
    if (last === undefined || !("put" in last)) return [];
    return [{ ...decodeLastCommit({ key: LAST_COMMIT_KEY, value: last.value, version: 0 }), keys }];
  });
}

async function checkRun(run: Run): Promise<void> {
  const order = positions(run.stage.history);
  for (const [index, position] of order.entries()) {
    const before = order[index - 1];
    if (before === undefined) continue;
    if (position.epoch === before.epoch) expect(position.sequence, "applied once and in order").toBe(before.sequence + 1);
    else expect(position, "a new epoch begins at its take-over").toMatchObject({ sequence: 0 });
    expect(position.epoch, "no write of a deposed leader").toBeGreaterThanOrEqual(before.epoch);
  }
  const applied = order.flatMap(({ keys }) => keys.filter((key) => key !== "last"));
  expect(new Set(applied).size).toBe(applied.length);
  const kept = await readAll(await run.stage.process("reader").lead({ takeOver: true }));
  for (const key of run.acknowledged) expect(Object.keys(kept)).toContain(key);
}

describe("leadership under faults", () => {
  for (let seed = 1; seed <= 12; seed++) {
    test(`seed ${seed}: epochs in order, nothing acknowledged is lost, nothing applied twice`, async () => {
      const run = await chaos(seed, {});
      await checkRun(run);
      const epochs = new Set(positions(run.stage.history).map(({ epoch }) => epoch));
      expect(epochs.size, "the faults must have changed leaders").toBeGreaterThan(3);
      expect(run.acknowledged.size, "and somebody must have led").toBeGreaterThan(20);
    });
  }

  test("it finds the fence left out", async () => {
    let found = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const run = await chaos(seed, { wrap: withoutFence });
      await checkRun(run).catch(() => {
        found++;
      });
    }
    expect(found).toBeGreaterThan(0);
  });
});
