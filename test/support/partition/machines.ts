/**
 * A whole cluster on virtual machines: ZooKeeper's servers z1-z3, masters m1-m3, workers w1-w3, and the client c, each a real process in a
 * network namespace of its own.
 *
 * Boundary: what runs where, and how it is started, ended and asked. Cuts are virtual-network.ts, faults are chaos/faults.
 * After `close` nothing of it is left, see virtual-network.ts; the files stay when `keep` says so, as evidence.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";
import { createSecretFile } from "../../../src/node/files/secret-file.js";
import type { ApplicationView, ClusterView } from "../../../src/wire/views.js";
import { PROGRAM, type Ran, ROOT, type RunOptions, startHoldfast, until } from "../holdfast.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../process-cluster.js";
import { startZooKeeper, type ZooKeeperServer, type ZooKeeperServers, zooKeeperMissing } from "../zookeeper.js";
import { committedOrder, type LoggedTransaction, readServerLog } from "../zookeeper-log.js";
import { buildPlanted, type Plant } from "./planted-program.js";
import { type RemoteClient, startRemoteClient } from "./remote-client.js";
import { type SlowLink, startSlowLink } from "./slow-link.js";
import { createVirtualNetwork, directoryPrefix, run, type VirtualNetwork, virtualNetworkMissing } from "./virtual-network.js";

export const ZOOKEEPERS = ["z1", "z2", "z3"] as const;
export const MASTERS = ["m1", "m2", "m3"] as const;
export const WORKERS = ["w1", "w2", "w3"] as const;
export const CLIENT = "c";
export const ALL = [...ZOOKEEPERS, ...MASTERS, ...WORKERS, CLIENT] as const;
export const ROOT_PATH = "/holdfast/chaos";
export const TICK_MS = 200;
export const SESSION_MS = 2_000;
/** Above the 10 s of silence after which a worker gives up its link to a leader that is cut off: before that it cannot look for the next one. */
export const WORKER_DEADLINE_MS = 13_000;
const WORKER_DEADLINE = `${WORKER_DEADLINE_MS}ms`;
const MASTER_PORT = 7077;
const CALL_TIMEOUT = "30s";
const ASK_TIMEOUT_S = 2;

export interface MachinesOptions {
  /** Mistakes in the program of the masters, to see that they are found. Default: none. */
  readonly plants?: readonly Plant[];
  /** Default: one on each of their machines. */
  readonly workers?: readonly (typeof WORKERS)[number][];
}

/** Why such a cluster cannot be had here; null: it can. */
export const machinesMissing = (): string | null => virtualNetworkMissing() ?? zooKeeperMissing();

export async function startMachines(options: MachinesOptions = {}): Promise<Machines> {
  const network = await createVirtualNetwork(ALL);
  const cluster = await processCluster(PROGRAM, directoryPrefix());
  let zookeeper: ZooKeeperServers | null = null;
  try {
    const secretFile = cluster.file("secret");
    await createSecretFile(secretFile);
    const clientProgram = await bundle("client-program", cluster.file("client.mjs"));
    const slowLinkProgram = await bundle("slow-link-program", cluster.file("slow-link.mjs"));
    const masterProgram = options.plants === undefined ? PROGRAM : await buildPlanted(options.plants, cluster.file("planted"));
    zookeeper = await startServers(network, cluster.file("zookeeper"));
    const programs = { clientProgram, slowLinkProgram, masterProgram };
    const workers = options.workers ?? WORKERS;
    const machines = new Machines({ network, cluster, zookeeper, secretFile, workers, ...programs });
    for (const name of MASTERS) machines.startMaster(name);
    for (const name of workers) machines.startWorker(name);
    await machines.openClient();
    return machines;
  } catch (thrown) {
    await network.close();
    await zookeeper?.close();
    await cluster.close();
    throw thrown;
  }
}

interface Parts {
  readonly network: VirtualNetwork;
  readonly cluster: ProcessCluster;
  readonly zookeeper: ZooKeeperServers;
  readonly secretFile: string;
  readonly clientProgram: string;
  readonly slowLinkProgram: string;
  readonly masterProgram: string;
  readonly workers: readonly string[];
}

export class Machines {
  readonly network: VirtualNetwork;
  readonly cluster: ProcessCluster;
  readonly secretFile: string;
  private readonly parts: Parts;
  private readonly running = new Map<string, ClusterProcess>();
  private opened: RemoteClient | null = null;
  private starts = 0;

