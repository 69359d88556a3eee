/**
 * The work directory of a simulated worker and the launcher on it (contracts: env/launcher.ts, host/worker-host.ts).
 *
 * The directory is the disk: it survives its worker and its machine. What it launched is in processes of their own, each with a keeper that notes
 * its end and, for programs, ends it when the worker's lease has run out. A machine that loses its power takes all processes with it.
 */
import { CodedError } from "../base/errors.js";
import { utf8Decode } from "../base/utf8.js";
import type { Launcher, LaunchSpec, ProcessEnd } from "../env/launcher.js";
import type { WorkerFiles } from "../host/worker/worker-host.js";
import { LEASE_GRACE_MS, LEASE_POLL_MS } from "../wire/partition-lease.js";
import { type DriverPlace, driverPlace } from "../wire/runner-start.js";
import type { WorkerIdentity } from "../worker/worker-events.js";
import { readNote } from "../worker/worker-notes.js";
import { outside } from "./marshal.js";
import type { EndedHow, LaunchedSeen } from "./observe.js";
import type { SeededRandom } from "./seed.js";
import type { SimProcess, World } from "./world.js";

/** What runs in a launched process. */
export interface Running {
  /** The polite signal. */
  terminate(): void;
}

/** What is wrong with the disk of a machine now. */
export interface DiskWeather {
  slowness: number;
  launchFailShare: number;
  writeFailShare: number;
}

export interface WorkDirectoryOptions {
  readonly world: World;
  readonly machine: string;
  readonly workerId: string;
  readonly random: SeededRandom;
  /** Starts what the spec says in the process, and is told how it exits. */
  start(process: SimProcess, spec: LaunchSpec, exit: (exitCode: number) => void): Running;
  launched(seen: LaunchedSeen): void;
  stopAsked(seen: LaunchedSeen, askedBy: SimProcess, reason: string): void;
  processEnded(seen: LaunchedSeen, how: EndedHow): void;
  /** What must not run twice may go on: confirmed at that instant. */
  leaseConfirmed(confirmedAt: number): void;
}

interface Folder {
  readonly processId: string;
  readonly note: string;
  readonly pid: number;
  readonly seen: LaunchedSeen;
  readonly life: SimProcess;
  readonly lease: { readonly of: "worker" | "leader"; readonly ms: number } | null;
  running: Running | null;
  /** What its worker has told it. */
  driver: DriverPlace | null;
  reason: string | null;
  end: ProcessEnd | null;
  isForgotten: boolean;
  readonly onEnd: Set<() => void>;
}

/** As in node/process-launcher.ts and node/process-shim.ts. */
const MIN_WORKER_LEASE_MS = 3_000;
function leaseOf({ endsWithoutWorkerMs, endsWithoutLeaderMs }: LaunchSpec): Folder["lease"] {
  if (endsWithoutLeaderMs !== undefined) return { of: "leader", ms: endsWithoutLeaderMs };
  if (endsWithoutWorkerMs === undefined) return null;
  return { of: "worker", ms: Math.max(MIN_WORKER_LEASE_MS, endsWithoutWorkerMs - LEASE_GRACE_MS) };
}

const DISK_FAILED = "no space left on device";

export class WorkDirectory {
  readonly weather: DiskWeather = { slowness: 1, launchFailShare: 0, writeFailShare: 0 };
  readonly machine: string;
  private identity: WorkerIdentity;
  private readonly options: WorkDirectoryOptions;
  private readonly folders = new Map<string, Folder>();
  private readonly artifacts = new Set<string>();
  private leaseRenewedAt = 0;
  private leaderConfirmedAt = 0;
  private nextPid = 1000;
  /** Who listens to ends now; a worker that is gone hears nothing. */
  private listener: { readonly process: SimProcess; readonly tell: (processId: string, end: ProcessEnd) => void } | null = null;
  private openings = 0;

  constructor(options: WorkDirectoryOptions) {
    this.options = options;
    this.machine = options.machine;
    this.identity = { workerId: options.workerId, incarnation: 1, highestEpoch: 0 };
  }

  driverOf(processId: string): DriverPlace | null {
    return this.folders.get(processId)?.driver ?? null;
  }

  /** Processes that live now. */
  living(): readonly LaunchedSeen[] {
    return [...this.folders.values()].filter(({ end }) => end === null).map(({ seen }) => seen);
  }

  /** Ended, and kept because nobody said that the end is durable elsewhere. */
  unforgotten(): readonly string[] {
    return [...this.folders.values()]
      .filter(({ end, isForgotten }) => end !== null && !isForgotten)
      .map(({ processId }) => processId);
  }

