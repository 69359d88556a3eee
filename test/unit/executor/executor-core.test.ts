import { describe, expect, test } from "vitest";
import type { ErrorShape } from "../../../src/base/errors.js";
import { createExecutorCore } from "../../../src/executor/core/executor-core.js";
import { EXECUTOR_LIMITS, type ExecutorEffect, type ExecutorEvent } from "../../../src/executor/core/executor-events.js";
import type { Progress } from "../../../src/wire/progress.js";

const PROGRESS: Progress = {
  recordsIn: 1,
  recordsOut: 0,
  badRecords: 0,
  totalRecords: null,
  operators: [],
  firstBadRecords: [],
  jobRestarts: 0,
  lastRestartReason: null,
  phase: "running",
};
const shape = (code: ErrorShape["code"], message = code.toLowerCase()): ErrorShape => ({ code, message, hint: null });
const order = (number: number) => ({
  try: number,
  subtask: 0,
  parallelism: 1,
  peers: [{ processId: "app-1-1.d1.e1", dataAddress: "x:1" }],
});

class World {
  readonly effects: ExecutorEffect[] = [];
  now = 1_000;
  private readonly core = createExecutorCore({
    processId: "app-1-1.d1.e1",
    pid: 7,
    dataAddress: "127.0.0.1:9",
    graphHash: "a".repeat(64),
    limits: EXECUTOR_LIMITS,
  });

  get view() {
    return this.core.view();
  }

  post(event: ExecutorEvent): ExecutorEffect[] {
    const effects: ExecutorEffect[] = [];
    this.core.step(event, { instant: this.now, wall: 0 }, { writes: [], effects });
    this.effects.push(...effects);
    return effects;
  }

  wake(): ExecutorEffect[] {
    const at = this.core.nextWakeAt();
    expect(at).not.toBeNull();
    this.now = Math.max(this.now, at ?? 0);
    return this.post({ kind: "wake-up" });
  }

  connected(link = 1, attempt = 1): this {
    if (link === 1) this.post({ kind: "started" });
    this.post({ kind: "driver.connected", link, attempt });
    this.post({ kind: "driver.registered", link, driverDeadlineMs: 10_000, heartbeatMs: 1_000 });
    return this;
  }

  running(number = 1): this {
    this.connected();
    this.post({ kind: "driver.deploy", link: 1, ...order(number) });
    return this;
  }

  told(message: string) {
    return this.effects.filter((effect) => effect.kind === "tell-driver" && effect.message === message);
  }

  of(kind: ExecutorEffect["kind"]) {
    return this.effects.filter((effect) => effect.kind === kind);
  }

  get end() {
    return this.effects.find((effect) => effect.kind === "end");
  }
}

