/**
 * What goes wrong, and when: drawn from the seed, each fault with its own end. `calm` ends all of them.
 *
 * Boundary: acts on the cluster only through what an operator with bad luck could do to machines, wires, disks and the store.
 */
import type { Cluster, MasterSlot, WorkerSlot } from "./cluster.js";
import { STORE_MACHINE } from "./cluster.js";
import type { FaultKind, SimOptions } from "./options.js";
import type { PlannedFault } from "./schedule.js";
import type { SeededRandom } from "./seed.js";
import type { SimProcess, World } from "./world.js";

const HEALTHY_STORAGE = { slowness: 1, fullShare: 0, unreadableShare: 0 } as const;

export interface FaultSeen {
  readonly at: number;
  readonly kind: FaultKind;
  /** Of the plan. */
  readonly draw: number;
  readonly subject: string;
}

/** Clients, as far as faults concern them. */
export interface Killable {
  readonly name: string;
  readonly process: SimProcess | null;
}

export class Faults {
  readonly schedule: FaultSeen[] = [];
  private readonly cluster: Cluster;
  private readonly world: World;
  private readonly options: SimOptions;
  /** Of the fault that strikes now. */
  private random: SeededRandom;
  private readonly plan: readonly PlannedFault[];
  private readonly clients: readonly Killable[];
  private readonly paused = new Set<SimProcess>();
  private isCalm = false;
  /** Log lines of leaders until the leader is killed; null: not armed. */
  private linesLeft: number | null = null;

  constructor(cluster: Cluster, clients: readonly Killable[], plan: readonly PlannedFault[]) {
    this.cluster = cluster;
    this.world = cluster.world;
    this.options = cluster.options;
    this.random = cluster.world.random.fork("faults");
    this.clients = clients;
    this.plan = plan;
    const restarts = cluster.world.random.fork("restarts");
    cluster.restartDelayMs = () => (this.isCalm ? 300 : (restarts.pick([100, 1_000, 5_000, 20_000, 45_000]) ?? 1_000));
    cluster.observe({ logged: ({ process }) => this.atLogLine(process) });
  }

  start(): void {
    for (const fault of this.plan)
      this.world.schedule(fault.at, "fault", () => {
        if (!this.isCalm) this.strike(fault);
      });
  }

  /** Everything heals, and what has died is started again. */
  calm(): void {
    this.isCalm = true;
    this.cluster.startsGoneWorkers = false;
    this.linesLeft = null;
    const { cluster } = this;
    cluster.network.heal();
    for (const process of this.paused) process.resume();
    this.paused.clear();
    for (const machine of [...cluster.downMachines]) cluster.powerOn(machine);
    Object.assign(cluster.counting.state.weather, HEALTHY_STORAGE);
    Object.assign(cluster.store.weather, { slowness: 1, unknownShare: 0, failShare: 0, lostShare: 0 });
    for (const { process } of cluster.masters) if (process !== null) cluster.store.reconnect(process);
    for (const { disk } of cluster.workers) Object.assign(disk.weather, { slowness: 1, launchFailShare: 0, writeFailShare: 0 });
    cluster.startAll();
  }

  private strike({ kind, draw }: PlannedFault): void {
    this.random = this.world.random.fork(`fault ${draw}`);
    const subject = this.apply(kind);
    if (subject === null) return;
    this.schedule.push({ at: this.world.now(), kind, draw, subject });
    this.cluster.tell((observer) => observer.fault?.(kind, subject));
  }

