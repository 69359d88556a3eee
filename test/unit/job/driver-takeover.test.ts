import { describe, expect, test } from "vitest";
import type { DriverEvent } from "../../../src/job/driver-events.js";
import { DRIVER_LIMITS } from "../../../src/job/driver-events.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import type { CompletedCheckpoint, SliceSnapshot, StagedBySink } from "../../../src/wire/checkpoint.js";
import type { OfferedSlice } from "../../../src/wire/executor-messages.js";
import { applicationRecord, EMPTY, HASH, shape, World } from "./driver-world.js";

const STORAGE = "/shared";
const HANDLE = { sha256: "c".repeat(64), sizeBytes: 100 };
const COUNTS = { recordsIn: 10, recordsOut: 1, badRecords: 0, operators: [] };
const ids = [1, 2].map((member) => `app-1-1.d1.e${member}`);
const idOf = (member: number) => `app-1-1.d1.e${member}`;
const addressOf = (member: number) => `127.0.0.1:${9000 + member}`;

const pointer = (id: number): CompletedCheckpoint => ({
  ...{ id, attempt: 1, try: 2, manifest: HANDLE, sizeBytes: 130, completedAt: 0, durationMs: 0 },
  records: { in: 20, out: 2 },
});

/** Attempt 1 has run try 2 from checkpoint 3 on, and taken checkpoint 7 in it. */
function record(
  changes: Partial<ApplicationRecord> = {},
  completed: CompletedCheckpoint[] = [pointer(3), pointer(7)],
): ApplicationRecord {
  const checkpoints = { storage: STORAGE, nextId: 24, completed };
  const application = applicationRecord({ attempt: 2, checkpoints, ...changes });
  const { job } = application.spec;
  if (job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000, toleratedFailures: null };
  return { ...application, spec: { ...application.spec, job: { ...job, checkpoint } } };
}

const split = (id: string) => ({ id, sizeHint: 1 });

/** Member 1 reads s1, member 2 has read s2 since the checkpoint and reads s3. */
function offer(member: number, changes: Partial<OfferedSlice> = {}, order: Partial<OfferedSlice["order"]> = {}): OfferedSlice {
  const given = member === 1 ? [split("s1")] : [split("s2"), split("s3")];
  return {
    driver: 1,
    order: {
      ...{ try: 2, name: "1.2", subtask: member - 1, parallelism: 2, storage: STORAGE },
      peers: [1, 2].map((peer) => ({ processId: idOf(peer), dataAddress: addressOf(peer) })),
      restore: { id: 3, manifest: HANDLE, counts: COUNTS },
      ...order,
    },
    isDone: false,
    sources: { in: { asks: 4 + member, isEnded: false, before: 4, given } },
    marks: [{ id: 7, sources: { in: { taken: 5, reading: [{ nth: 4, position: member * 10 }] } } }],
    progress: { ...EMPTY, recordsIn: 100 * member },
    confirmed: 7,
    ...changes,
  };
}

const snapshot = (taken: number, changes: Partial<SliceSnapshot> = {}): SliceSnapshot => ({
  ...{ finished: [], states: {}, writers: {}, committables: {}, confirmed: 7, counts: COUNTS },
  sources: { in: { taken, reading: [{ nth: taken - 1, position: 99 }] } },
  ...changes,
});

class Successor extends World {
  private readonly record: ApplicationRecord;

  constructor(application = record(), appears: "at-end" | "at-checkpoint" = "at-checkpoint") {
    super({ application, attempt: 2, appears: new Map([["out", appears]]) });
    this.record = application;
  }

  registered(former: readonly string[] = ids): this {
    this.post({ kind: "started" });
    this.post({ kind: "master.found", link: 100, epoch: 1 });
    this.post({ kind: "master.registered", link: 100, epoch: 1, application: this.record, former });
    return this;
  }

  comes(member: number, slice: OfferedSlice | null = offer(member), changes: { readonly address?: string } = {}): void {
    const processId = idOf(member);
    const event: DriverEvent = {
      ...{ kind: "executor.registered", link: member, processId, pid: member, graphHash: HASH, try: 2 },
      dataAddress: changes.address ?? addressOf(member),
      ...(slice === null ? {} : { slice }),
    };
    this.post(event);
  }

