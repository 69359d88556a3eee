/**
 * The oracle: jobs whose answer is known run on a cluster of real processes, while masters, workers, drivers, executors, whole machines and everything with its
 * coordination store are killed with -9, at moments and in an order that a seed gives. Every job has to end, and its output has to be that of a run without
 * faults, record by record; nothing of it may be left.
 *
 * Boundary: plays and judges; who calls it says what becomes of the evidence.
 */
import path from "node:path";
import { type ClusterClient, openClient } from "../../../src/cli/client/cluster-client.js";
import type { ApplicationView } from "../../../src/wire/views.js";
import { filesBelow } from "../../support/files-below.js";
import { PROGRAM, ROOT, startHoldfast, until } from "../../support/holdfast.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../../support/process-cluster.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { type Chance, chanceFrom } from "../chance.js";
import { problemsOf } from "./answers.js";

export interface OracleOptions {
  /** So many kills, and then the jobs that run are let end. */
  readonly kills: number;
  readonly seed: number;
  readonly store: "directory" | "zookeeper";
  /** Records of one job, and how many a second. */
  readonly count?: number;
  readonly rate?: number;
  readonly say: (text: string) => void;
}

export interface OraclePlay {
  readonly kills: Readonly<Record<Victim, number>>;
  readonly jobs: number;
  /** Of checkpoints that tries went on from. */
  readonly restored: number;
  readonly violations: readonly string[];
  /** Logs, records and output; the caller removes it. Null: nothing was found, and nothing is left. */
  readonly evidence: string | null;
}

const VICTIMS = ["executor", "driver", "leader", "worker", "machine", "zookeeper", "everything"] as const;
type Victim = (typeof VICTIMS)[number];
/** By how many tickets each is drawn; servers of ZooKeeper only where there are some. */
const TICKETS: Readonly<Record<Victim, number>> = {
  executor: 7,
  driver: 5,
  leader: 3,
  worker: 2,
  machine: 2,
  zookeeper: 2,
  everything: 1,
};
const ZOOKEEPER_SERVERS = 3;
/** A server of ZooKeeper that was killed is started again so much later, at most. */
const MAX_SERVER_DOWN_MS = 3_000;

const MASTERS = 2;
const WORKERS = 3;
const KEYS = 23;
const FAST = ["--worker-deadline", "3s", "--driver-deadline", "3s", "--recovery-deadline", "3s", "--stop-grace", "500ms"];
const MAX_PAUSE_MS = 1_000;
/** A kill in the middle of what the one before it set going. */
const HASTY_SHARE = 0.5;
const JOB_ENDS_WITHIN_MS = 240_000;
const RUNS_AGAIN_WITHIN_MS = 90_000;

const pause = (durationMs: number) => new Promise((resolve) => setTimeout(resolve, durationMs));

export async function playOracle(options: OracleOptions): Promise<OraclePlay> {
  const ensemble = options.store === "zookeeper" ? await startZooKeeper({ servers: ZOOKEEPER_SERVERS }) : null;
  const cluster = await processCluster(PROGRAM);
  const play = new Play(cluster, ensemble, options);
  const violations = await play.run().catch((thrown: unknown) => [thrown instanceof Error ? thrown.message : String(thrown)]);
  const { kills, jobs, restored } = play;
  await play.end();
  if (violations.length === 0) {
    await cluster.close();
    await ensemble?.close();
    return { kills, jobs, restored, violations, evidence: null };
  }
  await cluster.stop();
  await ensemble?.close();
  return { kills, jobs, restored, violations, evidence: cluster.directory };
}

class Play {
  readonly kills: Record<Victim, number> = {
    executor: 0,
    driver: 0,
    leader: 0,
    worker: 0,
    machine: 0,
    zookeeper: 0,
    everything: 0,
  };
  jobs = 0;
  restored = 0;
  private readonly cluster: ProcessCluster;
  private readonly ensemble: ZooKeeperServers | null;
  private readonly options: OracleOptions;
  private readonly chance: Chance;
  private readonly running = new Map<string, ClusterProcess>();
  private readonly control = new AbortController();
  private client: ClusterClient | null = null;
  /** Servers of ZooKeeper that are started again: one is killed while another one may still be away. */
  private readonly returning = new Set<Promise<void>>();

  constructor(cluster: ProcessCluster, ensemble: ZooKeeperServers | null, options: OracleOptions) {
    this.cluster = cluster;
    this.ensemble = ensemble;
    this.options = options;
    this.chance = chanceFrom(options.seed);
  }

