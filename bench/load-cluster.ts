/**
 * Workers and drivers that are nothing but connections: the real handshake, links and messages over TCP, without processes behind them. Every launch
 * order is obeyed at once, in words only. For benchmarks of a master with a large cluster.
 */
import type { z } from "zod";
import { hexToBytes } from "../src/base/bytes.js";
import { CodedError } from "../src/base/errors.js";
import type { Env } from "../src/env/env.js";
import type { Link } from "../src/host/link/link.js";
import { dialLink } from "../src/host/link/link-handshake.js";
import { driverRegistered, masterToDriver } from "../src/wire/driver-messages.js";
import { applicationScope, CLUSTER_SCOPE, NO_SECRET, STANDING, STANDING_PACE } from "../src/wire/handshake.js";
import { KEEPS_RECORDS, type LaunchOrder, masterToWorker, type ProcessReport } from "../src/wire/worker-messages.js";
import type { LoadCounts } from "./load-process.js";

/** A master takes 100 connections from one address that have not proved themselves yet; real workers have addresses of their own. */
const DIALS_AT_ONCE = 90;
const REDIAL_MS = 5;
/** Of a link to a master that is to stand by, and is not there yet. With jitter. */
const STANDING_REDIAL_MS = 2_000;
const LINK = { heartbeatMs: 5_000, silenceMs: 60_000, connectTimeoutMs: 30_000 } as const;
const MEBIBYTE = 1024 ** 2;

/** Who the other side of a link is to be told that this one is. */
interface Who {
  readonly role: "worker" | "driver";
  readonly id: string;
  readonly scope: string;
  readonly key: Uint8Array;
  readonly incoming: Readonly<Record<string, z.ZodType>>;
}

interface LoadWorker {
  readonly who: Who;
  readonly inventory: Map<string, ProcessReport>;
  link: Link | null;
  /** By address. */
  readonly standing: Map<string, Link | null>;
}

interface LoadDriver {
  readonly who: Who;
  readonly order: LaunchOrder;
  readonly executors: Set<string>;
  link: Link | null;
  readonly standing: Map<string, Link | null>;
}

export class LoadCluster {
  private readonly workers: LoadWorker[];
  private readonly drivers = new Map<string, LoadDriver>();
  private launches = 0;
  private stops = 0;
  private readonly env: Env;
  private readonly addresses: readonly string[];
  private readonly keepsStanding: boolean;
  private readonly slots: number;
  private readonly signal: AbortSignal;
  private readonly onProgram: (applicationId: string) => void;
  private dialling = 0;
  private readonly waiting: (() => void)[] = [];
  private epoch = 0;

  constructor(options: {
    readonly env: Env;
    /** Of all masters. */
    readonly addresses: readonly string[];
    /** Each keeps a link to each master that does not lead, and dials none when the leader is lost: the one that takes over says so. */
    readonly standing: boolean;
    readonly workers: number;
    readonly slots: number;
    readonly signal: AbortSignal;
    /** A program was launched. */
    onProgram(applicationId: string): void;
  }) {
    this.env = options.env;
    this.addresses = options.addresses;
    this.keepsStanding = options.standing;
    this.slots = options.slots;
    this.signal = options.signal;
    this.onProgram = options.onProgram;
    this.workers = Array.from({ length: options.workers }, (_, index) => ({
      who: { role: "worker", id: `load-${index}`, scope: CLUSTER_SCOPE, key: NO_SECRET, incoming: masterToWorker },
      inventory: new Map(),
      link: null,
      standing: new Map(),
    }));
  }

  /** All workers are connected and have registered; they come back by themselves whenever their connection ends. */
  async start(): Promise<void> {
    await Promise.all(this.workers.map((worker) => this.connect(worker)));
  }

  counts(): LoadCounts {
    let executors = 0;
    for (const driver of this.drivers.values()) executors += driver.executors.size;
    const everybody = [...this.workers, ...this.drivers.values()];
    const links = everybody.filter(({ link }) => link !== null).length;
    const standing = everybody.flatMap((owner) => [...owner.standing.values()]).filter((link) => link !== null).length;
    return { executors, drivers: this.drivers.size, launches: this.launches, stops: this.stops, links, standing };
  }

  private async connect(worker: LoadWorker): Promise<void> {
    this.attach(worker, await this.dial(worker.who));
  }

  private attach(worker: LoadWorker, link: Link): void {
    worker.link = link;
    link.onMessage(({ kind, body }) => {
      if (kind === "worker.launch") this.launched(worker, body as LaunchOrder);
      else if (kind === "worker.stop") this.stops += 1;
    });
    this.stand(worker, link, (next) => this.attach(worker, next));
    this.whenEnded(worker, link, () => this.connect(worker));
    link.send("worker.register", {
      workerId: worker.who.id,
      incarnation: 1,
      address: "127.0.0.1:1",
      pid: 1,
      resources: { cores: this.slots, memoryBytes: 256 * MEBIBYTE },
      highestEpoch: this.epoch,
      inventory:
        link.peer.facts[KEEPS_RECORDS] === 1
          ? [...worker.inventory.values()].map((report) => ({ ...report, application: null }))
          : [...worker.inventory.values()],
    });
  }

