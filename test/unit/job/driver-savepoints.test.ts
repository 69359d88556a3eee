import { describe, expect, test } from "vitest";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import type { CheckpointManifest, CheckpointRequest, CheckpointsRecord, SliceSnapshot } from "../../../src/wire/checkpoint.js";
import { applicationRecord, shape, World } from "./driver-world.js";

const HANDLE = { sha256: "c".repeat(64), sizeBytes: 100 };
const WRITTEN = { directory: "/sp/app-1-1-1", sha256: "e".repeat(64), sizeBytes: 300 };

function record(checkpoints: Partial<CheckpointsRecord> = {}): ApplicationRecord {
  const plain = applicationRecord({ checkpoints: { storage: "/shared", nextId: 1, completed: [], ...checkpoints } });
  const { job } = plain.spec;
  if (job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 60_000, minPauseMs: 60_000, timeoutMs: 5_000, toleratedFailures: null };
  return { ...plain, spec: { ...plain.spec, job: { ...job, checkpoint } } };
}

const request = (key: string, savepoint: CheckpointRequest["savepoint"] = null): CheckpointRequest => ({
  key,
  requestedAt: 0,
  savepoint,
});

const snapshot = (member: number, changes: Partial<SliceSnapshot> = {}): SliceSnapshot => ({
  finished: [],
  states: { count: [{ sha256: `${member}`.repeat(64), sizeBytes: 10 * member }] },
  writers: {},
  sources: {},
  committables: {},
  confirmed: 0,
  counts: { recordsIn: 10, recordsOut: 1, badRecords: 0, operators: [] },
  alignmentMs: member,
  ...changes,
});

class Asked extends World {
  private readonly record: ApplicationRecord;

  constructor(given = record(), appears: "at-end" | "at-checkpoint" = "at-checkpoint") {
    super({ application: given, appears: new Map([["out", appears]]) });
    this.record = given;
  }

  begun(): this {
    this.post({ kind: "started" });
    this.master(1, this.record);
    this.post({ kind: "prepared", try: 1, sources: [] });
    this.executor(1);
    this.executor(2);
    this.answer("driver.checkpoint");
    return this;
  }

  ask(...requests: readonly CheckpointRequest[]): void {
    this.post({ kind: "master.checkpoint-requests", epoch: 1, requests });
  }

  /** Up to the pointer's answer, and the sinks' commit if there is anything to commit. */
  complete(id: number, changes: Partial<SliceSnapshot> = {}): void {
    for (const member of [1, 2]) {
      this.now += 5;
      const said = snapshot(member, changes);
      this.post({ kind: "executor.checkpointed", link: member, try: this.view.try, id, snapshot: said, error: null });
    }
    this.post({ kind: "manifest.stored", id, manifest: HANDLE });
    this.answer("driver.checkpoint");
    this.post({ kind: "checkpoint.committed", id });
  }

  get ordered() {
    return this.told("executor.checkpoint").filter(({ body }) => (body as { order?: string }).order === "begin");
  }

  get answers() {
    return this.of("tell-master").flatMap(({ message, body }) =>
      message === "driver.checkpoint-answers" ? (body as { answers: { key: string; checkpoint: number | null }[] }).answers : [],
    );
  }
}

describe("a checkpoint that was asked for", () => {
  test("is taken at once, whatever the pause, and answered when it is complete; what was asked together is one", () => {
    const world = new Asked().begun();
    world.ask(request("a"), request("b"));
    expect(world.ordered).toHaveLength(2);
    world.complete(1);
    expect(world.answers).toMatchObject([
      { key: "a", checkpoint: 1, error: null },
      { key: "b", checkpoint: 1, error: null },
    ]);
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({ completed: { trigger: "on-demand" } });
    world.post({ kind: "wake-up" });
    expect(world.ordered).toHaveLength(2);
  });

  test("says what each executor had to do", () => {
    const world = new Asked().begun();
    world.ask(request("a"));
    world.complete(1);
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({
      completed: {
        alignmentMs: 2,
        subtasks: [
          { subtask: 0, stateBytes: 10, durationMs: 5, alignmentMs: 1 },
          { subtask: 1, stateBytes: 20, durationMs: 10, alignmentMs: 2 },
        ],
      },
    });
  });

  test("comes with the record when a driver registers, and is not taken twice when the master has not heard the answer", () => {
    const world = new Asked(record({ requests: [request("a")] })).begun();
    world.complete(1);
    world.post({ kind: "master.lost", link: 100 });
    world.master(2, record({ requests: [request("a")] }));
    expect(world.answers.map(({ key }) => key)).toEqual(["a", "a"]);
    expect(world.ordered).toHaveLength(2);
  });

  test("is answered with why it was given up, and that is told for the statistics", () => {
    const world = new Asked().begun();
    world.ask(request("a"));
    world.post({ kind: "executor.checkpointed", link: 1, try: 1, id: 1, snapshot: null, error: shape("DISK_FAILED", "full") });
    expect(world.answers).toMatchObject([{ key: "a", checkpoint: null, error: { code: "CHECKPOINT_FAILED" } }]);
    expect(world.of("tell-master").find(({ message }) => message === "driver.checkpoint-failed")?.body).toMatchObject({
      id: 1,
      trigger: "on-demand",
      reason: expect.stringContaining("full"),
    });
  });

  test("a try that fails is nobody's answer: the next one takes it", () => {
    const world = new Asked().begun();
    world.ask(request("a"));
    world.failed(1, shape("EXECUTOR_LOST"));
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    if (world.view.phase === "backing-off") world.wait(600);
    world.post({ kind: "prepared", try: 2, sources: [] });
    expect(world.answers).toEqual([]);
    expect(world.ordered.at(-1)?.body).toMatchObject({ id: 2, try: 2 });
  });
});

