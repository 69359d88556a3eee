import { describe, expect, test } from "vitest";
import { RESERVED_IDS } from "../../../src/checkpoint/course.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import { type CompletedCheckpoint, MAX_CARRIED, type SliceSnapshot, type StagedBySink } from "../../../src/wire/checkpoint.js";
import { applicationRecord, EMPTY, shape, World } from "./driver-world.js";

const SETTINGS = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000, toleratedFailures: null as number | null };
const STORAGE = "/shared";
const HANDLE = { sha256: "c".repeat(64), sizeBytes: 100 };

function withCheckpoints(changes: Partial<ApplicationRecord> = {}, settings: Partial<typeof SETTINGS> = {}): ApplicationRecord {
  const record = applicationRecord({ checkpoints: { storage: STORAGE, nextId: 1, completed: [] }, ...changes });
  const { job } = record.spec;
  if (job === null) throw new Error("no job");
  return { ...record, spec: { ...record.spec, job: { ...job, checkpoint: { ...SETTINGS, ...settings } } } };
}

const snapshot = (member: number, changes: Partial<SliceSnapshot> = {}): SliceSnapshot => ({
  finished: [],
  states: { count: [{ sha256: `${member}`.repeat(64), sizeBytes: 10 * member }] },
  writers: { out: { next: member } },
  sources: { in: { taken: 1, reading: [{ nth: 0, position: 5 }] } },
  committables: { out: [`part-${member}`] },
  confirmed: 0,
  counts: { recordsIn: 10, recordsOut: 1, badRecords: 0, operators: [{ uid: "in", kind: "source", in: 10, out: 10 }] },
  ...changes,
});

const pointer = (id: number, changes: Partial<CompletedCheckpoint> = {}): CompletedCheckpoint => ({
  id,
  attempt: 1,
  try: 1,
  manifest: HANDLE,
  sizeBytes: 130,
  completedAt: 0,
  durationMs: 0,
  records: { in: 20, out: 2 },
  ...changes,
});

class Checkpointed extends World {
  constructor(record = withCheckpoints(), appears: "at-end" | "at-checkpoint" = "at-end") {
    super({ application: record, appears: new Map([["out", appears]]) });
    this.record = record;
  }
  private readonly record: ApplicationRecord;

  /** Two executors run, each with a split, and ids are reserved. */
  begun(): this {
    this.post({ kind: "started" });
    this.master(1, this.record);
    this.prepared();
    this.executor(1);
    this.executor(2);
    for (const link of [1, 2])
      this.post({ kind: "executor.split", link, requestId: link, try: this.view.try, source: "in", ask: 1 });
    this.answer("driver.checkpoint");
    return this;
  }

  /** The next checkpoint is due. */
  due(): void {
    this.wait(SETTINGS.intervalMs);
  }

  acknowledge(member: number, id: number, said: SliceSnapshot | null = snapshot(member), tryNumber = this.view.try) {
    const error = said === null ? shape("DISK_FAILED", "the disk is full") : null;
    return this.post({ kind: "executor.checkpointed", link: member, try: tryNumber, id, snapshot: said, error });
  }

  /** Up to the pointer's request. */
  taken(id: number): void {
    this.due();
    this.acknowledge(1, id);
    this.acknowledge(2, id);
    this.post({ kind: "manifest.stored", id, manifest: HANDLE });
  }

  completed(id: number): void {
    this.taken(id);
    this.answer("driver.checkpoint");
  }
}

