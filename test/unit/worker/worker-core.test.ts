import { describe, expect, test } from "vitest";
import type { LaunchOrder } from "../../../src/wire/worker-messages.js";
import { END, kinds, order, RESOURCES, sent, WorkerBench, withPartition } from "./worker-bench.js";

const report = (processId: string, pid: number, end: typeof END | null, launchFailed: string | null = null) => ({
  kind: "worker.report",
  body: { processId, pid, end, launchFailed },
});
const inventoryOf = (said: readonly unknown[]) =>
  (said[0] as { body: { inventory: { processId: string; end: unknown }[] } }).body.inventory;

describe("registration", () => {
  test("a worker registers with its identity and everything it has", () => {
    const bench = new WorkerBench();
    const [said] = bench.register();
    expect(said).toEqual({
      kind: "worker.register",
      body: { workerId: "w", incarnation: 1, highestEpoch: 0, address: "here:1", pid: 7, resources: RESOURCES, inventory: [] },
    });
    bench.run("p", 100);
    bench.launch("q");
    bench.disconnect();
    expect(inventoryOf(bench.connect(2)).map(({ processId, end }) => [processId, end])).toEqual([
      ["p", null],
      ["q", null],
    ]);
  });

  test("a master that keeps records is told what each process is, and not of applications", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.launch("app-1-1.d1.e2", "executor");
    bench.disconnect();
    expect(inventoryOf(bench.connect(2, false))).toMatchObject([
      { processId: "p", role: "program", application: null },
      { processId: "app-1-1.d1.e2", role: "executor", application: null },
    ]);
    bench.disconnect();
    expect(inventoryOf(bench.connect(3, true))).toMatchObject([
      { role: "program", application: { id: "app-1-1" } },
      { role: "executor", application: { id: "app-1-1" } },
    ]);
  });

  test("a restarted worker reports what runs and what ended, as the same worker and incarnation", () => {
    const bench = new WorkerBench();
    bench.register(5);
    bench.run("p");
    bench.run("q");
    const next = bench.restart([bench.found("p"), bench.found("q", END)]);
    const [said] = next.connect(5);
    expect(said).toMatchObject({ kind: "worker.register", body: { workerId: "w", incarnation: 1, highestEpoch: 5 } });
    expect(inventoryOf([said])).toMatchObject([
      { processId: "p", pid: 100, end: null, resources: RESOURCES, application: { id: "app-1-1" } },
      { processId: "q", pid: 100, end: END },
    ]);
    expect(next.core.isLive("p")).toBe(true);
    expect(next.core.isLive("q")).toBe(false);
  });

  test("a master that says not now is asked again later, on the same connection", () => {
    const bench = new WorkerBench();
    bench.connect();
    expect(bench.hear({ kind: "worker.refused", body: { reason: "recovering", message: "" } })).toEqual([]);
    const at = bench.now;
    const said: unknown[] = [];
    while (said.length === 0) said.push(...sent(bench.wakeUp()));
    expect(bench.now - at).toBe(1_000);
    expect(said).toMatchObject([{ kind: "worker.register" }]);
  });

  test("an inventory too large for a message is completed by reports", () => {
    const bench = new WorkerBench({ limits: { maxInventoryLength: 1_500 } });
    bench.register();
    for (const processId of ["a", "b", "c", "d"]) bench.run(processId);
    bench.disconnect();
    for (const processId of ["a", "b", "c"]) bench.step({ kind: "ended", processId, end: END });
    const listed = inventoryOf(bench.connect()).map(({ processId }) => processId);
    expect(listed[0]).toBe("d");
    const reported = sent(bench.welcome()).map((message) => (message.body as { processId: string }).processId);
    expect([...listed, ...reported].sort()).toEqual(["a", "b", "c", "d"]);
    expect(reported.length).toBeGreaterThan(0);
  });
});

