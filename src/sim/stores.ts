/**
 * The coordination store of a simulated cluster, in the shape that the seed has drawn:
 *
 *   shared      one linear store for all masters, as ZooKeeper or etcd: sessions that expire, connections that break (createFaultyStore)
 *   exclusive   one disk that one process owns at a time, as LevelDB: the kernel frees it at death and keeps it while its owner is stopped, which
 *               those that wait for it see (as early as the contract allows: at the end of OWNER_STOPPED_MS)
 *   zookeeper   the product's ZooKeeper store on a modelled ensemble (zookeeper/sim-store.ts)
 *   none        recovery mode none: each master process has its own, which is gone with it
 *
 * Everything that is committed durably is told to `committed`, in the store's order.
 */
import { CodedError } from "../base/errors.js";
import { createFaultyStore, type FaultyStore, type StoreFault } from "../coordination/faulty-store.js";
import { DEFAULT_LIMITS } from "../coordination/limits.js";
import { type AppliedCommit, LocalStore } from "../coordination/local-store.js";
import { createMemoryStore } from "../coordination/memory-store.js";
import { RecordTable } from "../coordination/record-table.js";
import {
  type CoordinationSession,
  type CoordinationStore,
  type OpenSession,
  OWNER_STOPPED_MS,
  type StoredRecord,
} from "../env/coordination-store.js";
import { marshalled, outside } from "./marshal.js";
import type { SeededRandom } from "./seed.js";
import type { SimProcess, World } from "./world.js";
import { createZooKeeperSimStore } from "./zookeeper/sim-store.js";

export type StoreMode = "shared" | "zookeeper" | "exclusive" | "none";
/** One store for masters on several machines. */
export const isShared = (mode: StoreMode): boolean => mode === "shared" || mode === "zookeeper";

/** What is wrong with the store now; the fault schedule changes it. */
export interface StoreWeather {
  /** Multiplies the latency of requests and syncs. */
  slowness: number;
  /** Share of commits whose answer is lost. */
  unknownShare: number;
  /** Share of commits that fail on the disk. */
  failShare: number;
  /** Share of calls that are refused before they leave. */
  lostShare: number;
}

export interface SimStore {
  forMaster(process: SimProcess): CoordinationStore;
  readonly weather: StoreWeather;
  /** Shared stores only; elsewhere nothing happens. */
  disconnect(process: SimProcess, mode: "hang" | "reject"): void;
  reconnect(process: SimProcess): void;
  expire(process: SimProcess): void;
  loseWatches(process: SimProcess, afterMs: number): void;
  /** The store's records now, where there is one store. */
  records(): readonly StoredRecord[];
  /** Who owns the exclusive store. */
  owner(): SimProcess | null;
}

export interface StoreOptions {
  readonly world: World;
  readonly mode: StoreMode;
  readonly minLatencyMs: number;
  readonly maxLatencyMs: number;
  committed(applied: AppliedCommit, process: SimProcess | null): void;
  storeReset(process: SimProcess): void;
}

export function createSimStore(options: StoreOptions): SimStore {
  if (options.mode === "shared") return createShared(options);
  if (options.mode === "zookeeper") return createZooKeeperSimStore(options, calmWeather());
  if (options.mode === "exclusive") return createExclusive(options);
  return createForgetful(options);
}

const calmWeather = (): StoreWeather => ({ slowness: 1, unknownShare: 0, failShare: 0, lostShare: 0 });
const nothing = () => {};

// ---------------------------------------------------------------------------------------------------------------- shared

/** A request that was on its way when its process was stopped still arrives. */
const ON_THE_WAY_MS = 20;

function createShared(options: StoreOptions): SimStore {
  const { world } = options;
  const weather = calmWeather();
  const random = world.random.fork("store");
  const ownerOfSession = new Map<string, SimProcess>();
  const memory = createMemoryStore({
    onApplied: (applied) => options.committed(applied, ownerOfSession.get(applied.sessionId) ?? null),
  });
  const stores = new Map<SimProcess, FaultyStore>();
  const cutOff = new Set<SimProcess>();
  const worldClock = {
    now: () => world.now(),
    wallNow: () => world.wallNow(),
    at: (instant: number, run: () => void) => world.schedule(instant, "store", run),
  };

  return {
    weather,
    forMaster(process) {
      const faulty = createFaultyStore(memory, {
        clock: process.clock,
        storeClock: worldClock,
        decide: (call) => sharedFault(call.kind === "commit", options, weather, random),
      });
      stores.set(process, faulty);
      if (cutOff.has(process)) faulty.disconnect("hang");
      process.onDeath(() => {
        stores.delete(process);
        faulty.crash();
      });
      process.onPause(() =>
        world.schedule(world.now() + ON_THE_WAY_MS, "pings stop", () => {
          if (process.state === "paused") faulty.disconnect("hang");
        }),
      );
      process.onResume(() => {
        if (!cutOff.has(process)) faulty.reconnect();
      });
      return atProcess(world, process, faulty, (session) => ownerOfSession.set(session.id, process));
    },
    disconnect(process, mode) {
      cutOff.add(process);
      stores.get(process)?.disconnect(mode);
    },
    reconnect(process) {
      cutOff.delete(process);
      if (process.state === "running") stores.get(process)?.reconnect();
    },
    expire: (process) => void stores.get(process)?.expireSessions(),
    loseWatches: (process, afterMs) => stores.get(process)?.loseWatches(afterMs),
    records: () => memory.records(),
    owner: () => null,
  };
}

