/**
 * The demo's cluster: every process of it is a `holdfast` command of its own, started as a user would, with its logs in files.
 * Boundary: starts, names and ends processes; knows nothing of the job. After `close` no process and no file of it is left.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

const STOP_GRACE_MS = 10_000;

export interface DemoProcess {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<void>;
}

export interface DemoCluster {
  readonly directory: string;
  readonly masterUrl: string;
  startMaster(name: string): DemoProcess;
  startWorker(name: string, cores: number): DemoProcess;
  processes(): readonly DemoProcess[];
  close(): Promise<void>;
}

export async function demoCluster(program: string): Promise<DemoCluster> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-demo-"));
  await mkdir(path.join(directory, "logs"));
  const masters = path.join(directory, "masters");
  const living = new Map<string, { readonly process: DemoProcess; readonly child: ChildProcess }>();

  const start = (name: string, argv: readonly string[]): DemoProcess => {
    const log = openSync(path.join(directory, "logs", `${name}.log`), "a");
    const child = spawn(process.execPath, [program, ...argv], { stdio: ["ignore", log, log], cwd: directory });
    closeSync(log);
    if (child.pid === undefined) throw new Error(`${name} could not be started`);
    const exited = new Promise<void>((resolve) => {
      child.once("exit", () => {
        living.delete(name);
        resolve();
      });
    });
    const started = { name, pid: child.pid, exited };
    living.set(name, { process: started, child });
    return started;
  };

  return {
    directory,
    masterUrl: `file://${masters}`,
    startMaster: (name) =>
      start(name, [
        "master",
        "--listen",
        "127.0.0.1:0",
        "--recovery",
        `file:${path.join(directory, "state")}`,
        "--advertise-file",
        masters,
      ]),
    startWorker: (name, cores) =>
      start(name, [
        "worker",
        "--master",
        `file://${masters}`,
        "--cores",
        String(cores),
        "--memory",
        "4g",
        "--work-dir",
        path.join(directory, name),
      ]),
    processes: () => [...living.values()].map((entry) => entry.process),
    close: async () => {
      const workers = [...living.values()].filter((entry) => entry.process.name.startsWith("worker"));
      const others = [...living.values()].filter((entry) => !entry.process.name.startsWith("worker"));
      // Workers first: they stop what they started while a master still listens to them.
      for (const group of [workers, others]) {
        for (const entry of group) entry.child.kill("SIGTERM");
        await endedWithin(group, STOP_GRACE_MS);
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function endedWithin(
  group: readonly { readonly process: DemoProcess; readonly child: ChildProcess }[],
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
