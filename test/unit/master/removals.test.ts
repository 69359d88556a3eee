/** How many workers may be declared lost, what happens to the others, and the operator's word about it. */
import { describe, expect, test } from "vitest";
import type { RemovalLimit } from "../../../src/wire/registrar.js";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const DEADLINE_MS = 10_000;

function cluster(count: number, removalLimit: RemovalLimit) {
  const master = new TestMaster({ settings: { removalLimit } });
  const workers = Array.from({ length: count }, (_, index) => new TestWorker(master, `w${String(index).padStart(2, "0")}`));
  return { master, workers };
}

const lost = (master: TestMaster): string[] =>
  master
    .ask("workers", { states: ["lost"] })
    .workers.map(({ id }) => id)
    .sort();
const removals = (master: TestMaster) => master.ask("removals", { decision: null });
const events = (master: TestMaster, kind: string): number =>
  master.ask("events", { after: null, limit: 1000, waitMs: 0 }).events.filter((event) => event.kind === kind).length;

describe("removals a minute", () => {
  const LIMIT = { perMinute: 2, share: 1 };

  test("beyond the limit wait: the worker stays suspect, and nothing of it starts elsewhere", () => {
    const { master, workers } = cluster(4, LIMIT);
    const ids = workers
      .slice(0, 3)
      .map((_, index) => master.submit(`p${index}`, programSpec({ supervise: true, driver: { cores: 4, memoryBytes: 1 } })));
    for (const worker of workers) worker.launch();
    for (const worker of workers.slice(0, 3)) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toHaveLength(2);
    expect(ids.map((id) => master.state(id)).filter((state) => state === "running")).toHaveLength(1);
    expect(removals(master)).toMatchObject({ held: false, waiting: 1, reason: "rate" });
    const [waiting] = master.ask("workers", { states: ["suspect"] }).workers;
    expect(waiting?.overdueSince).not.toBeNull();
    expect(master.ask("cluster", {}).removals).toMatchObject({ waiting: 1 });
    expect(master.logs.filter((line) => line.includes("not declared lost"))).toHaveLength(1);
    expect(events(master, "removals.waiting")).toBe(1);
  });

  test("go on when the minute is over, and the alert ends", () => {
    const { master, workers } = cluster(3, LIMIT);
    for (const worker of workers) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toHaveLength(2);
    master.pass(59_999);
    expect(lost(master)).toHaveLength(2);
    master.pass(1);
    expect(lost(master)).toHaveLength(3);
    expect(removals(master)).toMatchObject({ waiting: 0, since: null, reason: null });
    expect(events(master, "removals.resumed")).toBe(1);
  });

  test("a worker that comes back while it waits has lost nothing", () => {
    const { master, workers } = cluster(3, LIMIT);
    const id = master.submit("job", jobSpec(1));
    const last = workers.find((worker) => worker.launch().length > 0) as TestWorker;
    new TestDriver(master, master.record(id), 1);
    for (const worker of workers) worker.launch();
    for (const worker of workers) if (worker !== last) worker.disconnect();
    last.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).not.toContain(last.id);
    last.register();
    expect(master.sent("worker.refused")).toEqual([]);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
    master.pass(60_000);
    expect(lost(master)).not.toContain(last.id);
  });

  test("the driver of a job on a worker that waits is not replaced for its own silence", () => {
    const { master, workers } = cluster(3, { perMinute: 0, share: 1 });
    const id = master.submit("job", jobSpec(1));
    const host = workers.find((worker) => worker.launch().length > 0) as TestWorker;
    const driver = new TestDriver(master, master.record(id), 1);
    master.close(driver.linkId);
    host.disconnect();
    master.pass(10 * DEADLINE_MS);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
    master.ask("removals", { decision: "continue" });
    expect(master.status(id)).toMatchObject({ attempt: 2 });
  });

  test("are counted on by the next leader", () => {
    const { master, workers } = cluster(4, LIMIT);
    for (const worker of workers) worker.disconnect();
    master.pass(DEADLINE_MS);
    const next = master.failover();
    next.pass(DEADLINE_MS);
    expect(lost(next)).toHaveLength(2);
    next.pass(50_000);
    expect(lost(next)).toHaveLength(4);
  });
});

