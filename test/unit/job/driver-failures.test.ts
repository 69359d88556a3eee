import { describe, expect, test } from "vitest";
import { DRIVER_LIMITS, isUpTo } from "../../../src/job/driver-events.js";
import { applicationRecord, shape, World } from "./driver-world.js";

/** Both executors stop their slices. */
function stopped(world: World, links: readonly number[], tryNumber = world.view.try): void {
  for (const link of links) world.post({ kind: "executor.cancelled", link, try: tryNumber });
}

/** From the back-off to the next running try. */
function nextTry(world: World): void {
  while (world.view.phase === "backing-off") world.wake();
  world.prepared();
}

describe("a driver whose own process user code has broken", () => {
  test("says so and asks for another attempt, whatever it was doing", () => {
    const world = new World().running();
    world.post({ kind: "crashed", error: shape("APPLICATION_FAILED", "Uncaught exception in the driver: x") });
    expect(world.told("executor.finish")).toHaveLength(2);
    const finished = world.requests("driver.finished");
    expect(finished.map(({ body }) => body)).toMatchObject([
      { outcome: "failed", restart: true, reason: { code: "APPLICATION_FAILED" } },
    ]);
    world.answer("driver.finished");
    expect(world.ending).toMatchObject({ outcome: "failed", restart: true });

    const deciding = new World().running();
    deciding.done(1);
    deciding.done(2);
    deciding.answer("driver.commit");
    deciding.post({ kind: "crashed", error: shape("APPLICATION_FAILED") });
    deciding.post({ kind: "sinks.committed" });
    expect(deciding.requests("driver.finished").map(({ body }) => body)).toMatchObject([{ outcome: "failed", restart: true }]);
  });

  test("ends without a master's answer, soon", () => {
    const world = new World().running();
    world.post({ kind: "master.lost", link: 100 });
    world.post({ kind: "crashed", error: shape("APPLICATION_FAILED") });
    world.wait(DRIVER_LIMITS.cleanUpMs);
    expect(world.ending).toMatchObject({ outcome: "failed", restart: true });
  });
});