  constructor(parts: Parts) {
    this.parts = parts;
    this.network = parts.network;
    this.cluster = parts.cluster;
    this.secretFile = parts.secretFile;
  }

  get zookeeper(): ZooKeeperServers {
    return this.parts.zookeeper;
  }

  /** Of `--recovery`. */
  get recovery(): string {
    return `zk://${this.zookeeper.connectString}${ROOT_PATH}`;
  }

  /** Of `--master`: workers and clients find the masters through ZooKeeper, and are cut off from that as well. */
  get masterUrl(): string {
    return this.recovery;
  }

  startMaster(name: string, args: readonly string[] = []): ClusterProcess {
    const host = this.network.host(name);
    const started = this.cluster.startMaster(this.nextName(`master-${name}`), {
      listen: `${host.address}:${MASTER_PORT}`,
      recovery: this.recovery,
      prefix: host.prefix,
      program: this.parts.masterProgram,
      args: [
        ...["--storage", `file:${this.cluster.file("blobs")}`, "--secret-file", this.secretFile, "--plaintext"],
        ...["--worker-deadline", WORKER_DEADLINE, "--driver-deadline", WORKER_DEADLINE],
        ...["--recovery-deadline", WORKER_DEADLINE, "--stop-grace", "1s", "--session-timeout", `${SESSION_MS}ms`],
        ...["--max-finished", "100000", "--log-level", "debug"],
        ...args,
      ],
    });
    this.running.set(name, started);
    return started;
  }

  startWorker(name: string, args: readonly string[] = []): ClusterProcess {
    const host = this.network.host(name);
    const started = this.cluster.startWorker(this.nextName(`worker-${name}`), {
      listen: `${host.address}:0`,
      master: this.masterUrl,
      workDirectory: this.cluster.file("work", name),
      cores: 16,
      prefix: host.prefix,
      args: ["--secret-file", this.secretFile, "--plaintext", "--spares", "0", ...args],
    });
    this.running.set(name, started);
    return started;
  }

  /** The master or worker of a machine, as it was last started there. */
  process(name: string): ClusterProcess {
    const found = this.running.get(name);
    if (found === undefined) throw new Error(`nothing was started on ${name}`);
    return found;
  }

  private nextName(name: string): string {
    this.starts += 1;
    return `${name}-${this.starts}`;
  }

  /** Everything that others say to the master or the ZooKeeper server of a machine, and hear from it, is late, each time by another while. */
  slowDown(name: string, maxDelayMs: number): Promise<SlowLink> {
    const host = this.network.host(name);
    const server = this.zookeeper.servers.find((one) => one.host === host.address);
    return startSlowLink({ host, port: server?.port ?? MASTER_PORT, maxDelayMs, program: this.parts.slowLinkProgram });
  }

  async openClient(): Promise<RemoteClient> {
    this.opened ??= await startRemoteClient({
      prefix: this.network.host(CLIENT).prefix,
      program: this.parts.clientProgram,
      master: this.masterUrl,
      secretFile: this.secretFile,
      timeout: CALL_TIMEOUT,
      cwd: this.cluster.directory,
      zookeeper: this.zookeeper.connectString,
    });
    return this.opened;
  }

  get client(): RemoteClient {
    if (this.opened === null) throw new Error("there is no client yet");
    return this.opened;
  }

  /** `holdfast` on the client's machine. */
  command(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return startHoldfast(args, {
      ...options,
      prefix: this.network.host(CLIENT).prefix,
      env: {
        HOLDFAST_MASTER: this.masterUrl,
        HOLDFAST_SECRET_FILE: this.secretFile,
        TMPDIR: this.cluster.file("tmp"),
        ...options.env,
      },
    }).ended;
  }

  view(): Promise<ClusterView> {
    return this.client.call("cluster", {});
  }

  async status(application: string): Promise<ApplicationView> {
    return (await this.client.call("status", { application, after: null, waitMs: 0 })).application;
  }

  machineAt(address: string): string {
    const found = ALL.find((name) => address.startsWith(`${this.network.host(name).address}:`));
    if (found === undefined) throw new Error(`no machine has the address ${address}`);
    return found;
  }