describe("orders", () => {
  test("it registers with its address and graph, and runs what is deployed", () => {
    const world = new World().running();
    expect(world.told("executor.register")).toMatchObject([
      { link: 1, body: { pid: 7, dataAddress: "127.0.0.1:9", graphHash: "a".repeat(64) } },
    ]);
    expect(world.of("start-slice")).toEqual([{ kind: "start-slice", order: order(1) }]);
  });

  test("the same order again changes nothing", () => {
    const world = new World().running();
    expect(world.post({ kind: "driver.deploy", link: 1, ...order(1) })).toEqual([]);
  });

  test("an order of an earlier try is stale", () => {
    const world = new World().running(3);
    expect(world.post({ kind: "driver.deploy", link: 1, ...order(2) })).toEqual([]);
    expect(world.post({ kind: "driver.cancel", link: 1, try: 2 })).toEqual([]);
    expect(world.view).toMatchObject({ slice: "running", try: 3 });
  });

  test("orders of a connection that is over are ignored", () => {
    const world = new World().running();
    world.post({ kind: "driver.lost", link: 1 });
    world.connected(2);
    expect(world.post({ kind: "driver.cancel", link: 1, try: 1 })).toEqual([]);
    expect(world.view.slice).toBe("running");
  });

  test("a cancelled slice is reported only when nothing of it is open", () => {
    const world = new World().running();
    world.post({ kind: "driver.cancel", link: 1, try: 1 });
    expect(world.of("cancel-slice")).toMatchObject([{ try: 1 }]);
    expect(world.told("executor.cancelled")).toEqual([]);
    world.post({ kind: "slice.failed", try: 1, error: shape("ABORTED") });
    expect(world.told("executor.cancelled")).toMatchObject([{ body: { try: 1 } }]);
    expect(world.told("executor.failed")).toEqual([]);
  });

  test("the next try waits until nothing of the one before is open", () => {
    const world = new World().running();
    world.post({ kind: "driver.deploy", link: 1, ...order(2) });
    expect(world.of("start-slice")).toHaveLength(1);
    world.post({ kind: "slice.failed", try: 1, error: shape("ABORTED") });
    expect(world.of("start-slice")).toHaveLength(2);
    expect(world.view).toMatchObject({ slice: "running", try: 2 });
  });

  test("a cancel of a try whose order was lost is answered, and the late order is then stale", () => {
    const world = new World().connected();
    world.post({ kind: "driver.cancel", link: 1, try: 1 });
    expect(world.told("executor.cancelled")).toMatchObject([{ body: { try: 1 } }]);
    expect(world.post({ kind: "driver.deploy", link: 1, ...order(1) })).toEqual([]);
  });

  test("a slice that ended well is reported with its committables", () => {
    const world = new World().running();
    world.post({ kind: "slice.done", try: 1, committables: { out: ["x"] }, progress: PROGRESS });
    expect(world.told("executor.done")).toMatchObject([{ body: { try: 1, committables: { out: ["x"] } } }]);
  });

  test("a slice that failed is reported with its error, and the executor waits for the next order", () => {
    const world = new World().running();
    world.post({ kind: "slice.failed", try: 1, error: shape("OPERATOR_FAILED") });
    expect(world.told("executor.failed")).toMatchObject([{ body: { try: 1, error: { code: "OPERATOR_FAILED" } } }]);
    world.post({ kind: "driver.deploy", link: 1, ...order(2) });
    expect(world.of("start-slice")).toHaveLength(2);
  });

  test("progress of another try than the running one is not told", () => {
    const world = new World().running(2);
    world.post({ kind: "slice.progress", try: 1, progress: PROGRESS });
    expect(world.told("executor.progress")).toEqual([]);
    world.post({ kind: "slice.progress", try: 2, progress: PROGRESS });
    expect(world.told("executor.progress")).toHaveLength(1);
  });

  test("`finish` ends an idle executor at once, with exit code 0", () => {
    const world = new World().connected();
    world.post({ kind: "driver.finish", link: 1, reason: "done" });
    expect(world.end).toEqual({ kind: "end", exitCode: 0, reason: "done" });
  });

  test("`finish` ends a working executor when its slice has left nothing open", () => {
    const world = new World().running();
    world.post({ kind: "driver.finish", link: 1, reason: "cancelled" });
    expect(world.end).toBeUndefined();
    world.post({ kind: "slice.failed", try: 1, error: shape("ABORTED") });
    expect(world.end).toMatchObject({ exitCode: 0 });
  });

  test("an uncaught error of user code is reported, and the process ends with exit code 1", () => {
    const world = new World().running();
    world.post({ kind: "crashed", error: shape("OPERATOR_FAILED", "boom") });
    expect(world.effects.slice(-2)).toMatchObject([
      { kind: "tell-driver", message: "executor.failed", body: { try: 1, error: { message: "boom" } } },
      { kind: "end", exitCode: 1 },
    ]);
  });
});

describe("without a driver", () => {
  test("the slice runs on while the connection is away, and its end is told to the driver that comes back", () => {
    const world = new World().running();
    world.post({ kind: "driver.lost", link: 1 });
    expect(world.of("cancel-slice")).toEqual([]);
    world.post({ kind: "slice.done", try: 1, committables: {}, progress: PROGRESS });
    expect(world.told("executor.done")).toEqual([]);
    world.connected(2);
    expect(world.told("executor.done")).toMatchObject([{ link: 2, body: { try: 1 } }]);
  });

  test("it dials again at once, then every so often", () => {
    const world = new World().running();
    world.effects.length = 0;
    world.post({ kind: "driver.lost", link: 1 });
    expect(world.of("dial")).toHaveLength(1);
    world.post({ kind: "driver.dial-failed", error: shape("TIMEOUT") });
    expect(world.of("dial")).toHaveLength(1);
    world.wake();
    expect(world.of("dial")).toHaveLength(2);
  });

  test("silence is borne until the deadline that the driver named, then the executor ends itself", () => {
    const world = new World().running();
    const lostAt = world.now;
    world.post({ kind: "driver.lost", link: 1 });
    while (world.of("cancel-slice").length === 0) {
      world.post({ kind: "driver.dial-failed", error: shape("TIMEOUT") });
      world.wake();
    }
    expect(world.now - lostAt).toBe(10_000);
    world.post({ kind: "slice.failed", try: 1, error: shape("ABORTED") });
    expect(world.end).toMatchObject({ exitCode: 1 });
  });

  test("a refused connection means a dead driver: it ends after a short grace", () => {
    const world = new World().running();
    const lostAt = world.now;
    world.post({ kind: "driver.lost", link: 1 });
    while (world.of("cancel-slice").length === 0) {
      world.post({ kind: "driver.dial-failed", error: shape("CONNECTION_REFUSED") });
      world.wake();
    }
    expect(world.now - lostAt).toBe(EXECUTOR_LIMITS.refusedGraceMs);
  });

  test("a refusal that passes is forgiven", () => {
    const world = new World().running();
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "driver.dial-failed", error: shape("CONNECTION_REFUSED") });
    world.wake();
    world.connected(2);
    expect(world.view).toMatchObject({ connected: true, slice: "running" });
  });

  test("a driver that was never reached is given up too", () => {
    const world = new World();
    world.post({ kind: "started" });
    while (world.end === undefined) {
      world.post({ kind: "driver.dial-failed", error: shape("CONNECTION_REFUSED") });
      world.wake();
    }
    expect(world.end).toMatchObject({ exitCode: 1 });
  });
});