describe("a savepoint", () => {
  const wish = (stop: boolean) => request("s", { directory: "/sp", stop });

  test("is written when its checkpoint is complete and committed, and nothing is taken or dropped meanwhile", () => {
    const world = new Asked().begun();
    world.ask(wish(false), request("later"));
    world.complete(1);
    expect(world.of("write-savepoint")[0]).toMatchObject({ directory: "/sp", pointer: { id: 1, trigger: "savepoint" } });
    world.wait(300_000);
    expect(world.ordered).toHaveLength(2);
    world.post({ kind: "savepoint.written", id: 1, savepoint: WRITTEN });
    expect(world.answers).toMatchObject([{ key: "s", checkpoint: 1, savepoint: WRITTEN }]);
    expect(world.ordered).toHaveLength(4);
  });

  test("with stop the decision of the job is the savepoint, with the answer in it, and what came after it is nobody's", () => {
    const world = new Asked().begun();
    world.ask(wish(true));
    world.complete(1, { committables: { out: ["part"] } });
    world.done(1);
    world.done(2);
    expect(world.requests("driver.commit")).toEqual([]);
    world.post({ kind: "savepoint.written", id: 1, savepoint: WRITTEN });
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({
      sinks: {},
      records: { in: 20, out: 2 },
      stopped: { key: "s", checkpoint: 1, savepoint: WRITTEN },
    });
    expect(world.requests("driver.commit")[0]?.body).toHaveProperty("sinks", {});
    expect(world.answers).toEqual([]);
    world.answer("driver.commit");
    world.post({ kind: "sinks.committed" });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "finished" });
  });

  test("with stop, output that appears at the end appears with it: the decision names the checkpoint that holds it", () => {
    const world = new Asked(record(), "at-end").begun();
    world.ask(wish(true));
    world.complete(1, { committables: { out: ["part"] } });
    world.post({ kind: "savepoint.written", id: 1, savepoint: WRITTEN });
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ checkpoint: 1, sinks: {} });
  });

  test("without stop it is refused by the sink's name when output waits for the end; the checkpoint counts all the same", () => {
    const world = new Asked(record(), "at-end").begun();
    world.ask(wish(false));
    world.complete(1, { committables: { out: ["part"] } });
    expect(world.answers).toMatchObject([{ key: "s", error: { code: "CONFLICT", message: expect.stringContaining("'out'") } }]);
    expect(world.of("write-savepoint")).toEqual([]);
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({ completed: { id: 1 } });
  });

  test("that could not be written is answered with why, and the job goes on, also to its end", () => {
    const world = new Asked().begun();
    world.ask(wish(true));
    world.complete(1);
    world.done(1);
    world.done(2);
    world.post({ kind: "savepoint.failed", id: 1, error: shape("DISK_FAILED", "no space") });
    expect(world.answers).toMatchObject([{ key: "s", error: { code: "DISK_FAILED" } }]);
    expect(world.requests("driver.commit")[0]?.body).not.toHaveProperty("stopped");
  });

  test("a job that is cancelled while it is written stays cancelled", () => {
    const world = new Asked().begun();
    world.ask(wish(true));
    world.complete(1);
    world.post({ kind: "master.cancel", epoch: 1, reason: "by a user" });
    world.post({ kind: "savepoint.written", id: 1, savepoint: WRITTEN });
    expect(world.requests("driver.commit")).toEqual([]);
  });
});

describe("a job that begins from a savepoint", () => {
  const from = { directory: "/sp/other", sha256: "f".repeat(64) };
  const manifest = {
    id: 1,
    commit: {},
    carried: {},
    slices: [],
    counts: { recordsIn: 7, recordsOut: 3 },
  } as never as CheckpointManifest;

  function starting(given = record({ from })): Asked {
    const world = new Asked(given);
    world.post({ kind: "started" });
    world.master(1, given);
    return world;
  }

  test("makes it its first checkpoint, under an id that was reserved, and only then begins its first try from there", () => {
    const world = starting();
    expect(world.of("restore-savepoint")).toEqual([]);
    world.answer("driver.checkpoint");
    expect(world.of("restore-savepoint")[0]).toMatchObject({ id: 1, from, storage: "/shared" });
    expect(world.of("prepare")).toEqual([]);
    world.post({ kind: "savepoint.restored", id: 1, manifest, handle: HANDLE });
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({
      completed: { id: 1, trigger: "restored", records: { in: 7 } },
    });
    expect(world.of("prepare")).toEqual([]);
    world.answer("driver.checkpoint");
    expect(world.of("prepare")[0]).toMatchObject({ restore: { id: 1 } });
  });

  test("a driver that finds that checkpoint in the record does not read the savepoint again", () => {
    const pointer = {
      ...{ id: 1, attempt: 1, try: 1, manifest: HANDLE, sizeBytes: 1 },
      completedAt: 0,
      durationMs: 0,
      records: { in: 7, out: 3 },
    };
    const world = starting(record({ from, completed: [pointer] }));
    expect(world.of("restore-savepoint")).toEqual([]);
    expect(world.of("prepare")[0]).toMatchObject({ restore: { id: 1 } });
  });

  test("fails by the savepoint's name when it can't be used", () => {
    const world = starting();
    world.answer("driver.checkpoint");
    world.post({ kind: "savepoint.restore-failed", id: 1, error: shape("SAVEPOINT_UNREADABLE", "its file is not there") });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "failed",
      reason: { code: "SAVEPOINT_UNREADABLE" },
    });
  });
});