describe("a job with checkpoints", () => {
  test("reserves ids before its first one, then orders it of every executor when it is due", () => {
    const world = new Checkpointed().begun();
    expect(world.requests("driver.checkpoint")[0]?.body).toEqual({ attempt: 1, nextId: 1 + RESERVED_IDS, completed: null });
    expect(world.told("executor.checkpoint")).toEqual([]);
    world.due();
    expect(world.told("executor.checkpoint").map(({ link, body }) => ({ link, body }))).toEqual([
      { link: 1, body: { try: 1, id: 1, order: "begin", completed: 0 } },
      { link: 2, body: { try: 1, id: 1, order: "begin", completed: 0 } },
    ]);
  });

  test("tells executors where state is kept, and one that takes none tells nothing", () => {
    expect(new Checkpointed().begun().told("executor.deploy")[0]?.body).toMatchObject({ storage: STORAGE });
    expect(Object.keys(new World().running().told("executor.deploy")[0]?.body ?? {})).not.toContain("storage");
    expect(new World().running().wakeAt).toBeNull();
  });

  test("stores the manifest when all have answered, asks for the pointer when that is stored, and only then", () => {
    const world = new Checkpointed().begun();
    world.due();
    world.acknowledge(1, 1);
    expect(world.of("store-manifest")).toEqual([]);
    world.acknowledge(2, 1);
    const { manifest, storage } = world.of("store-manifest")[0] ?? {};
    expect(storage).toBe(STORAGE);
    expect(manifest).toMatchObject({
      id: 1,
      attempt: "1.1",
      slices: [{ writers: { out: { next: 1 } } }, { writers: { out: { next: 2 } } }],
      sources: {
        in: { remaining: [{ split: { id: "s0" }, position: 5 }, { split: { id: "s1" }, position: 5 }, { split: { id: "s2" } }] },
      },
      carried: {
        out: [
          { attempt: "1.1", committable: "part-1" },
          { attempt: "1.1", committable: "part-2" },
        ],
      },
      commit: {},
      counts: { recordsIn: 20, operators: [{ uid: "in", in: 20 }] },
    });
    expect(world.requests("driver.checkpoint")).toHaveLength(1);
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({
      attempt: 1,
      nextId: 2 + RESERVED_IDS,
      completed: pointer(1, { durationMs: expect.any(Number) }),
    });
  });

  test("splits that were handed out behind the barrier, and those read to their end, are what they should be in the manifest", () => {
    const world = new Checkpointed().begun();
    world.post({ kind: "executor.split", link: 2, requestId: 9, try: 1, source: "in", ask: 2 });
    world.due();
    world.acknowledge(1, 1, snapshot(1, { sources: { in: { taken: 1, reading: [] } } }));
    world.acknowledge(2, 1);
    const remaining = world
      .of("store-manifest")[0]
      ?.manifest.sources.in?.remaining.map(({ split, position }) => [split.id, position]);
    expect(remaining).toEqual([
      ["s1", 5],
      ["s2", null],
    ]);
  });

  test("output of a bounded job is carried to its end, where the decision names the checkpoint that holds it", () => {
    const world = new Checkpointed().begun();
    world.completed(1);
    expect(world.of("commit-checkpoint")).toEqual([]);
    world.done(1);
    world.done(2);
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ checkpoint: 1, sinks: { out: ["part-1", "part-2"] } });
    world.answer("driver.commit");
    expect(world.of("commit-sinks")[0]?.checkpoint).toMatchObject({ storage: STORAGE, pointer: { id: 1 } });
  });

  test("output that appears with checkpoints is committed once its pointer is durable, and not again at the end", () => {
    const world = new Checkpointed(withCheckpoints(), "at-checkpoint").begun();
    world.taken(1);
    expect(world.of("commit-checkpoint")).toEqual([]);
    world.answer("driver.checkpoint");
    expect(world.of("commit-checkpoint")[0]).toMatchObject({
      id: 1,
      sinks: { out: [{ committable: "part-1" }, { committable: "part-2" }] },
      again: false,
    });
    world.done(1);
    world.done(2);
    expect(world.view.phase).toBe("running");
    world.post({ kind: "checkpoint.committed", id: 1 });
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ sinks: { out: [] } });
  });

  test("an executor that has ended takes part with what it has told, and one that comes back is told the order again", () => {
    const world = new Checkpointed().begun();
    world.done(1);
    world.due();
    expect(world.told("executor.checkpoint").map(({ link }) => link)).toEqual([2]);
    world.post({ kind: "executor.unlinked", link: 2 });
    world.executor(2, 7);
    expect(world.told("executor.checkpoint").at(-1)).toMatchObject({ link: 7, body: { id: 1, order: "begin" } });
    world.post({ kind: "executor.checkpointed", link: 7, try: 1, id: 1, snapshot: snapshot(2), error: null });
    expect(world.of("store-manifest")[0]?.manifest.slices[0]).toEqual({ finished: "all", states: {}, writers: {} });
  });

  test("an executor that ends while it is asked answers with that", () => {
    const world = new Checkpointed().begun();
    world.due();
    world.acknowledge(2, 1);
    world.done(1);
    expect(world.of("store-manifest")).toHaveLength(1);
  });

  test("drops what falls out of the history only after the pointer that pushed it out is durable", () => {
    const world = new Checkpointed().begun();
    for (const id of [1, 2, 3]) world.completed(id);
    world.taken(4);
    expect(world.of("drop-checkpoints")).toEqual([]);
    world.answer("driver.checkpoint");
    expect(world.of("drop-checkpoints")[0]?.dropped.map(({ id }) => id)).toEqual([1]);
  });
});