function sharedFault(isCommit: boolean, options: StoreOptions, weather: StoreWeather, random: SeededRandom): StoreFault {
  const oneWay = () => random.between(options.minLatencyMs, options.maxLatencyMs) * weather.slowness;
  const delays = { requestDelayMs: oneWay(), replyDelayMs: oneWay() };
  if (!isCommit) return delays;
  if (random.chance(weather.unknownShare))
    return { ...delays, outcome: random.chance(0.5) ? "unknown-applied" : "unknown-not-applied" };
  if (random.chance(weather.lostShare)) return { ...delays, outcome: "connection-lost" };
  if (random.chance(weather.failShare)) {
    const outcomes = ["disk-failed-applied", "disk-failed-not-applied", "expired-applied", "expired-not-applied"] as const;
    return { ...delays, outcome: random.pick(outcomes) ?? "expired-applied" };
  }
  return delays;
}

/** Answers and events of the store reach the process as events of its own. */
function atProcess(
  world: World,
  process: SimProcess,
  store: CoordinationStore,
  onSession: (session: CoordinationSession) => void,
): CoordinationStore {
  const here = <T>(promise: Promise<T>) => marshalled(world, process, "store", promise);
  const later = (run: () => void) => void world.schedule(world.now(), "store", run, process);
  return {
    limits: store.limits,
    nudge: () => store.nudge(),
    close: () => here(store.close()),
    openSession: (open) => {
      const { onWaiting } = open;
      const opened = store
        .openSession({
          ...open,
          ...(onWaiting === undefined ? {} : { onWaiting: (waiting) => later(() => onWaiting(waiting)) }),
        })
        .then((session): CoordinationSession => {
          onSession(session);
          return {
            id: session.id,
            ended: here(session.ended),
            deadline: () => session.deadline(),
            get: (key, call) => here(session.get(key, call)),
            list: (request, call) => here(session.list(request, call)),
            commit: (transaction, call) => here(session.commit(transaction, call)),
            watch: (prefix, listener) => session.watch(prefix, (event) => later(() => listener(event))),
            close: () => here(session.close()),
          };
        });
      return here(opened);
    },
  };
}

// -------------------------------------------------------------------------------------------------------------- exclusive

const POLL_MS = 250;
const BURST_MS = [0, 1, 1, 2, 2, 3, 4, 5, 8, 12, 20, 30, 50, 80, 120, 160];

interface Disk {
  readonly records: Map<string, StoredRecord>;
  revision: number;
  owner: { readonly process: SimProcess; readonly candidate: string } | null;
  openings: number;
}

function createExclusive(options: StoreOptions): SimStore {
  const weather = calmWeather();
  const disk: Disk = { records: new Map(), revision: 0, owner: null, openings: 0 };
  const random = options.world.random.fork("disk");
  return {
    weather,
    forMaster: (process) => new ExclusiveStore(options, disk, weather, random, process),
    disconnect: nothing,
    reconnect: nothing,
    expire: nothing,
    loseWatches: nothing,
    records: () => [...disk.records.values()],
    owner: () => disk.owner?.process ?? null,
  };
}

class ExclusiveStore implements CoordinationStore {
  readonly limits = DEFAULT_LIMITS;
  private readonly options: StoreOptions;
  private readonly disk: Disk;
  private readonly weather: StoreWeather;
  private readonly random: SeededRandom;
  private readonly process: SimProcess;
  private owned: LocalStore | null = null;
  private opening: Promise<LocalStore | null> | null = null;
  private isWriting = false;
  private waiting = 0;
  private readonly nudges = new Set<() => void>();
  private readonly closing = new AbortController();

  constructor(options: StoreOptions, disk: Disk, weather: StoreWeather, random: SeededRandom, process: SimProcess) {
    this.options = options;
    this.disk = disk;
    this.weather = weather;
    this.random = random;
    this.process = process;
    process.onDeath(() => {
      this.isWriting = false;
      this.release();
    });
  }

