/**
 * The launcher of a worker on Linux (contract: env/launcher.ts). Each process has a keeper (process-shim.ts) and a folder (process-folder.ts);
 * this file joins launching, stopping, ends, memory limits, logs and spares.
 *
 * Invariants:
 *   1. A launch that is reported failed has nothing running and leaves no folder; one that is reported running has its note on disk.
 *   2. Nothing is signalled whose identity (pid and start time, or token) was not checked in the same turn of the event loop.
 *   3. After `close` nothing of this object runs: no timer, no listener.
 */
import { randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CodedError, hasCode } from "../../base/errors.js";
import type { Clock, Timer } from "../../env/clock.js";
import type { Launcher, LaunchSpec, ProcessEnd } from "../../env/launcher.js";
import type { Log } from "../../env/log.js";
import { DRIVER_FILE_NAME } from "../../wire/runner-start.js";
import { createKeepAlive } from "../keep-alive.js";
import { bootId } from "./proc.js";
import { adoptProcesses } from "./process-adoption.js";
import { checkCommand, userEnvironment } from "./process-environment.js";
import { makeFolder, noteReason, type ProcessFacts, SPARE_PREFIX, writeFacts, writeWhole } from "./process-folder.js";
import { type KeeperEnd, startKeeper } from "./process-keeper.js";
import { openLease } from "./process-lease.js";
import { boundLog, LOG_STREAMS, readLogFile, removeOldFolders } from "./process-logs.js";
import { createReaper, signalGroup } from "./process-members.js";
import { heapMegabytes, killOverLimit } from "./process-memory.js";
import { KEEPER_FILE_NAME, KEEPER_SCRIPT, LEASE_GRACE_SECONDS, MIN_LEASE_SECONDS } from "./process-shim.js";
import { createSpares, type Spare } from "./process-spares.js";
import { createProcessTable, type Entry, familyOf } from "./process-table.js";

const MEMORY_CHECK_MS = 1_000;
const LOG_CHECK_MS = 5_000;
const RETENTION_CHECK_MS = 60_000;
const CLOSE_GRACE_MS = 3_000;
const MAX_NOTE_LENGTH = 1024 * 1024;
const PROCESS_ID = /^(?!\.)[A-Za-z0-9._-]{1,128}$/;