describe("a checkpoint that fails", () => {
  test("is given up, executors are told, and the job goes on to the next one", () => {
    const world = new Checkpointed().begun();
    world.due();
    world.acknowledge(1, 1, null);
    expect(
      world
        .told("executor.checkpoint")
        .slice(2)
        .map(({ body }) => body),
    ).toEqual([
      { try: 1, id: 1, order: "abort", completed: 0 },
      { try: 1, id: 1, order: "abort", completed: 0 },
    ]);
    expect(world.view.phase).toBe("running");
    world.due();
    expect(world.told("executor.checkpoint").at(-1)?.body).toMatchObject({ id: 2, order: "begin" });
  });

  test("also when it takes too long, or when the master refuses it", () => {
    const late = new Checkpointed().begun();
    late.due();
    late.acknowledge(1, 1);
    late.wait(5_000);
    expect(late.told("executor.checkpoint").some(({ body }) => (body as { order?: string }).order === "abort")).toBe(true);
    late.acknowledge(2, 1);
    expect(late.of("store-manifest")).toEqual([]);
    const refused = new Checkpointed().begun();
    refused.taken(1);
    refused.answer("driver.checkpoint", shape("LIMIT_EXCEEDED"));
    expect(refused.view.phase).toBe("running");
    expect(refused.told("executor.checkpoint").at(-1)?.body).toMatchObject({ id: 1, order: "abort" });
  });

  test("also when more output would wait for the end of the job than a manifest may name, and says what to do; so much may", () => {
    const world = new Checkpointed().begun();
    const half = MAX_CARRIED / 2;
    const pieces = (member: number, count: number) =>
      snapshot(member, { committables: { out: Array.from({ length: count }, (_, piece) => `part-${member}-${piece}`) } });
    world.due();
    world.acknowledge(1, 1, pieces(1, half));
    world.acknowledge(2, 1, pieces(2, half + 1));
    expect(world.of("store-manifest")).toEqual([]);
    expect(world.of("tell-master").find(({ message }) => message === "driver.checkpoint-failed")?.body).toMatchObject({
      id: 1,
      reason: `${MAX_CARRIED + 1} pieces of output wait for the end of the job, more than ${MAX_CARRIED}: let the sink roll`,
    });
    expect(world.view.phase).toBe("running");
    world.due();
    world.acknowledge(1, 2, pieces(1, half));
    world.acknowledge(2, 2, pieces(2, half));
    expect(world.of("store-manifest")[0]?.manifest.carried.out).toHaveLength(MAX_CARRIED);
  });

  test("fails the try when more in a row fail than the job tolerates", () => {
    const world = new Checkpointed(withCheckpoints({}, { toleratedFailures: 1 })).begun();
    for (const id of [1, 2]) {
      world.due();
      world.acknowledge(1, id, null);
    }
    expect(world.view.phase).toBe("stopping");
    expect(world.of("log").some(({ message }) => message.includes("the disk is full"))).toBe(true);
  });
});