describe("an executor that dies", () => {
  test("the others are told to stop, and the next try runs on them and on its replacement", () => {
    const world = new World().running();
    world.dies(1);
    expect(world.told("executor.cancel").map(({ link }) => link)).toEqual([2]);
    stopped(world, [2]);
    nextTry(world);
    expect(world.view).toMatchObject({ phase: "gathering", try: 2 });
    world.executor(3);
    expect(world.view).toMatchObject({ phase: "running", try: 2 });
    expect(
      world
        .told("executor.deploy")
        .slice(2)
        .map(({ link, body }) => [link, (body as { subtask: number }).subtask]),
    ).toEqual([
      [2, 0],
      [3, 1],
    ]);
  });

  test("its place is released at once, and as many executors stay wanted", () => {
    const world = new World().running();
    world.dies(1);
    expect(world.of("tell-master").find(({ message }) => message === "driver.executors")?.body).toEqual({
      wanted: 2,
      released: ["app-1-1.d1.e1"],
    });
  });

  test("no try begins while a member of the one before may still write", () => {
    const world = new World().running();
    world.dies(1);
    world.executor(3);
    expect(world.view.phase).toBe("stopping");
    expect(world.of("prepare")).toHaveLength(1);
    stopped(world, [2]);
    expect(world.view.phase).toBe("backing-off");
  });

  test("a member that does not stop in time is given up, and may not come back", () => {
    const world = new World().running();
    world.dies(1);
    world.wait(DRIVER_LIMITS.cancelMs);
    expect(world.view.phase).toBe("backing-off");
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([2]);
    world.executor(2, 22);
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([2, 22]);
    expect(world.view.executors).toEqual([]);
  });

  test("what the failed try left behind is cleaned up before the next one, which has a name of its own", () => {
    const world = new World().running();
    world.dies(1);
    stopped(world, [2]);
    nextTry(world);
    expect(world.of("prepare").at(-1)).toEqual({ kind: "prepare", try: 2, attempt: "1.2", keep: [] });
  });

  test("leftovers are those of this driver attempt and of earlier ones: a superseded driver harms no successor", () => {
    expect(["1.1", "1.2", "2.7"].map((name) => isUpTo(2, name))).toEqual([true, true, true]);
    expect(["3.1", "10.1", "other", "2", ""].map((name) => isUpTo(2, name))).toEqual([false, false, false, false, false]);
  });

  test("the reason is shown with the restart", () => {
    const world = new World().running();
    world.dies(1);
    stopped(world, [2]);
    expect(world.view.progress).toMatchObject({
      phase: "restarting",
      lastRestartReason: expect.stringContaining("app-1-1.d1.e1 was lost"),
    });
    nextTry(world);
    expect(world.view.progress.jobRestarts).toBe(1);
  });

  test("neighbours' broken exchanges are symptoms: the dead executor is named as the cause", () => {
    const world = new World().running();
    world.failed(2, shape("EXECUTOR_LOST", "the exchange with sub-task 0 broke"));
    world.dies(1);
    expect(world.view.phase).toBe("backing-off");
    expect(world.view.progress.lastRestartReason).toContain("app-1-1.d1.e1 was lost");
  });

  test("death by memory is named, also when the worker tells of it only later", () => {
    const world = new World().running();
    world.dies(1);
    stopped(world, [2]);
    const view = {
      processId: "app-1-1.d1.e1",
      workerId: "w",
      pid: 1,
      state: "ended" as const,
      reason: "out of memory (limit 256 MiB)",
    };
    world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    expect(world.view.progress.lastRestartReason).toContain("out of memory");
  });

  test("a job that may not be restarted waits a little for the word how its executor ended", () => {
    const ended = (reason: string) =>
      ({ processId: "app-1-1.d1.e1", workerId: "w", pid: 1, state: "ended" as const, reason }) as const;
    const world = new World({ restart: { kind: "none" } }).running();
    world.dies(1);
    stopped(world, [2]);
    expect(world.view.phase).toBe("awaiting-reason");
    world.post({ kind: "master.executors", epoch: 1, executors: [ended("out of memory (limit 256 MiB)")] });
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "OUT_OF_MEMORY" } });

    // Nobody knows: it ends all the same, soon. That it was stopped because it was given back is no news.
    const silent = new World({ restart: { kind: "none" } }).running();
    silent.dies(1);
    stopped(silent, [2]);
    silent.post({ kind: "master.executors", epoch: 1, executors: [ended("stopped: its driver gave it back")] });
    expect(silent.view.phase).toBe("awaiting-reason");
    while (silent.view.phase === "awaiting-reason") silent.wake();
    silent.post({ kind: "executor.unlinked", link: 2 });
    silent.post({ kind: "cleaned" });
    expect(silent.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "EXECUTOR_LOST" } });
  });

  test("each try keeps its reason, also one that is learned when the next try runs already", () => {
    const world = new World({ restart: { kind: "fixed-delay", attempts: 1, delayMs: 0 } }).running();
    world.dies(1);
    stopped(world, [2]);
    nextTry(world);
    world.executor(3);
    expect(world.view.phase).toBe("running");
    const view = { processId: "app-1-1.d1.e1", workerId: "w", pid: 1, state: "ended" as const, reason: "ended by SIGKILL" };
    world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    expect(world.view).toMatchObject({ phase: "running", progress: { failedTries: [{ try: 1, code: "EXECUTOR_LOST" }] } });
    expect(world.view.progress.failedTries?.[0]?.message).toContain("SIGKILL");
    world.failed(2, shape("OPERATOR_FAILED"));
    stopped(world, [3]);
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "executor.unlinked", link: 3 });
    world.post({ kind: "cleaned" });
    const reason = world.requests("driver.finished")[0]?.body as { reason: { code: string; details: unknown } };
    expect(reason.reason).toMatchObject({
      code: "RESTARTS_EXHAUSTED",
      details: {
        cause: { code: "OPERATOR_FAILED" },
        tries: [
          { try: 1, code: "EXECUTOR_LOST" },
          { try: 2, code: "OPERATOR_FAILED" },
        ],
      },
    });
  });

  test.each([
    ["out of memory (limit 256 MiB)", "OUT_OF_MEMORY"],
    ["ended by SIGSEGV", "EXECUTOR_CRASHED"],
    ["ended by SIGABRT", "EXECUTOR_CRASHED"],
    ["ended with exit code 134", "EXECUTOR_CRASHED"],
  ])(
    "an executor that dies again and again by itself (%s) ends the job after three tries, and the reason says so",
    (reason, code) => {
      const world = new World().running();
      for (let round = 1; ; round++) {
        const dying = round === 1 ? 1 : 10 + round;
        world.post({
          kind: "master.executors",
          epoch: 1,
          executors: [{ processId: `app-1-1.d1.e${dying}`, workerId: "w", pid: 1, state: "ended", reason }],
        });
        stopped(world, [2]);
        if (round === 3) break;
        nextTry(world);
        world.executor(11 + round);
      }
      world.post({ kind: "executor.unlinked", link: 2 });
      world.post({ kind: "cleaned" });
      const finished = world.requests("driver.finished")[0]?.body;
      expect(finished).toMatchObject({ outcome: "failed", restart: false, reason: { code: "RESTARTS_EXHAUSTED" } });
      expect(JSON.stringify(finished)).toContain(code);
    },
  );

  test.each(["ended by SIGKILL", "ended by SIGTERM", "ended with exit code 0", "ended with exit code 1"])(
    "an executor that something else ended (%s) is followed by another one, however often it happens",
    (reason) => {
      const world = new World().running();
      for (let round = 1; round <= 10; round++) {
        const dying = round === 1 ? 1 : 10 + round;
        const view = { processId: `app-1-1.d1.e${dying}`, workerId: "w", pid: 1, state: "ended", reason } as const;
        world.post({ kind: "master.executors", epoch: 1, executors: [view] });
        stopped(world, [2]);
        nextTry(world);
        world.executor(11 + round);
      }
      expect(world.view.phase).toBe("running");
      expect(world.requests("driver.finished")).toEqual([]);
    },
  );

  test("a broken connection alone is no death: the executor comes back, and goes on with the same try", () => {
    const world = new World().running();
    world.post({ kind: "executor.unlinked", link: 1 });
    expect(world.of("probe")).toMatchObject([{ processId: "app-1-1.d1.e1", address: "127.0.0.1:9001" }]);
    expect(world.view.phase).toBe("running");
    world.executor(1, 31);
    expect(world.told("executor.deploy").at(-1)).toMatchObject({ link: 31, body: { try: 1, subtask: 0 } });
    world.done(31);
    world.done(2);
    expect(world.view.phase).toBe("deciding");
  });

  test("one whose process lives, but whose event loop is busy, is waited for longer, yet not for ever", () => {
    const world = new World().running();
    const brokenAt = world.now;
    world.post({ kind: "executor.unlinked", link: 1 });
    while (world.view.phase === "running") {
      world.post({ kind: "executor.reachable", processId: "app-1-1.d1.e1" });
      world.wake();
    }
    expect(world.now - brokenAt).toBe(DRIVER_LIMITS.unresponsiveMs);
  });

  test("one that does not come back in time is lost", () => {
    const world = new World().running();
    world.post({ kind: "executor.unlinked", link: 1 });
    world.wait(DRIVER_LIMITS.reconnectMs);
    expect(world.view.phase).toBe("stopping");
  });

  test("one that is lost to the master but still answers here is kept: this connection judges it", () => {
    const world = new World().running();
    const view = { processId: "app-1-1.d1.e1", workerId: "w", pid: 1, state: "lost" as const, reason: "its worker is lost" };
    world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    expect(world.view.phase).toBe("running");
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    expect(world.view.phase).toBe("stopping");
  });

  test("messages of the failed try are ignored in the next one", () => {
    const world = new World().running();
    world.dies(1);
    stopped(world, [2]);
    nextTry(world);
    world.executor(3);
    world.done(2, 1);
    world.failed(2, shape("OPERATOR_FAILED"), 1);
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(world.view).toMatchObject({ phase: "running", try: 2 });
  });

  test("ends of an earlier driver attempt's executors are none of its business", () => {
    const world = new World({ application: applicationRecord({ attempt: 2 }) });
    world.post({ kind: "started" });
    world.master(1, applicationRecord({ attempt: 2 }));
    const executors = [1, 2, 3, 4, 5, 6].map((number) => {
      return { processId: `app-1-1.d1.e${number}`, workerId: "w", pid: null, state: "ended" as const, reason: "exit code 1" };
    });
    world.post({ kind: "master.executors", epoch: 1, executors });
    expect(world.view.phase).toBe("gathering");
    expect(world.of("tell-master").filter(({ message }) => message === "driver.executors")).toEqual([]);
  });

  test("executors that end before they connect are replaced, but not for ever", () => {
    const world = new World();
    world.post({ kind: "started" });
    world.master();
    for (let number = 1; number <= DRIVER_LIMITS.maxStartFailures; number++) {
      const view = { processId: `app-1-1.d1.e${number}`, workerId: "w", pid: null, state: "ended" as const, reason: "exit code 1" };
      world.post({ kind: "master.executors", epoch: 1, executors: [view] });
    }
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "RESTARTS_EXHAUSTED" } });
    expect(JSON.stringify(world.requests("driver.finished"))).toContain("exit code 1");
  });
});

