/** Worker processes that die, come back, or stay away: what they started, its logs and its ends. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { expectBuckets, isAlive, kill, killPid, PATIENT, type Stage, scenario } from "../../support/scenario.js";

/** Of PATIENT. */
const DEADLINE_MS = 30_000;

scenario(
  "a worker killed and started again on its directory adopts everything: same processes, logs go on, ends are known",
  async (stage) => {
    stage.masters(1);
    const workDirectory = stage.cluster.file("place");
    const first = stage.worker({ cores: 4, workDirectory });
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", 6_000, 1_000)]);
    const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
    const short = await stage.program(stage.gated(9));
    await stage.runs(short);
    const pid = (await stage.status(short)).driver?.pid ?? 0;
    const [{ id = "" } = {}] = await stage.workerViews();
    await kill(first);
    stage.openGate();
    await until("the short program to end", () => !isAlive(pid));
    const ticksWithout = await ticks(stage);
    await until("the ticker to go on without its worker", async () => (await ticks(stage)) > ticksWithout);
    stage.worker({ cores: 4, workDirectory });
    await until("the worker to be back", async () => (await stage.workerViews())[0]?.state === "alive");

    expect((await stage.workerViews()).map((worker) => [worker.id, worker.incarnation])).toEqual([[id, 1]]);
    await stage.undisturbed(program, ofProgram);
    await stage.undisturbed(job, ofJob);
    expect(await stage.ended(short)).toMatchObject({ state: "failed", exitCode: 9, attempt: 1 });
    expect((await stage.command(["logs", program])).stdout).toMatch(/^(tick\n)+$/);
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 0 } });
    expectBuckets(stage.cluster.file("through"), 6_000);

    async function ticks({ cluster }: Stage): Promise<number> {
      return readFileSync(`${cluster.file("place")}/processes/${program}.d1/stdout`, "utf8").length;
    }
  },
  { deadlines: PATIENT },
);

scenario(
  "a worker killed for good is lost after its deadline: its program runs elsewhere, and never both at a time",
  async (stage) => {
    stage.masters(2);
    const worker = stage.worker();
    const file = stage.cluster.file("beats");
    // Ignores the polite signal, so that only the fence's kill ends it.
    const program = await stage.program(
      ["sh", "-c", `trap '' TERM; while :; do echo "$$ $(date +%s%N)" >>${file}; sleep 0.05; done`],
      { supervise: true },
    );
    await stage.runs(program);
    const job = await stage.slowJob("through", 3_000, 500);
    const [lost = undefined] = await stage.workerViews();
    const old = await stage.footprint(program);
    stage.worker({ cores: 4 });
    await stage.valid(2, 2);
    await kill(worker);
    await until("the worker to be lost", async () =>
      (await stage.workerViews()).some((view) => view.id === lost?.id && view.state === "lost"),
    );
    await stage.runs(program, 2);
    expect((await stage.footprint(program)).processes).not.toEqual(old.processes);
    expect(await stage.status(program)).toMatchObject({ attempt: 2, restarts: 1 });
    await until("the second attempt to beat", () => beatsOf(stage).length >= 2);
    const [one = [], two = []] = beatsOf(stage);
    expect(Math.max(...one)).toBeLessThan(Math.min(...two));
    expect(await stage.ended(job, 40_000)).toMatchObject({ state: "finished", attempt: 2 });
    expectBuckets(stage.cluster.file("through"), 3_000);
    expect(
      (await (await stage.client()).call("events", { after: null, limit: 1000, waitMs: 0 })).events.map((event) => event.kind),
    ).toContain("worker.lost");
  },
  { timeoutMs: 150_000 },
);

