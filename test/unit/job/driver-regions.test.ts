import { describe, expect, test } from "vitest";
import { DRIVER_LIMITS } from "../../../src/job/driver-events.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import type { SliceSnapshot } from "../../../src/wire/checkpoint.js";
import { applicationRecord, EMPTY, shape, World } from "./driver-world.js";

const SETTINGS = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000, toleratedFailures: null as number | null };
const HANDLE = { sha256: "c".repeat(64), sizeBytes: 100 };

function checkpointed(parallelism: number): ApplicationRecord {
  const record = applicationRecord({ checkpoints: { storage: "/shared", nextId: 1, completed: [] } }, parallelism);
  const { job } = record.spec;
  if (job === null) throw new Error("no job");
  return { ...record, spec: { ...record.spec, job: { ...job, checkpoint: SETTINGS } } };
}

const snapshot = (member: number, changes: Partial<SliceSnapshot> = {}): SliceSnapshot => ({
  finished: [],
  states: {},
  writers: { out: { next: member } },
  sources: { in: { taken: 1, reading: [{ nth: 0, position: 5 }] } },
  committables: { out: [`part-${member}`] },
  confirmed: 0,
  counts: { recordsIn: 10, recordsOut: 10, badRecords: 0, operators: [] },
  ...changes,
});

/** Three executors, whose slices are regions; splits s0, s1 and s2 are theirs, s3 to s5 nobody's. */
class Regions extends World {
  private readonly record: ApplicationRecord;

  constructor(record = checkpointed(3), options: ConstructorParameters<typeof World>[0] = {}) {
    super({ application: record, failover: "slice", appears: new Map([["out", "at-checkpoint"]]), ...options });
    this.record = record;
  }

  begun(): this {
    this.post({ kind: "started" });
    this.master(1, this.record);
    this.prepared(1, 6);
    for (const number of [1, 2, 3]) this.executor(number);
    for (const number of [1, 2, 3]) this.split(number);
    if (this.record.checkpoints !== undefined) this.answer("driver.checkpoint");
    return this;
  }

  /** What the executor is given. */
  split(link: number, ask = 1, tryNumber = 1): unknown {
    const effects = this.post({ kind: "executor.split", link, requestId: 1, try: tryNumber, source: "in", ask });
    return effects.flatMap((effect) => (effect.kind === "reply" ? [effect.body] : effect.kind === "refuse" ? ["refused"] : []))[0];
  }

  reads(link: number, recordsIn: number, tryNumber = 1): void {
    this.post({ kind: "executor.progress", link, try: tryNumber, progress: { ...EMPTY, recordsIn } });
  }

  acknowledge(link: number, id: number, said: SliceSnapshot | null = snapshot(link), tryNumber = 1): void {
    const error = said === null ? shape("DISK_FAILED") : null;
    this.post({ kind: "executor.checkpointed", link, try: tryNumber, id, snapshot: said, error });
  }

  /** Up to the pointer's request. */
  taken(id: number): void {
    this.wait(SETTINGS.intervalMs);
    for (const link of [1, 2, 3]) this.acknowledge(link, id);
    this.post({ kind: "manifest.stored", id, manifest: HANDLE });
  }

  completed(id: number): void {
    this.taken(id);
    this.answer("driver.checkpoint");
    this.post({ kind: "checkpoint.committed", id });
  }

  /** Lets the strategy's delay pass. */
  delayed(): void {
    this.wait(100);
  }

  deploys(from = 0) {
    return this.told("executor.deploy")
      .slice(from)
      .map(({ link, body }) => ({
        link,
        ...(body as { readonly try: number; readonly subtask: number; readonly restore?: unknown }),
      }));
  }

  /** Of the last time that it was prepared. */
  get prepares(): number {
    return this.of("prepare").length;
  }
}

