/**
 * A scenario: real processes, a cluster in a directory of its own, and a client that follows every failover.
 *
 * Boundary: what scenario tests share. Starting and ending processes is process-cluster.ts.
 * After each scenario: every process ended by itself when it was asked to (but what the test says may be left), no process of the cluster
 * lives, and no temporary file is left.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type ClusterClient, openClient } from "../../src/cli/client/cluster-client.js";
import type { ApplicationSpec } from "../../src/wire/application.js";
import type { ApplicationView, ClusterView, WorkerView } from "../../src/wire/views.js";
import { holdfast, PROGRAM, type Ran, ROOT, type Running, type RunOptions, startHoldfast, until } from "./holdfast.js";
import { expectBuckets } from "./output.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "./process-cluster.js";
import { isAlive, readProc, startTicks } from "./process-facts.js";

/** Short deadlines, so that what follows from them is seen soon. */
export const FAST = [
  ...["--worker-deadline", "2s", "--driver-deadline", "2s"],
  ...["--recovery-deadline", "3s", "--stop-grace", "500ms"],
] as const;
/** Where nobody may become lost: a machine that is slow for a while must not look like a dead one. */
export const PATIENT = [
  ...["--worker-deadline", "30s", "--driver-deadline", "30s"],
  ...["--recovery-deadline", "30s", "--stop-grace", "500ms"],
] as const;
const CLIENT_TIMEOUT = "60s";
const COMMANDS_END_WITHIN_MS = 5_000;
const LOG_TAIL_CHARACTERS = 6_000;

export interface ScenarioOptions {
  readonly timeoutMs?: number;
  /** Of the masters. Default: FAST. */
  readonly deadlines?: readonly string[];
  /** Processes that may outlive the polite end of the cluster, because their worker was killed for good. */
  readonly mayLeave?: (process: string) => boolean;
  /** Names of temporary files that may be left, with the reason in the test. */
  readonly mayLeaveFile?: (name: string) => boolean;
  readonly skip?: boolean;
}

export function scenario(sentence: string, body: (stage: Stage) => Promise<void>, options: ScenarioOptions = {}): void {
  test.skipIf(options.skip === true)(sentence, { timeout: timeoutOf(options) + 60_000 }, () => play(body, options));
}

async function play(body: (stage: Stage) => Promise<void>, options: ScenarioOptions): Promise<void> {
  const cluster = await processCluster(PROGRAM);
  const stage = new Stage(cluster, options.deadlines ?? FAST);
  try {
    await within(body(stage), timeoutOf(options));
  } catch (thrown) {
    stage.showLogs();
    await end(stage);
    await cluster.close();
    throw thrown;
  }
  const { mayLeave = () => false, mayLeaveFile = () => false } = options;
  await end(stage);
  const files = cluster.temporaryFiles().filter((name) => !mayLeaveFile(name));
  const left = (await cluster.close()).filter((process) => !mayLeave(process));
  expect(left, "processes that outlived their cluster").toEqual([]);
  expect(cluster.leftovers(), "processes after the end").toEqual([]);
  expect(existsSync(cluster.directory)).toBe(false);
  expect(files, "temporary files").toEqual([]);
}

const timeoutOf = ({ timeoutMs = 120_000 }: ScenarioOptions): number => timeoutMs;