describe("orders", () => {
  test("are carried out once, however often they are repeated", () => {
    const bench = new WorkerBench();
    bench.register();
    expect(kinds(bench.launch("p"))).toEqual(["launch"]);
    expect(bench.launch("p")).toEqual([]);
    expect(sent(bench.step({ kind: "launched", processId: "p", pid: 5 }))).toEqual([report("p", 5, null)]);
    expect(bench.launch("p")).toEqual([{ kind: "send", linkId: 1, message: report("p", 5, null) }]);
    expect(sent(bench.step({ kind: "ended", processId: "p", end: END }))).toEqual([report("p", 5, END)]);
    expect(bench.launch("p")).toEqual([{ kind: "send", linkId: 1, message: report("p", 5, END) }]);
  });

  test("of a lower epoch than the highest seen are refused, also after a restart of the worker", () => {
    const bench = new WorkerBench();
    bench.register(7);
    expect(bench.writes).toEqual([
      { workerId: "w", incarnation: 1, highestEpoch: 7 },
      { workerId: "w", incarnation: 1, highestEpoch: 7, clusterId: "c" },
    ]);
    const next = bench.restart([]);
    next.connect(6);
    const effects = next.hear({ kind: "worker.launch", body: order("p") });
    expect(effects).toEqual([{ kind: "close-link", linkId: 1, reason: "its epoch 6 is over" }]);
    // And nothing more is heard from that connection.
    expect(next.hear({ kind: "worker.launch", body: order("p") }, 9)).toEqual([]);
    expect(next.core.isLive("p")).toBe(false);
  });

  test("a new epoch is durable in the turn that brings it", () => {
    const bench = new WorkerBench();
    bench.register(1);
    bench.hear({ kind: "worker.launch", body: order("p") }, 2);
    expect(bench.identity.highestEpoch).toBe(2);
    expect(bench.connect(2)).toMatchObject([{ kind: "worker.register", body: { highestEpoch: 2 } }]);
  });

  test("of an earlier connection are not heard", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.register();
    expect(bench.step({ kind: "message", linkId: 1, epoch: 1, message: { kind: "worker.launch", body: order("p") } })).toEqual([]);
  });

  test("programs that run on without a leader get a lease of their worker, shorter than the master's deadline", () => {
    const bench = new WorkerBench();
    bench.register();
    const launch = (processId: string, role: LaunchOrder["role"]) =>
      bench.hear({ kind: "worker.launch", body: withPartition(order(processId, role), "continue") });
    expect(launch("app-1-1.d1", "program")).toMatchObject([{ endsWithoutWorkerMs: 7_000, endsWithoutLeaderMs: null }]);
    expect(launch("app-1-2.d1", "driver")).toMatchObject([{ endsWithoutWorkerMs: null, endsWithoutLeaderMs: null }]);
    expect(launch("app-1-2.d1.e1", "executor")).toMatchObject([{ endsWithoutWorkerMs: null, endsWithoutLeaderMs: null }]);
  });

  test("a stop reaches a launch that has not begun, a running process, and is answered for what is not here", () => {
    const bench = new WorkerBench();
    bench.register();
    const stop = (processId: string) => bench.hear({ kind: "worker.stop", body: { processId, graceMs: 5, reason: "cancelled" } });
    bench.launch("p");
    expect(stop("p")).toEqual([{ kind: "stop", processId: "p", graceMs: 5, reason: "cancelled" }]);
    expect(sent(bench.step({ kind: "launch-failed", processId: "p", reason: "stopped" }))).toEqual([
      report("p", 0, null, "stopped"),
    ]);
    bench.run("q");
    expect(stop("q")).toEqual([{ kind: "stop", processId: "q", graceMs: 5, reason: "cancelled" }]);
    expect(sent(stop("unknown"))).toMatchObject([{ body: { processId: "unknown", end: { reason: "not known to this worker" } } }]);
  });

  test("beyond the limit of processes are refused with a reason", () => {
    const bench = new WorkerBench({ limits: { maxProcesses: 1 } });
    bench.register();
    bench.launch("p");
    expect(sent(bench.launch("q"))).toMatchObject([
      { kind: "worker.report", body: { processId: "q", launchFailed: expect.stringContaining("limit") } },
    ]);
  });
});

