/** What a master must still know, and what must not notice, when leaders die, stop, come back elsewhere, or die while they recover. */
import { createServer } from "node:net";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { expectBuckets, isAlive, kill, PATIENT, readRows, scenario, stagedRecords } from "../../support/scenario.js";

const JOB_COUNT = 3_000;

scenario(
  "what ends while no master lives is known to the next one, at another port: result, exit code, the waiting client's too",
  async (stage) => {
    const masters = stage.masters(2);
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const output = stage.cluster.file("out");
    const hold = stage.cluster.file("gate");
    const job = await stage.job({ name: "tricky", params: { count: JOB_COUNT, rate: 1_000, trouble: "collect", hold, output } });
    await stage.reads(job);
    const program = await stage.program(stage.gated(7));
    const waiting = stage.start([
      "submit",
      "--id",
      "waiting",
      "--wait",
      "--cores",
      "0.5",
      "--timeout",
      "60s",
      "--",
      ...stage.gated(5),
    ]);
    await until("three applications to run", async () => (await stage.view()).applications.running === 3);
    await Promise.all([stage.runs(program), stage.runs("waiting")]);
    const pids = await Promise.all([program, "waiting"].map(async (id) => (await stage.status(id)).driver?.pid ?? 0));
    await Promise.all(masters.map(kill));
    stage.openGate();
    await until("the programs to end", () => !pids.some(isAlive));
    await until("the job to have written all its records", () => stagedRecords(output) === JOB_COUNT);
    await until("the client to say what it waits for", () => /Looking for a leading master/.test(waiting.stderr()));
    const next = stage.master();

    expect(await waiting.ended).toMatchObject({ exitCode: 5 });
    expect(await stage.ended(program)).toMatchObject({ state: "failed", exitCode: 7, attempt: 1 });
    const ended = await stage.ended(job);
    expect(ended).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 0 } });
    expect(ended.result).toEqual({ few: [{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }] });
    expect(readRows(output)).toHaveLength(JOB_COUNT);

    // It is on disk, too: a master that never spoke with those processes tells the same.
    await kill(next);
    stage.master();
    expect(await stage.status(job)).toMatchObject({ state: "finished", result: ended.result });
    expect(await stage.status(program)).toMatchObject({ state: "failed", exitCode: 7 });
  },
  { deadlines: PATIENT },
);

scenario(
  "a new leader killed at any line of its recovery is followed by the next one, and nothing that runs notices",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", 60_000, 1_000)]);
    const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
    const waits = await stage.program(["true"], { driver: { cores: 64, memoryBytes: 1 } });
    let standby = stage.process((await stage.valid(2, 2)).masters.find((master) => master.state === "STANDBY")?.pid);
    const lines: string[] = [];
    for (let line = 0; ; line++) {
      const third = stage.master();
      await stage.valid(3, 2);
      const from = standby.log().length;
      await stage.killLeader();
      // The lock decides which of the two standbys leads; it is killed at its line.
      const next = await killAtLine([standby, third], (one) => (one === standby ? from : 0), line);
      standby = next.killed === standby ? third : standby;
      await stage.valid(1, 2);
      await stage.undisturbed(program, ofProgram);
      await stage.undisturbed(job, ofJob);
      expect((await stage.status(waits)).state).toBe("waiting");
      expect(await stage.ended(await stage.program(["true"]))).toMatchObject({ state: "finished", attempt: 1 });
      lines.push(next.line);
      // The survivor leads; a new standby takes its place.
      standby = stage.master();
      await stage.valid(2, 2);
      if (/Recovery complete/.test(next.line)) break;
    }
    expect(lines.length, lines.join("\n")).toBeGreaterThanOrEqual(5);
    const client = await stage.client();
    await client.call("cancel", { application: job });
    expect((await stage.ended(job)).state).toBe("cancelled");
  },
  { deadlines: PATIENT, timeoutMs: 120_000 },
);

/** Kills whichever leads as soon as line `index` of its recovery (from its attempt to take over) is written, or recovery is complete. */
async function killAtLine(
  masters: readonly ClusterProcess[],
  from: (master: ClusterProcess) => number,
  index: number,
): Promise<{ readonly killed: ClusterProcess; readonly line: string }> {
  const deadline = performance.now() + 60_000;
  while (performance.now() < deadline) {
    for (const master of masters) {
      const lines = master.log().slice(from(master)).split("\n").slice(0, -1);
      const begin = lines.findIndex((line) => /Elected leader/.test(line));
      if (begin === -1) continue;
      const complete = lines.findIndex((line) => /Recovery complete/.test(line));
      const at = complete !== -1 && complete < begin + index ? complete : begin + index;
      const line = lines[at];
      if (line === undefined) continue;
      await kill(master);
      return { killed: master, line };
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`no master took over, or wrote line ${index} of its recovery`);
}

scenario(
  "a leader stopped for 15 s together with its parent (alone it would be killed): the standby names it, commands wait and say so, and when it goes on nothing is lost or done twice",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", 16_000, 1_000)]);
    const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
    const { masters } = await stage.valid(2, 2);
    const standby = stage.process(masters.find((master) => master.state === "STANDBY")?.pid);
    const leader = await stage.leader();
    const pid = leader.servingPid();
    const file = stage.cluster.file("once");
    const stoppedAt = performance.now();
    leader.freeze();
    const submitting = stage.start([
      "submit",
      "--id",
      "once",
      "--wait",
      "--timeout",
      "60s",
      "--",
      "sh",
      "-c",
      `echo ran >>${file}`,
    ]);
    const listing = stage.start(["list", "--json", "--timeout", "60s"]);
    await until("the standby to name the stopped process", () =>
      new RegExp(`locked by process ${pid}, which is stopped \\(SIGSTOP\\): continue it \\(kill -CONT ${pid}\\)`).test(
        standby.log(),
      ),
    );
    await until("the command to say what it waits for", () => /Looking for a leading master/.test(submitting.stderr()));
    await until("15 s to pass", () => performance.now() - stoppedAt > 15_000);
    expect(isAlive(Number(ofProgram.processes[0]?.split("@")[0]))).toBe(true);
    leader.thaw();

    expect(await submitting.ended).toMatchObject({ exitCode: 0 });
    expect(await listing.ended).toMatchObject({ exitCode: 0 });
    await stage.valid(2, 2);
    expect((await stage.workerViews()).map((worker) => worker.incarnation)).toEqual([1, 1]);
    await stage.undisturbed(program, ofProgram);
    await stage.undisturbed(job, ofJob);
    expect(await stage.status("once")).toMatchObject({ state: "finished", attempt: 1 });
    expect(stage.text("once")).toBe("ran\n");
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 0 } });
    expectBuckets(stage.cluster.file("through"), 16_000);
  },
  { timeoutMs: 150_000 },
);