  /** Checkpoint 7 as its manifest has it. */
  read(changes: { readonly attempt?: string; readonly splits?: readonly string[]; readonly carried?: StagedBySink } = {}): void {
    const splits = (changes.splits ?? ["s1", "s2", "s3", "s4"]).map(split);
    const restored = { carried: changes.carried ?? {}, counts: COUNTS, commit: {}, attempt: changes.attempt ?? "1.2" };
    const positions = new Map([["s1", 10]]);
    const sources = [{ uid: "in", subtasks: 2, splits, positions, totalRecords: 30 }];
    this.post({ kind: "prepared", try: 2, runs: true, sources, restored });
  }

  takenOver(): this {
    this.registered();
    this.comes(1);
    this.comes(2);
    this.read();
    return this;
  }

  /** It starts again: those of before are told to end and given back, and the try that follows removes what they have staged. */
  expectAnew(): void {
    expect(this.view.phase).toBe("gathering");
    expect(this.told("executor.registered")).toEqual([]);
    const prepare = this.of("prepare").at(-1);
    expect(prepare).toMatchObject({ try: 1, attempt: "2.1", restore: { id: 7 } });
    expect(prepare?.runs).toBeUndefined();
    const released = this.of("tell-master").filter(({ message }) => message === "driver.executors");
    expect(released.at(-1)?.body).toMatchObject({ released: expect.arrayContaining(ids) });
  }
}