  async run(): Promise<readonly string[]> {
    this.startAll();
    this.client = await openClient({ master: this.cluster.masterUrl, timeout: "90s", json: true }, this.control.signal);
    while (this.killed() < this.options.kills) {
      const violations = await this.oneJob();
      if (violations.length > 0) return violations;
    }
    return [];
  }

  async end(): Promise<void> {
    this.control.abort();
    await Promise.all(this.returning);
    await this.client?.[Symbol.asyncDispose]();
  }

  private killed(): number {
    return Object.values(this.kills).reduce((sum, count) => sum + count, 0);
  }

  private async oneJob(): Promise<readonly string[]> {
    const { count = 60_000, rate = 6_000, say } = this.options;
    const output = this.cluster.file(`out-${++this.jobs}`);
    const job = await this.submit({ count, rate, keys: KEYS, output });
    let last = await this.reads(job);
    while (this.killed() < this.options.kills) {
      await pause(this.chance.below(MAX_PAUSE_MS));
      const view = await this.status(job);
      if (view.state === "finished" || view.progress?.phase === "committing") break;
      const victim = this.draw();
      const what = await this.kill(victim, view);
      if (what !== null) {
        this.kills[victim] += 1;
        say(`${this.killed()}. ${job}: kill -9 of ${what}`);
      }
      if (this.chance.below(100) < HASTY_SHARE * 100) continue;
      last = await this.reads(job);
      if (last.state === "finished") break;
    }
    await until(
      `the end of ${job}`,
      async () => {
        last = await this.status(job);
        return ["finished", "failed", "cancelled"].includes(last.state);
      },
      JOB_ENDS_WITHIN_MS,
    );
    if (last.progress?.restored != null) this.restored += 1;
    const { state, reason, attempt, progress } = last;
    say(
      `${job} is ${state} after ${attempt} attempts, ${progress?.recordsIn} records, from checkpoint ${progress?.restored?.checkpoint ?? "none"}`,
    );
    if (state !== "finished") return [`${job} is ${state}: ${reason?.message}`];
    const problems = problemsOf(output, { count, keys: KEYS });
    if (problems.length > 0) return problems.map((problem) => `${job}: ${problem}`);
    return this.leftOf(job);
  }

  /** State of a job that has ended goes within moments. */
  private async leftOf(job: string): Promise<readonly string[]> {
    const state = () => filesBelow(this.cluster.directory).filter((name) => name.includes(path.join("state", job)));
    try {
      await until(`the state of ${job} to be removed`, () => state().length === 0);
      return [];
    } catch {
      return [`${job} is finished, and ${state().length} files of its state are left`];
    }
  }

  private draw(): Victim {
    const victims = VICTIMS.filter((victim) => victim !== "zookeeper" || this.ensemble !== null);
    const tickets = victims.flatMap((victim) => Array.from({ length: TICKETS[victim] }, () => victim));
    return this.chance.pick(tickets);
  }

  /** What was killed, in words; null: there is no such process now. */
  private async kill(victim: Victim, view: ApplicationView): Promise<string | null> {
    const executors = view.executors.filter(({ state, pid }) => state === "running" && pid !== null);
    switch (victim) {
      case "executor": {
        const executor = executors[this.chance.below(Math.max(1, executors.length))];
        return executor?.pid == null ? null : killed(executor.pid, `executor ${executor.id}`);
      }
      case "driver":
        return view.driver?.pid == null ? null : killed(view.driver.pid, `the driver of attempt ${view.attempt}`);
      case "leader":
        return this.killMember([...this.running.keys()].find((name) => name.startsWith("master")) ?? "", await this.leaderName());
      case "worker":
        return this.killMember(`worker-${1 + this.chance.below(WORKERS)}`, null);
      case "machine": {
        const name = `worker-${1 + this.chance.below(WORKERS)}`;
        for (const pid of this.processesBelow(name)) killed(pid, "");
        return this.killMember(name, null).then((what) => (what === null ? null : `${what} and all that it started`));
      }
      case "zookeeper":
        return this.killServer();
      case "everything":
        return this.killEverything();
    }
  }

  private async killMember(name: string, preferred: string | null): Promise<string | null> {
    const process = this.running.get(preferred ?? name);
    if (process === undefined) return null;
    process.signal("SIGKILL");
    await process.exited;
    return process.name;
  }