  /** What it hit; null: there was nothing to hit. */
  private apply(kind: FaultKind): string | null {
    const { cluster, random } = this;
    switch (kind) {
      case "kill-leader":
        return this.kill(cluster.leader());
      case "kill-leader-at-log":
        this.linesLeft = random.below(12);
        return `after ${this.linesLeft} lines`;
      case "kill-standby":
        return this.kill(this.standby());
      case "kill-all-masters":
        for (const slot of cluster.masters) slot.process?.kill();
        return "all masters";
      case "hand-over":
        return this.handOver(cluster.leader());
      case "pause-leader":
        return this.pause(cluster.leader()?.process ?? null, random.pick([300, 4_000, 15_000]) ?? 4_000);
      case "unheard-leader":
        return this.silence(cluster.leader());
      case "pause-standby":
        return this.pause(this.standby()?.process ?? null, random.pick([300, 4_000, 15_000]) ?? 4_000);
      case "kill-worker":
        return this.kill(this.worker());
      case "leave-worker":
        return this.leave(this.worker());
      case "pause-worker":
        return this.pause(this.worker()?.process ?? null, random.pick([300, 8_000, 20_000]) ?? 4_000);
      case "kill-machine":
        return this.killMachine();
      case "kill-driver":
      case "kill-executor":
      case "kill-program":
        return this.killLaunched(kind.slice("kill-".length));
      case "pause-process":
        return this.pauseLaunched();
      case "kill-client":
        return this.kill(random.pick(this.clients.filter(({ process }) => process !== null)) ?? null);
      default:
        return this.applyToWires(kind);
    }
  }

  private applyToWires(kind: FaultKind): string | null {
    const { cluster, random } = this;
    switch (kind) {
      case "cut-both-ways":
      case "cut-one-way": {
        const [one, another] = this.twoMachines();
        const ends = [cluster.network.cut(one, another)];
        if (kind === "cut-both-ways") ends.push(cluster.network.cut(another, one));
        this.until(random.pick([500, 6_000, 15_000, 30_000]) ?? 5_000, () => {
          for (const end of ends) end();
        });
        return `${one} ${kind === "cut-one-way" ? ">" : "<>"} ${another}`;
      }
      case "cut-most-workers":
        return this.cutMostWorkers();
      case "reject": {
        const [one, another] = this.twoMachines();
        this.until(random.pick([500, 6_000, 20_000]) ?? 5_000, cluster.network.reject(one, another));
        return `${one} x ${another}`;
      }
      case "reset-links": {
        const [one, another] = this.twoMachines();
        cluster.network.reset(one, another);
        return `${one} / ${another}`;
      }
      case "slow-links": {
        const machine = this.machine();
        this.until(random.between(1_000, 20_000), cluster.network.slow(machine, random.pick([10, 100, 500]) ?? 10));
        return machine;
      }
      case "disk-slow":
      case "disk-fail":
        return this.spoilDisk(kind);
      default:
        return this.applyToStore(kind);
    }
  }

  private applyToStore(kind: FaultKind): string | null {
    const { store } = this.cluster;
    const { random } = this;
    const slot = random.chance(0.6) ? this.cluster.leader() : (random.pick(this.cluster.masters) ?? null);
    const process = slot?.process ?? null;
    const weather = (change: Partial<typeof store.weather>, back: Partial<typeof store.weather>) => {
      Object.assign(store.weather, change);
      this.until(random.between(500, 10_000), () => Object.assign(store.weather, back));
      return STORE_MACHINE;
    };
    switch (kind) {
      case "store-unknown":
        return weather({ unknownShare: random.pick([0.2, 0.8]) ?? 0.2, lostShare: 0.1 }, { unknownShare: 0, lostShare: 0 });
      case "store-slow":
        return weather({ slowness: random.pick([20, 200]) ?? 20 }, { slowness: 1 });
      case "store-fail":
        return weather({ failShare: random.pick([0.1, 0.5]) ?? 0.2 }, { failShare: 0 });
      case "store-cut-off":
        if (process === null) return null;
        store.disconnect(process, random.chance(0.5) ? "hang" : "reject");
        this.until(random.pick([500, 3_000, 15_000]) ?? 3_000, () => store.reconnect(process));
        return process.id;
      case "store-expire":
        if (process === null) return null;
        store.expire(process);
        return process.id;
      case "usurp":
        return this.usurp();
      case "storage-crash":
      case "storage-full":
      case "storage-slow":
      case "storage-unreadable":
        return this.spoilStorage(kind);
      case "store-blind":
        if (process === null) return null;
        store.loseWatches(process, random.between(500, 10_000));
        return process.id;
      default:
        return null;
    }
  }

  // ---------------------------------------------------------------------------------------------------------------- subjects