scenario(
  "commands that follow go on through failovers: logs -f prints every line once, events -f tells of the next leader",
  async (stage) => {
    stage.masters(2);
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const lines = 40;
    const gate = stage.cluster.file("gate");
    // Says half of its lines, and the others when the next leader is there.
    const script = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo line $i; sleep 0.05; [ $i -ne 20 ] || while [ ! -e '${gate}' ]; do sleep 0.05; done; done`;
    const program = await stage.program(["sh", "-c", script]);
    await stage.runs(program);
    const logs = stage.start(["logs", program, "-f", "--timeout", "30s"]);
    const events = stage.start(["events", "-f", "--json", "--timeout", "30s"]);
    await until("logs and events to come", () => /line 1\n/.test(logs.stdout()) && /leader.elected/.test(events.stdout()));
    await stage.killLeader();
    stage.master();
    await stage.runs(program);
    stage.openGate();
    expect(await stage.ended(program)).toMatchObject({ state: "finished", attempt: 1 });
    const followed = await logs.ended;
    expect(followed, followed.stderr).toMatchObject({ exitCode: 0 });
    expect(followed.stdout).toBe(Array.from({ length: lines }, (_, i) => `line ${i + 1}\n`).join(""));
    await until("the next leader's events", () => /"epoch":2,[^\n]*"kind":"application.finished"/.test(events.stdout()));
    const seen = events
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { epoch: number; seq: number; kind: string });
    expect(new Set(seen.map(({ epoch, seq }) => `${epoch}.${seq}`)).size, "each event once").toBe(seen.length);
    expect(seen.filter(({ kind }) => kind === "leader.elected").map(({ epoch }) => epoch)).toEqual([1, 2]);
    events.signal("SIGINT");
    await events.ended;
  },
  { deadlines: PATIENT },
);

scenario(
  "while RECOVERING submissions are taken, durable, and started on the workers that are back; nobody waits for a dead one",
  async (stage) => {
    const patient = ["--worker-deadline", "15s", "--recovery-deadline", "20s"];
    for (let count = 0; count < 2; count++) stage.master({ args: patient });
    const dead = stage.worker();
    stage.worker();
    await stage.valid(2, 2);
    await Promise.all([stage.killLeader(), kill(dead)]);
    const key = "meanwhile";
    await stage.program(["sh", "-c", "sleep 100"], {}, key);
    await stage.runs(key);
    const quick = await stage.ended(await stage.program(["true"]));
    expect(quick.state).toBe("finished");
    expect(await stage.view()).toMatchObject({ state: "RECOVERING", epoch: 2 });
    // What was taken then survives the death of that leader, too.
    await stage.killLeader();
    stage.master({ args: patient });
    expect(await stage.status(key)).toMatchObject({ state: "running", attempt: 1 });
    expect(await stage.status(quick.id)).toMatchObject({ state: "finished" });
    expect(await stage.view()).toMatchObject({ state: "RECOVERING", epoch: 3 });
    await stage.valid(1, 1);
  },
);

scenario(
  "--recovery none: a master restarted at its port knows again what runs, and what ended meanwhile",
  async (stage) => {
    const listen = `127.0.0.1:${await freePort()}`;
    const first = stage.master({ listen, recovery: "none" });
    stage.worker({ cores: 4, master: listen });
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", 6_000, 1_000)]);
    const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
    const short = await stage.program(stage.gated(3));
    await stage.runs(short);
    const pid = (await stage.status(short)).driver?.pid ?? 0;
    await kill(first);
    stage.openGate();
    await until("the short program to end", () => !isAlive(pid));
    stage.master({ listen, recovery: "none" });
    await stage.valid(1, 1);
    await stage.undisturbed(program, ofProgram);
    await stage.undisturbed(job, ofJob);
    expect(await stage.ended(short)).toMatchObject({ state: "failed", exitCode: 3 });
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1 });
    expectBuckets(stage.cluster.file("through"), 6_000);
    await stage.usable("new");
  },
  { deadlines: PATIENT },
);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