describe("a try after a failure", () => {
  const restored = (carried: StagedBySink = {}) => ({
    carried,
    counts: { recordsIn: 20, recordsOut: 2, badRecords: 0, operators: [{ uid: "in", kind: "source", in: 20, out: 20 }] },
    commit: {},
    attempt: "1.1",
  });

  function failTry(world: Checkpointed): void {
    world.post({ kind: "executor.progress", link: 1, try: 1, progress: { ...EMPTY, recordsIn: 70 } });
    world.failed(2, shape("EXECUTOR_LOST"));
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    if (world.view.phase === "backing-off") world.wait(600);
  }

  test("goes on from the last complete checkpoint, and its counters go on from there", () => {
    const world = new Checkpointed().begun();
    world.completed(1);
    failTry(world);
    expect(world.of("prepare").at(-1)).toMatchObject({ try: 2, storage: STORAGE, restore: { id: 1 }, keep: ["1.1"] });
    expect(world.view.progress.recordsIn).toBe(20);
    world.post({ kind: "prepared", try: 2, sources: [], restored: restored() });
    expect(world.told("executor.deploy").at(-1)?.body).toMatchObject({ try: 2, restore: { id: 1, manifest: HANDLE } });
    expect(world.view.progress.restored).toEqual({ try: "1.2", checkpoint: 1, recordsBack: 50 });
    world.post({ kind: "executor.progress", link: 1, try: 2, progress: { ...EMPTY, recordsIn: 5 } });
    expect(world.view.progress.recordsIn).toBe(25);
  });

  test("waits until it is known whether the pointer that was asked for is durable", () => {
    const world = new Checkpointed().begun();
    world.taken(1);
    failTry(world);
    expect(world.of("prepare")).toHaveLength(1);
    world.answer("driver.checkpoint");
    expect(world.of("prepare").at(-1)).toMatchObject({ try: 2, restore: { id: 1 } });
  });

  test("goes on from the one before when the pointer was refused", () => {
    const world = new Checkpointed().begun();
    world.completed(1);
    world.taken(2);
    failTry(world);
    world.answer("driver.checkpoint", shape("CONFLICT"));
    expect(world.of("prepare").at(-1)).toMatchObject({ try: 2, restore: { id: 1 } });
  });

  test("asks the next master for the same pointer, and an answer to an earlier request is no answer to it", () => {
    const world = new Checkpointed().begun();
    const reservation = world.requests("driver.checkpoint")[0]?.number ?? 0;
    world.taken(1);
    world.post({ kind: "request.answered", request: "driver.checkpoint", number: reservation, error: null });
    failTry(world);
    expect(world.of("prepare")).toHaveLength(1);
    world.master(2, withCheckpoints());
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({ completed: { id: 1 } });
    world.answer("driver.checkpoint");
    expect(world.of("prepare").at(-1)).toMatchObject({ restore: { id: 1 } });
  });

  test("in another driver attempt goes on from the record's last one, with ids that no earlier one has used", () => {
    const record = withCheckpoints({ checkpoints: { storage: STORAGE, nextId: 40, completed: [pointer(7), pointer(9)] } });
    const world = new Checkpointed(record);
    world.post({ kind: "started" });
    world.master(1, record);
    expect(world.of("prepare")[0]).toMatchObject({ restore: { id: 9 } });
    world.post({ kind: "prepared", try: 1, sources: [], restored: restored({ out: [{ attempt: "1.3", committable: "early" }] }) });
    world.executor(1);
    world.executor(2);
    world.answer("driver.checkpoint");
    expect(world.view.progress.restored).toEqual({ try: "1.1", checkpoint: 9, recordsBack: null });
    world.due();
    expect(world.told("executor.checkpoint")[0]?.body).toMatchObject({ id: 40 });
  });

  test("tells a master that has no records which ids it may have used, and which checkpoints are complete", () => {
    const world = new Checkpointed().begun();
    world.completed(1);
    world.post({ kind: "master.found", link: 900, epoch: 2 });
    expect(world.of("register").at(-1)?.body.application.checkpoints).toMatchObject({
      nextId: 2 + RESERVED_IDS,
      completed: [{ id: 1 }],
    });
  });

  test("a checkpoint of an earlier try counts nothing in a later one", () => {
    const world = new Checkpointed().begun();
    world.due();
    world.acknowledge(1, 1);
    failTry(world);
    world.prepared(2);
    world.acknowledge(2, 1, snapshot(2), 1);
    world.acknowledge(1, 1, snapshot(1), 2);
    expect(world.of("store-manifest")).toEqual([]);
  });

  test("storage that can't be reached ends a job that has no checkpoint, and is waited for by one that has", () => {
    const first = new Checkpointed().begun();
    first.failed(1, shape("CHECKPOINT_STORAGE"));
    first.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(first.of("clean-up")).toHaveLength(1);
    const later = new Checkpointed().begun();
    later.completed(1);
    later.failed(1, shape("CHECKPOINT_STORAGE"));
    later.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(later.view.phase).toBe("backing-off");
  });

  test("each part is committed once, also when an executor hears late of completed checkpoints and another has ended", () => {
    const world = new Checkpointed(withCheckpoints(), "at-checkpoint").begun();
    world.done(2);
    const lastPart = 12;
    for (let id = 1; id <= lastPart; id++) {
      world.due();
      // It knows of the checkpoint before the last one: what came after that is told again.
      const confirmed = Math.max(0, id - 2);
      const parts = Array.from({ length: id - confirmed }, (_, index) => `part-1-${confirmed + index + 1}`);
      world.acknowledge(1, id, snapshot(1, { committables: { out: parts }, confirmed }));
      world.post({ kind: "manifest.stored", id, manifest: HANDLE });
      world.answer("driver.checkpoint");
      world.post({ kind: "checkpoint.committed", id });
    }
    const committed = world.of("commit-checkpoint").flatMap(({ sinks }) => sinks.out?.map(({ committable }) => committable) ?? []);
    expect(committed).toEqual(["part-1-1", "part-2", ...Array.from({ length: lastPart - 1 }, (_, index) => `part-1-${index + 2}`)]);
  });

  test("sinks that can't commit a complete checkpoint try again, then the next try commits it first", () => {
    const world = new Checkpointed(withCheckpoints(), "at-checkpoint").begun();
    world.completed(1);
    for (let repeat = 0; repeat < 5; repeat++) {
      world.post({ kind: "checkpoint.commit-failed", id: 1, error: shape("SINK_FAILED") });
      world.wait(2_000);
    }
    expect(world.of("commit-checkpoint")).toHaveLength(6);
    expect(world.of("commit-checkpoint").at(-1)?.again).toBe(true);
    world.post({ kind: "checkpoint.commit-failed", id: 1, error: shape("SINK_FAILED") });
    expect(world.view.phase).toBe("stopping");
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    if (world.view.phase === "backing-off") world.wait(600);
    expect(world.of("prepare").at(-1)).toMatchObject({ restore: { id: 1 }, keep: ["1.1"] });
  });
});