describe("a job whose slices are regions", () => {
  test("a lost executor restarts its own slice on another one; the others are told nothing", () => {
    const world = new Regions().begun();
    const before = world.effects.length;
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.view.phase).toBe("running");
    const toOthers = world.effects
      .slice(before)
      .filter(
        (effect) =>
          effect.kind === "tell-executor" && (effect.link === 1 || effect.link === 3) && effect.message !== "executor.readers",
      );
    expect(toOthers).toEqual([]);
    expect(world.deploys(3)).toMatchObject([{ link: 4, try: 2, subtask: 1 }]);
    expect(world.prepares).toBe(1);
    expect(world.view.try).toBe(2);
  });

  test("it waits for the strategy's delay, whoever is free before", () => {
    const world = new Regions(checkpointed(3), { restart: { kind: "fixed-delay", attempts: 5, delayMs: 700 } }).begun();
    world.failed(2, shape("OPERATOR_FAILED"), 1);
    world.wait(699);
    expect(world.deploys(3)).toEqual([]);
    expect(world.wakeAt).toBe(world.now + 1);
    world.wait(1);
    // Its process lives: it goes on there.
    expect(world.deploys(3)).toMatchObject([{ link: 2, try: 2, subtask: 1 }]);
  });

  test("without a checkpoint it reads again all that it was given, and only that; others go on with what is left", () => {
    const world = new Regions().begun();
    expect(world.split(2, 2)).toMatchObject({ split: { id: "s3" } });
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.split(1, 2)).toMatchObject({ split: { id: "s4" } });
    expect(world.split(4, 1, 2)).toMatchObject({ split: { id: "s1" }, more: true });
    expect(world.split(4, 2, 2)).toMatchObject({ split: { id: "s3" } });
    expect(world.split(4, 3, 2)).toMatchObject({ split: { id: "s5" }, more: false });
    expect(world.split(4, 4, 2)).toMatchObject({ split: null });
    expect(world.split(3, 2)).toMatchObject({ split: null });
  });

  test("it goes on from the last complete checkpoint: from where it stood in its split, then what it was given since", () => {
    const world = new Regions().begun();
    world.completed(1);
    world.split(2, 2);
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.deploys(3)).toMatchObject([{ link: 4, restore: { id: 1, manifest: HANDLE } }]);
    expect(world.split(4, 1, 2)).toMatchObject({ split: { id: "s1" }, position: 5 });
    expect(world.split(4, 2, 2)).toMatchObject({ split: { id: "s3" } });
  });

  test("what was read to its end before the checkpoint is not read again, nor by one that is lost a second time", () => {
    const world = new Regions().begun();
    world.wait(SETTINGS.intervalMs);
    world.split(2, 2);
    for (const link of [1, 3]) world.acknowledge(link, 1);
    world.acknowledge(2, 1, snapshot(2, { sources: { in: { taken: 2, reading: [{ nth: 1, position: 7 }] } } }));
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    world.answer("driver.checkpoint");
    world.post({ kind: "checkpoint.committed", id: 1 });
    for (const [dead, next, tryNumber] of [
      [2, 4, 2],
      [4, 5, 3],
    ] as const) {
      world.dies(dead);
      world.executor(next);
      world.delayed();
      expect(world.split(next, 1, tryNumber)).toMatchObject({ split: { id: "s3" }, position: 7 });
    }
    expect(world.split(5, 2, 3)).toMatchObject({ split: { id: "s4" } });
  });

  test("what its lost incarnation still says is nobody's: no progress, no answer, no end, no split", () => {
    const world = new Regions().begun();
    world.failed(2, shape("OPERATOR_FAILED"), 1);
    world.wait(1_000);
    world.reads(2, 99, 1);
    expect(world.view.progress.recordsIn).toBe(0);
    expect(world.split(2, 2, 1)).toBe("refused");
    for (const link of [1, 3]) world.acknowledge(link, 1);
    world.acknowledge(2, 1, snapshot(2), 1);
    expect(world.of("store-manifest")).toEqual([]);
    world.acknowledge(2, 1, snapshot(2, { sources: { in: { taken: 0, reading: [] } } }), 2);
    expect(world.of("store-manifest")).toHaveLength(1);
    world.done(1, 1);
    world.done(3, 1);
    world.done(2, 1);
    expect(world.requests("driver.commit")).toEqual([]);
  });

  test("what each staged is told under the name of its own incarnation, and the lost one's output since the checkpoint is in none", () => {
    const world = new Regions().begun();
    world.completed(1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    world.split(4, 1, 2);
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 3])
      world.acknowledge(link, 2, snapshot(link, { committables: { out: [`more-${link}`] }, confirmed: 1 }));
    world.acknowledge(4, 2, snapshot(4), 2);
    expect(world.of("store-manifest").at(-1)?.manifest.commit).toEqual({
      out: [
        { attempt: "1.1", committable: "part-1" },
        { attempt: "1.1", committable: "part-2" },
        { attempt: "1.1", committable: "part-3" },
        { attempt: "1.1", committable: "more-1" },
        { attempt: "1.2", committable: "part-4" },
        { attempt: "1.1", committable: "more-3" },
      ].filter(({ committable }) => committable.startsWith("more") || committable === "part-4"),
    });
  });

  test("a new incarnation is not told of checkpoints that held nothing of it, the others are", () => {
    const world = new Regions().begun();
    world.completed(1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    world.wait(SETTINGS.intervalMs);
    const orders = world.told("executor.checkpoint").slice(-3);
    expect(orders.map(({ link, body }) => [link, body])).toEqual([
      [1, { try: 1, id: 2, order: "begin", completed: 1 }],
      [4, { try: 2, id: 2, order: "begin", completed: 0 }],
      [3, { try: 1, id: 2, order: "begin", completed: 1 }],
    ]);
  });
});