  private launched(worker: LoadWorker, order: LaunchOrder): void {
    const { processId, resources, application } = order;
    this.launches += 1;
    const end = order.role === "program" ? { exitCode: 0, signal: null, reason: null } : null;
    if (end === null) worker.inventory.set(processId, { processId, pid: 2, resources, end, role: order.role, application });
    else this.onProgram(application.id);
    worker.link?.send("worker.report", { processId, pid: 2, end, launchFailed: null });
    if (order.role === "driver") {
      const key = hexToBytes(order.applicationKey);
      const who = {
        role: "driver",
        id: processId,
        scope: applicationScope(application.id),
        key,
        incoming: masterToDriver,
      } as const;
      const driver = { who, order, executors: new Set<string>(), link: null, standing: new Map() };
      this.drivers.set(application.id, driver);
      void this.drive(driver).catch(() => {});
    } else this.drivers.get(application.id)?.executors.add(processId);
  }

  private async drive(driver: LoadDriver): Promise<void> {
    await this.guide(driver, await this.dial(driver.who));
  }

  private async guide(driver: LoadDriver, link: Link): Promise<void> {
    const { application } = driver.order;
    driver.link = link;
    link.onMessage(() => {});
    this.stand(driver, link, (next) => void this.guide(driver, next).catch(() => {}));
    this.whenEnded(driver, link, () => this.drive(driver));
    const body = {
      applicationId: application.id,
      attempt: application.attempt,
      pid: 2,
      address: "127.0.0.1:2",
      highestEpoch: this.epoch,
      application,
      wanted: application.spec.job?.parallelism ?? 0,
      executors: [...driver.executors],
      released: [],
    };
    await link.request("driver.register", body, { signal: this.signal, timeoutMs: 60_000, reply: driverRegistered });
  }

  private whenEnded(owner: LoadWorker | LoadDriver, link: Link, again: () => Promise<void>): void {
    void link.ended.then(() => {
      if (owner.link === link) owner.link = null;
      // The next leader says so on a link that stands.
      if (!this.signal.aborted && !this.keepsStanding) void again().catch(() => {});
    });
  }

  /** Links to all masters but the leader's; one of them becomes the next leader's. */
  private stand(owner: LoadWorker | LoadDriver, leader: Link, attach: (link: Link) => void): void {
    if (!this.keepsStanding) return;
    owner.standing.delete(leader.remote);
    for (const address of this.addresses) {
      if (address === leader.remote || owner.standing.has(address)) continue;
      owner.standing.set(address, null);
      void this.keep(owner, address, attach).catch(() => {});
    }
  }

  private async keep(owner: LoadWorker | LoadDriver, address: string, attach: (link: Link) => void): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, STANDING_REDIAL_MS * this.env.random.fraction()));
      const link = await this.tryDial(owner.who, address, true);
      if (link === null) continue;
      if (link.peer.facts.state !== "STANDBY") {
        // It took over before this link stood.
        if (owner.link !== null) {
          link.close();
          continue;
        }
        this.epoch = Math.max(this.epoch, link.peer.epoch);
        link.pace(LINK);
        attach(link);
        return;
      }
      owner.standing.set(address, link);
      const leads = new Promise<boolean>((resolve) => {
        link.onAnnounced(() => resolve(link.peer.facts.state !== "STANDBY"));
        void link.ended.then(() => resolve(false));
      });
      if (!(await leads)) {
        owner.standing.set(address, null);
        continue;
      }
      this.epoch = Math.max(this.epoch, link.peer.epoch);
      link.pace(LINK);
      owner.link?.close();
      attach(link);
      return;
    }
  }

  /** Until it is taken: a master that is not there yet refuses. */
  private async dial(who: Who): Promise<Link> {
    for (let round = 0; ; round++) {
      const link = await this.tryDial(who, this.addresses[round % this.addresses.length] ?? "", false);
      if (link !== null && link.peer.facts.state !== "STANDBY") {
        this.epoch = Math.max(this.epoch, link.peer.epoch);
        return link;
      }
      link?.close();
      await new Promise((resolve) => setTimeout(resolve, REDIAL_MS));
    }
  }

  /** Null: it was refused. Rejects at the end only. */
  private async tryDial(who: Who, address: string, isStanding: boolean): Promise<Link | null> {
    this.signal.throwIfAborted();
    await this.turn();
    try {
      return await dialLink(address, {
        ...(isStanding ? { ...STANDING_PACE, connectTimeoutMs: LINK.connectTimeoutMs, facts: { [STANDING]: 1 } } : LINK),
        ...who,
        env: this.env,
        epoch: () => this.epoch,
        clusterId: null,
        signal: this.signal,
      });
    } catch (thrown) {
      if (this.signal.aborted) throw CodedError.from(thrown);
      return null;
    } finally {
      this.dialling -= 1;
      this.waiting.shift()?.();
    }
  }

  private async turn(): Promise<void> {
    while (this.dialling >= DIALS_AT_ONCE) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.dialling += 1;
  }
}