describe("what is left behind", () => {
  test("blobs of checkpoints that were given up are looked for when all that are kept are newer", () => {
    const world = new Checkpointed().begun();
    world.completed(1);
    world.due();
    world.acknowledge(1, 2, null);
    for (const id of [3, 4]) world.completed(id);
    expect(world.of("sweep-checkpoints")).toEqual([]);
    world.completed(5);
    expect(world.of("sweep-checkpoints").map(({ live }) => live.map(({ id }) => id))).toEqual([[3, 4, 5]]);
    world.completed(6);
    expect(world.of("sweep-checkpoints")).toHaveLength(1);
  });

  test("and those of earlier drivers, when all that are kept are this one's", () => {
    const earlier = withCheckpoints({ checkpoints: { storage: STORAGE, nextId: 18, completed: [pointer(1)] } });
    const world = new Checkpointed(earlier).begun();
    for (const id of [18, 19]) world.completed(id);
    expect(world.of("sweep-checkpoints")).toEqual([]);
    world.completed(20);
    expect(world.of("sweep-checkpoints").map(({ live }) => live.map(({ id }) => id))).toEqual([[18, 19, 20]]);
  });

  test("an executor that says that no later checkpoint could be better gets another try", () => {
    const world = new Checkpointed().begun();
    world.due();
    const error = { ...shape("CHECKPOINT_FAILED", "too much is untold"), details: { newTry: true } };
    world.post({ kind: "executor.checkpointed", link: 1, try: 1, id: 1, snapshot: null, error });
    expect(world.view.phase).toBe("stopping");
  });

  test("a driver that goes leaves its executors and what they stage to the next attempt; the recorded end of the application removes everything", () => {
    const quits = new Checkpointed().begun();
    quits.completed(1);
    quits.post({ kind: "stop", mode: "quit", reason: "it shall go" });
    expect(quits.ending?.outcome).toBe("quit");
    expect(quits.of("clean-up")).toEqual([]);
    expect(quits.of("forget-checkpoints")).toEqual([]);
    expect(quits.told("executor.finish")).toEqual([]);
    const ends = new Checkpointed().begun();
    ends.completed(1);
    ends.finish();
    expect(ends.of("clean-up")[0]?.keep).toEqual([]);
    expect(ends.of("forget-checkpoints")).toEqual([{ kind: "forget-checkpoints", storage: STORAGE, retain: false }]);
  });

  test("a driver that has not gone on from the last checkpoint removes nothing before its end is durable: it does not know what is needed", () => {
    const pointer = {
      id: 3,
      attempt: 1,
      try: 1,
      manifest: HANDLE,
      sizeBytes: 10,
      completedAt: 0,
      durationMs: 1,
      records: { in: 5, out: 5 },
    };
    const record = withCheckpoints({ checkpoints: { storage: STORAGE, nextId: 20, completed: [pointer] } });
    const world = new Checkpointed(record);
    world.post({ kind: "started" });
    world.master(1, record);
    world.post({ kind: "master.cancel", epoch: 1, reason: "a user wants it" });
    expect(world.of("clean-up")).toEqual([]);
    world.answer("driver.finished");
    expect(world.of("forget-checkpoints")).toHaveLength(1);
  });

  test("state that could not be read is kept for a person to look at", () => {
    const world = new Checkpointed().begun();
    world.failed(1, shape("CHECKPOINT_UNREADABLE"));
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    world.post({ kind: "cleaned" });
    world.answer("driver.finished");
    expect(world.ending?.reason?.code).toBe("CHECKPOINT_UNREADABLE");
    expect(world.of("forget-checkpoints")).toEqual([]);
  });
});

