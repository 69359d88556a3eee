import { describe, expect, test } from "vitest";
import type { ErrorShape } from "../../../src/base/errors.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import { applicationRecord, shape, World } from "./driver-world.js";

function checkpointed(changes: Partial<ApplicationRecord> = {}): ApplicationRecord {
  const record = applicationRecord({ checkpoints: { storage: "/shared", nextId: 1, completed: [] }, ...changes });
  const { job } = record.spec;
  if (job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000, toleratedFailures: null };
  return { ...record, spec: { ...record.spec, job: { ...job, checkpoint } } };
}

class Parking extends World {
  private readonly record: ApplicationRecord;

  constructor(record = checkpointed()) {
    super({ application: record });
    this.record = record;
  }

  begun(): this {
    this.post({ kind: "started" });
    this.master(1, this.record);
    this.prepared();
    this.executor(1);
    this.executor(2);
    return this;
  }

  /** Both executors of the present try end, one with this error. */
  tryFails(error: ErrorShape): void {
    const { try: number } = this.view;
    this.failed(1, error);
    this.post({ kind: "executor.cancelled", link: 2, try: number });
  }

  /** The next try runs. */
  again(): void {
    if (this.view.phase === "backing-off") this.wait(2_000);
    this.prepared();
    expect(this.view.phase).toBe("running");
  }
}

const atRecord = (record: string): ErrorShape => ({
  code: "OPERATOR_FAILED",
  message: "Operator 'count' failed: no",
  hint: null,
  details: { operator: "count", record },
});

describe("a job that can only go on by a guess", () => {
  test("is reported as parked, and nothing that it staged is removed", () => {
    const world = new Parking().begun();
    world.tryFails(shape("CHECKPOINT_UNREADABLE", "Checkpoint 7 of app-1-1 can't be read"));
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "parked",
      restart: false,
      reason: { code: "CHECKPOINT_UNREADABLE" },
    });
    expect(world.of("clean-up")).toEqual([]);
    world.answer("driver.finished");
    expect(world.of("forget-checkpoints")).toEqual([]);
    expect(world.ending?.outcome).toBe("parked");
  });

  test("fails in client mode, where nobody could start it again", () => {
    const record = checkpointed();
    const world = new Parking({ ...record, spec: { ...record.spec, deployMode: "client" } }).begun();
    world.tryFails(shape("CHECKPOINT_UNREADABLE"));
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed" });
  });

  test("a savepoint that can't be read fails a submission, and parks again a job that was resumed from it", () => {
    const fails = new Parking().begun();
    fails.tryFails(shape("SAVEPOINT_UNREADABLE"));
    fails.post({ kind: "cleaned" });
    expect(fails.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed" });
    const parks = new Parking(checkpointed({ resumed: { choice: { kind: "fresh" }, attempt: 1 } })).begun();
    parks.tryFails(shape("SAVEPOINT_UNREADABLE"));
    expect(parks.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "parked" });
  });
});

describe("a job that fails the same way again and again", () => {
  test("is parked at the third time, with the operator and the record", () => {
    const world = new Parking().begun();
    world.tryFails(atRecord('{"n":1}'));
    world.again();
    world.tryFails(atRecord('{"n":1}'));
    world.again();
    world.tryFails(atRecord('{"n":1}'));
    const { body } = world.requests("driver.finished")[0] ?? {};
    expect(body).toMatchObject({ outcome: "parked", reason: { code: "CRASH_LOOP" } });
    expect(JSON.stringify(body)).toContain("in operator 'count', at the record {\\\"n\\\":1}");
  });

  test("is not parked when the records differ: then its restart strategy decides", () => {
    const world = new Parking().begun();
    for (const record of ["1", "2"]) {
      world.tryFails(atRecord(record));
      world.again();
    }
    world.tryFails(atRecord("3"));
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "RESTARTS_EXHAUSTED" } });
  });

  test("the master is told of each count, and the next driver goes on from there", () => {
    const first = new Parking().begun();
    first.tryFails(atRecord("1"));
    first.again();
    first.tryFails(atRecord("1"));
    const notes = first.of("tell-master").filter(({ message }) => message === "driver.failures");
    expect(notes).toHaveLength(2);
    expect(notes.at(-1)?.body).toMatchObject({ user: { row: 2 }, loop: { times: 2 } });
    const second = new Parking(checkpointed({ failures: notes.at(-1)?.body as never })).begun();
    second.tryFails(atRecord("1"));
    expect(second.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "parked", reason: { code: "CRASH_LOOP" } });
  });

  test("a master that was away hears of the counts when the driver registers again", () => {
    const world = new Parking().begun();
    world.post({ kind: "master.lost", link: 100 });
    world.tryFails(atRecord("1"));
    expect(world.of("tell-master").filter(({ message }) => message === "driver.failures")).toEqual([]);
    world.master(2, checkpointed());
    expect(world.of("tell-master").filter(({ message }) => message === "driver.failures")).toHaveLength(1);
  });
});
