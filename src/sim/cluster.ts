/**
 * A simulated cluster: machines with disks, and on them the product's own hosts, started again by a supervisor when they die.
 *
 * Boundary: makes the world that hosts see (env, store, launcher, files) and tells observers what can be seen from outside. It decides nothing about
 * faults and workloads.
 */
import { CodedError } from "../base/errors.js";
import type { BundleStore } from "../env/bundle-store.js";
import type { CoordinationStore } from "../env/coordination-store.js";
import type { Env } from "../env/env.js";
import type { Log, LogFields } from "../env/log.js";
import { type MasterHost, type MasterHostOptions, runMasterHost } from "../host/master/master-host.js";
import { runWorkerHost, type WorkerHost, type WorkerHostOptions } from "../host/worker/worker-host.js";
import type { DriverPlace } from "../wire/runner-start.js";
import { runnerStart } from "../wire/runner-start.js";
import type { MasterState } from "../wire/views.js";
import { simDigest } from "./digest.js";
import { type CountingObserver, CountingWorld } from "./jobs/counting-world.js";
import { outside } from "./marshal.js";
import type { Mutant } from "./mutants/mutant.js";
import { createNetwork, type Network } from "./network.js";
import type { LaunchedSeen, Observer, RecordSeen } from "./observe.js";
import type { SimOptions } from "./options.js";
import { readRecords } from "./record-reading.js";
import { startJobProcess, startProgram } from "./runners.js";
import { SinkWorld } from "./sinks.js";
import { withCommit } from "./store-wrapping.js";
import { createSimStore, type SimStore } from "./stores.js";
import { type Running, WorkDirectory } from "./work-directory.js";
import type { SimProcess, World } from "./world.js";

export interface MasterSlot {
  readonly name: string;
  readonly machine: string;
  readonly address: string;
  process: SimProcess | null;
  host: MasterHost | null;
  state: MasterState;
  epoch: number;
  starts: number;
}

export interface WorkerSlot {
  readonly name: string;
  readonly machine: string;
  readonly disk: WorkDirectory;
  process: SimProcess | null;
  host: WorkerHost | null;
  starts: number;
  /** It was told that it is gone for good, and ended. Its supervisor does not know that, and starts it again while there are faults. */
  isGone: boolean;
}

/** Where jobs keep their checkpoints; every machine reaches it. */
const STORAGE = "/storage";
const MEBIBYTE = 1024 * 1024;
const GIBIBYTE = 1024 * MEBIBYTE;
export const MASTER_PORT = 7077;
/** Where the shared store lives, for cuts. */
export const STORE_MACHINE = "store";

export class Cluster {
  readonly world: World;
  readonly options: SimOptions;
  readonly network: Network;
  readonly store: SimStore;
  readonly sinks: SinkWorld;
  readonly counting: CountingWorld;
  readonly masters: readonly MasterSlot[];
  readonly workers: readonly WorkerSlot[];
  readonly masterUrl: string;
  readonly secret: Uint8Array | null;
  readonly downMachines = new Set<string>();
  /** Masters that nobody starts again for now. */
  readonly keptDown = new Set<string>();
  /** Of jobs, by `folder/sha256`. */
  readonly bundles = new Map<string, Uint8Array>();
  /** Applications that wait for a person; simulated ones leave it at that. */
  readonly parked = new Set<string>();
  /** Everything that was ever launched on workers, in order. */
  readonly launches: LaunchedSeen[] = [];
  /** How long the supervisor takes to start what has died. */
  restartDelayMs: () => number = () => 1_000;
  startsGoneWorkers = true;
  private readonly observers: Observer[] = [];
  readonly mutant: Mutant;
  private generation = 0;

