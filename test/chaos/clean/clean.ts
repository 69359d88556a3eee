/**
 * What is left of applications that have ended: many of every kind come and go, their processes are killed, and in the end the store and all directories are as
 * after the first few.
 *
 * What is kept on purpose is bounded, and counted as such: the last applications of the history, logs of ended processes. Every job has a bundle of its own.
 */
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type ClusterClient, openClient } from "../../../src/cli/client/cluster-client.js";
import { connectZooKeeper } from "../../../src/zookeeper/index.js";
import { filesBelow } from "../../support/files-below.js";
import { PROGRAM, ROOT, startHoldfast, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { type Chance, chanceFrom } from "../chance.js";

export interface CleanOptions {
  readonly applications: number;
  readonly seed: number;
  readonly store: "directory" | "zookeeper";
  /** No further application begins after so long; what was begun ends, and is judged. Absent: all of them. */
  readonly minutes?: number;
  readonly say: (text: string) => void;
}

/** Files, records and nodes, by place. */
export type Footprint = Readonly<Record<string, number>>;

export interface CleanPlay {
  readonly applications: number;
  readonly kills: number;
  readonly before: Footprint;
  readonly after: Footprint;
  readonly problems: readonly string[];
}

const KEPT_APPLICATIONS = 5;
const AT_ONCE = 6;
const MASTERS = 2;
const WORKERS = 2;
const SETTLES_WITHIN_MS = 120_000;
const DEADLINES = ["--worker-deadline", "5s", "--driver-deadline", "5s", "--recovery-deadline", "5s", "--stop-grace", "500ms"];

const KINDS = [
  "finishes",
  "loses an executor",
  "loses its driver",
  "is cancelled",
  "fails",
  "is a program",
  // Nobody is left who could clean up by himself.
  "loses its driver, and is cancelled",
  "loses its driver, and may not have another",
  "loses the leader",
] as const;
type Kind = (typeof KINDS)[number];
const ENDS_AS: Readonly<Record<Kind, string>> = {
  finishes: "finished",
  "loses an executor": "finished",
  "loses its driver": "finished",
  "is cancelled": "cancelled",
  fails: "failed",
  "is a program": "finished",
  "loses its driver, and is cancelled": "cancelled",
  "loses its driver, and may not have another": "failed",
  "loses the leader": "finished",
};

/** What is not to finish by itself has too much to do for that, however long a kill or a cancel takes. */
function recordsOf(kind: Kind): number {
  if (ENDS_AS[kind] !== "finished") return 1_000_000;
  return kind === "finishes" ? 500 : 2_500;
}

export async function playClean(options: CleanOptions): Promise<CleanPlay> {
  const ensemble = options.store === "zookeeper" ? await startZooKeeper({ servers: 1 }) : null;
  const cluster = await processCluster(PROGRAM);
  const control = new AbortController();
  try {
    startMembers(cluster, ensemble);
    await using client = await openClient({ master: cluster.masterUrl, timeout: "90s", json: true }, control.signal);
    const play = new Play(cluster, client, options, chanceFrom(options.seed));
    // The first of every kind bring what stays: bundles, folders, spares.
    await play.applications(2 * KINDS.length);
    const before = await settled(cluster, ensemble, client, null);
    await play.applications(options.applications);
    const after = await settled(cluster, ensemble, client, before);
    return {
      applications: play.played,
      kills: play.kills,
      before,
      after,
      problems: [...play.problems, ...differences(before, after)],
    };
  } finally {
    control.abort();
    await cluster.close();
    await ensemble?.close();
  }
}

function startMembers(cluster: ProcessCluster, ensemble: ZooKeeperServers | null): void {
  const records = ensemble === null ? {} : { recovery: `zk://${ensemble.connectString}/holdfast/clean` };
  const storage = ["--storage", `file:${cluster.file("storage")}`];
  for (let number = 1; number <= MASTERS; number++) {
    const args = [...DEADLINES, ...storage, "--max-finished", String(KEPT_APPLICATIONS)];
    cluster.startMaster(`master-${number}`, { ...records, args });
  }
  for (let number = 1; number <= WORKERS; number++) cluster.startWorker(`worker-${number}`, { cores: 6 });
}

class Play {
  kills = 0;
  readonly problems: string[] = [];
  private readonly cluster: ProcessCluster;
  private readonly client: ClusterClient;
  private readonly options: CleanOptions;
  private readonly chance: Chance;
  private readonly beganAt = performance.now();
  private next = 0;

  constructor(cluster: ProcessCluster, client: ClusterClient, options: CleanOptions, chance: Chance) {
    this.cluster = cluster;
    this.client = client;
    this.options = options;
    this.chance = chance;
  }

  /** So many, a few at a time. */
  async applications(count: number): Promise<void> {
    const last = this.next + count;
    const lane = async () => {
      while (this.next < last && this.problems.length === 0 && !this.isOver()) await this.one(this.next++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  }

  /** After those that brought what stays. */
  get played(): number {
    return this.next - 2 * KINDS.length;
  }

  private isOver(): boolean {
    const { minutes } = this.options;
    return minutes !== undefined && performance.now() - this.beganAt > minutes * 60_000;
  }

  private async one(number: number): Promise<void> {
    const kind = KINDS[number % KINDS.length] ?? "finishes";
    const id = await this.submit(kind, number);
    if (kind === "is cancelled") {
      await this.reaches(id, true);
      await this.client.call("cancel", { application: id });
    } else if (kind === "loses the leader") await this.killLeader(id);
    else if (kind.startsWith("loses")) await this.kill(id, kind);
    if (kind === "loses its driver, and is cancelled") await this.client.call("cancel", { application: id });
    const state = await this.ended(id);
    if (state !== ENDS_AS[kind]) this.problems.push(`${id}, which ${kind}, is ${state}`);
    if ((number + 1) % 50 === 0) this.options.say(`${number + 1} applications, ${this.kills} kills`);
  }

  private async submit(kind: Kind, number: number): Promise<string> {
    const output = this.cluster.file("out", `${number}`);
    const job = (name: string, params: readonly string[]) => [
      this.ownJob(name, number),
      ...params.flatMap((param) => ["--param", param]),
    ];
    const words =
      kind === "is a program"
        ? ["--", "true"]
        : kind === "fails"
          ? job("troubled-none", ["trouble=throw", `output=${output}`])
          : job("oracle", [`count=${recordsOf(kind)}`, "keys=7", "rate=2000", `output=${output}`]);
    const restarts = kind === "loses its driver, and may not have another" ? "0" : "1000";
    const ran = await startHoldfast(["submit", "--json", "--max-restarts", restarts, ...words], {
      env: { HOLDFAST_MASTER: this.cluster.masterUrl, TMPDIR: this.cluster.file("tmp") },
    }).ended;
    if (ran.exitCode !== 0) throw new Error(`an application was not taken: ${ran.stderr}`);
    return (JSON.parse(ran.stdout) as { id: string }).id;
  }

  /** The same job, with a bundle that no other application has. */
  private ownJob(name: string, number: number): string {
    const file = this.cluster.file("jobs", `${number}.job.ts`);
    mkdirSync(path.dirname(file), { recursive: true });
    const job = path.join(ROOT, "test/integration/jobs", `${name}.job.ts`);
    writeFileSync(file, `export { default } from ${JSON.stringify(job)};\nexport const number = ${number};\n`);
    return file;
  }

  private async killLeader(id: string): Promise<void> {
    if (!(await this.reaches(id, this.chance.below(2) === 0))) return;
    const { leader } = await this.client.call("cluster", {});
    if (leader !== null) this.killProcess(leader.pid);
  }

  private killProcess(pid: number): void {
    try {
      process.kill(pid, "SIGKILL");
      this.kills += 1;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
    }
  }

  /** With one of its processes it loses what that had staged. */
  private async kill(id: string, kind: Kind): Promise<void> {
    if (!(await this.reaches(id, this.chance.below(2) === 0))) return;
    const view = await this.status(id);
    const executor = view.executors.find(({ state, pid }) => state === "running" && pid !== null);
    const pid = kind.startsWith("loses its driver") ? view.driver?.pid : executor?.pid;
    if (pid != null) this.killProcess(pid);
  }

  /** Records flow, or a checkpoint is complete. False: it has ended before. */
  private async reaches(id: string, checkpoint: boolean): Promise<boolean> {
    let isOver = false;
    await until(`${id} to run`, async () => {
      const view = await this.status(id);
      isOver = view.endedAt !== null;
      return isOver || (checkpoint ? view.checkpoint !== null : (view.progress?.recordsIn ?? 0) > 0);
    });
    return !isOver;
  }

  private async ended(id: string): Promise<string> {
    return (await this.client.waitForEnd(id, () => {})).state;
  }

  private async status(application: string) {
    return (await this.client.call("status", { application, after: null, waitMs: 0 })).application;
  }
}

// ---------------------------------------------------------------------------------------------------------------- counting

/** Longer than anything is kept on purpose after its last use (bundles on workers). */
const UNCHANGED_FOR_MS = 15_000;

/** When nothing changes any more; with `expected` as soon as it is that. */
async function settled(
  cluster: ProcessCluster,
  ensemble: ZooKeeperServers | null,
  client: ClusterClient,
  expected: Footprint | null,
): Promise<Footprint> {
  let found = await footprint(cluster, ensemble, client);
  let since = performance.now();
  await until(
    "nothing to change",
    async () => {
      const before = JSON.stringify(found);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      found = await footprint(cluster, ensemble, client);
      if (JSON.stringify(found) !== before) since = performance.now();
      if (expected === null) return performance.now() - since > UNCHANGED_FOR_MS;
      return differences(expected, found).length === 0;
    },
    SETTLES_WITHIN_MS,
  ).catch(() => {});
  return found;
}

async function footprint(cluster: ProcessCluster, ensemble: ZooKeeperServers | null, client: ClusterClient): Promise<Footprint> {
  const storage = cluster.file("storage");
  const workers = Array.from({ length: WORKERS }, (_, index) => cluster.file(`worker-${index + 1}`));
  const processes = workers.flatMap((worker) => entries(path.join(worker, "processes")));
  const { applications } = await client.call("list", {});
  return {
    "state of jobs": filesBelow(path.join(storage, "state")).length,
    "job bundles": filesBelow(path.join(storage, "bundles")).length,
    "anything else in the storage": entries(storage).filter((entry) => !["state", "bundles"].includes(path.basename(entry))).length,
    "copies of bundles on workers": workers.flatMap((worker) => entries(path.join(worker, "artifacts"))).length,
    "temporary files": cluster.temporaryFiles().length,
    // Spares have one each.
    "files in working directories of ended processes": processes
      .filter((folder) => path.basename(folder).startsWith("app-"))
      .reduce((sum, folder) => sum + filesBelow(path.join(folder, "work")).length, 0),
    "staged output": entries(cluster.file("out"))
      .flatMap((output) => [output, ...entries(output)])
      .flatMap(entries)
      .filter((entry) => path.basename(entry).startsWith(".")).length,
    "applications in the history": applications.length,
    ...(ensemble === null ? {} : { "nodes in ZooKeeper": await nodesOf(ensemble) }),
  };
}

/** All but the log of commits and what it is merged into: how long the log is depends on when it was last merged, at MERGE_ENTRIES. */
async function nodesOf({ connectString }: ZooKeeperServers): Promise<number> {
  const zookeeper = connectZooKeeper({ servers: connectString, sessionTimeoutMs: 10_000 });
  const countBelow = async (node: string): Promise<number> => {
    if (/\/(log|pages)$/.test(node)) return 0;
    const { children } = await zookeeper.getChildren(node);
    const counts = await Promise.all(children.map((child) => countBelow(`${node}/${child}`)));
    return children.length + counts.reduce((sum, count) => sum + count, 0);
  };
  try {
    return await countBelow("/holdfast");
  } finally {
    await zookeeper.close();
  }
}

function differences(before: Footprint, after: Footprint): string[] {
  return Object.entries(after).flatMap(([place, count]) =>
    count === before[place] ? [] : [`${place}: ${before[place]} before, ${count} after`],
  );
}

const entries = (directory: string): string[] =>
  existsSync(directory) && statSync(directory).isDirectory()
    ? readdirSync(directory).map((name) => path.join(directory, name))
    : [];