describe("a slice that is lost around a checkpoint", () => {
  test("one that not all have answered is given up, the others are told, and no other begins before the slice runs again", () => {
    const world = new Regions().begun();
    world.wait(SETTINGS.intervalMs);
    world.acknowledge(2, 1);
    world.dies(2);
    expect(
      world
        .told("executor.checkpoint")
        .slice(3)
        .map(({ link, body }) => [link, body]),
    ).toEqual([
      [1, { try: 1, id: 1, order: "abort", completed: 0 }],
      [3, { try: 1, id: 1, order: "abort", completed: 0 }],
    ]);
    world.acknowledge(1, 1);
    world.acknowledge(3, 1);
    world.wait(10 * SETTINGS.intervalMs);
    expect(world.of("store-manifest")).toEqual([]);
    expect(world.told("executor.checkpoint")).toHaveLength(5);
    expect(world.wakeAt).toBeNull();
    world.executor(4);
    expect(world.told("executor.checkpoint").slice(5)).toHaveLength(3);
    // It is nobody's failure.
    expect(world.of("tell-master").filter(({ message }) => message === "driver.checkpoint-failed")).toEqual([]);
  });

  test("one whose parts are all durable goes on, and the slice from it; not before its sinks have committed", () => {
    const world = new Regions().begun();
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 2, 3]) world.acknowledge(link, 1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.deploys(3)).toEqual([]);
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    world.delayed();
    expect(world.deploys(3)).toEqual([]);
    world.answer("driver.checkpoint");
    expect(world.deploys(3)).toEqual([]);
    world.post({ kind: "checkpoint.committed", id: 1 });
    expect(world.deploys(3)).toMatchObject([{ link: 4, try: 2, restore: { id: 1 } }]);
    expect(world.split(4, 1, 2)).toMatchObject({ split: { id: "s1" }, position: 5 });
  });

  test("a pointer that the master refuses leaves the slice at the one before", () => {
    const world = new Regions().begun();
    world.completed(1);
    world.taken(2);
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.deploys(3)).toEqual([]);
    world.answer("driver.checkpoint", shape("CONFLICT"));
    expect(world.deploys(3)).toMatchObject([{ link: 4, restore: { id: 1 } }]);
  });

  test("over any number of masters it waits for the outcome of the pointer", () => {
    const world = new Regions().begun();
    world.taken(1);
    world.dies(2);
    world.executor(4);
    world.post({ kind: "master.lost", link: 100 });
    world.wait(5_000);
    expect(world.deploys(3)).toEqual([]);
    world.master(2, checkpointed(3));
    expect(world.deploys(3)).toEqual([]);
    world.answer("driver.checkpoint");
    world.post({ kind: "checkpoint.committed", id: 1 });
    expect(world.deploys(3)).toMatchObject([{ restore: { id: 1 } }]);
  });

  test("the one that a person asked for is taken for them when the slice runs again", () => {
    const world = new Regions().begun();
    const requests = [{ key: "please", requestedAt: 0, savepoint: null }];
    world.post({ kind: "master.checkpoint-requests", epoch: 1, requests });
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.told("executor.checkpoint").slice(-3)).toMatchObject([
      { body: { id: 2 } },
      { body: { id: 2 } },
      { body: { id: 2 } },
    ]);
    for (const link of [1, 3]) world.acknowledge(link, 2);
    world.acknowledge(4, 2, snapshot(4, { sources: { in: { taken: 0, reading: [] } } }), 2);
    world.post({ kind: "manifest.stored", id: 2, manifest: HANDLE });
    world.answer("driver.checkpoint");
    world.post({ kind: "checkpoint.committed", id: 2 });
    expect(world.of("tell-master").at(-1)).toMatchObject({
      message: "driver.checkpoint-answers",
      body: { answers: [{ key: "please", checkpoint: 2, error: null }] },
    });
  });
});