  /** One master leads, all others stand by, all workers are alive. */
  async quiet(timeoutMs: number): Promise<ClusterView> {
    const { workers } = this.parts;
    let seen = "nothing";
    let view: ClusterView | null = null;
    await until(
      `three masters and ${workers.length} workers`,
      async () => {
        try {
          view = await this.view();
        } catch (thrown) {
          seen = String(thrown);
          return false;
        }
        seen = JSON.stringify(view);
        return view.state === "ALIVE" && view.masters.length === MASTERS.length && view.workers.alive === workers.length;
      },
      timeoutMs,
    ).catch((thrown) => {
      throw new Error(`${thrown instanceof Error ? thrown.message : thrown}; seen: ${seen}`);
    });
    return view ?? this.view();
  }

  /** The ZooKeeper server that leads, of those that answer now; null: none does. */
  async zookeeperLeader(): Promise<ZooKeeperServer | null> {
    const { servers } = this.zookeeper;
    const running = servers.filter((server) => server.pid() !== undefined);
    const answers = await Promise.all(running.map((server) => server.ask("srvr").catch(() => "")));
    return running.find((_, index) => /^Mode: leader$/m.test(answers[index] ?? "")) ?? null;
  }

  /** The transactions that ZooKeeper committed. Exact while all servers serve. */
  async transactions(): Promise<readonly LoggedTransaction[]> {
    const { servers } = this.zookeeper;
    const logs = servers.map((server) => readServerLog(path.join(server.directory, "data")));
    return committedOrder(logs);
  }

  /** Whatever runs on the machines but ZooKeeper's servers. */
  async processesOn(names: readonly string[]): Promise<readonly string[]> {
    const pids = await Promise.all(names.map((name) => this.network.pids(name)));
    return pids.flat().map((pid) => `${pid} ${commandOf(pid)}`);
  }

  /** What runs on a machine for one attempt of an application: driver and executors. */
  async attemptPids(name: string, application: string, attempt: number): Promise<readonly number[]> {
    const mark = new RegExp(`(^|\\0)HOLDFAST_PROCESS=${application}\\.d${attempt}(\\.|\\0)`);
    return (await this.network.pids(name)).filter((pid) => mark.test(procText(pid, "environ")));
  }

  logs(): readonly { readonly name: string; readonly text: string }[] {
    const directory = this.cluster.file("logs");
    return readdirSync(directory).map((name) => ({ name, text: readFileSync(path.join(directory, name), "utf8") }));
  }

  /** Ends everything; answers what did not end politely. `evidence`: where all files go instead of being removed. */
  async close(evidence: string | null = null): Promise<readonly string[]> {
    await this.network.heal().catch(() => {});
    await this.opened?.close();
    await this.cluster.stop();
    const left = await this.processesOn([...MASTERS, ...WORKERS, CLIENT]);
    await this.network.close();
    await Promise.all(this.zookeeper.servers.map((server) => server.kill()));
    if (evidence !== null) {
      mkdirSync(evidence, { recursive: true });
      for (const name of ["logs", "zookeeper", "marks", "history"])
        copyWhereThere(this.cluster.file(name), path.join(evidence, name));
    }
    await this.cluster.close();
    return left;
  }
}

function copyWhereThere(from: string, to: string): void {
  try {
    cpSync(from, to, { recursive: true });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
}

const commandOf = (pid: number): string => procText(pid, "cmdline").replaceAll("\0", " ").slice(0, 200);

/** "": it is gone. */
function procText(pid: number, file: "cmdline" | "environ"): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function startServers(network: VirtualNetwork, directory: string): Promise<ZooKeeperServers> {
  const hosts = ZOOKEEPERS.map((name) => network.host(name));
  return startZooKeeper({
    servers: hosts.length,
    hosts: hosts.map(({ address }) => address),
    prefix: (index) => hosts[index]?.prefix ?? [],
    tickTimeMs: TICK_MS,
    maxSessionTimeoutMs: SESSION_MS,
    directory,
    // Asked on the server's own machine, which no cut comes between.
    ask: (host, port, word) => {
      const machine = hosts.find(({ address }) => address === host);
      const script = `exec 3<>/dev/tcp/${host}/${port} && printf ${word} >&3 && cat <&3`;
      return run([...(machine?.prefix ?? []), "timeout", String(ASK_TIMEOUT_S), "bash", "-c", script]);
    },
  });
}

async function bundle(program: string, outfile: string): Promise<string> {
  await build({
    entryPoints: [path.join(ROOT, "test/support/partition", `${program}.ts`)],
    ...{ outfile, bundle: true, platform: "node", format: "esm", target: "node20", logLevel: "error" },
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  return outfile;
}