  private standby(): MasterSlot | null {
    return this.random.pick(this.cluster.masters.filter(({ process, state }) => process !== null && state === "STANDBY")) ?? null;
  }

  private worker(): WorkerSlot | null {
    return this.random.pick(this.cluster.workers.filter(({ process }) => process !== null)) ?? null;
  }

  private machine(): string {
    return this.random.pick(this.cluster.machines()) ?? "m1";
  }

  private twoMachines(): readonly [string, string] {
    const one = this.random.chance(0.6) ? (this.cluster.leader()?.machine ?? this.machine()) : this.machine();
    for (let tries = 0; tries < 10; tries += 1) {
      const another = this.machine();
      if (another !== one) return this.random.chance(0.5) ? [one, another] : [another, one];
    }
    return [one, "c1"];
  }

  // ----------------------------------------------------------------------------------------------------------------- actions

  private until(durationMs: number, end: () => void): void {
    this.world.schedule(this.world.now() + durationMs, "fault ends", () => {
      if (this.isCalm) return;
      end();
      this.cluster.tell((observer) => observer.faultEnded?.());
    });
  }

  private kill(slot: Killable | null): string | null {
    if (slot === null || slot.process === null) return null;
    const { id } = slot.process;
    slot.process.kill();
    return id;
  }

  private pause(process: SimProcess | null, meanMs: number): string | null {
    if (process === null || process.state !== "running") return null;
    process.pause();
    this.paused.add(process);
    this.until(this.random.between(meanMs / 2, meanMs * 1.5), () => {
      process.resume();
      this.paused.delete(process);
    });
    return process.id;
  }

  /** The leader's machine, or its network, has lost most of the cluster. */
  private cutMostWorkers(): string | null {
    const { cluster, random } = this;
    const machine = cluster.leader()?.machine;
    const victims = cluster.workers.filter(() => random.chance(0.8));
    if (machine === undefined || victims.length === 0) return null;
    const ends = victims.flatMap((worker) => {
      const both = random.chance(0.7);
      const one = random.chance(0.5) ? cluster.network.cut(machine, worker.machine) : cluster.network.cut(worker.machine, machine);
      return both ? [cluster.network.cut(machine, worker.machine), cluster.network.cut(worker.machine, machine)] : [one];
    });
    this.until(random.pick([8_000, 20_000, 40_000]) ?? 20_000, () => {
      for (const end of ends) end();
    });
    return `${machine} from ${victims.map(({ name }) => name).join(", ")}`;
  }

  private handOver(slot: MasterSlot | null): string | null {
    const { host, process } = slot ?? { host: null, process: null };
    if (host === null || process === null) return null;
    this.world.schedule(this.world.now(), "SIGTERM", () => void host.close().then(() => process.kill()), process);
    return process.id;
  }

  private leave(slot: WorkerSlot | null): string | null {
    const { host, process } = slot ?? { host: null, process: null };
    if (host === null || process === null) return null;
    const leave = this.random.chance(0.6);
    this.world.schedule(this.world.now(), "SIGTERM", () => void host.close({ leave }).then(() => process.kill()), process);
    return `${process.id} ${leave ? "leaves its processes" : "takes its processes along"}`;
  }

  private killMachine(): string | null {
    const { cluster, random } = this;
    const machine = random.chance(0.3) ? random.pick(cluster.masters)?.machine : random.pick(cluster.workers)?.machine;
    if (machine === undefined || cluster.downMachines.has(machine)) return null;
    cluster.powerOff(machine);
    this.until(random.pick([2_000, 8_000, 30_000]) ?? 8_000, () => cluster.powerOn(machine));
    return machine;
  }

  private killLaunched(role: string): string | null {
    const living = this.cluster.workers.flatMap(({ disk }) => disk.living().map((seen) => ({ disk, seen })));
    const victim = this.random.pick(living.filter(({ seen }) => seen.role === role));
    if (victim === undefined) return null;
    victim.disk.killProcess(victim.seen.processId);
    return victim.seen.processId;
  }

  private pauseLaunched(): string | null {
    const living = this.cluster.workers.flatMap(({ disk }) => disk.living());
    return this.pause(this.random.pick(living)?.process ?? null, this.random.pick([500, 6_000, 25_000]) ?? 5_000);
  }