describe("checkpoints", () => {
  const snapshot = {
    finished: [],
    states: {},
    writers: {},
    sources: {},
    committables: {},
    confirmed: 0,
    counts: { recordsIn: 1, recordsOut: 0, badRecords: 0, operators: [] },
  };
  const begin = (id: number, link = 1, tryNumber = 1): ExecutorEvent => ({
    kind: "driver.checkpoint",
    link,
    try: tryNumber,
    id,
    order: "begin",
    completed: 0,
  });

  test("orders of the try that runs go to its slice, others nowhere, and what it answers goes to the driver", () => {
    const world = new World().running();
    world.post(begin(3));
    world.post(begin(3, 1, 2));
    expect(world.of("checkpoint-slice")).toEqual([
      { kind: "checkpoint-slice", order: { try: 1, id: 3, order: "begin", completed: 0 } },
    ]);
    world.post({ kind: "slice.checkpointed", try: 1, id: 3, snapshot, error: null });
    expect(world.told("executor.checkpointed")).toMatchObject([{ link: 1, body: { try: 1, id: 3, snapshot } }]);
    world.post({ kind: "slice.checkpointed", try: 7, id: 3, snapshot, error: null });
    expect(world.told("executor.checkpointed")).toHaveLength(1);
  });

  test("an answer that was lost with its connection is told again when the order comes again", () => {
    const world = new World().running();
    world.post(begin(3));
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "slice.checkpointed", try: 1, id: 3, snapshot, error: null });
    expect(world.told("executor.checkpointed")).toEqual([]);
    world.connected(2);
    world.post(begin(3, 2));
    expect(world.told("executor.checkpointed")).toMatchObject([{ link: 2, body: { id: 3 } }]);
    expect(world.of("checkpoint-slice")).toHaveLength(1);
    world.post(begin(4, 2));
    expect(world.of("checkpoint-slice")).toHaveLength(2);
  });
});

