/** What a worker does about processes that must not run twice: renewals, held launches, refusing masters. */
import { describe, expect, test } from "vitest";
import type { WorkerEffect } from "../../../src/worker/worker-events.js";
import { order, WorkerBench, withPartition } from "./worker-bench.js";

const ID = "app-1-1.d1";
const ages = (effects: readonly WorkerEffect[]): number[] =>
  effects.flatMap((effect) => (effect.kind === "renew-leader-lease" ? [effect.ageMs] : []));
const renewals = (effects: readonly WorkerEffect[]): number[] =>
  effects.flatMap((effect) =>
    effect.kind === "send" && effect.message.kind === "worker.renew" ? [effect.message.body.sequence] : [],
  );

class LeaseBench extends WorkerBench {
  /** Everything that happened since, also what other tests do not ask for. */
  during(act: () => void): WorkerEffect[] {
    const before = this.effects.length;
    act();
    return this.effects.slice(before);
  }

  /** Wakes it at each of its instants until then. */
  pass(durationMs: number): void {
    const end = this.now + durationMs;
    for (let at = this.core.nextWakeAt(); at !== null && at <= end; at = this.core.nextWakeAt()) {
      this.now = Math.max(this.now, at);
      this.step({ kind: "wake-up" });
    }
    this.now = end;
  }

  renewed(sequence: number): void {
    this.hear({ kind: "worker.renewed", body: { sequence, masters: [] } });
  }
}

function running(): LeaseBench {
  const bench = new LeaseBench();
  bench.register();
  bench.run(ID);
  return bench;
}

describe("the lease", () => {
  test("counts from the question, not from the answer", () => {
    const bench = new LeaseBench();
    bench.connect();
    bench.now += 700;
    expect(ages(bench.during(() => bench.welcome()))).toEqual([700]);
  });

  test("is asked for every second while such a process lives, and not otherwise", () => {
    const bench = new LeaseBench();
    bench.register();
    expect(renewals(bench.during(() => bench.pass(10_000)))).toEqual([]);
    bench.launch("app-1-2.d1.e1", "executor");
    bench.hear({ kind: "worker.launch", body: withPartition(order("app-1-3.d1"), "continue") });
    expect(renewals(bench.during(() => bench.pass(10_000)))).toEqual([]);
    bench.run(ID);
    expect(renewals(bench.during(() => bench.pass(5_000))).length).toBeGreaterThanOrEqual(4);
    bench.step({ kind: "ended", processId: ID, end: { exitCode: 0, signal: null, reason: null } });
    bench.pass(2_000);
    expect(renewals(bench.during(() => bench.pass(10_000)))).toEqual([]);
  });

  test("is renewed by the answer to each question, at most once, and never set back", () => {
    const bench = running();
    const [first] = renewals(bench.during(() => bench.pass(1_000)));
    const [second] = renewals(bench.during(() => bench.pass(1_000)));
    bench.now += 250;
    const answers = bench.during(() => {
      bench.renewed(second ?? 0);
      bench.renewed(second ?? 0);
      bench.renewed(first ?? 0);
      bench.renewed(999);
    });
    expect(ages(answers)).toHaveLength(1);
    expect(ages(answers)[0]).toBeLessThanOrEqual(1_250);
  });

  test("is not renewed by silence, nor by a connection that says nothing", () => {
    const bench = running();
    expect(ages(bench.during(() => bench.pass(30_000)))).toEqual([]);
    bench.disconnect();
    bench.connect();
    expect(ages(bench.during(() => bench.pass(30_000)))).toEqual([]);
  });

  test("is renewed when no known master leads, from the instant at which that was asked", () => {
    const bench = running();
    bench.disconnect();
    bench.now += 4_000;
    expect(ages(bench.during(() => void bench.step({ kind: "nobody-leads", since: bench.now - 30 })))).toEqual([30]);
  });

  test("that the leader leaves unanswered makes the worker ask the other masters, as long as that lasts", () => {
    const bench = running();
    const looks = (effects: readonly WorkerEffect[]) => effects.filter(({ kind }) => kind === "look-around");
    const silent = bench.during(() => bench.pass(1_000));
    expect(looks(silent)).toEqual([]);
    expect(looks(bench.during(() => bench.pass(1_500)))).toEqual([{ kind: "look-around", linkId: bench.linkId }]);
    for (const sequence of renewals(bench.effects)) bench.renewed(sequence);
    expect(looks(bench.during(() => bench.pass(1_000)))).toEqual([]);
  });

  test("of a worker that runs no such process is nothing that refusals could renew", () => {
    const bench = new LeaseBench();
    expect(ages(bench.during(() => void bench.step({ kind: "nobody-leads", since: bench.now })))).toEqual([]);
  });

  test("is renewed by refusals also for what a worker has adopted that was started again while no master runs", () => {
    const launched = new LeaseBench();
    launched.register();
    const [launch] = launched.during(() => void launched.launch(ID)).filter(({ kind }) => kind === "launch");
    if (launch?.kind !== "launch") throw new Error("nothing was launched");
    const bench = new LeaseBench();
    bench.step({ kind: "inventory", processes: [{ processId: ID, pid: 5, note: launch.note, end: null }] });
    bench.now += 4_000;
    expect(ages(bench.during(() => void bench.step({ kind: "nobody-leads", since: bench.now - 30 })))).toEqual([30]);
  });
});

