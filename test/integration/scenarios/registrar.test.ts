/** The registrar, with real processes: removals that wait, workers that are gone, drains, and what must not run twice. */
import { expect } from "vitest";
import type { WorkerView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { expectBuckets, isAlive, kill, type Stage, scenario } from "../../support/scenario.js";

const TICKING = ["sh", "-c", "while :; do echo tick; sleep 0.1; done"];

async function pidOf(stage: Stage, application: string): Promise<number> {
  await stage.runs(application);
  return (await stage.status(application)).driver?.pid ?? 0;
}

async function ticksOf(stage: Stage, application: string): Promise<number> {
  return (await stage.command(["logs", application])).stdout.split("\n").length;
}

async function hostOf(stage: Stage, application: string, workers: readonly ClusterProcess[]) {
  const { driver } = await stage.status(application);
  const view = (await stage.workerViews()).find(({ id }) => id === driver?.worker) as WorkerView;
  const host = workers.find(({ pid }) => pid === view.pid) as ClusterProcess;
  return { host, id: view.id };
}

scenario(
  "a worker that died while no master ran is lost after the next leader's deadline, and its program starts elsewhere",
  async (stage) => {
    stage.masters(1);
    const worker = stage.worker();
    await stage.valid(1, 1);
    const program = await stage.program(TICKING, { supervise: true });
    await pidOf(stage, program);
    await kill(await stage.leader());
    await kill(worker);
    stage.masters(1);
    stage.worker();
    await stage.runs(program, 2);
    expect((await stage.workerViews()).map(({ state }) => state).sort()).toEqual(["alive", "lost"]);
  },
  { timeoutMs: 90_000 },
);

scenario(
  "when most workers die, none is declared lost until the operator says so; the alert shows everywhere",
  async (stage) => {
    stage.masters(2);
    const workers = stage.workers(5);
    await stage.valid(2, 5);
    const program = await stage.program(TICKING, { supervise: true });
    await pidOf(stage, program);
    const { host } = await hostOf(stage, program, workers);
    const spared = workers.filter((worker) => worker !== host).slice(0, 1);
    for (const worker of workers) if (!spared.includes(worker)) await kill(worker);
    await until("the alert", async () => ((await stage.view()).removals?.waiting ?? 0) === 4);
    expect((await stage.command(["cluster"])).stdout).toMatch(
      /removals +4 workers wait to be declared lost since .*: more than 50 %/,
    );
    expect((await stage.command(["workers"])).stdout).toMatch(/suspect, overdue/);
    expect((await stage.command(["doctor"])).stdout).toMatch(/warn removals/);
    const leader = await stage.leader();
    expect(leader.log()).toMatch(
      /warn.*4 workers are past the deadline, and not declared lost|WARN.*not declared lost|not declared lost/,
    );
    expect(await stage.status(program)).toMatchObject({ attempt: 1, state: "running" });
    await stage.killLeader();
    await until("the alert of the next leader", async () => ((await stage.view()).removals?.waiting ?? 0) === 4);
    expect((await stage.command(["removals", "--continue"])).exitCode).toBe(0);
    await stage.runs(program, 2);
    expect((await stage.workerViews()).filter(({ state }) => state === "lost")).toHaveLength(4);
    expect((await stage.command(["workers", "--lost", "--json"])).stdout).toMatch(/"state":"lost"/);
  },
  { timeoutMs: 120_000, mayLeave: (process) => /sh|sleep/.test(process) },
);

scenario(
  "a worker that is gone: its program starts elsewhere at once; it is told to stop everything, and ends with a clear code",
  async (stage) => {
    stage.masters(1);
    const workDirectory = stage.cluster.file("place");
    const worker = stage.worker({ workDirectory });
    await stage.valid(1, 1);
    const program = await stage.program(TICKING, { supervise: true, onPartition: "continue" });
    const pid = await pidOf(stage, program);
    const { id } = await hostOf(stage, program, [worker]);
    stage.worker();
    await stage.valid(1, 2);
    worker.signal("SIGSTOP");
    const gone = await stage.command(["gone", id, "--json"]);
    expect(JSON.parse(gone.stdout)).toEqual({ id, state: "gone" });
    await stage.runs(program, 2);
    worker.signal("SIGCONT");
    expect(await worker.exited).toBe(4);
    expect(worker.log()).toMatch(/declared gone for good.*\[WORKER_GONE\]/);
    await until("its process to be gone", () => !isAlive(pid));
    const again = stage.worker({ workDirectory });
    expect(await again.exited).toBe(4);
    expect((await stage.command(["workers", "--gone"])).stdout).toMatch(/gone for good/);
    expect((await stage.command(["gone", "worker-none"])).exitCode).toBe(4);
  },
);

scenario(
  "a drain moves a job's executors to others before it stops them, also across a failover, and --wait says when nothing is left",
  async (stage) => {
    stage.masters(2);
    const small = stage.worker({ cores: 1, memory: "400m" });
    await stage.valid(2, 1);
    const large = stage.worker({ cores: 2 });
    await stage.valid(2, 2);
    const job = await stage.slowJob("through", 3_000, 500);
    await stage.reads(job);
    const views = await stage.workerViews();
    const leaving = views.find(({ pid }) => pid === large.pid)?.id ?? "";
    expect(views.find(({ pid }) => pid === small.pid)?.state).toBe("alive");
    const waiting = stage.start(["drain", leaving, "--wait"]);
    await until("the drain to be known", async () => (await stage.workerViews()).some(({ state }) => state === "draining"));
    await stage.killLeader();
    stage.worker({ cores: 2 });
    const { stdout, stderr, exitCode } = await waiting.ended;
    expect(stderr).toMatch(/is draining: \d+ process/);
    expect(stdout).toMatch(/is drained: nothing runs on it/);
    expect(exitCode).toBe(0);
    expect(await stage.ended(job, 40_000)).toMatchObject({ state: "finished" });
    expectBuckets(stage.cluster.file("through"), 3_000);
    expect((await stage.command(["drain", leaving, "--cancel"])).stdout).toMatch(/is alive/);
  },
  { timeoutMs: 120_000 },
);

scenario("a drain stops what is left at its deadline", async (stage) => {
  stage.masters(1);
  const worker = stage.worker();
  await stage.valid(1, 1);
  const program = await stage.program(TICKING);
  const pid = await pidOf(stage, program);
  const { id } = await hostOf(stage, program, [worker]);
  await stage.command(["drain", id, "--deadline", "1s", "--wait"]);
  expect(await stage.ended(program)).toMatchObject({ state: "failed", reason: { code: "WORKER_LOST" } });
  expect(isAlive(pid)).toBe(false);
});

scenario(
  "a leader that is silent: what must not run twice ends, what may runs on; dead masters stop neither",
  async (stage) => {
    const [master] = stage.masters(1);
    stage.worker();
    await stage.valid(1, 1);
    const [stops, lasts] = await Promise.all([
      stage.program(TICKING, { supervise: true, onPartition: "stop" }),
      stage.program(TICKING, { supervise: true, onPartition: "continue" }),
    ]);
    const pids = [await pidOf(stage, stops), await pidOf(stage, lasts)] as const;
    // Nobody listens: that proves that no master runs. Long beyond every lease, both tick on.
    const before = await ticksOf(stage, stops);
    await kill(master as ClusterProcess);
    await until("more ticks than a lease has", async () => Number(await ticksIn(stage, stops)) > before + 90, 40_000);
    expect(pids.map(isAlive)).toEqual([true, true]);
    const [next] = stage.masters(1);
    await until("the worker to be back", async () => (await stage.workerViews()).every(({ state }) => state === "alive"));
    expect((await stage.status(stops)).attempt).toBe(1);
    // Stopped, not dead: connections are taken and nobody answers.
    next?.freeze();
    await until("what must not run twice to end", () => !isAlive(pids[0]), 30_000);
    expect(isAlive(pids[1])).toBe(true);
    next?.thaw();
    await stage.runs(stops, 2);
  },
  { timeoutMs: 120_000 },
);

/** As its log on the worker has it: no master is needed. */
async function ticksIn(stage: Stage, application: string): Promise<number> {
  return stage.text("worker-1", "processes", `${application}.d1`, "stdout").split("\n").length;
}
