/**
 * Random histories of a master with workers, drivers, clients and successors: whatever comes in whatever order, the invariants hold after every
 * step, and when the disturbances end everything ends. (The simulator does this with hosts, stores and networks; this one is for the core alone.)
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { isFinal } from "../../../src/wire/application.js";
import { jobSpec, MIB, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const restart = { maxRestarts: 3, windowMs: 60_000, minBackoffMs: 100, maxBackoffMs: 1_000 };
type Action = readonly [what: string, which: number];
const actions = fc.array(
  fc.tuple(
    fc.constantFrom(
      "program",
      "supervised",
      "job",
      "client",
      "launch",
      "launch",
      "launch",
      "end",
      "crash",
      "stop",
      "stop",
      "cut",
      "return",
      "return",
      "renew",
      "driver",
      "driver",
      "silent",
      "decide",
      "finish",
      "give-back",
      "cancel",
      "drain",
      "undrain",
      "hold",
      "let-go",
      "gone",
      "pass",
      "long-pass",
      "failover",
      "new-worker",
    ),
    fc.nat({ max: 1000 }),
  ),
  { minLength: 5, maxLength: 80 },
);

class World {
  master: TestMaster;
  readonly workers: TestWorker[] = [];
  readonly cut = new Set<TestWorker>();
  readonly drivers = new Map<string, TestDriver>();
  readonly finals = new Map<string, string>();
  keys = 0;

  constructor(mode: "none" | "store") {
    this.master = new TestMaster({ mode });
    for (const id of ["w1", "w2"]) this.workers.push(new TestWorker(this.master, id, { cores: 3 }));
  }

  pick<T>(list: readonly T[], which: number): T | undefined {
    return list[which % Math.max(1, list.length)];
  }

  submit(spec: ReturnType<typeof programSpec>): void {
    this.keys += 1;
    this.master.submit(`k${this.keys}`, spec);
  }

  driversToStart(): { id: string; attempt: number }[] {
    const started = this.workers
      .flatMap((worker) => (this.cut.has(worker) ? [] : [...worker.running.values()]))
      .filter(({ role }) => role === "driver");
    return started.map(({ processId, application }) => ({
      id: application.id,
      attempt: Number(/d([0-9]+)$/.exec(processId)?.[1]),
    }));
  }

  act([what, which]: Action): void {
    const worker = this.pick(this.workers, which) as TestWorker;
    const connected = !this.cut.has(worker);
    const process = this.pick([...worker.running.keys()], which);
    const [driverKey, driver] = this.pick([...this.drivers], which) ?? [];
    const attempt = Number(driverKey?.split(" ")[1]);
    switch (what) {
      case "program":
        this.submit(programSpec());
        return;
      case "supervised":
        this.submit(programSpec({ supervise: true, restart }));
        return;
      case "job":
        this.submit(jobSpec(1 + (which % 3), { restart }));
        return;
      case "client":
        this.submit(jobSpec(1, { deployMode: "client", supervise: false }));
        return;
      case "launch":
        if (connected) worker.launch();
        return;
      case "end":
      case "crash":
        if (connected && process !== undefined) worker.end(process, what === "end" ? 0 : 1);
        return;
      case "stop":
        if (connected) worker.stop();
        return;
      case "cut":
        if (connected) worker.disconnect();
        this.cut.add(worker);
        return;
      case "return":
        this.comeBack(worker);
        return;
      case "renew":
        if (connected) worker.disconnect();
        worker.incarnation += 1;
        worker.running.clear();
        this.cut.add(worker);
        this.comeBack(worker);
        return;
      case "driver": {
        const one = this.pick(this.driversToStart(), which);
        if (one !== undefined) this.startDriver(one.id, one.attempt);
        for (const app of this.master.ask("list", {}).applications) {
          if (app.kind === "job" && app.state === "submitted" && which % 2 === 0) this.startDriver(app.id, 1);
        }
        return;
      }
      case "silent":
        if (driver !== undefined) this.master.close(driver.linkId);
        this.drivers.delete(driverKey ?? "");
        return;
      case "decide":
        driver?.commit(attempt);
        return;
      case "finish":
        driver?.finish(which % 3 === 0 ? "failed" : which % 3 === 1 ? "cancelled" : "finished", { restart: which % 2 === 0 });
        return;
      case "give-back": {
        const view = driver?.view() ?? [];
        driver?.executors(
          which % 4,
          view.slice(0, 1).map(({ processId }) => processId),
        );
        return;
      }
      case "cancel": {
        const app = this.pick(this.master.ask("list", {}).applications, which);
        if (app !== undefined) this.master.ask("cancel", { application: app.id });
        return;
      }
      case "drain":
        if (which % 5 < 2) this.master.try("drain", { worker: worker.id, ...(which % 5 === 0 ? {} : { deadlineMs: which * 10 }) });
        return;
      case "undrain":
        this.master.try("drain", { worker: worker.id, cancel: true });
        return;
      case "hold":
      case "let-go":
        this.master.try("removals", { decision: what === "hold" ? "hold" : "continue" });
        return;
      case "gone":
        if (which % 6 === 0 && this.master.try("gone", { worker: worker.id }).error === null) this.hearsThatItIsGone(worker);
        return;
      case "pass":
        this.master.pass(which);
        return;
      case "long-pass":
        this.master.pass(12_000);
        return;
      case "failover":
        this.failover();
        return;
      default:
        if (this.workers.length < 4) this.workers.push(new TestWorker(this.master, `w${this.workers.length + 1}`, { cores: 2 }));
    }
  }

  /** At once, or when it tries to come back. */
  hearsThatItIsGone(worker: TestWorker): void {
    if (this.cut.has(worker)) return;
    expect(this.master.sent("worker.refused")).toMatchObject([{ body: { reason: "gone" } }]);
    worker.running.clear();
    this.cut.add(worker);
  }

  comeBack(worker: TestWorker): void {
    worker.register(this.master);
    this.cut.delete(worker);
    const [refusal] = this.master.sent("worker.refused");
    if (refusal?.body.reason === "gone") {
      worker.running.clear();
      this.cut.add(worker);
    } else if (refusal !== undefined) {
      worker.incarnation += 1;
      worker.running.clear();
      worker.register(this.master);
    }
  }

  startDriver(id: string, attempt: number): void {
    const key = `${id} ${attempt}`;
    const known = this.drivers.get(key);
    if (known !== undefined) this.master.close(known.linkId);
    this.drivers.delete(key);
    const order = this.workers
      .flatMap((worker) => [...worker.running.values()])
      .find(({ processId }) => processId === `${id}.d${attempt}`);
    const record = order?.application ?? (this.master.store.has(`applications/${id}`) ? this.master.record(id) : undefined);
    if (record === undefined) return;
    const driver = new TestDriver(this.master, record, attempt);
    if (driver.registered.error === null) this.drivers.set(key, driver);
  }

  failover(): void {
    const { mode } = this.master.options;
    this.master = this.master.failover(mode === "none" ? { store: new Map() } : {});
    if (mode === "none") this.finals.clear();
    this.drivers.clear();
    for (const worker of this.workers) {
      if (this.cut.has(worker)) continue;
      this.cut.add(worker);
      this.comeBack(worker);
    }
  }

  check(): void {
    for (const { id, state, cores, memoryBytes } of this.master.ask("workers", {}).workers) {
      // A worker may report more than the master ever placed only when it was told to stop it.
      if (state === "alive") expect(cores.used, `${id} is over-committed`).toBeLessThanOrEqual(cores.total);
      if (state === "alive") expect(memoryBytes.used).toBeLessThanOrEqual(memoryBytes.total);
      if (state === "lost") expect(cores.used).toBe(0);
    }
    for (const { id, state } of this.master.ask("list", {}).applications) {
      const before = this.finals.get(id);
      if (before !== undefined) expect(state, `${id} left its final state`).toBe(before);
      if (state === "finished" || state === "failed" || state === "cancelled") this.finals.set(id, state);
    }
    this.master.effects = this.master.effects.filter(
      (effect) => effect.kind !== "log" && effect.kind !== "reply" && effect.kind !== "reply-error",
    );
  }

  /** No more disturbances: what is current ends well, everything else ends only because the master stops it. */
  calm(): void {
    for (const worker of this.workers) if (this.cut.has(worker)) this.comeBack(worker);
    for (const driver of this.drivers.values()) this.master.close(driver.linkId);
    this.drivers.clear();
    this.workers.push(new TestWorker(this.master, "w9", { cores: 4, memoryBytes: 4096 * MIB }));
    for (let round = 0; round < 60; round++) {
      const current = new Set(
        this.master
          .ask("list", {})
          .applications.filter(({ state }) => state === "running")
          .map(({ id, attempt }) => `${id}.d${attempt}`),
      );
      for (const worker of this.workers) {
        worker.stop();
        worker.launch();
        for (const order of [...worker.running.values()]) {
          if (order.role === "program" && current.has(order.processId)) worker.end(order.processId, 0);
          // It removes what the sinks of an ended job staged.
          if (order.role === "driver" && isFinal(order.application.state)) worker.end(order.processId, 0);
        }
      }
      for (const { id, attempt } of this.driversToStart()) {
        if (!current.has(`${id}.d${attempt}`)) continue;
        this.startDriver(id, attempt);
        this.drivers.get(`${id} ${attempt}`)?.finish("finished");
      }
      for (const worker of this.workers) worker.stop();
      this.check();
      this.master.pass(2_000);
    }
    const open = this.master.ask("list", {}).applications.filter(({ state }) => !isFinal(state));
    expect(open, "what did not end").toEqual([]);
    expect(
      this.workers.flatMap((worker) => [...worker.running.keys()]),
      "what still runs",
    ).toEqual([]);
    this.fill();
  }

  /** Nothing has leaked: programs as large as the workers find room on all of them. */
  fill(): void {
    const free = this.master
      .ask("workers", {})
      .workers.filter(({ state }) => state === "alive")
      .sort((a, b) => b.cores.total - a.cores.total);
    const ids = free.map(({ id, cores }) =>
      this.master.submit(`fill ${id}`.replace(" ", "-"), programSpec({ driver: { cores: cores.total, memoryBytes: MIB } })),
    );
    for (const id of ids) expect(this.master.state(id), "room has leaked").toBe("running");
  }
}

const run = (mode: "none" | "store", history: readonly Action[]): void => {
  const world = new World(mode);
  for (const action of history) {
    world.act(action);
    world.check();
  }
  world.calm();
};

test("any history over records keeps the invariants and ends when it is left alone", () => {
  fc.assert(
    fc.property(actions, (history) => run("store", history)),
    { numRuns: 300, seed: 1 },
  );
});

test("any history in recovery mode none keeps the invariants and ends when it is left alone", () => {
  fc.assert(
    fc.property(actions, (history) => run("none", history)),
    { numRuns: 200, seed: 2 },
  );
});