  constructor(world: World, options: SimOptions, mutant: Mutant) {
    this.world = world;
    this.options = options;
    this.mutant = mutant;
    this.secret = options.hasSecret ? world.random.fork("secret").bytes(32) : null;
    this.network = createNetwork(world, options.network, (from, to, frame) => this.frame(from, to, frame));
    this.store = createSimStore({
      world,
      mode: options.mode,
      minLatencyMs: options.storeMinLatencyMs,
      maxLatencyMs: options.storeMaxLatencyMs,
      committed: (applied, process) => {
        const records: readonly RecordSeen[] = readRecords(applied.transaction);
        for (const { kind, id, record } of records)
          if (kind === "application") this.parked[record?.state === "parked" ? "add" : "delete"](id);
        const seen = { ...applied, at: world.now(), process, records };
        for (const observer of this.observers) observer.committed?.(seen);
      },
      storeReset: (process) => {
        for (const observer of this.observers) observer.storeReset?.(process);
      },
    });
    this.sinks = new SinkWorld({
      world,
      committed: (commit) => {
        for (const observer of this.observers) observer.sinkCommitted?.(commit);
      },
      cleaned: (applicationId, removed, process) => {
        for (const observer of this.observers) observer.sinkCleaned?.(applicationId, removed, process);
      },
    });
    this.counting = new CountingWorld({ world, latency: options.network, mutant, observer: this.countingObserver() });
    this.masters = Array.from({ length: options.masters }, (_, index) => this.masterSlot(index));
    this.workers = Array.from({ length: options.workers }, (_, index) => this.workerSlot(index));
    this.masterUrl = `holdfast://${this.masters.map(({ address }) => address).join(",")}`;
  }

  private countingObserver(): CountingObserver {
    return {
      stateRemoved: (applicationId, sha256, process) =>
        this.tell((observer) => observer.stateRemoved?.(applicationId, sha256, process)),
      stateLost: (count) => this.tell((observer) => observer.stateLost?.(count)),
      partsCommitted: (seen) => this.tell((observer) => observer.partsCommitted?.(seen)),
      partRemoved: (applicationId, part, process) => this.tell((observer) => observer.partRemoved?.(applicationId, part, process)),
      sliceStarted: (seen) => this.tell((observer) => observer.sliceStarted?.(seen)),
      checkpointOrdered: (seen) => this.tell((observer) => observer.checkpointOrdered?.(seen)),
    };
  }

  observe(observer: Observer): void {
    this.observers.push(observer);
  }

  tell(say: (observer: Observer) => void): void {
    for (const observer of this.observers) say(observer);
  }

  /** What does not run now. */
  startAll(): void {
    for (const slot of this.masters) this.startMaster(slot);
    for (const slot of this.workers) this.startWorker(slot);
  }

  /** With masters, workers and clients on them. */
  machines(): readonly string[] {
    const clients = Array.from({ length: this.options.clients }, (_, index) => `c${index + 1}`);
    return [...new Set([...[...this.masters, ...this.workers].map(({ machine }) => machine), ...clients])];
  }

  leader(): MasterSlot | null {
    return this.masters.find(({ process, state }) => process !== null && state !== "STANDBY") ?? null;
  }

  /** A new process on a machine; its name is unique in the run. */
  spawn(name: string, machine: string): SimProcess {
    this.generation += 1;
    return this.world.spawn(`${name}#${this.generation}`, machine);
  }

  env(process: SimProcess): Env {
    return {
      clock: process.clock,
      random: this.world.random.fork(process.id),
      transport: this.network.transportFor(process),
      log: this.log(process),
      digest: simDigest,
    };
  }

  readonly readFile = (path: string): Promise<string> =>
    Promise.reject(new CodedError("DISK_FAILED", `there is no file ${path} in a simulation`));

  /** The machine loses its power: everything on it is gone but its disks. */
  powerOff(machine: string): void {
    this.downMachines.add(machine);
    this.network.machineDown(machine);
    for (const slot of this.workers) if (slot.machine === machine) slot.disk.powerLost();
    for (const slot of [...this.masters, ...this.workers]) if (slot.machine === machine) slot.process?.kill();
  }

  powerOn(machine: string): void {
    if (!this.downMachines.delete(machine)) return;
    this.network.machineUp(machine);
    for (const slot of this.masters) if (slot.machine === machine) this.startMaster(slot);
    for (const slot of this.workers) if (slot.machine === machine) this.startWorker(slot);
  }

  // ---------------------------------------------------------------------------------------------------------------- masters

  private masterSlot(index: number): MasterSlot {
    // An exclusive store is a disk, so its masters share a machine.
    const machine = this.options.mode === "exclusive" ? "m1" : `m${index + 1}`;
    const address = `${machine}:${MASTER_PORT + index}`;
    return { name: `master-${index + 1}`, machine, address, process: null, host: null, state: "STANDBY", epoch: 0, starts: 0 };
  }

