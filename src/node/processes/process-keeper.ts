/**
 * Starts one keeper (process-shim.ts) with its command, detached, and waits until the command really runs.
 *
 * Invariants: the logs are opened here and inherited, so nothing passes through the worker; the command inherits no other descriptor; the
 * worker may exit at any moment, also between the start and its answer.
 */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Socket } from "node:net";
import path from "node:path";
import type { Writable } from "node:stream";
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { Environment } from "./process-environment.js";
import { giveUpStart, readStarted, readTail, type Started } from "./process-folder.js";
import { sendSignal } from "./process-members.js";
import { KEEPER_FAILED } from "./process-shim.js";

/** A machine that needs longer to start a shell is out of order. */
const START_DEADLINE_MS = 30_000;

export interface KeeperCommand {
  readonly keeperFile: string;
  readonly folder: string;
  /** Absolute, or relative to the folder. */
  readonly directory: string;
  readonly argv: readonly string[];
  readonly env: Environment;
  readonly lease: { readonly file: string; readonly seconds: number } | null;
  /** A pipe that ends with the worker (spares), instead of /dev/null. */
  readonly stdin: boolean;
}

export interface KeeperEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface Kept {
  readonly started: Started;
  /** The keeper's end; at once when it has ended already. */
  readonly ended: Promise<KeeperEnd>;
  readonly stdin: Writable | null;
}

/** Rejects with LAUNCH_FAILED or DISK_FAILED; then nothing runs, and nothing will. */
export async function startKeeper(command: KeeperCommand, clock: Clock): Promise<Kept> {
  const child = spawnKeeper(command);
  const ended = new Promise<KeeperEnd>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  try {
    const keeperEnd = await answered(child, ended, clock);
    const started = readStarted(command.folder);
    if (started !== undefined) return { started, ended, stdin: child.stdin };
    // Another end than its own failure: whether the command would still start is decided here, once for all.
    if (keeperEnd?.code !== KEEPER_FAILED) giveUpStart(command.folder);
    throw startFailure(command);
  } catch (thrown) {
    // Not reaped yet, so the number is still its own.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) sendSignal(-child.pid, "SIGKILL");
    throw thrown;
  }
}

function spawnKeeper(command: KeeperCommand): ChildProcess {
  const stdout = openSync(path.join(command.folder, "stdout"), "a", 0o600);
  let stderr: number | undefined;
  try {
    stderr = openSync(path.join(command.folder, "stderr"), "a", 0o600);
    const stdio: StdioOptions = [command.stdin ? "pipe" : "ignore", stdout, stderr, "pipe"];
    const lease = command.lease ?? { file: "", seconds: 0 };
    const child = spawn(
      "/bin/sh",
      [command.keeperFile, "keep", lease.file, String(lease.seconds), command.directory, ...command.argv],
      {
        cwd: command.folder,
        env: { ...command.env },
        detached: true,
        stdio,
      },
    );
    child.unref();
    (child.stdin as Socket | null)?.unref();
    return child;
  } finally {
    closeSync(stdout);
    if (stderr !== undefined) closeSync(stderr);
  }
}

/** Resolves when the keeper has said that the command runs, with its end when it has ended, or when it has said nothing for too long. */
async function answered(child: ChildProcess, ended: Promise<KeeperEnd>, clock: Clock): Promise<KeeperEnd | undefined> {
  const answer = child.stdio[3] as Socket | null | undefined;
  let cancel = () => {};
  try {
    return await new Promise<KeeperEnd | undefined>((resolve, reject) => {
      child.once("error", (error) =>
        reject(new CodedError("LAUNCH_FAILED", `cannot start a process: ${error.message}`, { cause: error })),
      );
      answer?.once("data", () => resolve(undefined));
      answer?.on("error", () => {});
      ended.then(resolve);
      const timer = clock.at(clock.now() + START_DEADLINE_MS, () => resolve(undefined));
      cancel = () => timer.cancel();
    });
  } finally {
    cancel();
    answer?.destroy();
  }
}

function startFailure(command: KeeperCommand): CodedError {
  const said = [path.join(command.folder, "stderr"), path.join(command.folder, "keeper")].map(readTail).join("").trim();
  const code = /No space left|Read-only file system|Disk quota|Input\/output error/.test(said) ? "DISK_FAILED" : "LAUNCH_FAILED";
  return new CodedError(code, `cannot start ${path.basename(command.folder)}: ${said === "" ? "its keeper ended at once" : said}`);
}