describe("what is told and counted", () => {
  test("progress goes back by what the slice reads again, and says so once", () => {
    const world = new Regions().begun();
    for (const link of [1, 2, 3]) world.reads(link, 10);
    world.completed(1);
    for (const link of [1, 2, 3]) world.reads(link, 25);
    expect(world.view.progress.recordsIn).toBe(75);
    world.dies(2);
    expect(world.view.progress.recordsIn).toBe(75);
    world.executor(4);
    world.delayed();
    expect(world.view.progress).toMatchObject({
      recordsIn: 60,
      restored: { try: "1.2", slice: 1, checkpoint: 1, recordsBack: 15 },
      jobRestarts: 1,
      phase: "running",
    });
    const told = world.of("tell-master").filter(({ message }) => message === "driver.restored");
    expect(told).toMatchObject([{ body: { try: "1.2", slice: 1, checkpoint: 1, recordsIn: 60, recordsBack: 15 } }]);
    world.reads(4, 3, 2);
    expect(world.view.progress.recordsIn).toBe(63);
  });

  test("the next checkpoint counts what all incarnations read, once", () => {
    const world = new Regions().begun();
    world.completed(1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 3]) world.acknowledge(link, 2);
    const counts = { recordsIn: 4, recordsOut: 4, badRecords: 0, operators: [] };
    world.acknowledge(4, 2, snapshot(4, { sources: { in: { taken: 0, reading: [] } }, counts }), 2);
    expect(world.of("store-manifest").at(-1)?.manifest.counts).toMatchObject({ recordsIn: 10 + 14 + 10 });
  });

  test("each restart counts for the strategy; when it allows no more the whole job ends with all reasons", () => {
    const world = new Regions(checkpointed(3), { restart: { kind: "fixed-delay", attempts: 2, delayMs: 10 } }).begun();
    world.failed(1, shape("OPERATOR_FAILED", "first"), 1);
    world.delayed();
    world.failed(3, shape("OPERATOR_FAILED", "second"), 1);
    world.delayed();
    expect(world.deploys(3)).toMatchObject([
      { link: 1, try: 2 },
      { link: 3, try: 3 },
    ]);
    world.failed(3, shape("OPERATOR_FAILED", "third"), 3);
    for (const link of [1, 2]) expect(world.told("executor.cancel").map((effect) => effect.link)).toContain(link);
    world.post({ kind: "executor.cancelled", link: 1, try: 2 });
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    for (const number of [1, 2, 3]) world.dies(number);
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "failed",
      reason: {
        code: "RESTARTS_EXHAUSTED",
        details: {
          tries: [
            { try: 1, message: "first" },
            { try: 2, message: "second" },
            { try: 3, message: "third" },
          ],
        },
      },
    });
  });

  test("failing three times at one record is a crash loop, whichever incarnation it was", () => {
    const world = new Regions(checkpointed(3), { restart: { kind: "fixed-delay", attempts: 9, delayMs: 10 } }).begun();
    const error = { ...shape("OPERATOR_FAILED"), details: { operator: "map", record: "{}" } };
    for (const tryNumber of [1, 2, 3]) {
      world.failed(2, error, tryNumber);
      world.delayed();
    }
    for (const number of [1, 2, 3]) world.dies(number);
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "parked", reason: { code: "CRASH_LOOP" } });
  });

  test("what no other try would mend ends the job, as ever", () => {
    const world = new Regions().begun();
    world.failed(2, shape("CHECKPOINT_UNSUPPORTED"), 1);
    expect(world.view.phase).not.toBe("running");
  });
});