describe("a launch of what must not run twice", () => {
  test("waits until the lease is fresh, and is told how long it is", () => {
    const bench = new LeaseBench();
    bench.register();
    bench.now += 60_000;
    bench.pass(0);
    bench.register();
    bench.now += 5_000;
    const effects = bench.during(() => void bench.launch(ID));
    expect(effects.filter(({ kind }) => kind === "launch")).toEqual([]);
    const [asked] = renewals(effects);
    expect(bench.during(() => bench.renewed(asked ?? 0))).toEqual(
      expect.arrayContaining([expect.objectContaining({ kind: "launch", endsWithoutLeaderMs: 6_000, endsWithoutWorkerMs: null })]),
    );
    expect(bench.core.isLive(ID)).toBe(true);
  });

  test("that waits can be stopped: it has not begun", () => {
    const bench = new LeaseBench();
    bench.register();
    bench.now += 5_000;
    bench.launch(ID);
    const effects = bench.during(
      () => void bench.hear({ kind: "worker.stop", body: { processId: ID, graceMs: 5, reason: "cancelled" } }),
    );
    expect(effects.filter(({ kind }) => kind === "launch" || kind === "stop")).toEqual([]);
    expect(effects).toContainEqual({
      kind: "send",
      linkId: bench.linkId,
      message: {
        kind: "worker.report",
        body: { processId: ID, pid: 0, end: null, launchFailed: "stopped before it started: cancelled" },
      },
    });
    expect(bench.core.isLive(ID)).toBe(false);
  });

  test("that waits goes on with the next leader", () => {
    const bench = new LeaseBench();
    bench.register();
    bench.now += 5_000;
    bench.launch(ID);
    bench.disconnect();
    const effects = bench.during(() => void bench.register(2));
    expect(effects.filter(({ kind }) => kind === "launch")).toHaveLength(1);
  });

  test("that waits is not begun because no master leads: the last one may have given it to another worker", () => {
    const bench = new LeaseBench();
    bench.register();
    bench.now += 5_000;
    bench.launch(ID);
    bench.disconnect();
    bench.now += 30_000;
    const effects = bench.during(() => void bench.step({ kind: "nobody-leads", since: bench.now - 30 }));
    expect(ages(effects)).toEqual([30]);
    expect(effects.filter(({ kind }) => kind === "launch")).toEqual([]);
  });

  test("is a job's driver too, if its application says so", () => {
    const bench = new LeaseBench();
    bench.register();
    const job = withPartition(order("app-1-4.d1", "driver"), "stop");
    expect(bench.hear({ kind: "worker.launch", body: job })).toMatchObject([{ kind: "launch", endsWithoutLeaderMs: 6_000 }]);
  });
});

describe("a worker that is gone for good", () => {
  test("stops everything and ends, and registers nowhere", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run(ID);
    bench.run("app-1-2.d1");
    const stops = bench.hear({ kind: "worker.refused", body: { reason: "gone", message: "said its operator" } });
    expect(stops.map(({ kind }) => kind)).toEqual(["stop", "stop"]);
    const end = { exitCode: null, signal: "SIGTERM", reason: null };
    expect(bench.step({ kind: "ended", processId: ID, end }).map(({ kind }) => kind)).toEqual(["forget"]);
    bench.disconnect();
    expect(bench.connect(2)).toEqual([]);
    expect(bench.step({ kind: "ended", processId: "app-1-2.d1", end })).toContainEqual({
      kind: "gone",
      reason: "said its operator",
    });
  });
});