describe("a driver in place of one that was lost", () => {
  test("waits for all executors of the try, reads the checkpoint, and goes on with what they run", () => {
    const world = new Successor().registered();
    expect(world.view.phase).toBe("taking-over");
    world.comes(1);
    expect(world.of("prepare")).toEqual([]);
    world.comes(2);
    expect(world.of("prepare")).toMatchObject([{ try: 2, attempt: "1.2", runs: true, restore: { id: 7 }, keep: [] }]);
    expect(world.told("executor.registered")).toEqual([]);
    world.read();
    expect(world.view).toMatchObject({ phase: "running", try: 2 });
    expect(world.told("executor.registered").map(({ link }) => link)).toEqual([1, 2]);
    expect(world.told("executor.finish")).toEqual([]);
    expect(world.told("executor.cancel")).toEqual([]);
    expect(world.of("tell-master").find(({ message }) => message === "driver.took-over")?.body).toEqual({
      try: "1.2",
      executors: 2,
    });
    expect(world.of("tell-master").filter(({ message }) => message === "driver.restored")).toEqual([]);
  });

  test("a checkpoint that was being taken is over before anything else is asked of an executor, and the last one is complete", () => {
    const world = new Successor().takenOver();
    expect(world.told("executor.checkpoint").map(({ body }) => body)).toEqual([
      { try: 2, id: 23, order: "abort", completed: 7 },
      { try: 2, id: 23, order: "abort", completed: 7 },
    ]);
  });

  test("its checkpoints have ids that nobody can have used", () => {
    const world = new Successor().takenOver();
    world.answer("driver.checkpoint");
    world.wait(1_000);
    expect(world.told("executor.checkpoint").at(-1)?.body).toEqual({ try: 2, id: 24, order: "begin", completed: 7 });
  });

  test("counters go on where they stood, from the checkpoint that the try began with", () => {
    expect(new Successor().takenOver().view.progress).toMatchObject({ recordsIn: 310, phase: "running", jobRestarts: 1 });
  });

  test("splits that were given stay with whom they were given to; the others are handed out, with the number of the ask", () => {
    const world = new Successor().takenOver();
    world.post({ kind: "executor.split", link: 2, requestId: 5, try: 2, source: "in", ask: 7 });
    expect(world.of("reply").at(-1)?.body).toMatchObject({ split: { id: "s4" }, more: false });
    world.post({ kind: "executor.split", link: 2, requestId: 6, try: 2, source: "in", ask: 7 });
    expect(world.of("reply").at(-1)?.body).toMatchObject({ split: { id: "s4" } });
    world.post({ kind: "executor.split", link: 1, requestId: 7, try: 2, source: "in", ask: 6 });
    expect(world.of("reply").at(-1)?.body).toMatchObject({ split: null });
  });

  test("its next checkpoint holds all that was given since, in the name of the try", () => {
    const world = new Successor().takenOver();
    world.answer("driver.checkpoint");
    world.wait(1_000);
    const committables = { out: ["part"] };
    world.post({ kind: "executor.checkpointed", link: 1, try: 2, id: 24, snapshot: snapshot(5, { committables }), error: null });
    world.post({ kind: "executor.checkpointed", link: 2, try: 2, id: 24, snapshot: snapshot(5), error: null });
    const { manifest } = world.of("store-manifest")[0] ?? {};
    expect(manifest).toMatchObject({ id: 24, attempt: "1.2", commit: { out: [{ attempt: "1.2", committable: "part" }] } });
    expect(manifest?.sources.in?.remaining.map(({ split: { id } }) => id)).toEqual(["s1", "s2", "s3", "s4"]);
    expect(manifest?.sources.in?.remaining.map(({ position }) => position)).toEqual([99, 99, null, null]);
    world.post({ kind: "manifest.stored", id: 24, manifest: HANDLE });
    expect(world.requests("driver.checkpoint").at(-1)?.body).toMatchObject({ completed: { id: 24, attempt: 2, try: 2 } });
  });

  test("a pointer whose outcome the lost driver did not hear of: what all have taken is complete, and they are told so", () => {
    const world = new Successor().registered();
    for (const member of [1, 2]) world.comes(member, offer(member, { confirmed: 0 }));
    world.read();
    expect(world.view.phase).toBe("running");
    expect(world.told("executor.checkpoint")[0]?.body).toMatchObject({ order: "abort", completed: 7 });
  });

  test("a pointer that was not recorded: what all have taken is over, and they go on from the one before", () => {
    const world = new Successor(record({}, [pointer(3), pointer(7)])).registered();
    const marks = (member: number) => [...offer(member).marks, { id: 8, sources: { in: { taken: 6, reading: [] } } }];
    for (const member of [1, 2]) world.comes(member, offer(member, { marks: marks(member) }));
    world.read();
    expect(world.told("executor.checkpoint")[0]?.body).toMatchObject({ id: 23, order: "abort", completed: 7 });
  });

  test("a try without a checkpoint of its own goes on from the one that it began with", () => {
    const world = new Successor(record({}, [pointer(3)])).registered();
    for (const member of [1, 2])
      world.comes(
        member,
        offer(member, {
          ...{ confirmed: 0, marks: [] },
          sources: { in: { asks: 1, isEnded: false, before: 0, given: [split(`s${member}`)] } },
        }),
      );
    world.read({ attempt: "1.1", splits: ["s1", "s2", "s3"] });
    expect(world.view.phase).toBe("running");
    expect(world.told("executor.checkpoint")[0]?.body).toMatchObject({ completed: 0 });
  });

  test("an executor that has ended its slice is taken with it", () => {
    const world = new Successor().registered();
    world.comes(1);
    world.comes(
      2,
      offer(2, { isDone: true, sources: { in: { asks: 7, isEnded: true, before: 4, given: [split("s2"), split("s3")] } } }),
    );
    world.read();
    world.done(2, 2);
    world.done(1, 2);
    expect(world.requests("driver.commit").at(-1)?.body).toMatchObject({
      attempt: 2,
      try: 2,
      sinks: { out: ["part-1", "part-2"] },
    });
  });

  test("one that had ended before the last checkpoint has read all that it was given", () => {
    const world = new Successor().registered();
    const ended = { asks: 3, isEnded: true, before: 0, given: [split("s8"), split("s9")] };
    world.comes(1);
    world.comes(2, offer(2, { isDone: true, confirmed: 0, marks: [], sources: { in: ended } }));
    world.read({ splits: ["s1"] });
    expect(world.view.phase).toBe("running");
  });

  test("what fails later is tried again under its own name, on the same executors", () => {
    const world = new Successor().takenOver();
    world.failed(1, shape("OPERATOR_FAILED"), 2);
    expect(world.told("executor.cancel").map(({ link, body }) => [link, body])).toEqual([[2, { try: 2 }]]);
    world.post({ kind: "executor.cancelled", link: 2, try: 2 });
    world.wake();
    expect(world.of("prepare").at(-1)).toMatchObject({ try: 3, attempt: "2.3" });
  });

  test("an executor whose connection breaks while it is taken over is answered when it is back", () => {
    const world = new Successor().registered();
    world.comes(1);
    world.comes(2);
    world.post({ kind: "executor.unlinked", link: 2 });
    world.read();
    expect(world.told("executor.registered").map(({ link }) => link)).toEqual([1]);
    world.post({
      ...{ kind: "executor.registered", link: 12, processId: idOf(2), pid: 2, graphHash: HASH, try: 2 },
      ...{ dataAddress: addressOf(2), slice: offer(2) },
    });
    expect(world.told("executor.registered").map(({ link }) => link)).toEqual([1, 12]);
    expect(world.told("executor.checkpoint").at(-1)).toMatchObject({ link: 12, body: { id: 23, order: "abort", completed: 7 } });
  });

  test("an executor that is faster than the master's word is not sent away", () => {
    const world = new Successor();
    world.post({ kind: "started" });
    world.comes(1);
    world.registered();
    world.comes(2);
    world.read();
    expect(world.view.phase).toBe("running");
  });

  test("a view that is faster than the master's word gives nothing back", () => {
    const world = new Successor();
    world.post({ kind: "started" });
    const view = { pid: 1, state: "running" as const, reason: null, workerId: "w" };
    world.post({ kind: "master.executors", epoch: 1, executors: ids.map((processId) => ({ ...view, processId })) });
    world.registered();
    expect(world.view.phase).toBe("taking-over");
    expect(world.of("register").at(-1)?.body.released).toEqual([]);
  });
});