describe("a failing sub-task", () => {
  test("is tried three times, then the job fails with its error as the cause", () => {
    const world = new World().running();
    for (let round = 1; round <= 3; round++) {
      world.failed(1, shape("OPERATOR_FAILED", "Operator 'map-1' failed: no"));
      stopped(world, [2]);
      if (round < 3) nextTry(world);
    }
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "cleaned" });
    const body = world.requests("driver.finished")[0]?.body;
    expect(body).toMatchObject({ outcome: "failed", restart: false, reason: { code: "RESTARTS_EXHAUSTED" } });
    expect(JSON.stringify(body)).toContain("Operator 'map-1' failed: no");
    expect(world.view.try).toBe(3);
  });

  test("with restart `none` it fails at once, with its own error", () => {
    const world = new World({ restart: { kind: "none" } }).running();
    world.failed(1, shape("BAD_RECORD", "line 3 of x is bad"));
    stopped(world, [2]);
    world.dies(1);
    world.dies(2);
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "BAD_RECORD" } });
  });

  test("sources that can't be enumerated count as a failed try", () => {
    const world = new World({ restart: { kind: "none" } });
    world.post({ kind: "started" });
    world.master();
    world.post({ kind: "prepare.failed", try: 1, error: shape("SOURCE_FAILED", "/nowhere does not exist") });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "SOURCE_FAILED" } });
  });
});