describe("reports", () => {
  test("an end is kept until it is acknowledged, over any number of connections", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.disconnect();
    expect(bench.step({ kind: "ended", processId: "p", end: END })).toEqual([]);
    for (const epoch of [2, 3]) {
      expect(inventoryOf(bench.register(epoch))).toMatchObject([{ processId: "p", end: END }]);
      bench.disconnect();
    }
    bench.register(4);
    expect(bench.hear({ kind: "worker.acknowledge", body: { processIds: ["p", "unknown"] } })).toEqual([
      { kind: "forget", processId: "p" },
    ]);
    bench.disconnect();
    expect(inventoryOf(bench.connect())).toEqual([]);
  });

  test("an end between registration and its answer is reported after the answer", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.disconnect();
    expect(inventoryOf(bench.connect())).toMatchObject([{ processId: "p", end: null }]);
    expect(bench.step({ kind: "ended", processId: "p", end: END })).toEqual([]);
    // An acknowledgement that crosses it cannot be meant for it.
    expect(bench.hear({ kind: "worker.acknowledge", body: { processIds: ["p"] } })).toEqual([]);
    expect(sent(bench.welcome())).toEqual([report("p", 100, END)]);
  });

  test("a launch that fails is reported, again after a reconnect, and forgotten when acknowledged", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.launch("p");
    expect(sent(bench.step({ kind: "launch-failed", processId: "p", reason: "no such file" }))).toEqual([
      report("p", 0, null, "no such file"),
    ]);
    bench.disconnect();
    expect(inventoryOf(bench.register())).toMatchObject([
      { processId: "p", end: { exitCode: null, signal: null, reason: "no such file" } },
    ]);
    expect(bench.hear({ kind: "worker.acknowledge", body: { processIds: ["p"] } })).toEqual([{ kind: "forget", processId: "p" }]);
  });

  test("without a master nothing is stopped, for ever, and the lease of programs goes on", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.disconnect();
    const renewedAt: number[] = [];
    for (let round = 0; round < 100; round += 1) {
      bench.effects = [];
      expect(bench.wakeUp()).toEqual([]);
      if (bench.effects.some((effect) => effect.kind === "renew-lease")) renewedAt.push(bench.now);
    }
    expect(renewedAt.length).toBe(100);
    expect(renewedAt[99]).toBe(1_000 + 100 * 1_000);
    expect(bench.core.isLive("p")).toBe(true);
  });
});

describe("an incarnation that is over", () => {
  const over = { kind: "worker.refused", body: { reason: "incarnation-over", message: "lost" } } as const;

  test("stops everything, and the next one registers with nothing when all has ended", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.run("q");
    bench.launch("r");
    bench.step({ kind: "ended", processId: "q", end: END });
    bench.disconnect();
    bench.connect(2);
    const effects = bench.hear(over);
    expect(effects.map((effect) => [effect.kind, "processId" in effect ? effect.processId : null])).toEqual([
      ["stop", "p"],
      ["forget", "q"],
      ["stop", "r"],
    ]);
    expect(bench.identity).toEqual({ workerId: "w", incarnation: 2, highestEpoch: 2, clusterId: "c" });
    expect(bench.step({ kind: "ended", processId: "p", end: END })).toEqual([{ kind: "forget", processId: "p" }]);
    // The launch comes through after all: it is stopped too.
    expect(bench.step({ kind: "launched", processId: "r", pid: 9 })).toMatchObject([{ kind: "stop", processId: "r" }]);
    expect(bench.step({ kind: "ended", processId: "r", end: END })).toMatchObject([
      { kind: "forget", processId: "r" },
      { kind: "send", message: { kind: "worker.register", body: { incarnation: 2, inventory: [] } } },
    ]);
    expect(kinds(bench.welcome())).toEqual([]);
    expect(kinds(bench.launch("n"))).toEqual(["launch"]);
  });

  test("with nothing running registers at once", () => {
    const bench = new WorkerBench();
    bench.connect();
    expect(sent(bench.hear(over))).toMatchObject([{ kind: "worker.register", body: { incarnation: 2, inventory: [] } }]);
  });

  test("is not forgotten by a crash in the middle: the next worker stops what is left before it registers", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.run("q");
    bench.connect();
    bench.hear(over);
    const next = bench.restart([bench.found("p"), bench.found("q", END)]);
    expect(kinds(next.effects).filter((kind) => kind !== "log" && kind !== "renew-lease")).toEqual(["stop", "forget"]);
    expect(next.connect()).toEqual([]);
    expect(sent(next.step({ kind: "ended", processId: "p", end: END }))).toMatchObject([
      { body: { incarnation: 2, inventory: [] } },
    ]);
  });

  test("a process whose note cannot be read is stopped, and said so", () => {
    const bench = new WorkerBench({}, [{ processId: "p", pid: 3, note: "{}", end: null }]);
    expect(bench.effects).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ kind: "log", level: "error" }),
        expect.objectContaining({ kind: "stop", processId: "p" }),
      ]),
    );
  });
});