describe("it starts again from the last checkpoint", () => {
  const refused = (second: OfferedSlice | null, application = record()) => {
    const world = new Successor(application).registered();
    world.comes(1);
    world.comes(2, second);
    return world;
  };

  test("when one executor does not come in time", () => {
    const world = new Successor().registered();
    world.comes(1);
    world.wait(DRIVER_LIMITS.takeoverMs - 1);
    expect(world.view.phase).toBe("taking-over");
    world.wait(1);
    world.expectAnew();
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([1]);
    world.comes(2);
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([1, 2]);
  });

  test("at once, when one executor has ended or its worker is lost, has lost its connection for good, or runs nothing", () => {
    for (const state of ["ended", "lost"] as const) {
      const world = new Successor().registered();
      world.comes(1);
      const executors = [{ processId: idOf(2), workerId: "w", pid: 2, state, reason: "gone" }];
      world.post({ kind: "master.executors", epoch: 1, executors });
      world.expectAnew();
    }
    const dies = new Successor().registered();
    dies.comes(1);
    dies.post({ kind: "executor.unlinked", link: 1 });
    dies.post({ kind: "executor.unreachable", processId: idOf(1) });
    dies.expectAnew();
    refused(null).expectAnew();
  });

  test.each([
    ["another try", offer(2, {}, { try: 3, name: "1.3" })],
    ["the same try under another name", offer(2, {}, { name: "1.9" })],
    ["no name", offer(2, {}, { name: undefined })],
    ["another number of subtasks", offer(2, {}, { parallelism: 3 })],
    [
      "other neighbours",
      offer(
        2,
        {},
        {
          peers: [
            { processId: idOf(2), dataAddress: "x:1" },
            { processId: idOf(1), dataAddress: "y:1" },
          ],
        },
      ),
    ],
    ["the subtask of another one", offer(2, {}, { subtask: 0 })],
    ["another storage", offer(2, {}, { storage: "/elsewhere" })],
    ["another beginning", offer(2, {}, { restore: { id: 4, manifest: HANDLE, counts: COUNTS } })],
    ["a beginning of which nobody knows the counters", offer(2, {}, { restore: { id: 3, manifest: HANDLE } })],
    ["an earlier driver than the last one", offer(2, { driver: 3 })],
    ["a later checkpoint than the record", offer(2, { confirmed: 9 })],
    ["no idea of the last checkpoint", offer(2, { confirmed: 0, marks: [] })],
    ["only a later checkpoint", offer(2, { confirmed: 0, marks: [{ id: 9, sources: {} }] })],
  ])("when one of them has %s", (_, second) => {
    refused(second).expectAnew();
  });

  test("when an executor is elsewhere than its neighbours think", () => {
    const world = new Successor().registered();
    world.comes(1, offer(1), { address: "127.0.0.1:1" });
    world.expectAnew();
  });

  test("when all were driven by an attempt before the last one: that one may have removed what they staged", () => {
    const world = new Successor(record()).registered();
    for (const member of [1]) world.comes(member, offer(member, { driver: 3 }));
    world.expectAnew();
  });

  test.each([
    ["a split is with two executors", ["s1", "s2", "s3"], [split("s1"), split("s3")]],
    ["a split is not among those that remained", ["s1", "s2"], [split("s2"), split("s3")]],
    ["an executor does not remember the split that it read at the checkpoint", ["s1", "s2", "s3"], []],
  ])("when %s", (_, splits, given) => {
    const world = refused(offer(2, { sources: { in: { asks: 6, isEnded: false, before: 4, given } } }));
    world.read({ splits });
    world.expectAnew();
  });

  test("when splits were forgotten because there were too many", () => {
    const world = refused(offer(2, { sources: { in: { asks: 9, isEnded: false, before: 6, given: [split("s3")] } } }));
    world.read();
    world.expectAnew();
  });

  test("when nobody is left to read what nobody was given", () => {
    const world = new Successor().registered();
    const ended = (member: number) => ({ in: { ...offer(member).sources.in, isEnded: true } }) as OfferedSlice["sources"];
    for (const member of [1, 2]) world.comes(member, offer(member, { sources: ended(member) }));
    world.read();
    world.expectAnew();
  });

  test("when the checkpoint is one of another try", () => {
    const world = refused(offer(2));
    world.read({ attempt: "1.1" });
    world.expectAnew();
  });

  test("when the checkpoint can't be read, or not in time; what is read too late begins nothing", () => {
    const unreadable = refused(offer(2));
    unreadable.post({ kind: "prepare.failed", try: 2, runs: true, error: shape("CHECKPOINT_UNREADABLE") });
    unreadable.expectAnew();
    const late = refused(offer(2));
    late.wait(DRIVER_LIMITS.takeoverMs);
    late.expectAnew();
    late.read();
    expect(late.view.phase).toBe("gathering");
  });

  test("without asking anybody, when there is no checkpoint or nobody is left", () => {
    const none = new Successor(record({}, [])).registered();
    expect(none.view.phase).toBe("gathering");
    expect(none.of("prepare")).toHaveLength(1);
    const nobody = new Successor().registered([]);
    expect(nobody.of("prepare")).toMatchObject([{ attempt: "2.1" }]);
  });

  test("not at all when its output was decided, or it is cancelled", () => {
    const commit = { attempt: 1, try: 2, sinks: {}, records: { in: 1, out: 1 }, result: null };
    const decided = new Successor(record({ commit })).registered();
    expect(decided.view.phase).toBe("committing");
    const cancelled = new Successor(record({ cancelRequested: true })).registered();
    expect(cancelled.view.phase).not.toBe("taking-over");
  });

  test("executors that come back with a worker afterwards are given back", () => {
    const world = new Successor().takenOver();
    const view = { pid: 1, state: "running" as const, reason: null, workerId: "w" };
    const executors = [...ids, "app-1-1.d1.e9"].map((processId) => ({ ...view, processId }));
    world.post({ kind: "master.executors", epoch: 1, executors });
    const told = world.of("tell-master").filter(({ message }) => message === "driver.executors");
    expect(told.at(-1)?.body).toEqual({ wanted: 2, released: ["app-1-1.d1.e9"] });
  });
});