export interface ProcessLauncherOptions {
  /** Exists; held by one worker at a time (`openWorkDirectory`). */
  readonly workDirectory: string;
  /** The program of drivers and executors: `node [flags] runnerPath driver|executor START_FILE`, or `... spare`. */
  readonly runnerPath: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Executors started in advance (0: none), for executors of `memoryBytes` until others are asked for. */
  readonly spares?: SpareCount;
  /** Drivers, likewise. */
  readonly driverSpares?: SpareCount;
  /** Of each log; beyond it the last half is kept. Default 64 MiB. */
  readonly maxLogBytes?: number;
  /** Logs of forgotten processes: default 24 h and 1 GiB in all. */
  readonly logRetention?: { readonly maxAgeMs: number; readonly maxBytes: number };
  /** For a worker that nobody replaces (the embedded cluster): every process ends itself so long after it is gone, runners too. */
  readonly endsWithoutWorkerMs?: number;
  /** The worker's own environment, of which an allow-list passes on. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface SpareCount {
  readonly count: number;
  readonly memoryBytes: number;
}

/** Throws DISK_FAILED when the work directory cannot be used, LAUNCH_FAILED where there is no /proc. */
export function createProcessLauncher(options: ProcessLauncherOptions): Launcher {
  const { clock, log } = options;
  if (!existsSync("/proc/self/stat")) throw new CodedError("LAUNCH_FAILED", "workers run on Linux only: there is no /proc here");
  const ownEnvironment = options.env ?? process.env;
  const processesDirectory = path.join(options.workDirectory, "processes");
  const keeperFile = path.join(options.workDirectory, KEEPER_FILE_NAME);
  const { lease, leaderLease } = onDisk(options.workDirectory, () => {
    mkdirSync(processesDirectory, { recursive: true, mode: 0o700 });
    accessSync(processesDirectory, constants.W_OK | constants.X_OK);
    if (!existsSync(keeperFile)) writeWhole(keeperFile, KEEPER_SCRIPT, 0o700);
    const open = (name: string) => openLease(path.join(options.workDirectory, name), log);
    return { lease: open("lease"), leaderLease: open("leader-lease") };
  });
  lease.renew();

  let listener: (processId: string, end: ProcessEnd) => void = () => {};
  const closing = new AbortController();
  const closed = new Promise<void>((resolve) => {
    closing.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  const reaper = createReaper(clock, log);
  const table = createProcessTable(clock, reaper, (entry, end) => listener(entry.processId, end));
  const launching = new Map<string, Promise<number>>();
  const folderOf = (processId: string) => path.join(processesDirectory, checkedId(processId));
  const keepAlive = createKeepAlive();
  const adopted = keepAlive.during(adoptProcesses({ processesDirectory, table, reaper, clock, log, signal: closing.signal }));
  adopted.catch(() => {});

  const newFacts = (processId: string | null, kind: ProcessFacts["kind"], memoryBytes: number, note: string): ProcessFacts => {
    return { version: 1, processId, kind, token: randomBytes(12).toString("hex"), bootId: bootId(), memoryBytes, note };
  };
  const runnerArguments = (memoryBytes: number, ...rest: readonly string[]) => [
    process.execPath,
    `--max-old-space-size=${heapMegabytes(memoryBytes)}`,
    options.runnerPath,
    ...rest,
  ];

  const startSpare = async (memoryBytes: number): Promise<Spare> => {
    await adopted;
    const folder = path.join(processesDirectory, `${SPARE_PREFIX}${randomBytes(6).toString("hex")}`);
    const facts = newFacts(null, "runner", memoryBytes, "");
    return inNewFolder(folder, facts, async () => {
      const env = userEnvironment(ownEnvironment, {}, null, facts.token);
      const argv = runnerArguments(memoryBytes, "spare");
      const lease = leaseOf(options.endsWithoutWorkerMs);
      const kept = await startKeeper({ keeperFile, folder, directory: "work", argv, env, lease, stdin: true }, clock);
      return { folder, facts, kept };
    });
  };
  const sparesOf = (role: "driver" | "executor", wanted: SpareCount = { count: 0, memoryBytes: 0 }) =>
    createSpares({ ...wanted, role, clock, log, start: startSpare, discard: (spare) => discardSpare(spare) });
  const spares = { driver: sparesOf("driver", options.driverSpares), executor: sparesOf("executor", options.spares) };

  const launchNew = (spec: LaunchSpec, folder: string): Promise<number> => {
    const { command } = spec;
    const facts = newFacts(spec.processId, command.kind, spec.memoryBytes, spec.note);
    return inNewFolder(folder, facts, async () => {
      const env = userEnvironment(ownEnvironment, command.kind === "program" ? command.env : {}, spec.processId, facts.token);
      const directory =
        command.kind === "program" && command.cwd !== null ? path.resolve(folder, command.cwd) : path.join(folder, "work");
      let argv = command.kind === "program" ? command.argv : [];
      if (command.kind === "runner") argv = runnerArguments(spec.memoryBytes, command.role, writeStart(folder, command.start));
      checkCommand(argv, env, directory);
      const kept = await startKeeper(
        {
          keeperFile,
          folder,
          directory,
          argv,
          env,
          lease:
            spec.endsWithoutLeaderMs === undefined
              ? leaseOf(spec.endsWithoutWorkerMs ?? options.endsWithoutWorkerMs)
              : { file: leaderLease.file, seconds: Math.max(MIN_LEASE_SECONDS, Math.floor(spec.endsWithoutLeaderMs / 1000)) },
          stdin: false,
        },
        clock,
      );
      begin({ processId: spec.processId, folder, facts, started: kept.started }, kept.ended);
      return kept.started.pid;
    });
  };

  const leaseOf = (endsWithoutWorkerMs: number | undefined) => {
    if (endsWithoutWorkerMs === undefined) return null;
    return {
      file: lease.file,
      seconds: Math.max(MIN_LEASE_SECONDS, Math.ceil(endsWithoutWorkerMs / 1000) - LEASE_GRACE_SECONDS),
    };
  };

  const discardSpare = async (spare: Spare) => {
    spare.kept.stdin?.destroy();
    await reaper.kill({ token: spare.facts.token, keeper: spare.kept.started.keeper, justEnded: false });
    rmSync(spare.folder, { recursive: true, force: true });
  };

  /** The folder is complete before its name says that it is a process, and the spare hears of it last. */
  const assignSpare = async (
    spare: Spare,
    spec: LaunchSpec,
    folder: string,
    { role, start }: { readonly role: "driver" | "executor"; readonly start: string },
  ): Promise<number> => {
    const facts = { ...spare.facts, processId: spec.processId, note: spec.note };
    try {
      writeStart(spare.folder, start);
      writeFacts(spare.folder, facts);
      renameSync(spare.folder, folder);
    } catch (thrown) {
      await discardSpare(spare);
      throw launchError(folder, thrown);
    }
    begin({ processId: spec.processId, folder, facts, started: spare.kept.started }, spare.kept.ended);
    spare.kept.stdin?.on("error", () => {});
    spare.kept.stdin?.end(`${JSON.stringify({ role, startFile: path.join(folder, "start.json") })}\n`);
    return spare.kept.started.pid;
  };

  const begin = (process: Pick<Entry, "processId" | "folder" | "facts" | "started">, ended: Promise<KeeperEnd>) => {
    table.watch(process, ended);
    log.debug("process started", { process: process.processId, pid: process.started?.pid });
  };

  const launch = async (spec: LaunchSpec): Promise<number> => {
    await adopted;
    closing.signal.throwIfAborted();
    const folder = folderOf(spec.processId);
    if (spec.note.length > MAX_NOTE_LENGTH)
      throw new CodedError("LIMIT_EXCEEDED", `the note of ${spec.processId} is longer than ${MAX_NOTE_LENGTH}`);
    if (existsSync(folder)) throw new CodedError("CONFLICT", `process ${spec.processId} was started on this worker before`);
    // A spare's keeper was started without the lease.
    if (spec.command.kind === "runner" && spec.endsWithoutLeaderMs === undefined) {
      const spare = spares[spec.command.role].take(spec.memoryBytes);
      if (spare !== undefined) return assignSpare(spare, spec, folder, spec.command);
    }
    return launchNew(spec, folder);
  };

  const stop = async (processId: string, graceMs: number, reason: string): Promise<void> => {
    await adopted;
    await launching.get(processId)?.catch(() => {});
    const entry = table.get(processId);
    if (entry === undefined || entry.end !== null) return;
    noteReason(entry.folder, `stopped: ${reason}`);
    const deadline = clock.now() + graceMs;
    entry.graceUntil = entry.graceUntil === 0 ? deadline : Math.min(entry.graceUntil, deadline);
    if (graceMs > 0) signalGroup(familyOf(entry, false), "SIGTERM");
    const timer = clock.at(deadline, () => signalGroup(familyOf(entry, false), "SIGKILL"));
    await Promise.race([entry.over, closed]);
    timer.cancel();
  };

  const living = () => table.all().filter((entry) => entry.end === null);
  const timers = [
    every(clock, MEMORY_CHECK_MS, () => killOverLimit(living(), log)),
    every(clock, LOG_CHECK_MS, () => boundLogs(living(), options.maxLogBytes ?? 64 * 1024 * 1024, log)),
    every(clock, RETENTION_CHECK_MS, () => {
      const retention = options.logRetention ?? { maxAgeMs: 24 * 3_600_000, maxBytes: 1024 ** 3 };
      removeOldFolders(processesDirectory, retention, clock.wallNow()).catch((thrown) =>
        log.warn("old logs cannot be removed", { reason: String(thrown) }),
      );
    }),
  ];

  /** What the first call of `close` asked for is what happens. */
  let closedOnce: Promise<void> | undefined;
  const close = async (leave: boolean): Promise<void> => {
    await Promise.allSettled([adopted, spares.driver.close(), spares.executor.close(), ...launching.values()]);
    if (!leave) await Promise.all(living().map((entry) => stop(entry.processId, CLOSE_GRACE_MS, "the worker was stopped")));
    closing.abort(new CodedError("CLOSED", "the launcher is closed"));
    for (const timer of timers) timer.cancel();
    table.close();
    reaper.close();
    lease.close();
    leaderLease.close();
  };

  return {
    launch: (spec) => {
      if (launching.has(spec.processId))
        return Promise.reject(new CodedError("CONFLICT", `process ${spec.processId} is being started`));
      const pid = keepAlive.during(launch(spec)).finally(() => launching.delete(spec.processId));
      launching.set(spec.processId, pid);
      return pid;
    },
    stop: (processId, graceMs, reason) => keepAlive.during(stop(processId, graceMs, reason)),
    tell: async (processId, text) => {
      await adopted;
      const entry = table.get(processId);
      if (entry === undefined || entry.end !== null) return;
      onDisk(entry.folder, () => writeWhole(path.join(entry.folder, DRIVER_FILE_NAME), text, 0o600));
    },
    inventory: async () => {
      await adopted;
      return table
        .all()
        .map(({ processId, started, facts, end }) => ({ processId, pid: started?.pid ?? 0, note: facts.note, end }));
    },
    onEnd: (listen) => {
      listener = listen;
    },
    forget: async (processId) => {
      const entry = table.get(processId);
      if (entry === undefined || entry.end === null) return;
      onDisk(entry.folder, () => {
        rmSync(path.join(entry.folder, "start.json"), { force: true });
        writeFileSync(path.join(entry.folder, "forgotten"), "");
      });
      table.remove(processId);
    },
    readLog: async (processId, stream, offset, limitBytes) => readLogFile(folderOf(processId), stream, offset, limitBytes),
    renewLease: () => lease.renew(),
    renewLeaderLease: (ageMs) => leaderLease.renew(ageMs),
    close: ({ leave }) => {
      closedOnce ??= keepAlive.during(close(leave));
      return closedOnce;
    },
  };
}

/** Makes the folder, and removes it again when what comes after fails. */
async function inNewFolder<T>(folder: string, facts: ProcessFacts, run: () => Promise<T>): Promise<T> {
  try {
    makeFolder(folder, facts);
    return await run();
  } catch (thrown) {
    if (!isNodeError(thrown, "EEXIST")) rmSync(folder, { recursive: true, force: true });
    throw launchError(folder, thrown);
  }
}

function onDisk<T>(folder: string, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    throw launchError(folder, thrown);
  }
}

const DISK_ERRORS: Readonly<Record<string, string>> = {
  ENOSPC: "no space is left on the disk",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EACCES: "this user may not write there",
  EPERM: "this user may not write there",
  EIO: "the disk reports an error",
  ENOENT: "a folder on the way is missing",
  ENOTDIR: "something on the way is not a folder",
};

function launchError(folder: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  for (const [code, sentence] of Object.entries(DISK_ERRORS)) {
    if (isNodeError(thrown, code)) {
      return new CodedError("DISK_FAILED", `cannot write ${folder}: ${sentence} (${code})`, {
        cause: thrown,
        hint: "Free space or give the worker another --work-dir.",
      });
    }
  }
  if (isNodeError(thrown, "EEXIST"))
    return new CodedError("CONFLICT", `process ${path.basename(folder)} was started on this worker before`);
  return CodedError.from(thrown, "LAUNCH_FAILED");
}

const isNodeError = (thrown: unknown, code: string): boolean => thrown instanceof Error && "code" in thrown && thrown.code === code;

/** The name of a folder: checked, because it comes from outside (`logs.read`). */
function checkedId(processId: string): string {
  if (!PROCESS_ID.test(processId))
    throw new CodedError("INVALID_ARGUMENT", `not the id of a process: ${JSON.stringify(processId.slice(0, 200))}`);
  return processId;
}

function writeStart(folder: string, start: string): string {
  const file = path.join(folder, "start.json");
  writeWhole(file, start, 0o600);
  return file;
}

function boundLogs(entries: readonly Entry[], maxBytes: number, log: Log): void {
  for (const { folder, processId } of entries) {
    for (const stream of LOG_STREAMS) {
      try {
        boundLog(folder, stream, maxBytes);
      } catch (thrown) {
        if (!hasCode(thrown, "NOT_FOUND"))
          log.warn("a log cannot be kept within its limit", { process: processId, reason: String(thrown) });
      }
    }
  }
}

function every(clock: Clock, periodMs: number, run: () => void): { cancel(): void } {
  let timer: Timer;
  const next = () => {
    timer = clock.at(clock.now() + periodMs, () => {
      run();
      next();
    });
  };
  next();
  return { cancel: () => timer.cancel() };
}
