/**
 * A cluster of real processes: every part is a `holdfast` command of its own, started as a user would, with its log in a file.
 * Boundary: starts, names, signals and ends processes; knows nothing of jobs. Used by the scenario tests, the demo and the benchmarks.
 * After `close` no process and no file of it is left; `leftovers` proves it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

const STOP_GRACE_MS = 15_000;

export interface ClusterProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves with the exit code of the command, or null when a signal ended it; of a master when its child is gone too. */
  readonly exited: Promise<number | null>;
  /** To the command. Of a master that is its parent; stopping that alone stops nothing that others notice. */
  signal(signal: NodeJS.Signals): void;
  /** The process that does the work, as `holdfast cluster` shows it: a master's is the child of its command. Null: none runs now. */
  servingPid(): number | null;
  /** SIGSTOP and SIGCONT of all its processes: a master that is stopped without its parent is killed by it. */
  freeze(): void;
  thaw(): void;
  /** Everything it has logged. */
  log(): string;
}

export interface StartOptions {
  /** `host:port`; default 127.0.0.1 and any free port. */
  readonly listen?: string;
  /** Further words of the command line. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Words before the command, e.g. `ip netns exec m1`. They must end in an exec, so that the pid is the process's own. */
  readonly prefix?: readonly string[];
  /** Another installation than the cluster's, for upgrades. */
  readonly program?: string;
}

export interface WorkerStart extends StartOptions {
  readonly cores?: number;
  readonly memory?: string;
  /** Default: the name, inside the cluster's directory. */
  readonly workDirectory?: string;
  readonly master?: string;
}

export interface MasterStart extends StartOptions {
  /** Default: `file:` and a directory of this cluster. */
  readonly recovery?: string;
}

export interface ProcessCluster {
  readonly directory: string;
  /** `file://` URL that the masters advertise in. */
  readonly masterUrl: string;
  /** A path inside the cluster's directory. */
  file(...parts: readonly string[]): string;
  startMaster(name: string, options?: MasterStart): ClusterProcess;
  startWorker(name: string, options?: WorkerStart): ClusterProcess;
  processes(): readonly ClusterProcess[];
  /** Processes of this cluster that still live (by the directory in their command line, environment or working directory), with their pids. */
  leftovers(): readonly string[];
  /** What lies in the directory that its processes use for temporary files. */
  temporaryFiles(): readonly string[];
  /** Polite ends of all masters and workers, workers first. */
  stop(): Promise<void>;
  /** As `stop`; then everything that is left is killed (and named in the answer), and its directory removed. */
  close(): Promise<readonly string[]>;
}