/** Its own limit, below vitest's: so that logs are shown and processes ended when a scenario hangs. */
async function within(body: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the scenario did not end within ${timeoutMs} ms`)), timeoutMs);
  });
  await Promise.race([body, late]).finally(() => clearTimeout(timer));
  body.catch(() => {});
}

async function end(stage: Stage): Promise<void> {
  await stage.close();
  await stage.cluster.stop();
  stage.cleanUp();
}

/** What of an application must not change when only masters die. */
export interface Footprint {
  readonly attempt: number;
  readonly jobRestarts: number;
  /** `PID@START` of the driver and of running executors: a pid that is used again is another process. */
  readonly processes: readonly string[];
}

export interface JobStart {
  /** Of test/integration/jobs; default: buckets. */
  readonly name?: string;
  readonly params: Readonly<Record<string, string | number>>;
  readonly parallelism?: number;
  readonly args?: readonly string[];
}

export class Stage {
  readonly cluster: ProcessCluster;
  readonly signal: AbortSignal;
  private readonly deadlines: readonly string[];
  /** Set before anything is started: of all masters, workers and clients. */
  secretFile: string | null = null;
  /** Set before anything is started: where workers and clients look for masters, instead of the file that these advertise in. */
  masterUrl: string;
  /** Set before anything is started: of all masters. */
  recovery: string | null = null;
  private readonly control = new AbortController();
  private opened: Promise<ClusterClient> | null = null;
  private readonly all: ClusterProcess[] = [];
  private readonly commands: Running[] = [];
  private readonly cleanUps: (() => void)[] = [];
  /** By the id of a job that ends only when it is let go: the file that lets it. */
  private readonly holds = new Map<string, string>();
  private count = { master: 0, worker: 0, key: 0 };

  constructor(cluster: ProcessCluster, deadlines: readonly string[]) {
    this.cluster = cluster;
    this.deadlines = deadlines;
    this.masterUrl = cluster.masterUrl;
    this.signal = this.control.signal;
  }

  master(options: Parameters<ProcessCluster["startMaster"]>[1] = {}): ClusterProcess {
    this.count.master += 1;
    const args = [...this.deadlines, ...this.secretWords(), ...(options.args ?? [])];
    const recovery = this.recovery === null ? {} : { recovery: this.recovery };
    const started = this.cluster.startMaster(`master-${this.count.master}`, { ...recovery, ...options, args });
    this.all.push(started);
    return started;
  }

  private secretWords(): readonly string[] {
    return this.secretFile === null ? [] : ["--secret-file", this.secretFile];
  }

  masters(count: number): readonly ClusterProcess[] {
    return Array.from({ length: count }, () => this.master());
  }

  worker(options: Parameters<ProcessCluster["startWorker"]>[1] = {}): ClusterProcess {
    this.count.worker += 1;
    const args = [...this.secretWords(), ...(options.args ?? [])];
    const started = this.cluster.startWorker(`worker-${this.count.worker}`, { master: this.masterUrl, ...options, args });
    this.all.push(started);
    return started;
  }

  workers(count: number, options: Parameters<ProcessCluster["startWorker"]>[1] = {}): readonly ClusterProcess[] {
    return Array.from({ length: count }, () => this.worker(options));
  }

  /** A client in this process. */
  client(): Promise<ClusterClient> {
    const secret = this.secretFile === null ? {} : { secretFile: this.secretFile };
    this.opened ??= openClient({ master: this.masterUrl, timeout: CLIENT_TIMEOUT, json: true, ...secret }, this.signal).catch(
      (thrown) => {
        this.opened = null;
        throw thrown;
      },
    );
    return this.opened;
  }

  async status(application: string): Promise<ApplicationView> {
    return (await (await this.client()).call("status", { application, after: null, waitMs: 0 })).application;
  }

  async view(): Promise<ClusterView> {
    return (await this.client()).call("cluster", {});
  }

  async workerViews(): Promise<readonly WorkerView[]> {
    return (await (await this.client()).call("workers", {})).workers;
  }

  /** Waits for the end; a slow job is let go first. */
  async ended(application: string, timeoutMs = 60_000): Promise<ApplicationView> {
    const hold = this.holds.get(application);
    if (hold !== undefined) writeFileSync(hold, "");
    let view = await this.status(application);
    await until(
      `the end of ${application}`,
      async () => {
        view = await this.status(application);
        return ["finished", "failed", "cancelled"].includes(view.state);
      },
      timeoutMs,
    );
    return view;
  }

  /** `holdfast` with this cluster's master. */
  command(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.start(args, options).ended;
  }

  start(args: readonly string[], options: RunOptions = {}): Running {
    const secret = this.secretFile === null ? {} : { HOLDFAST_SECRET_FILE: this.secretFile };
    const env = { HOLDFAST_MASTER: this.masterUrl, TMPDIR: this.cluster.file("tmp"), ...secret, ...options.env };
    const running = startHoldfast(args, { ...options, env });
    this.commands.push(running);
    return running;
  }

  /** Submits a program; the answer is its id. */
  async program(argv: readonly string[], spec: Partial<ApplicationSpec> = {}, key?: string): Promise<string> {
    const client = await this.client();
    const submitted = await client.call("submit", { key: key ?? client.newSubmissionKey(), spec: programSpec(argv, spec) });
    return submitted.id;
  }

  /** The command of a program that ends with the exit code as soon as the gate is open. */
  gated(exitCode: number): readonly string[] {
    return ["sh", "-c", `while [ ! -e '${this.cluster.file("gate")}' ]; do sleep 0.05; done; exit ${exitCode}`];
  }

  openGate(): void {
    writeFileSync(this.cluster.file("gate"), "");
  }

  /** A supervised program that runs for ever; the answer is its id, when it runs. */
  async ticker(spec: Partial<ApplicationSpec> = {}): Promise<string> {
    const id = await this.program(["sh", "-c", "while :; do echo tick; sleep 0.2; done"], {
      name: "ticker",
      supervise: true,
      ...spec,
    });
    await this.runs(id);
    return id;
  }

  async runs(application: string, attempt = 1): Promise<void> {
    await until(`${application} to run, attempt ${attempt}`, async () => {
      const view = await this.status(application);
      return view.state === "running" && view.attempt === attempt && view.driver?.pid != null;
    });
  }

  /** Submits a job of test/integration/jobs; the answer is its id. */
  async job(start: JobStart): Promise<string> {
    const ran = await this.command(["submit", jobFile(start.name ?? "buckets"), "--json", ...jobWords(start)]);
    expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
    return (JSON.parse(ran.stdout) as { id: string }).id;
  }

  /**
   * A job that reads with `rate` records a second; returns when it does. It holds its last record back until `ended` is called: whatever a
   * test does before that happens to a running job, on the slowest machine too.
   */
  async slowJob(name: string, count: number, rate: number): Promise<string> {
    const hold = this.cluster.file(`${name}.let-go`);
    const id = await this.job({ params: { count, rate, hold, output: this.cluster.file(name) } });
    this.holds.set(id, hold);
    await this.reads(id);
    return id;
  }

  /** All executors of the job run and records flow. */
  async reads(id: string, parallelism = 2): Promise<void> {
    await until(`${id} to read`, async () => {
      const view = await this.status(id);
      const running = view.executors.filter((executor) => executor.state === "running" && executor.pid !== null);
      return view.state === "running" && running.length === parallelism && (view.progress?.recordsIn ?? 0) > 0;
    });
  }

  async footprint(application: string): Promise<Footprint> {
    const view = await this.status(application);
    const pids = [
      view.driver?.pid ?? null,
      ...view.executors.filter((executor) => executor.state === "running").map((executor) => executor.pid),
    ].flatMap((pid) => (pid === null ? [] : [pid]));
    return {
      attempt: view.attempt,
      jobRestarts: view.progress?.jobRestarts ?? 0,
      processes: pids.map((pid) => `${pid}@${startTicks(pid)}`).sort(),
    };
  }

  /** Waits until a later leader knows all of the application again, and compares: same attempt, same processes. */
  async undisturbed(application: string, before: Footprint): Promise<void> {
    await until(`${application} to be known again`, async () => {
      const view = await this.status(application);
      return view.state === "running" && (await this.footprint(application)).processes.length === before.processes.length;
    }).catch(() => {});
    expect(await this.footprint(application)).toEqual(before);
  }

  /** Exactly one master ALIVE, the others STANDBY, all workers alive. */
  async valid(masters: number, workers: number, timeoutMs = 60_000): Promise<ClusterView> {
    let view = await this.view();
    await until(
      `${masters} masters, ${workers} workers`,
      async () => {
        view = await this.view();
        return view.state === "ALIVE" && view.masters.length === masters && view.workers.alive === workers;
      },
      timeoutMs,
    ).catch((thrown) => {
      throw new Error(`${thrown instanceof Error ? thrown.message : thrown}; seen: ${JSON.stringify(view)}`);
    });
    expect(view.masters.filter((master) => master.state === "ALIVE").map((master) => master.pid)).toEqual([view.leader?.pid]);
    expect(view.masters.filter((master) => master.state === "STANDBY")).toHaveLength(masters - 1);
    expect((await this.workerViews()).filter((worker) => worker.state === "alive")).toHaveLength(workers);
    return view;
  }

  async leader(): Promise<ClusterProcess> {
    const { leader } = await this.view();
    return this.process(leader?.pid);
  }

  process(pid: number | undefined): ClusterProcess {
    const found = this.all.find((process) => process.servingPid() === pid);
    if (found === undefined) throw new Error(`no process ${pid} of this cluster`);
    return found;
  }

  async killLeader(): Promise<ClusterProcess> {
    const leader = await this.leader();
    await kill(leader);
    return leader;
  }

  /** A new job, small and without disturbance, gives the right answer. */
  async usable(name: string): Promise<void> {
    const output = this.cluster.file(name);
    const id = await this.job({ params: { count: 1000, output } });
    expect(await this.ended(id)).toMatchObject({ state: "finished", attempt: 1 });
    expectBuckets(output, 1000);
  }

  /** Whether an output is being written: something is staged, nothing visible yet. */
  staged(name: string): boolean {
    const output = this.cluster.file(name);
    return existsSync(output) && readdirSync(output).some((entry) => entry.startsWith(".holdfast-"));
  }

  /** A file in the cluster's directory; empty when it is missing. */
  text(...parts: readonly string[]): string {
    const file = this.cluster.file(...parts);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** After the end of all processes, before the directory is removed. */
  atEnd(cleanUp: () => void): void {
    this.cleanUps.push(cleanUp);
  }

  cleanUp(): void {
    for (const cleanUp of this.cleanUps.splice(0)) cleanUp();
  }

  /** A small file system of its own in the cluster's directory (root only). */
  smallDisk(name: string, megabytes: number): string {
    const disk = this.cluster.file(name);
    mkdirSync(disk);
    mount("-t", "tmpfs", "-o", `size=${megabytes}m`, "holdfast-test", disk);
    this.atEnd(() => void spawnSync("umount", ["-l", disk]));
    return disk;
  }

  async close(): Promise<void> {
    for (const command of this.commands) command.signal("SIGKILL");
    // A process that such a command has left behind may hold its output open; the end of the cluster finds it.
    const patience = new Promise((resolve) => setTimeout(resolve, COMMANDS_END_WITHIN_MS));
    await Promise.race([Promise.all(this.commands.map((command) => command.ended)), patience]);
    const client = await this.opened?.catch(() => null);
    await client?.[Symbol.asyncDispose]();
    this.control.abort(new Error("the scenario is over"));
  }

  /** Living processes of an application and whatever they started, by what each launch puts into the environment: `PID COMMAND`. */
  processesOf(application: string): readonly string[] {
    const found: string[] = [];
    for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name) && isAlive(Number(name)))) {
      const [environment = "", command = ""] = ["environ", "cmdline"].map((file) => readProc(pid, file));
      if (environment.includes(this.cluster.directory) && environment.includes(`HOLDFAST_PROCESS=${application}.`))
        found.push(`${pid} ${command}`);
    }
    return found;
  }

  showLogs(): void {
    for (const process of this.all) {
      const log = process.log();
      console.error(`--- ${process.name} (pid ${process.pid})\n${log.slice(-LOG_TAIL_CHARACTERS)}`);
    }
    for (const command of this.commands) console.error(`--- command (pid ${command.pid})\n${command.stdout()}${command.stderr()}`);
  }
}

export const jobFile = (name: string): string => path.join(ROOT, "test/integration/jobs", `${name}.job.ts`);

export const jobWords = ({ params, parallelism = 2, args = [] }: JobStart): readonly string[] => [
  ...Object.entries(params).flatMap(([name, value]) => ["--param", `${name}=${value}`]),
  ...["--parallelism", String(parallelism), "--executor-memory", "256m", ...args],
];

export function programSpec(argv: readonly string[], spec: Partial<ApplicationSpec> = {}): ApplicationSpec {
  return {
    name: "program",
    kind: "process",
    deployMode: "cluster",
    supervise: false,
    restart: { maxRestarts: 5, windowMs: 60_000, minBackoffMs: 50, maxBackoffMs: 500 },
    driver: { cores: 0, memoryBytes: 64 * 1024 * 1024 },
    job: null,
    process: { argv: [...argv], env: {}, cwd: null },
    ...spec,
  };
}

export async function kill(process: ClusterProcess): Promise<void> {
  process.signal("SIGKILL");
  await process.exited;
}

/** A process of an application; it must have been there. */
export function killPid(pid: number | null | undefined): void {
  if (pid == null) throw new Error("there is no process to kill");
  process.kill(pid, "SIGKILL");
}

export function mount(...args: readonly string[]): void {
  const ran = spawnSync("mount", args, { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`mount ${args.join(" ")}: ${ran.stderr}`);
}

/** Whether tests that need root can run; says so when not. */
export function isRoot(why: string): boolean {
  const root = process.getuid?.() === 0;
  if (!root) console.log(`skipped, because this user is not root: a test that ${why}`);
  return root;
}

export { expectBuckets, expectNoTraces, readRows, stagedRecords } from "./output.js";
export { isAlive, listeningPorts, readProc, residentBytes, startTicks } from "./process-facts.js";
export { holdfast, until };