describe("a share of the workers", () => {
  const LIMIT = { perMinute: null, share: 0.5 };

  test("that is too large stops all removals, however long it is away", () => {
    const { master, workers } = cluster(10, LIMIT);
    for (const worker of workers.slice(0, 6)) worker.disconnect();
    master.pass(10 * DEADLINE_MS);
    expect(lost(master)).toEqual([]);
    expect(removals(master)).toMatchObject({ waiting: 6, reason: "share" });
    workers[0]?.register();
    expect(lost(master)).toHaveLength(5);
  });

  test("is judged by who is away now, also those that are not past their deadline", () => {
    const { master, workers } = cluster(10, LIMIT);
    workers.slice(0, 6).forEach((worker) => {
      worker.disconnect();
      master.pass(1_000);
    });
    master.pass(3 * DEADLINE_MS);
    expect(lost(master)).toEqual([]);
  });

  test("counts those that were lost a moment ago, so that a cluster does not vanish piece by piece", () => {
    const { master, workers } = cluster(10, LIMIT);
    for (const worker of workers) {
      worker.disconnect();
      master.pass(DEADLINE_MS);
    }
    expect(lost(master).length).toBeLessThan(10);
    expect(removals(master)).toMatchObject({ reason: "share" });
  });

  test("never stops the removal of one or two", () => {
    const { master, workers } = cluster(2, LIMIT);
    for (const worker of workers) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toEqual(["w00", "w01"]);
  });

  test("of all of them after a failover is not declared lost", () => {
    const { master, workers } = cluster(5, LIMIT);
    const next = master.failover();
    next.pass(DEADLINE_MS);
    expect(lost(next)).toEqual([]);
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");
    next.pass(DEADLINE_MS);
    expect(next.ask("cluster", {}).state).toBe("ALIVE");
    for (const worker of workers.slice(0, 3)) worker.register(next);
    expect(lost(next)).toEqual(["w03", "w04"]);
  });
});

describe("the operator", () => {
  test("lets those go that wait, and no others", () => {
    const { master, workers } = cluster(10, { perMinute: null, share: 0.5 });
    for (const worker of workers.slice(0, 6)) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(master.ask("removals", { decision: "continue" })).toMatchObject({ waiting: 0, reason: null });
    expect(lost(master)).toHaveLength(6);
    for (const worker of workers.slice(6)) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toHaveLength(6);
  });

  test("holds all removals, also those of the next leaders, until they say continue", () => {
    const { master, workers } = cluster(3, { perMinute: 10, share: 1 });
    master.ask("removals", { decision: "hold" });
    workers[0]?.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toEqual([]);
    expect(removals(master)).toMatchObject({ held: true, waiting: 1, reason: "held" });
    const next = master.failover();
    workers[1]?.register(next);
    workers[2]?.register(next);
    next.pass(10 * DEADLINE_MS);
    expect(lost(next)).toEqual([]);
    expect(next.ask("removals", { decision: "continue" })).toMatchObject({ held: false, waiting: 0 });
    expect(lost(next)).toEqual(["w00"]);
    const last = next.failover();
    expect(removals(last)).toMatchObject({ held: false });
  });

  test("may let a great many go: every step stays small, and all of them go", () => {
    const { master, workers } = cluster(300, { perMinute: 10, share: 0.5 });
    for (const worker of workers) worker.disconnect();
    master.pass(DEADLINE_MS);
    expect(lost(master)).toEqual([]);
    master.ask("removals", { decision: "continue" });
    expect(lost(master)).toHaveLength(300);
  });
});

describe("lost workers", () => {
  test("are forgotten with age, and not before", () => {
    const { master, workers } = cluster(2, { perMinute: null, share: 1 });
    workers[0]?.disconnect();
    master.pass(DEADLINE_MS);
    master.pass(14 * 24 * 3_600_000 - 3_600_000);
    expect(lost(master)).toEqual(["w00"]);
    master.pass(2 * 3_600_000);
    expect(lost(master)).toEqual([]);
    expect([...master.store.keys()].filter((key) => key.startsWith("workers/"))).toEqual(["workers/w01"]);
  });
});