  private async leaderName(): Promise<string | null> {
    const { leader } = await this.ask((client) => client.call("cluster", {}));
    return [...this.running.values()].find((process) => process.servingPid() === leader?.pid)?.name ?? null;
  }

  /** Processes that the worker has started, by its folder in their command line. */
  private processesBelow(worker: string): readonly number[] {
    const folder = `${this.cluster.file(worker)}/`;
    return this.cluster.leftovers().flatMap((line) => (line.includes(folder) ? [Number(line.split(" ")[0])] : []));
  }

  /** Any one, the leader of the ensemble too. */
  private async killServer(): Promise<string | null> {
    const servers = this.ensemble?.servers.filter((server) => server.pid() !== undefined) ?? [];
    const server = servers[this.chance.below(Math.max(1, servers.length))];
    if (server === undefined) return null;
    await server.kill();
    const again = pause(this.chance.below(MAX_SERVER_DOWN_MS)).then(() => server.start());
    this.returning.add(again);
    void again.finally(() => this.returning.delete(again));
    return `server ${server.id} of ZooKeeper`;
  }

  /** Machines of everybody lose their power at once, the coordination store's too. */
  private async killEverything(): Promise<string> {
    await Promise.all(this.returning);
    for (const server of this.ensemble?.servers ?? []) await server.kill();
    const processes = [...this.running.values()];
    for (const line of this.cluster.leftovers()) killed(Number(line.split(" ")[0]), "");
    await Promise.all(processes.map(({ exited }) => exited));
    await Promise.all((this.ensemble?.servers ?? []).map((server) => server.restart()));
    return this.ensemble === null ? "everything" : "everything, with ZooKeeper";
  }

  private startAll(): void {
    for (let number = 1; number <= MASTERS; number++) this.startMember(`master-${number}`);
    for (let number = 1; number <= WORKERS; number++) this.startMember(`worker-${number}`);
  }

  /** As a supervisor would: again whenever it has ended. */
  private startMember(name: string): void {
    if (this.control.signal.aborted) return;
    const { ensemble, cluster } = this;
    const records = ensemble === null ? {} : { recovery: `zk://${ensemble.connectString}/holdfast/oracle` };
    const storage = ensemble === null ? [] : ["--storage", `file:${cluster.file("blobs")}`];
    const started = name.startsWith("master")
      ? cluster.startMaster(name, { ...records, args: [...FAST, ...storage] })
      : cluster.startWorker(name, { cores: 3 });
    this.running.set(name, started);
    void started.exited.then(async () => {
      this.running.delete(name);
      await pause(this.chance.below(1_000));
      this.startMember(name);
    });
  }

  // ------------------------------------------------------------------------------------------------ asking

  private async submit(params: Readonly<Record<string, string | number>>): Promise<string> {
    const words = Object.entries(params).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
    const file = path.join(ROOT, "test/integration/jobs/oracle.job.ts");
    const ran = await startHoldfast(["submit", file, "--json", "--max-restarts", "1000", ...words], {
      env: { HOLDFAST_MASTER: this.cluster.masterUrl, TMPDIR: this.cluster.file("tmp") },
    }).ended;
    if (ran.exitCode !== 0) throw new Error(`a job was not taken: ${ran.stderr}`);
    return (JSON.parse(ran.stdout) as { id: string }).id;
  }

  /** It reads, and has a checkpoint beyond those that it had; or it has ended. */
  private async reads(job: string): Promise<ApplicationView> {
    let view = await this.status(job);
    const before = view.checkpoint?.id ?? 0;
    await until(
      `${job} to take a checkpoint after ${before}`,
      async () => {
        view = await this.status(job);
        return (
          (view.checkpoint?.id ?? 0) > before ||
          ["finished", "failed", "cancelled"].includes(view.state) ||
          view.progress?.phase === "committing"
        );
      },
      RUNS_AGAIN_WITHIN_MS,
    );
    return view;
  }

  private status(application: string): Promise<ApplicationView> {
    return this.ask(async (client) => (await client.call("status", { application, after: null, waitMs: 0 })).application);
  }

  private async ask<T>(call: (client: ClusterClient) => Promise<T>): Promise<T> {
    if (this.client === null) throw new Error("there is no client");
    return call(this.client);
  }
}

function killed(pid: number, what: string): string {
  try {
    process.kill(pid, "SIGKILL");
  } catch (thrown) {
    // It was faster.
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
  return what;
}
