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
import { applicationScope, CLUSTER_SCOPE, NO_SECRET } from "../src/wire/handshake.js";
import { KEEPS_RECORDS, type LaunchOrder, masterToWorker, type ProcessReport } from "../src/wire/worker-messages.js";
import type { LoadCounts } from "./load-process.js";

/** A master takes 100 connections from one address that have not proved themselves yet; real workers have addresses of their own. */
const DIALS_AT_ONCE = 90;
const REDIAL_MS = 5;
const LINK = { heartbeatMs: 5_000, silenceMs: 60_000, connectTimeoutMs: 30_000 } as const;
const MEBIBYTE = 1024 ** 2;

interface LoadWorker {
  readonly id: string;
  readonly inventory: Map<string, ProcessReport>;
  link: Link | null;
}

interface LoadDriver {
  readonly order: LaunchOrder;
  readonly executors: Set<string>;
  link: Link | null;
}

export class LoadCluster {
  private readonly workers: LoadWorker[];
  private readonly drivers = new Map<string, LoadDriver>();
  private launches = 0;
  private stops = 0;
  private readonly env: Env;
  private readonly address: string;
  private readonly slots: number;
  private readonly signal: AbortSignal;
  private readonly onProgram: (applicationId: string) => void;
  private dialling = 0;
  private readonly waiting: (() => void)[] = [];
  private epoch = 0;

  constructor(options: {
    readonly env: Env;
    readonly address: string;
    readonly workers: number;
    readonly slots: number;
    readonly signal: AbortSignal;
    /** A program was launched. */
    onProgram(applicationId: string): void;
  }) {
    this.env = options.env;
    this.address = options.address;
    this.slots = options.slots;
    this.signal = options.signal;
    this.onProgram = options.onProgram;
    this.workers = Array.from({ length: options.workers }, (_, index) => ({
      id: `load-${index}`,
      inventory: new Map(),
      link: null,
    }));
  }

  /** All workers are connected and have registered; they come back by themselves whenever their connection ends. */
  async start(): Promise<void> {
    await Promise.all(this.workers.map((worker) => this.connect(worker)));
  }

  counts(): LoadCounts {
    let executors = 0;
    for (const driver of this.drivers.values()) executors += driver.executors.size;
    const links = [...this.workers, ...this.drivers.values()].filter(({ link }) => link !== null).length;
    return { executors, drivers: this.drivers.size, launches: this.launches, stops: this.stops, links };
  }

  private async connect(worker: LoadWorker): Promise<void> {
    const link = await this.dial({ role: "worker", id: worker.id, scope: CLUSTER_SCOPE, key: NO_SECRET, incoming: masterToWorker });
    worker.link = link;
    link.onMessage(({ kind, body }) => {
      if (kind === "worker.launch") this.launched(worker, body as LaunchOrder);
      else if (kind === "worker.stop") this.stops += 1;
    });
    this.whenEnded(worker, link, () => this.connect(worker));
    link.send("worker.register", {
      workerId: worker.id,
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
      const driver = { order, executors: new Set<string>(), link: null };
      this.drivers.set(application.id, driver);
      void this.drive(driver).catch(() => {});
    } else this.drivers.get(application.id)?.executors.add(processId);
  }

  private async drive(driver: LoadDriver): Promise<void> {
    const { application, processId, applicationKey } = driver.order;
    const scope = applicationScope(application.id);
    const link = await this.dial({
      role: "driver",
      id: processId,
      scope,
      key: hexToBytes(applicationKey),
      incoming: masterToDriver,
    });
    driver.link = link;
    link.onMessage(() => {});
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
      owner.link = null;
      if (!this.signal.aborted) void again().catch(() => {});
    });
  }

  /** Until it is taken: a master that is not there yet refuses. */
  private async dial(who: {
    readonly role: "worker" | "driver";
    readonly id: string;
    readonly scope: string;
    readonly key: Uint8Array;
    readonly incoming: Readonly<Record<string, z.ZodType>>;
  }): Promise<Link> {
    for (;;) {
      this.signal.throwIfAborted();
      await this.turn();
      try {
        const link = await dialLink(this.address, {
          ...LINK,
          ...who,
          env: this.env,
          epoch: () => this.epoch,
          clusterId: null,
          signal: this.signal,
        });
        if (link.peer.facts.state !== "STANDBY") {
          this.epoch = Math.max(this.epoch, link.peer.epoch);
          return link;
        }
        link.close();
      } catch (thrown) {
        if (this.signal.aborted) throw CodedError.from(thrown);
      } finally {
        this.dialling -= 1;
        this.waiting.shift()?.();
      }
      await new Promise((resolve) => setTimeout(resolve, REDIAL_MS));
    }
  }

  private async turn(): Promise<void> {
    while (this.dialling >= DIALS_AT_ONCE) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.dialling += 1;
  }
}