describe("a driver that is superseded", () => {
  test("leaves its executors to the next attempt, unless the application has ended", () => {
    const world = new Successor().takenOver();
    world.post({ kind: "master.superseded", epoch: 1, reason: "attempt 3 is current", finalState: null });
    expect(world.ending?.outcome).toBe("superseded");
    expect(world.told("executor.finish")).toEqual([]);
    const over = new Successor().takenOver();
    over.post({ kind: "master.superseded", epoch: 1, reason: "it has failed", finalState: "failed" });
    expect(over.told("executor.finish")).toHaveLength(2);
  });

  test("does not remove what a try has staged of which no executor is known to have stopped: another attempt may have taken it over", () => {
    const world = new Successor().takenOver();
    for (const member of [1, 2]) world.post({ kind: "executor.unlinked", link: member });
    world.wait(DRIVER_LIMITS.reconnectMs);
    world.wait(DRIVER_LIMITS.cancelMs);
    for (let wakes = 0; wakes < 5 && world.of("prepare").at(-1)?.try !== 3; wakes++) world.wake();
    expect(world.of("prepare").at(-1)).toMatchObject({ attempt: "2.3", keep: ["1.2"] });
  });

  test("removes it when one executor is known to have ended, without which nobody can take it over", () => {
    const world = new Successor().takenOver();
    for (const member of [1, 2]) world.post({ kind: "executor.unlinked", link: member });
    world.post({ kind: "executor.unreachable", processId: idOf(1) });
    world.wait(DRIVER_LIMITS.cancelMs);
    for (let wakes = 0; wakes < 5 && world.of("prepare").at(-1)?.try !== 3; wakes++) world.wake();
    expect(world.of("prepare").at(-1)).toMatchObject({ attempt: "2.3", keep: [] });
  });
});
