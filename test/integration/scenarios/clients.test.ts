/** Jobs whose driver or whole cluster lives in the caller's process tree: Ctrl-C and kill -9 of the command leave nothing. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { LOOPBACK, listeningAt } from "../../support/process-facts.js";
import { expectBuckets, jobFile, jobWords, PATIENT, type Stage, scenario } from "../../support/scenario.js";

const GONE_WITHIN_MS = 10_000;

/** Reads with `rate` records a second, and ends when the gate is open. */
async function clientJob(stage: Stage, count: number, rate: number) {
  const words = jobWords({
    params: { count, rate, hold: stage.cluster.file("gate"), output: stage.cluster.file("out") },
    args: ["--id", "here", "--deploy-mode", "client"],
  });
  const command = stage.start(["submit", jobFile("buckets"), ...words]);
  await until("the job to be submitted", async () => (await (await stage.client()).call("list", {})).applications.length === 1);
  await stage.reads("here");
  return command;
}

scenario(
  "client mode: the driver runs here, masters may die meanwhile, and the answer is exact",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    await stage.valid(2, 2);
    const command = await clientJob(stage, 4_000, 1_000);
    await stage.killLeader();
    stage.openGate();
    expect(await command.ended).toMatchObject({ exitCode: 0 });
    expect(await stage.status("here")).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 0 } });
    expectBuckets(stage.cluster.file("out"), 4_000);
  },
  { deadlines: PATIENT },
);

scenario(
  "client mode: Ctrl-C cancels the job, and nothing of it lives or lies about",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const command = await clientJob(stage, 100_000, 1_000);
    const { id } = await stage.status("here");
    command.signal("SIGINT");
    const ran = await command.ended;
    expect(ran.exitCode, ran.stderr).toBeGreaterThan(0);
    expect((await stage.ended("here")).state).toBe("cancelled");
    await until("nothing of it to live", () => stage.processesOf(id).length === 0 && runners(stage).length === 0, GONE_WITHIN_MS);
    expect(stage.staged("out")).toBe(false);
  },
  { deadlines: PATIENT },
);

scenario(
  "client mode: kill -9 of the command (and of the leader) ends its driver, the job is failed, and its executors end",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    const command = await clientJob(stage, 100_000, 1_000);
    const { id } = await stage.status("here");
    // The driver has something to say of the leader's end, and nobody to say it to.
    await stage.killLeader();
    command.signal("SIGKILL");
    await command.ended;
    await until("nothing of it to live", () => stage.processesOf(id).length === 0 && runners(stage).length === 0, GONE_WITHIN_MS);
    expect(["failed", "cancelled"]).toContain((await stage.ended("here")).state);
    // Its files are swept by the next command that makes some.
    const next = await stage.command([
      "submit",
      jobFile("buckets"),
      ...jobWords({ params: { count: 10, output: stage.cluster.file("next") }, args: ["--deploy-mode", "client"] }),
    ]);
    expect(next, next.stderr).toMatchObject({ exitCode: 0 });
  },
);

/** Drivers in client mode. */
const runners = (stage: Stage): readonly string[] => stage.cluster.leftovers().filter((line) => line.includes("client-driver"));

const runWords = (stage: Stage, name: string, count: number) => [
  "run",
  jobFile("buckets"),
  ...["--param", `count=${count}`, "--param", "rate=1000", "--param", `output=${stage.cluster.file(name)}`, "--parallelism", "2"],
];

async function running(stage: Stage, name: string) {
  const command = stage.start(runWords(stage, name, 100_000));
  // The executors stage their parts as soon as they read.
  await until(
    "the job to run",
    () => stage.cluster.leftovers().filter((line) => line.includes("runner")).length >= 3 && stage.staged(name),
  );
  return command;
}

scenario("run: listens on this machine's loopback address only; Ctrl-C leaves no process, no file and no output", async (stage) => {
  const command = await running(stage, "out");
  let listening: ReturnType<typeof listeningAt> = [];
  // The master, the worker, the driver and two executors: one of these may still be on its way when the other one writes.
  await until("all of it to listen", () => {
    listening = stage.cluster.leftovers().flatMap((line) => listeningAt(Number.parseInt(line, 10)));
    return listening.length >= 5;
  });
  expect(listening.filter(({ address }) => address !== LOOPBACK)).toEqual([]);
  command.signal("SIGINT");
  expect(await command.ended).toMatchObject({ exitCode: 130 });
  expect(stage.cluster.leftovers()).toEqual([]);
  expect(stage.cluster.temporaryFiles()).toEqual([]);
  expect(stage.staged("out")).toBe(false);
});

scenario("run: kill -9 leaves no process after 10 s, and the next run sweeps its files", async (stage) => {
  const command = await running(stage, "out");
  command.signal("SIGKILL");
  await command.ended;
  await until("nothing of it to live", () => stage.cluster.leftovers().length === 0, GONE_WITHIN_MS);
  const next = await stage.command(runWords(stage, "next", 100));
  expect(next, next.stderr).toMatchObject({ exitCode: 0 });
  expectBuckets(stage.cluster.file("next"), 100);
});