describe("an executor whose driver is lost", () => {
  const kept = (number: number) => ({ ...order(number), name: `1.${number}`, storage: "/shared" });
  const registered = (world: World) =>
    world.told("executor.register").at(-1) as { readonly body: { readonly try: number; readonly slice?: Record<string, unknown> } };

  /** Its slice takes checkpoints, and was given a split. */
  function checkpointed(): World {
    const world = new World().connected();
    world.post({ kind: "driver.deploy", link: 1, ...kept(1) });
    world.post({ kind: "slice.given", try: 1, source: "in", ask: 1, split: { id: "s1", sizeHint: 1 } });
    return world;
  }

  test("goes on until the deadline when its slice takes checkpoints, though the connection is refused", () => {
    const world = checkpointed();
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "driver.dial-failed", error: shape("CONNECTION_REFUSED") });
    world.now += EXECUTOR_LIMITS.driverDeadlineMs - 1;
    world.post({ kind: "wake-up" });
    expect(world.of("cancel-slice")).toEqual([]);
    world.now += 1;
    world.post({ kind: "wake-up" });
    expect(world.of("cancel-slice")).toHaveLength(1);
  });

  test("offers what it runs to the next attempt, and not to its own driver when that comes back", () => {
    const world = checkpointed();
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "driver.connected", link: 2, attempt: 1 });
    expect(registered(world).body).toMatchObject({ try: 1 });
    expect(registered(world).body.slice).toBeUndefined();
    world.post({ kind: "driver.lost", link: 2 });
    world.post({ kind: "driver.connected", link: 3, attempt: 2 });
    expect(registered(world).body.slice).toMatchObject({
      driver: 1,
      order: { name: "1.1" },
      isDone: false,
      sources: { in: { asks: 1, given: [{ id: "s1" }] } },
    });
  });

  test("belongs to the next attempt when that has answered: a third one is told so", () => {
    const world = checkpointed();
    for (const [link, attempt] of [
      [2, 2],
      [3, 3],
    ] as const) {
      world.post({ kind: "driver.lost", link: link - 1 });
      world.post({ kind: "driver.connected", link, attempt });
      expect(registered(world).body.slice).toMatchObject({ driver: link === 2 ? 1 : 2, order: { name: "1.1" } });
      world.post({ kind: "driver.registered", link, driverDeadlineMs: 10_000, heartbeatMs: 1_000 });
    }
  });

  test("one that was not answered by an attempt has not been driven by it", () => {
    const world = checkpointed();
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "driver.connected", link: 2, attempt: 2 });
    world.post({ kind: "driver.lost", link: 2 });
    world.post({ kind: "driver.connected", link: 3, attempt: 3 });
    expect(registered(world).body.slice).toMatchObject({ driver: 1 });
  });

  test("hears nothing of its old driver once it has another one, and goes back to no earlier attempt", () => {
    const world = checkpointed();
    world.post({ kind: "driver.successor", attempt: 2 });
    expect(world.of("leave-driver")).toEqual([{ kind: "leave-driver", link: 1 }]);
    world.post({ kind: "driver.connected", link: 2, attempt: 2 });
    const before = world.effects.length;
    world.post({ kind: "driver.cancel", link: 1, try: 1 });
    world.post({ kind: "driver.finish", link: 1, reason: "the job is done" });
    world.post({ kind: "driver.deploy", link: 1, ...kept(2) });
    world.post({ kind: "driver.checkpoint", link: 1, try: 1, id: 9, order: "begin", completed: 0 });
    world.post({ kind: "driver.registered", link: 1, driverDeadlineMs: 1, heartbeatMs: 1 });
    expect(world.effects.length).toBe(before);
    world.post({ kind: "driver.lost", link: 2 });
    world.post({ kind: "driver.connected", link: 3, attempt: 1 });
    expect(world.of("leave-driver").at(-1)).toEqual({ kind: "leave-driver", link: 3 });
    expect(world.view.connected).toBe(false);
    expect(world.told("executor.register")).toHaveLength(2);
  });

  test("a successor that is no later attempt changes nothing", () => {
    const world = checkpointed();
    world.post({ kind: "driver.successor", attempt: 1 });
    expect(world.of("leave-driver")).toEqual([]);
  });

  test("offers where it stood at the checkpoint that it has taken, whether it is complete or not", () => {
    const world = checkpointed();
    world.post({ kind: "driver.checkpoint", link: 1, try: 1, id: 4, order: "begin", completed: 0 });
    const snapshot = {
      ...{ finished: [], states: {}, writers: {}, committables: {}, confirmed: 0 },
      sources: { in: { taken: 1, reading: [{ nth: 0, position: 3 }] } },
      counts: { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] },
    };
    world.post({ kind: "slice.checkpointed", try: 1, id: 4, snapshot, error: null });
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "driver.connected", link: 2, attempt: 2 });
    expect(registered(world).body.slice).toMatchObject({ confirmed: 0, marks: [{ id: 4, sources: { in: { taken: 1 } } }] });
  });

  test("one that has ended well offers that, and tells it again to the driver that takes it", () => {
    const world = checkpointed();
    world.post({ kind: "driver.lost", link: 1 });
    world.post({ kind: "slice.done", try: 1, committables: { out: ["part"] }, progress: PROGRESS });
    world.post({ kind: "driver.connected", link: 2, attempt: 2 });
    expect(registered(world).body.slice).toMatchObject({ isDone: true, progress: PROGRESS });
    world.post({ kind: "driver.registered", link: 2, driverDeadlineMs: 10_000, heartbeatMs: 1_000 });
    expect(world.told("executor.done").at(-1)).toMatchObject({ link: 2, body: { try: 1 } });
  });

  test("one that failed, was told to stop, or takes no checkpoints offers nothing", () => {
    const failed = checkpointed();
    failed.post({ kind: "slice.failed", try: 1, error: shape("OPERATOR_FAILED") });
    const stopping = checkpointed();
    stopping.post({ kind: "driver.cancel", link: 1, try: 1 });
    const plain = new World().running();
    for (const world of [failed, stopping, plain]) {
      world.post({ kind: "driver.lost", link: 1 });
      world.post({ kind: "driver.connected", link: 2, attempt: 2 });
      expect(registered(world).body.slice).toBeUndefined();
    }
  });
});