describe("what a job with checkpoints collects", () => {
  const part = (subtask: number, number: number, records: readonly unknown[]) => ({
    attempt: "1.1",
    subtask,
    part: number,
    records,
  });
  const collecting = (limit: number) => {
    const record = withCheckpoints();
    const world = new World({ application: record, collectLimits: new Map([["all", limit]]) });
    world.post({ kind: "started" });
    world.master(1, record);
    world.prepared();
    world.executor(1);
    world.executor(2);
    world.answer("driver.checkpoint");
    world.wait(SETTINGS.intervalMs);
    for (const member of [1, 2]) {
      const said = snapshot(member, {
        committables: { all: [part(member - 1, 0, [member])] },
        sources: { in: { taken: 0, reading: [] } },
      });
      world.post({ kind: "executor.checkpointed", link: member, try: 1, id: 1, snapshot: said, error: null });
    }
    world.post({ kind: "manifest.stored", id: 1, manifest: HANDLE });
    world.answer("driver.checkpoint");
    return world;
  };

  test("is staged in the checkpoint, and the result holds each part once, in the order of subtasks", () => {
    const world = collecting(10);
    expect(world.of("store-manifest")[0]?.manifest.carried.all).toHaveLength(2);
    // An executor that has not heard of the checkpoint tells the same part again.
    world.done(2, 1, { all: [part(1, 0, [2]), part(1, 1, [4])] });
    world.done(1, 1, { all: [part(0, 1, [3])] });
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ result: { all: [1, 3, 2, 4] }, sinks: {}, checkpoint: 1 });
  });

  test("fails the job by name when all subtasks together collect more than the sink may", () => {
    const world = collecting(3);
    world.done(2, 1, { all: [part(1, 1, [4])] });
    world.done(1, 1, { all: [part(0, 1, [3])] });
    expect(world.requests("driver.commit")).toEqual([]);
    for (const link of [1, 2]) world.post({ kind: "executor.cancelled", link, try: 1 });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "failed",
      reason: { code: "LIMIT_EXCEEDED", details: { operator: "all" } },
    });
  });
});