  private startMaster(slot: MasterSlot): void {
    if (slot.process !== null || this.downMachines.has(slot.machine) || this.keptDown.has(slot.name)) return;
    const process = this.spawn(slot.name, slot.machine);
    slot.process = process;
    slot.starts += 1;
    process.onDeath(() => {
      slot.process = null;
      slot.host = null;
      this.changeState(slot, process, "STANDBY", slot.epoch);
      this.restartLater(() => this.startMaster(slot));
    });
    this.world.schedule(this.world.now(), "start master", () => void this.runMaster(slot, process), process);
  }

  private async runMaster(slot: MasterSlot, process: SimProcess): Promise<void> {
    const { options } = this;
    const store = this.watched(this.store.forMaster(process), process);
    const healthy: MasterHostOptions = {
      env: this.env(process),
      masterId: `${slot.name}-${slot.starts}`,
      pid: slot.starts,
      listen: slot.address,
      store,
      mode: options.mode === "none" ? "none" : "store",
      bundles: this.bundleStore(process),
      removeState: (_storage, applicationId) => this.counting.state.store(process, applicationId).removeAll(),
      secret: this.secret,
      settings: { storage: STORAGE, ...options.settings },
      sessionTtlMs: options.sessionTtlMs,
      silentFailoverMs: options.mode === "shared" ? options.sessionTtlMs : 0,
      onState: (state, epoch) => this.changeState(slot, process, state, epoch),
    };
    const hostOptions = this.mutant.master(healthy, process);
    try {
      const host = await runMasterHost(hostOptions);
      slot.host = host;
      const reason = await host.ended;
      if (reason !== null) hostOptions.env.log.error(`The master process ends: ${reason.message}`, { code: reason.code });
    } catch (thrown) {
      hostOptions.env.log.error(`The master process cannot run: ${CodedError.from(thrown).message}`);
    }
    process.kill();
  }

  private watched(store: CoordinationStore, process: SimProcess): CoordinationStore {
    return withCommit(store, async (_session, real, transaction) => {
      this.tell((observer) => observer.commitBegun?.(process, transaction));
      try {
        const result = await real(transaction);
        this.tell((observer) => observer.commitEnded?.(process, transaction, result.ok ? null : "refused"));
        return result;
      } catch (thrown) {
        const { code } = CodedError.from(thrown);
        this.tell((observer) => observer.commitEnded?.(process, transaction, code));
        throw thrown;
      }
    });
  }

  private changeState(slot: MasterSlot, process: SimProcess, state: MasterState, epoch: number): void {
    if (slot.process !== null && slot.process !== process) return;
    if (slot.state === state && slot.epoch === epoch) return;
    slot.state = state;
    slot.epoch = epoch;
    for (const observer of this.observers) observer.masterState?.(process, slot.name, state, epoch);
  }

  /** Bytes that all masters reach (`--storage`). */
  private bundleStore(process: SimProcess): BundleStore {
    const random = this.world.random.fork(`${process.id} blobs`);
    const disk = <T>(act: () => T) =>
      outside(this.world, process, "blob", random.between(0.2, 3) * this.store.weather.slowness, act);
    return {
      put: (folder, bytes) =>
        disk(() => {
          if (random.chance(this.store.weather.failShare))
            throw new CodedError("DISK_FAILED", "the blob store could not be written");
          const sha256 = simDigest.sha256Hex(bytes);
          this.bundles.set(`${folder}/${sha256}`, bytes);
          return sha256;
        }),
      has: ({ folder, sha256 }) => disk(() => this.bundles.has(`${folder}/${sha256}`)),
      get: ({ folder, sha256 }) =>
        disk(() => {
          const bytes = this.bundles.get(`${folder}/${sha256}`);
          if (bytes === undefined) throw new CodedError("NOT_FOUND", `there is no bundle ${sha256} in ${folder}`);
          return bytes;
        }),
      folders: () => disk(() => [...new Set([...this.bundles.keys()].map((key) => key.slice(0, key.indexOf("/"))))]),
      list: (folder) =>
        disk(() => [...this.bundles.keys()].flatMap((key) => (key.startsWith(`${folder}/`) ? [key.slice(folder.length + 1)] : []))),
      // What a deposed leader asked for may happen much later.
      removeUnfinished: async () => {},
      remove: ({ folder, sha256 }) => disk(() => void this.bundles.delete(`${folder}/${sha256}`)),
    };
  }

  // ---------------------------------------------------------------------------------------------------------------- workers