/** Moments at which each process of the program wrote, by process in the order of their first. */
function beatsOf(stage: Stage): number[][] {
  const byPid = new Map<string, number[]>();
  for (const line of stage
    .text("beats")
    .split("\n")
    .filter((text) => text.endsWith("\n") || / [0-9]{19}$/.test(text))) {
    const [pid = "", at = ""] = line.split(" ");
    byPid.set(pid, [...(byPid.get(pid) ?? []), Number(at) / 1e6]);
  }
  return [...byPid.values()];
}

scenario(
  "a machine dies with its executors: the driver elsewhere has others at once, long before the worker's deadline, and the answer is exact",
  async (stage) => {
    stage.masters(1);
    const workers = stage.workers(3, { cores: 4 });
    await stage.valid(1, 3);
    const job = await stage.slowJob("through", 4_000, 1_000);
    const { driver, executors } = await stage.status(job);
    const executor = executors.find((one) => one.worker !== driver?.worker);
    const views = await stage.workerViews();
    const machine = workers.find(({ pid }) => pid === views.find(({ id }) => id === executor?.worker)?.pid);
    const there = executors.filter((one) => one.worker === executor?.worker);
    expect(there.length).toBeGreaterThan(0);
    const killedAt = performance.now();
    // Nothing of it is left that could report an end.
    machine?.signal("SIGKILL");
    for (const { pid } of there) killPid(pid);
    await until("all executors to be others", async () => {
      const running = (await stage.status(job)).executors.filter(({ state }) => state === "running");
      return running.length === 2 && running.every(({ id }) => !there.some((dead) => dead.id === id));
    });
    await stage.reads(job);
    expect(performance.now() - killedAt).toBeLessThan(DEADLINE_MS / 2);
    expect((await stage.workerViews()).find(({ id }) => id === executor?.worker)?.state).toBe("suspect");
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 1 } });
    expectBuckets(stage.cluster.file("through"), 4_000);
  },
  { deadlines: PATIENT },
);

scenario("a lost worker that returns stops what it had and registers as its next incarnation", async (stage) => {
  stage.masters(1);
  const worker = stage.worker({ cores: 4 });
  stage.worker({ cores: 4 });
  await stage.valid(1, 2);
  const job = await stage.slowJob("through", 60_000, 500);
  const { driver } = await stage.status(job);
  const ofJob = await stage.footprint(job);
  const ids = (await stage.workerViews()).map((view) => view.id);
  // Frozen, not dead: it comes back by itself.
  const victim = (await stage.workerViews()).find((view) => view.id === driver?.worker);
  const frozen = victim?.pid === worker.pid ? worker : stage.process(victim?.pid);
  frozen.signal("SIGSTOP");
  await until("the worker to be lost", async () =>
    (await stage.workerViews()).some((view) => view.id === victim?.id && view.state === "lost"),
  );
  await until("the driver to run elsewhere", async () => (await stage.status(job)).attempt === 2);
  frozen.signal("SIGCONT");
  await until("the worker to be alive again", async () => (await stage.workerViews()).every((view) => view.state === "alive"));
  expect((await stage.workerViews()).map((view) => view.id).sort()).toEqual([...ids].sort());
  expect((await stage.workerViews()).find((view) => view.id === victim?.id)?.incarnation).toBe(2);
  await until(
    "what the first incarnation ran to be gone",
    () => !ofJob.processes.some((process) => isAlive(Number(process.split("@")[0]))),
  );
  await stage.reads(job);
  await (await stage.client()).call("cancel", { application: job });
  expect((await stage.ended(job)).state).toBe("cancelled");
  await stage.usable("new");
});

scenario("a second worker on the same --work-dir is refused, and names the first", async (stage) => {
  stage.masters(1);
  const workDirectory = stage.cluster.file("place");
  const first = stage.worker({ workDirectory });
  await stage.valid(1, 1);
  const second = stage.worker({ workDirectory });
  expect(await second.exited).toBe(4);
  expect(second.log()).toMatch(new RegExp(`another worker, process ${first.pid}, lives on the work directory .*\\[CONFLICT\\]`));
  await stage.valid(1, 1);
});
