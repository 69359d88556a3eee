import { describe, expect, test } from "vitest";
import { DRIVER_LIMITS } from "../../../src/job/driver-events.js";
import { applicationRecord, shape, World } from "./driver-world.js";

describe("cancel, quit and superseded", () => {
  test("a cancelled job stops its executors, cleans up, and reports it", () => {
    const world = new World().running();
    world.post({ kind: "master.cancel", epoch: 1, reason: "cancelled by a user" });
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([1, 2]);
    expect(world.of("clean-up")).toEqual([]);
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "executor.unlinked", link: 2 });
    expect(world.of("clean-up")).toHaveLength(1);
    world.post({ kind: "cleaned" });
    world.answer("driver.finished");
    expect(world.ending).toMatchObject({ outcome: "cancelled", reason: { message: "cancelled by a user" } });
  });

  test("executors that do not stop delay a cancel by a bounded time only", () => {
    const world = new World().running();
    world.post({ kind: "master.cancel", epoch: 1, reason: "x" });
    world.wait(DRIVER_LIMITS.cancelMs);
    world.wait(DRIVER_LIMITS.cleanUpMs);
    expect(world.requests("driver.finished")).toHaveLength(1);
  });

  test("a cancel that comes after the decision to commit does not undo it", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.post({ kind: "master.cancel", epoch: 1, reason: "too late" });
    world.answer("driver.commit");
    world.post({ kind: "sinks.committed" });
    world.post({ kind: "cleaned" });
    world.answer("driver.finished");
    expect(world.ending?.outcome).toBe("finished");
  });

  test("when the master refuses the commit because of the cancel, the job is cancelled", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.post({ kind: "master.cancel", epoch: 1, reason: "in time" });
    world.answer("driver.commit", shape("CONFLICT"));
    world.dies(1);
    world.dies(2);
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "cancelled" });
    expect(world.of("commit-sinks")).toEqual([]);
  });

  test("a cancel that was recorded while no link was up is seen at the registration", () => {
    const world = new World().running();
    world.post({ kind: "master.lost", link: 100 });
    world.master(2, applicationRecord({ cancelRequested: true }));
    expect(world.told("executor.finish")).toHaveLength(2);
  });

  test("a driver that is told to quit ends without reporting an end of the application", () => {
    const world = new World().running();
    world.post({ kind: "stop", mode: "quit", reason: "SIGTERM" });
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "cleaned" });
    expect(world.ending?.outcome).toBe("quit");
    expect(world.requests("driver.finished")).toEqual([]);
  });

  test("a driver that is stopped because of a cancel reports the cancel, whichever word comes first", () => {
    const world = new World().running();
    world.post({ kind: "stop", mode: "quit", reason: "SIGTERM" });
    world.post({ kind: "master.cancel", epoch: 1, reason: "cancelled by a user" });
    world.dies(1);
    world.dies(2);
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "cancelled" });
  });

  test("a user's cancel without a master is not waited for for ever", () => {
    const world = new World().running();
    world.post({ kind: "master.lost", link: 100 });
    world.post({ kind: "stop", mode: "cancel", reason: "SIGINT" });
    world.dies(1);
    world.dies(2);
    expect(world.ending).toBeUndefined();
    while (world.ending === undefined) world.wake();
    expect(world.ending).toMatchObject({ outcome: "cancelled" });
  });

  test("a superseded driver ends at once: executors are sent away, no output is touched", () => {
    const world = new World().running();
    world.post({ kind: "master.superseded", epoch: 2, reason: "attempt 2 is current", finalState: null });
    expect(world.ending?.outcome).toBe("superseded");
    expect(world.told("executor.finish")).toHaveLength(2);
    expect(world.of("clean-up")).toEqual([]);
    expect(world.post({ kind: "wake-up" })).toEqual([]);
  });
});

describe("masters that come and go", () => {
  test("the job runs on without a master, and registers with the next one as what it is", () => {
    const world = new World().running();
    world.post({ kind: "master.lost", link: 100 });
    expect(world.view.phase).toBe("running");
    world.dies(1);
    world.post({ kind: "master.found", link: 200, epoch: 2 });
    expect(world.of("register").at(-1)?.body).toMatchObject({
      attempt: 1,
      wanted: 2,
      executors: ["app-1-1.d1.e2"],
      released: ["app-1-1.d1.e1"],
      highestEpoch: 2,
    });
  });

  test("an executor that is given up while the registration is under way is told of afterwards", () => {
    const world = new World().running();
    world.post({ kind: "master.found", link: 200, epoch: 2 });
    world.effects.length = 0;
    world.dies(1);
    expect(world.of("tell-master")).toEqual([]);
    world.post({ kind: "master.registered", link: 200, epoch: 2, application: applicationRecord() });
    expect(world.of("tell-master")).toContainEqual({
      kind: "tell-master",
      message: "driver.executors",
      body: { wanted: 2, released: ["app-1-1.d1.e1"] },
    });
  });

  test("a leader of a lower epoch is left, and its orders are ignored", () => {
    const world = new World().running();
    world.master(5);
    world.post({ kind: "master.found", link: 300, epoch: 4 });
    expect(world.of("leave-master")).toMatchObject([{ link: 300 }]);
    world.post({ kind: "master.cancel", epoch: 4, reason: "from the past" });
    world.post({ kind: "master.superseded", epoch: 4, reason: "from the past", finalState: null });
    expect(world.view.phase).toBe("running");
  });

  test("of the progress that gathered without a master only the latest is sent", () => {
    const world = new World().running();
    world.post({ kind: "master.lost", link: 100 });
    world.effects.length = 0;
    for (let turn = 0; turn < 10; turn++) world.wait(1_000);
    expect(world.of("tell-master")).toEqual([]);
    world.dies(1);
    world.master(2);
    expect(world.of("tell-master").filter(({ message }) => message === "driver.progress")).toHaveLength(1);
  });

  test("an end that was reported, but whose answer was lost, is an end all the same", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit");
    world.post({ kind: "sinks.committed" });
    world.post({ kind: "cleaned" });
    world.post({ kind: "master.lost", link: 100 });
    world.post({ kind: "master.found", link: 200, epoch: 2 });
    world.post({ kind: "master.superseded", epoch: 2, reason: "app-1-1 is finished", finalState: "finished" });
    expect(world.ending?.outcome).toBe("finished");
  });

  test("the next master hears what the last one knew: the record, and the commit that was decided", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit");
    world.post({ kind: "master.found", link: 200, epoch: 2 });
    expect(world.of("register").at(-1)?.body.application.commit).toEqual(world.requests("driver.commit")[0]?.body);
  });

  test("the end is reported to the next master when the first one is gone", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit");
    world.post({ kind: "sinks.committed" });
    world.post({ kind: "master.lost", link: 100 });
    world.post({ kind: "cleaned" });
    expect(world.ending).toBeUndefined();
    world.master(2);
    expect(world.requests("driver.finished")).toHaveLength(1);
    world.answer("driver.finished");
    expect(world.ending?.outcome).toBe("finished");
  });
});