  /** kill -9 by somebody. */
  killProcess(processId: string): void {
    const folder = this.folders.get(processId);
    if (folder !== undefined) this.end(folder, { exitCode: null, signal: "SIGKILL", reason: null }, "killed");
  }

  powerLost(): void {
    for (const folder of this.folders.values())
      this.end(folder, { exitCode: null, signal: null, reason: "not seen again after a reboot" }, "machine");
  }

  files(worker: SimProcess): WorkerFiles {
    return {
      identity: this.identity,
      saveIdentity: (json) =>
        this.onDisk(worker, "save identity", () => {
          this.identity = JSON.parse(utf8Decode(json) ?? "") as WorkerIdentity;
        }),
      // Simulated workers are given a list of addresses, which drivers get as it is.
      mastersPath: "/masters",
      saveMasters: async () => {},
      artifactPath: async (sha256) => (this.artifacts.has(sha256) ? `artifacts/${sha256}` : null),
      keepArtifact: (sha256) =>
        this.onDisk(worker, "keep artifact", () => {
          this.artifacts.add(sha256);
          return `artifacts/${sha256}`;
        }),
      dropArtifact: (sha256) => this.onDisk(worker, "drop artifact", () => void this.artifacts.delete(sha256)),
      keptArtifacts: async () => [...this.artifacts],
    };
  }

  launcher(worker: SimProcess): Launcher {
    const { world } = this.options;
    this.openings += 1;
    const opening = this.openings;
    this.leaseRenewedAt = world.now();
    const launching = new Map<string, Promise<number>>();
    return {
      launch: (spec) => {
        if (this.folders.has(spec.processId) || launching.has(spec.processId))
          return Promise.reject(new CodedError("CONFLICT", `process ${spec.processId} was started on this worker before`));
        const launched = this.launch(worker, spec, opening).finally(() => launching.delete(spec.processId));
        launching.set(spec.processId, launched);
        return launched;
      },
      stop: async (processId, graceMs, reason) => {
        await launching.get(processId)?.catch(() => {});
        const folder = this.folders.get(processId);
        if (folder === undefined || folder.end !== null) return;
        this.options.stopAsked(folder.seen, worker, reason);
        await this.stop(worker, folder, graceMs, reason);
      },
      tell: (processId, text) =>
        this.onDisk(worker, "tell driver", () => {
          const folder = this.folders.get(processId);
          if (folder !== undefined && folder.end === null) folder.driver = driverPlace.parse(JSON.parse(text));
        }),
      inventory: () =>
        outside(world, worker, "inventory", this.diskMs(), () =>
          [...this.folders.values()]
            .filter(({ isForgotten }) => !isForgotten)
            .map(({ processId, pid, note, end }) => ({ processId, pid, note, end })),
        ),
      onEnd: (tell) => {
        this.listener = { process: worker, tell };
      },
      forget: async (processId) => {
        const folder = this.folders.get(processId);
        if (folder !== undefined && folder.end !== null) folder.isForgotten = true;
      },
      readLog: async () => ({ bytes: new Uint8Array(0), sizeBytes: 0 }),
      renewLease: () => {
        this.leaseRenewedAt = world.now();
      },
      renewLeaderLease: (ageMs) => {
        // Kept in whole seconds.
        this.leaderConfirmedAt = Math.floor((world.now() - ageMs) / 1_000) * 1_000;
        this.options.leaseConfirmed(world.now() - ageMs);
      },
      close: async ({ leave }) => {
        this.listener = null;
        if (leave) return;
        for (const folder of this.folders.values())
          this.end(folder, { exitCode: null, signal: "SIGKILL", reason: "stopped: its worker is closed" }, "killed");
      },
    };
  }

  private async launch(worker: SimProcess, spec: LaunchSpec, opening: number): Promise<number> {
    const { world, random } = this.options;
    const delayMs = this.diskMs() + random.between(2, 15);
    return outside(world, worker, "launch", delayMs, () => {
      // A worker that found the launch half done has stopped it; one that died in the middle may have started it.
      const isStopped = this.openings !== opening || (worker.state === "dead" && random.chance(0.5));
      if (isStopped) throw new CodedError("LAUNCH_FAILED", "the worker is gone");
      if (random.chance(this.weather.launchFailShare)) throw new CodedError("DISK_FAILED", DISK_FAILED);
      if (random.chance(this.weather.launchFailShare / 2))
        throw new CodedError("LAUNCH_FAILED", "fork: resource temporarily unavailable");
      return this.begin(worker, spec).pid;
    });
  }