  async openSession(open: OpenSession): Promise<CoordinationSession> {
    this.waiting += 1;
    try {
      return await this.openWhenFree(open);
    } finally {
      this.waiting -= 1;
    }
  }

  private async openWhenFree(open: OpenSession): Promise<CoordinationSession> {
    const signal = AbortSignal.any([open.signal, this.closing.signal]);
    let told: string | null = null;
    let burst = BURST_MS.length;
    for (;;) {
      signal.throwIfAborted();
      if (this.owned === null) {
        this.opening ??= this.own(open.candidate).finally(() => {
          this.opening = null;
        });
        await this.opening;
      }
      signal.throwIfAborted();
      if (this.owned !== null) return this.owned.openSession(open);
      const owner = this.disk.owner?.candidate;
      if (owner !== undefined && owner !== told) {
        told = owner;
        open.onWaiting?.({ owner, reason: "it owns the store" });
      }
      if (await this.pause(BURST_MS[burst] ?? POLL_MS, signal)) burst = 0;
      else burst += 1;
    }
  }

  nudge(): void {
    for (const nudge of this.nudges) nudge();
  }

  stoppedOwner(): string | null {
    const { owner } = this.disk;
    if (this.waiting === 0 || this.owned !== null || owner === null || owner.process === this.process) return null;
    return owner.process.pausedMs() >= OWNER_STOPPED_MS ? owner.candidate : null;
  }

  async close(): Promise<void> {
    this.closing.abort(new CodedError("CLOSED", "the coordination store was closed"));
    await this.opening?.catch(nothing);
    await this.owned?.close();
    this.release();
  }

  /** True when a nudge cut it short. (Without signals of its own: a standby waits four times a second for as long as a run lasts.) */
  private pause(durationMs: number, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.process;
    return new Promise((resolve, reject) => {
      const end = (act: () => void) => {
        timer.cancel();
        this.nudges.delete(nudge);
        signal.removeEventListener("abort", abort);
        act();
      };
      const nudge = () => end(() => resolve(true));
      const abort = () => end(() => reject(signal.reason));
      const timer = clock.at(clock.now() + durationMs, () => end(() => resolve(false)));
      this.nudges.add(nudge);
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
    });
  }

  private async own(candidate: string): Promise<LocalStore | null> {
    const { disk, process } = this;
    if (disk.owner !== null) return null;
    disk.owner = { process, candidate };
    await outside(this.options.world, process, "open store", this.syncMs(), nothing);
    const uncommitted: AppliedCommit[] = [];
    disk.openings += 1;
    const opening = disk.openings;
    this.owned = new LocalStore({
      limits: this.limits,
      table: new RecordTable(disk.records.values(), disk.revision),
      sessionIdPrefix: `level-${disk.openings}-`,
      onApplied: (applied) => void uncommitted.push(applied),
      onIdle: () => this.release(),
      journal: {
        write: (changes, revision) => {
          const batch = uncommitted.splice(0);
          const fails = this.random.chance(this.weather.failShare);
          const isWritten = fails ? this.random.chance(0.5) : true;
          this.isWriting = true;
          return outside(this.options.world, process, "sync", this.syncMs(), () => {
            // What a killed process had handed to the kernel is on the disk or not; the next owner reads which.
            const reaches = process.state === "dead" ? disk.openings === opening && this.random.chance(0.5) : isWritten;
            if (reaches) {
              for (const { key, record, ephemeral } of changes) {
                if (ephemeral) continue;
                if (record === undefined) disk.records.delete(key);
                else disk.records.set(key, record);
              }
              disk.revision = Math.max(disk.revision, revision);
              for (const applied of batch) this.options.committed(applied, process);
            }
            this.isWriting = false;
            if (this.owned === null) this.release();
            if (fails) throw new CodedError("DISK_FAILED", "the coordination store could not be written: no space left on device");
          });
        },
      },
    });
    return this.owned;
  }

  private syncMs(): number {
    const { minLatencyMs, maxLatencyMs } = this.options;
    return this.random.between(minLatencyMs, maxLatencyMs) * this.weather.slowness;
  }

  private release(): void {
    this.owned = null;
    // The lock is free when the write that is under way is through; at death, at once.
    if (!this.isWriting && this.disk.owner?.process === this.process) this.disk.owner = null;
  }
}

// ------------------------------------------------------------------------------------------------------------------- none

function createForgetful(options: StoreOptions): SimStore {
  return {
    weather: calmWeather(),
    forMaster(process) {
      options.storeReset(process);
      return createMemoryStore({ onApplied: (applied) => options.committed(applied, process) });
    },
    disconnect: nothing,
    reconnect: nothing,
    expire: nothing,
    loseWatches: nothing,
    records: () => [],
    owner: () => null,
  };
}