/** `directoryPrefix`: of its directory's path; random characters follow. */
export async function processCluster(
  program: string,
  directoryPrefix = path.join(os.tmpdir(), "holdfast-cluster-"),
): Promise<ProcessCluster> {
  const directory = await mkdtemp(directoryPrefix);
  await mkdir(path.join(directory, "logs"));
  const temporary = path.join(directory, "tmp");
  await mkdir(temporary);
  const masters = path.join(directory, "masters");
  let count = 0;
  const living = new Map<number, { readonly process: ClusterProcess; readonly child: ChildProcess }>();

  const start = (name: string, argv: readonly string[], options: StartOptions): ClusterProcess => {
    const { env = {}, prefix = [] } = options;
    const file = path.join(directory, "logs", `${name}.log`);
    const mark = `${directory}#${++count}`;
    const isMaster = argv[0] === "master";
    const log = openSync(file, "a");
    const [command = "", ...words] = [...prefix, process.execPath, options.program ?? program, ...argv];
    const child = spawn(command, words, {
      stdio: ["ignore", log, log],
      cwd: directory,
      env: { ...process.env, TMPDIR: temporary, [MARK]: mark, ...env },
    });
    closeSync(log);
    const { pid } = child;
    if (pid === undefined) throw new Error(`${name} could not be started`);
    const exited = new Promise<number | null>((resolve) => {
      child.once("exit", async (code) => {
        living.delete(pid);
        if (isMaster) await nothingOf(mark);
        resolve(code);
      });
    });
    const started: ClusterProcess = {
      name,
      pid,
      exited,
      signal: (signal) => void child.kill(signal),
      servingPid: () => (isMaster ? (markedWith(mark).find((other) => other !== pid) ?? null) : pid),
      freeze: () => {
        child.kill("SIGSTOP");
        if (isMaster) for (const other of markedWith(mark)) signalIfThere(other, "SIGSTOP");
      },
      // The child first: its parent counts only from when it goes on itself.
      thaw: () => {
        if (isMaster) for (const other of markedWith(mark)) if (other !== pid) signalIfThere(other, "SIGCONT");
        child.kill("SIGCONT");
      },
      log: () => readFileSync(file, "utf8"),
    };
    living.set(pid, { process: started, child });
    return started;
  };

  const stop = async () => {
    const entries = [...living.values()];
    const workers = entries.filter((entry) => entry.process.name.startsWith("worker"));
    // Workers first: they stop what they started while a master still listens to them.
    for (const group of [workers, entries.filter((entry) => !workers.includes(entry))]) {
      for (const entry of group) {
        entry.process.thaw();
        entry.child.kill("SIGTERM");
      }
      await endedWithin(group, STOP_GRACE_MS);
    }
  };

  return {
    directory,
    masterUrl: `file://${masters}`,
    file: (...parts) => path.join(directory, ...parts),
    startMaster: (name, options = {}) => {
      const recovery = options.recovery ?? `file:${path.join(directory, "state")}`;
      const listen = options.listen ?? "127.0.0.1:0";
      return start(
        name,
        ["master", "--listen", listen, "--recovery", recovery, "--advertise-file", masters, ...(options.args ?? [])],
        options,
      );
    },
    startWorker: (name, options = {}) => {
      const resources = ["--cores", String(options.cores ?? 2), "--memory", options.memory ?? "4g"];
      const place = [
        "--master",
        options.master ?? `file://${masters}`,
        "--work-dir",
        options.workDirectory ?? path.join(directory, name),
      ];
      const listen = options.listen === undefined ? [] : ["--listen", options.listen];
      return start(name, ["worker", ...place, ...resources, ...listen, ...(options.args ?? [])], options);
    },
    processes: () => [...living.values()].map((entry) => entry.process),
    leftovers: () => processesOf(directory),
    temporaryFiles: () => readdirSync(temporary),
    stop,
    close: async () => {
      await stop();
      // What a killed worker left running on purpose (its processes outlive it) ends with the cluster.
      const left = processesOf(directory);
      for (const line of left) endAtOnce(Number(line.split(" ")[0]));
      await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      return left;
    },
  };
}

async function endedWithin(
  group: readonly { readonly process: ClusterProcess; readonly child: ChildProcess }[],
  graceMs: number,
): Promise<void> {
  const timers: NodeJS.Timeout[] = [];
  await Promise.all(
    group.map(async (entry) => {
      timers.push(setTimeout(() => entry.child.kill("SIGKILL"), graceMs));
      await entry.process.exited;
    }),
  );
  for (const timer of timers) clearTimeout(timer);
}

/** In the environment of every process that a command starts for its own work. */
const MARK = "HOLDFAST_TEST_PROCESS";
const CHILD_ENDS_WITHIN_MS = 5_000;

/** Living processes of one command, zombies excluded. */
function markedWith(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && readProc(name, "environ").split("\0").includes(`${MARK}=${mark}`))
    .map(Number);
}

/** A master whose command was killed kills itself at that moment. */
async function nothingOf(mark: string): Promise<void> {
  const deadline = performance.now() + CHILD_ENDS_WITHIN_MS;
  while (markedWith(mark).length > 0) {
    if (performance.now() > deadline) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const endAtOnce = (pid: number): void => signalIfThere(pid, "SIGKILL");

/** It may have ended meanwhile. */
function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

/** `PID COMMAND` of every living process that has the directory in its command line, environment or working directory; zombies excluded. */
function processesOf(directory: string): readonly string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const command = readProc(pid, "cmdline").replaceAll("\0", " ").trim();
    const state = /\) ([A-Z]) /.exec(readProc(pid, "stat"))?.[1];
    if (state === undefined || state === "Z") continue;
    if (command.includes(directory) || readProc(pid, "environ").includes(directory)) found.push(`${pid} ${command.slice(0, 200)}`);
  }
  return found;
}

function readProc(pid: string | number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