  private begin(worker: SimProcess, spec: LaunchSpec): Folder {
    const { world, machine } = this.options;
    const note = readNote(spec.note);
    if (note === null) throw new CodedError("INTERNAL", "invariant broken: a launch without a readable note");
    const attempt = Number(/\.d([0-9]+)/.exec(spec.processId)?.[1] ?? 0);
    const life = world.spawn(spec.processId, machine);
    const folder: Folder = {
      processId: spec.processId,
      note: spec.note,
      pid: this.nextPid++,
      life,
      lease: leaseOf(spec),
      running: null,
      driver: null,
      reason: null,
      end: null,
      isForgotten: false,
      onEnd: new Set(),
      seen: {
        processId: spec.processId,
        applicationId: note.application.id,
        applicationName: note.application.spec.name,
        attempt,
        role: note.role,
        workerId: note.workerId,
        incarnation: note.incarnation,
        machine,
        cores: note.resources.cores,
        memoryBytes: note.resources.memoryBytes,
        isLeased: spec.endsWithoutLeaderMs !== undefined,
        launchedBy: worker,
        process: life,
        startedAt: world.now(),
      },
    };
    this.folders.set(spec.processId, folder);
    this.options.launched(folder.seen);
    world.schedule(
      world.now() + 1,
      "exec",
      () => {
        folder.running = this.options.start(life, spec, (exitCode) => this.exit(folder, exitCode));
      },
      life,
    );
    this.watchLease(folder);
    return folder;
  }

  private exit(folder: Folder, exitCode: number): void {
    this.end(folder, { exitCode, signal: null, reason: folder.reason }, "exit");
  }

  private end(folder: Folder, end: ProcessEnd, how: EndedHow): void {
    if (folder.end !== null) return;
    folder.end = end;
    folder.life.kill();
    this.options.processEnded(folder.seen, how);
    for (const run of folder.onEnd) run();
    const { listener } = this;
    if (listener === null) return;
    const { world, random } = this.options;
    world.schedule(
      world.now() + random.between(0, 2),
      "process ended",
      () => listener.tell(folder.processId, end),
      listener.process,
    );
  }

  private stop(worker: SimProcess, folder: Folder, graceMs: number, reason: string): Promise<void> {
    const { world } = this.options;
    folder.reason = `stopped: ${reason}`;
    if (graceMs > 0) this.signal(folder);
    const kill = () => this.end(folder, { exitCode: null, signal: "SIGKILL", reason: folder.reason }, "killed");
    const timer = worker.clock.at(worker.clock.now() + graceMs, kill);
    return new Promise((resolve) => {
      const over = () => {
        timer.cancel();
        world.schedule(world.now(), "stopped", resolve, worker);
      };
      if (folder.end !== null) over();
      else folder.onEnd.add(over);
    });
  }

  private signal(folder: Folder): void {
    const { world } = this.options;
    const deliver = () => {
      if (folder.running !== null) folder.running.terminate();
      // Before it has set up anything, a signal has its default effect.
      else this.end(folder, { exitCode: null, signal: "SIGTERM", reason: folder.reason }, "killed");
    };
    world.schedule(world.now(), "SIGTERM", deliver, folder.life);
  }

  private watchLease(folder: Folder): void {
    const { lease } = folder;
    if (lease === null) return;
    const { world, random } = this.options;
    const renewedAt = () => (lease.of === "leader" ? this.leaderConfirmedAt : Math.max(this.leaseRenewedAt, folder.seen.startedAt));
    // The keeper of a leader's lease looks once a second, at a moment of its own.
    const lookMs = lease.of === "leader" ? random.between(0, LEASE_POLL_MS) : 0;
    world.schedule(Math.max(world.now() + 1, renewedAt() + lease.ms + lookMs), "lease", () => {
      if (folder.end !== null) return;
      if (renewedAt() + lease.ms > world.now()) {
        this.watchLease(folder);
        return;
      }
      folder.reason = lease.of === "leader" ? "ended itself: no leader for too long" : "ended itself: no worker for too long";
      this.signal(folder);
      world.schedule(world.now() + LEASE_GRACE_MS, "lease over", () =>
        this.end(folder, { exitCode: null, signal: "SIGKILL", reason: folder.reason }, "lease"),
      );
    });
  }

  private onDisk<T>(worker: SimProcess, label: string, act: () => T): Promise<T> {
    const { world, random } = this.options;
    return outside(world, worker, label, this.diskMs(), () => {
      if (random.chance(this.weather.writeFailShare)) throw new CodedError("DISK_FAILED", DISK_FAILED);
      return act();
    });
  }

  private diskMs(): number {
    return this.options.random.between(0.2, 2) * this.weather.slowness;
  }
}