describe("close", () => {
  test("says so, stops all processes, and says when the master has their ends and nothing is left", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.run("q");
    const closing = bench.step({ kind: "close", leave: false });
    expect(closing.map((effect) => effect.kind)).toEqual(["send", "stop", "stop"]);
    expect(sent(closing)).toEqual([{ kind: "worker.leaving", body: {} }]);
    // Orders are left unanswered: the master gives them to another worker.
    expect(bench.launch("r")).toEqual([]);
    expect(kinds(bench.step({ kind: "ended", processId: "p", end: END }))).toEqual(["send"]);
    expect(kinds(bench.hear({ kind: "worker.acknowledge", body: { processIds: ["p"] } }))).toEqual(["forget"]);
    expect(kinds(bench.step({ kind: "ended", processId: "q", end: END }))).toEqual(["send"]);
    const last = bench.hear({ kind: "worker.acknowledge", body: { processIds: ["q"] } });
    expect(kinds(last)).toEqual(["forget", "send"]);
    expect(sent(last)).toEqual([{ kind: "worker.left", body: {} }]);
    // The next one on this directory is another incarnation, before this one is known to be gone.
    expect(bench.identity.incarnation).toBe(2);
    expect(kinds(bench.disconnect())).toEqual(["closed"]);
    expect(bench.wakeUp()).toEqual([]);
  });

  test("does not wait for ever until its last word is confirmed", () => {
    const bench = new WorkerBench();
    bench.register();
    const since = bench.now;
    expect(sent(bench.step({ kind: "close", leave: false })).map(({ kind }) => kind)).toEqual(["worker.leaving", "worker.left"]);
    while (!kinds(bench.wakeUp()).includes("closed")) expect(bench.now - since).toBeLessThan(3_000);
    expect(bench.now - since).toBe(2_000);
  });

  test("goes on at the next master when the present one dies meanwhile", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.step({ kind: "close", leave: false });
    bench.disconnect();
    expect(bench.connect(2)).toMatchObject([{ kind: "worker.register", body: { inventory: [{ processId: "p", end: null }] } }]);
    expect(sent(bench.welcome())).toEqual([{ kind: "worker.leaving", body: {} }]);
    expect(sent(bench.step({ kind: "ended", processId: "p", end: END }))).toMatchObject([{ kind: "worker.report" }]);
    expect(sent(bench.hear({ kind: "worker.acknowledge", body: { processIds: ["p"] } }))).toEqual([
      { kind: "worker.left", body: {} },
    ]);
  });

  test("does not wait for a master that is not there, nor for ever for one that does not answer", () => {
    const alone = new WorkerBench();
    expect(kinds(alone.step({ kind: "close", leave: false }))).toEqual(["closed"]);
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    bench.step({ kind: "close", leave: false });
    bench.step({ kind: "ended", processId: "p", end: END });
    const since = bench.now;
    while (!kinds(bench.wakeUp()).includes("closed")) expect(bench.now - since).toBeLessThan(3_000);
    expect(bench.now - since).toBe(2_000);
  });

  test("with leave ends at once and stops nothing", () => {
    const bench = new WorkerBench();
    bench.register();
    bench.run("p");
    expect(kinds(bench.step({ kind: "close", leave: true }))).toEqual(["closed"]);
  });
});

describe("a worker that was stopped and goes on", () => {
  const deadline = (bench: WorkerBench, deadlineMs: number) => {
    bench.connect();
    bench.hear({ kind: "worker.registered", body: { clusterId: "c", deadlineMs, leaseMs: 3_000, heartbeatMs: 500 } });
  };

  test("takes no order that waited meanwhile when the master may have given it up: it registers anew first", () => {
    for (const deadlineMs of [1_000, 2_000, 10_000]) {
      const bench = new WorkerBench();
      deadline(bench, deadlineMs);
      bench.now += deadlineMs;
      expect(kinds(bench.launch("p"))).toEqual(["close-link"]);
      bench.disconnect();
      expect(bench.connect().map(({ kind }) => kind)).toEqual(["worker.register"]);
    }
  });

  test("was not stopped as long as its own timers come, however short the deadline of workers is", () => {
    for (const deadlineMs of [500, 1_000, 2_000, 10_000]) {
      const bench = new WorkerBench();
      deadline(bench, deadlineMs);
      bench.launch("p");
      const end = bench.now + 10 * deadlineMs;
      // The renewals of its lease are not answered here.
      while (bench.now < end) expect(kinds(bench.wakeUp()).filter((kind) => kind !== "look-around")).toEqual([]);
      expect(kinds(bench.launchLasting("q"))).toEqual(["launch"]);
    }
  });
});
