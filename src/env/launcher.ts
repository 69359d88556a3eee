/**
 * Operating system processes as a worker host sees them.
 *
 * Contract: a launched process is in a process group of its own, writes its logs to files that do not pass through the worker, and
 * outlives the worker. Its end and exit code are noted beside its logs, so that a worker which was away learns them (`inventory`).
 * A process is identified by process id string, pid AND start time: a reused pid is never taken for it.
 */
export interface LaunchSpec {
  /** `[A-Za-z0-9._-]{1,128}`; names the folder of its logs. A second launch of the same id is refused (CONFLICT). */
  readonly processId: string;
  readonly command: LaunchCommand;
  readonly memoryBytes: number;
  /** JSON kept beside the process and given back by `inventory`: what the worker has to know to report it. At most 1 MiB. */
  readonly note: string;
  /** Milliseconds without a live worker after which the process ends itself; undefined: it judges by itself (drivers, executors). */
  readonly endsWithoutWorkerMs?: number;
  /** Milliseconds since the last confirmation by a leader (`renewLeaderLease`) after which the process gets the polite signal, then is killed. */
  readonly endsWithoutLeaderMs?: number;
}

export type LaunchCommand =
  /** Any program. `env` is the whole environment but PATH, HOME, LANG, TZ and TMPDIR, which pass through. */
  | {
      readonly kind: "program";
      readonly argv: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly cwd: string | null;
    }
  /** Holdfast's own runner, as a driver or an executor; `start` (JSON) reaches it by a private file, never argv or env. */
  | { readonly kind: "runner"; readonly role: "driver" | "executor"; readonly start: string };

export interface ProcessEnd {
  /** Null when it ended by a signal or unnoticed. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** A sentence when more is known: "out of memory (limit 256 MiB)", "stopped", "not seen again after a reboot". */
  readonly reason: string | null;
}

export interface ProcessView {
  readonly processId: string;
  readonly pid: number;
  readonly note: string;
  readonly end: ProcessEnd | null;
}

export interface LogRead {
  readonly bytes: Uint8Array;
  /** Size of the log now; reading goes on from `offset + bytes.length`. */
  readonly sizeBytes: number;
  /** Where `bytes` begin, when that is past the offset asked for: what lay before was removed (a log keeps its last part). */
  readonly offset?: number;
}

export interface Launcher {
  /** Resolves with the pid once the process runs. Rejects with LAUNCH_FAILED, CONFLICT, DISK_FAILED. */
  launch(spec: LaunchSpec): Promise<number>;
  /** Puts this text beside a runner, in place of what stood there: the process looks by itself. Of one that does not run: resolves. */
  tell(processId: string, text: string): Promise<void>;
  /** Polite signal now, the whole group killed after `graceMs`. Resolves when nothing of the group lives. Unknown id: resolves. */
  stop(processId: string, graceMs: number, reason: string): Promise<void>;
  /** All processes this work directory knows: those that live, and ended ones not yet forgotten. */
  inventory(): Promise<readonly ProcessView[]>;
  /** One listener, told once of every end, also of processes adopted from an earlier worker. */
  onEnd(listener: (processId: string, end: ProcessEnd) => void): void;
  /** Its end is durable elsewhere: logs may be removed by age and size from now on. */
  forget(processId: string): Promise<void>;
  readLog(processId: string, stream: "stdout" | "stderr", offset: number, limitBytes: number): Promise<LogRead>;
  /** Renewed by the worker while it lives; see `endsWithoutWorkerMs`. */
  renewLease(): void;
  /** A leader confirmed this worker `ageMs` ago; see `endsWithoutLeaderMs`. Kept over restarts of the worker, as everything on its directory. */
  renewLeaderLease(ageMs: number): void;
  /** Stops watching. With `leave` the processes run on, otherwise all are stopped. */
  close(options: { readonly leave: boolean }): Promise<void>;
}