  private workerSlot(index: number): WorkerSlot {
    const name = `worker-${index + 1}`;
    const machine = `w${index + 1}`;
    const disk = new WorkDirectory({
      world: this.world,
      machine,
      workerId: name,
      random: this.world.random.fork(`${name} disk`),
      start: (process, spec, exit) => this.startLaunched(process, spec.command, () => disk.driverOf(spec.processId), exit),
      launched: (seen) => {
        this.launches.push(seen);
        this.tell((observer) => observer.launched?.(seen));
      },
      stopAsked: (seen, askedBy, reason) => this.tell((observer) => observer.stopAsked?.(seen, askedBy, reason)),
      processEnded: (seen, how) => this.tell((observer) => observer.processEnded?.(seen, how)),
      leaseConfirmed: (confirmedAt) => this.tell((observer) => observer.leaseConfirmed?.(name, confirmedAt)),
    });
    return { name, machine, disk, process: null, host: null, starts: 0, isGone: false };
  }

  private startLaunched(
    process: SimProcess,
    command: Parameters<typeof startProgram>[1] | { readonly kind: "runner"; readonly start: string },
    successor: () => DriverPlace | null,
    exit: (code: number) => void,
  ): Running {
    const runner = {
      process,
      env: this.env(process),
      random: this.world.random.fork(`${process.id} run`),
      sinks: this.sinks,
      counting: this.counting,
      heartbeats: this.options.heartbeats,
      mutant: this.mutant,
      exit,
      successor,
      readFile: this.readFile,
    };
    if (command.kind === "program") return startProgram(runner, command);
    return startJobProcess(runner, runnerStart.parse(JSON.parse(command.start)));
  }

  private startWorker(slot: WorkerSlot): void {
    if (slot.process !== null || (slot.isGone && !this.startsGoneWorkers) || this.downMachines.has(slot.machine)) return;
    const process = this.spawn(slot.name, slot.machine);
    slot.process = process;
    slot.starts += 1;
    process.onDeath(() => {
      slot.process = null;
      slot.host = null;
      this.restartLater(() => this.startWorker(slot));
    });
    this.world.schedule(this.world.now(), "start worker", () => void this.runWorker(slot, process), process);
  }

  private async runWorker(slot: WorkerSlot, process: SimProcess): Promise<void> {
    const { heartbeats, workerCores } = this.options;
    const hostOptions: WorkerHostOptions = this.mutant.worker({
      env: this.env(process),
      launcher: slot.disk.launcher(process),
      files: slot.disk.files(process),
      masterUrl: this.masterUrl,
      readFile: this.readFile,
      listenAddress: `${slot.machine}:0`,
      secret: this.secret,
      resources: { cores: workerCores, memoryBytes: 16 * GIBIBYTE },
      pid: 100 + slot.starts,
      ...heartbeats,
    });
    try {
      const host = await runWorkerHost(hostOptions);
      slot.host = host;
      const reason = await host.ended;
      if (reason !== null) hostOptions.env.log.error(`The worker process ends: ${reason.message}`, { code: reason.code });
      if (reason?.code === "WORKER_GONE") slot.isGone = true;
    } catch (thrown) {
      hostOptions.env.log.error(`The worker process cannot run: ${CodedError.from(thrown).message}`);
    }
    process.kill();
  }

  // ------------------------------------------------------------------------------------------------------------------ common

  private restartLater(start: () => void): void {
    this.world.schedule(this.world.now() + this.restartDelayMs(), "supervisor", start);
  }

  private log(process: SimProcess): Log {
    const say =
      (level: "debug" | "info" | "warn" | "error") =>
      (message: string, fields: LogFields = {}) => {
        const entry = { at: this.world.now(), process, level, message, fields };
        for (const observer of this.observers) observer.logged?.(entry);
      };
    return { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  }

  private frame(from: SimProcess, to: SimProcess, frame: Uint8Array): void {
    const kind = kindOf(frame);
    if (kind === null) return;
    for (const observer of this.observers) observer.frame?.(from, to, kind, frame);
  }
}

/** `{"kind":"worker.launch",...`: of orders only, the others are not worth reading. */
function kindOf(frame: Uint8Array): string | null {
  // {"kind":"w
  if (frame[9] !== 119 || frame[10] !== 111) return null;
  let kind = "";
  for (let index = 9; index < 40 && frame[index] !== 34; index += 1) kind += String.fromCharCode(frame[index] ?? 0);
  return kind;
}