describe("the rest of the job's life", () => {
  test("the whole job restarts with a number of its own, and keeps what any incarnation has staged for a checkpoint", () => {
    const world = new Regions(checkpointed(3), { appears: new Map([["shown", "at-checkpoint"]]) }).begun();
    const two = (link: number): SliceSnapshot =>
      snapshot(link, { committables: { out: [`part-${link}`], shown: [`shown-${link}`] } });
    world.dies(2);
    world.executor(4);
    world.delayed();
    world.split(4, 1, 2);
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 3]) world.acknowledge(link, 1, two(link));
    world.acknowledge(4, 1, two(4), 2);
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    world.answer("driver.checkpoint");
    for (let repeat = 0; repeat < 6; repeat++) {
      world.post({ kind: "checkpoint.commit-failed", id: 1, error: shape("SINK_FAILED") });
      world.wait(10_000);
    }
    expect(world.told("executor.cancel").map(({ link, body }) => [link, body])).toEqual([
      [1, { try: 1 }],
      [4, { try: 2 }],
      [3, { try: 1 }],
    ]);
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    world.post({ kind: "executor.cancelled", link: 4, try: 2 });
    world.post({ kind: "executor.cancelled", link: 3, try: 1 });
    world.wait(10_000);
    expect(world.of("prepare").at(-1)).toMatchObject({ try: 3, attempt: "1.3", restore: { id: 1 }, keep: ["1.1", "1.2"] });
  });

  test("the output is decided when all slices are done, with what the last incarnation of each has", () => {
    const world = new Regions(applicationRecord({}, 3)).begun();
    world.done(1, 1);
    world.dies(2);
    world.done(3, 1);
    expect(world.requests("driver.commit")).toEqual([]);
    world.executor(4);
    world.delayed();
    world.done(4, 2);
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({
      try: 2,
      sinks: { out: ["part-1", "part-4", "part-3"] },
    });
  });

  test("an executor that was done is needed no more: its death restarts nothing", () => {
    const world = new Regions(applicationRecord({}, 3)).begun();
    world.done(2, 1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(world.deploys(3)).toEqual([]);
    // The one that came in its place is there for whoever is lost next.
    expect(world.told("executor.finish")).toEqual([]);
    world.dies(3);
    world.delayed();
    expect(world.deploys(3)).toMatchObject([{ link: 4, subtask: 2 }]);
  });

  test("a slice that had ended is not read again when its process crashes after the checkpoint that says so", () => {
    const world = new Regions().begun();
    world.reads(2, 10);
    world.post({
      kind: "executor.done",
      link: 2,
      try: 1,
      committables: { out: ["part-2"] },
      progress: { ...EMPTY, recordsIn: 10 },
    });
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 3]) world.acknowledge(link, 1);
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    world.answer("driver.checkpoint");
    world.post({ kind: "checkpoint.committed", id: 1 });
    world.failed(2, shape("OPERATOR_FAILED", "too late to do harm"), 1);
    world.wait(1_000);
    expect(world.deploys(3)).toMatchObject([{ link: 2, try: 2, restore: { id: 1 } }]);
    expect(world.view.progress.recordsIn).toBe(10);
    world.done(2, 2, {});
    world.wait(SETTINGS.intervalMs);
    for (const link of [1, 3]) world.acknowledge(link, 2);
    const manifest = world.of("store-manifest").at(-1)?.manifest;
    expect(manifest?.sources.in?.remaining.map(({ split }) => split.id)).toEqual(["s0", "s2", "s3", "s4", "s5"]);
    expect(manifest?.counts.recordsIn).toBe(30);
  });

  test("executors that end one after the other before they connect end the job, also while only a slice waits for one", () => {
    const world = new Regions().begun();
    world.dies(2);
    for (let number = 4; number < 4 + DRIVER_LIMITS.maxStartFailures; number++) {
      const view = { processId: `app-1-1.d1.e${number}`, workerId: "w", pid: null, state: "ended" as const, reason: "exit code 1" };
      world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    }
    expect(world.view.phase).toBe("stopping");
  });

  test("collected records of a lost incarnation don't count, and are not too many for the next one", () => {
    const world = new Regions(applicationRecord({}, 3), { collectLimits: new Map([["all", 4]]) }).begun();
    const collect = (link: number, batch: number, records: readonly unknown[], tryNumber: number) =>
      world.post({ kind: "executor.collected", link, requestId: 1, try: tryNumber, sink: "all", batch, records: [...records] });
    collect(1, 1, ["a"], 1);
    collect(2, 1, ["b", "c", "d"], 1);
    world.dies(2);
    world.executor(4);
    world.delayed();
    expect(collect(4, 1, ["b", "c"], 2)).toMatchObject([{ kind: "reply" }]);
    expect(collect(4, 2, ["d"], 2)).toMatchObject([{ kind: "reply" }]);
    for (const [link, tryNumber] of [
      [1, 1],
      [3, 1],
      [4, 2],
    ] as const)
      world.done(link, tryNumber, {});
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ result: { all: ["a", "b", "c", "d"] } });
  });

  test("a cancel while a slice waits ends the job at once", () => {
    const world = new Regions().begun();
    world.dies(2);
    world.post({ kind: "master.cancel", epoch: 1, reason: "cancelled by a user" });
    world.dies(1);
    world.dies(3);
    expect(world.of("clean-up")).toHaveLength(1);
  });

  test("two slices that are lost together restart one after the other, each on an executor of its own", () => {
    const world = new Regions().begun();
    world.dies(1);
    world.dies(3);
    world.wait(1_000);
    world.executor(4);
    world.executor(5);
    expect(world.deploys(3)).toMatchObject([
      { link: 4, try: 2, subtask: 0 },
      { link: 5, try: 3, subtask: 2 },
    ]);
  });

  test("a draining worker's slice moves alone, and is nobody's failure", () => {
    const world = new Regions(checkpointed(3), { restart: { kind: "none" } }).begun();
    const view = (number: number, draining = false) => ({
      processId: `app-1-1.d1.e${number}`,
      workerId: `w${number}`,
      pid: number,
      state: "running" as const,
      reason: null,
      ...(draining ? { draining } : {}),
    });
    world.post({ kind: "master.executors", epoch: 1, executors: [view(1), view(2, true), view(3), view(4)] });
    expect(world.deploys(3)).toEqual([]);
    world.executor(4);
    expect(world.deploys(3)).toMatchObject([{ link: 4, try: 2, subtask: 1 }]);
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([2]);
    expect(world.view.progress.failedTries).toEqual([]);
  });
});