  private spoilDisk(kind: "disk-slow" | "disk-fail"): string | null {
    const slot = this.random.pick(this.cluster.workers);
    if (slot === undefined) return null;
    const { weather } = slot.disk;
    if (kind === "disk-slow") weather.slowness = this.random.pick([50, 1_000]) ?? 50;
    else Object.assign(weather, { launchFailShare: this.random.pick([0.3, 1]), writeFailShare: this.random.pick([0, 0.3]) });
    this.until(this.random.between(1_000, 15_000), () =>
      Object.assign(weather, { slowness: 1, launchFailShare: 0, writeFailShare: 0 }),
    );
    return slot.name;
  }

  /** That of checkpoints. */
  private spoilStorage(kind: "storage-crash" | "storage-full" | "storage-slow" | "storage-unreadable"): string {
    const { state } = this.cluster.counting;
    const { weather } = state;
    if (kind === "storage-crash") state.powerLost();
    else if (kind === "storage-full") weather.fullShare = this.random.pick([0.3, 1]) ?? 1;
    else if (kind === "storage-slow") weather.slowness = this.random.pick([20, 300]) ?? 20;
    else weather.unreadableShare = this.random.pick([0.3, 1]) ?? 0.3;
    if (kind !== "storage-crash") this.until(this.random.between(500, 15_000), () => Object.assign(weather, HEALTHY_STORAGE));
    return "storage";
  }

  /**
   * A standby takes the leader for dead (its connection is reset, and refused for a moment) while the leader lives and is not told of it by the
   * store: two that think they lead, and workers that find now one, now the other.
   */
  private usurp(): string | null {
    const { cluster, random, world } = this;
    const leader = cluster.leader();
    const standby = this.standby();
    if (leader?.process == null || standby === null || leader.machine === standby.machine) return null;
    cluster.store.loseWatches(leader.process, 8_000);
    this.until(300, cluster.network.reject(leader.machine, standby.machine));
    for (let time = 0; time < 8; time += 1) {
      const worker = random.pick(cluster.workers)?.machine ?? "w1";
      const master = random.chance(0.5) ? leader.machine : standby.machine;
      world.schedule(world.now() + random.between(0, 8_000), "usurped", () => {
        if (!this.isCalm) this.until(random.between(20, 1_500), cluster.network.reject(worker, master));
      });
    }
    return `${leader.process.id} by ${standby.name}`;
  }

  /**
   * Firewalls drop what goes between some workers that run what must not run twice and the leader's port, beside which a
   * standby answers; most often the leader is stopped then, sometimes again after it went on. It may go on long before they reach it again.
   */
  private silence(leader: MasterSlot | null): string | null {
    const { cluster, random, world } = this;
    const process = leader?.process ?? null;
    if (leader === null || process === null || process.state !== "running") return null;
    const victims = cluster.workers.filter(({ disk }) => disk.living().some(({ isLeased }) => isLeased));
    if (victims.length === 0) return null;
    const first = random.below(victims.length);
    const unheard = victims.filter((_worker, index) => index === first || random.chance(0.3));
    for (const { machine } of unheard)
      this.until(random.between(15_000, 60_000), cluster.network.cutListener(machine, leader.address));
    const stop = () => void (this.isCalm || this.pause(process, random.pick([3_000, 8_000, 14_000]) ?? 8_000));
    if (random.chance(0.5)) world.schedule(world.now() + random.between(0, 2_000), "stopped", stop);
    if (random.chance(0.2)) world.schedule(world.now() + random.between(4_000, 20_000), "stopped", stop);
    return `${process.id}, unheard by ${unheard.map(({ name }) => name).join(", ")}`;
  }

  /** kill -9 at a line of a leader's log, recovery's lines above all. */
  private atLogLine(process: SimProcess): void {
    if (this.linesLeft === null || this.cluster.leader()?.process !== process) return;
    this.linesLeft -= 1;
    if (this.linesLeft > 0) return;
    this.linesLeft = null;
    this.world.schedule(this.world.now(), "killed at a log line", () => process.kill());
  }
}
