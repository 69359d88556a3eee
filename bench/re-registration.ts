/**
 * A large cluster in the master's core alone: jobs are placed on workers by a first core, then a second one on the same records hears all workers
 * and drivers again, as after a take-over. Events are given in turns as the host gives them; records live in a map.
 */
import { createHash } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Turn } from "../src/base/core.js";
import { createMasterCore, type MasterCore } from "../src/master/core.js";
import type { MasterEffect, MasterEvent } from "../src/master/effects.js";
import type { StoredEvents } from "../src/master/event-history.js";
import { DEFAULT_MASTER_SETTINGS } from "../src/master/settings.js";
import {
  type ApplicationRecord,
  type ApplicationSpec,
  DEFAULT_RESTART_POLICY,
  type WorkerRecord,
} from "../src/wire/application.js";
import { batchOf } from "../src/wire/event-records.js";
import { driverProcessId } from "../src/wire/ids.js";
import { decodeApplicationRecord, decodeWorkerRecord } from "../src/wire/records.js";
import type { ProcessReport } from "../src/wire/worker-messages.js";

const EXECUTORS_A_JOB = 100;
const MEBIBYTE = 1024 ** 2;
const RESOURCES = { cores: 1, memoryBytes: MEBIBYTE };

export interface ReRegistration {
  readonly milliseconds: number;
  readonly heapBytes: number;
  /** What is not as it was before; null: nothing. */
  readonly lost: string | null;
}

type Launch = Extract<MasterEffect, { readonly kind: "launch" }>["order"];

/** One core over records, with the links of a time. */
function openCore(epoch: number, records: ReadonlyMap<string, Uint8Array>) {
  const applications: ApplicationRecord[] = [];
  const workers: WorkerRecord[] = [];
  const written = new Map(records);
  const events: StoredEvents[] = [];
  for (const [key, bytes] of records) {
    const batch = batchOf(key);
    if (batch !== null) {
      events.push({ batch, value: bytes });
      continue;
    }
    const decoded = key.startsWith("applications/") ? decodeApplicationRecord(bytes) : decodeWorkerRecord(bytes);
    if (!decoded.ok) throw new Error(`${key}: ${decoded.reason}`);
    if (key.startsWith("applications/")) applications.push(decoded.record as ApplicationRecord);
    else workers.push(decoded.record as WorkerRecord);
  }
  const core: MasterCore = createMasterCore({
    epoch,
    masterId: "m1",
    clusterId: "bench",
    address: "127.0.0.1:7077",
    pid: 1,
    build: null,
    mode: "store",
    settings: DEFAULT_MASTER_SETTINGS,
    contentHash: (text) => createHash("sha256").update(text).digest("hex"),
    records: { applications, workers, events },
    quarantined: [],
  });
  let instant = 1_000;
  const turn = (event: MasterEvent): readonly MasterEffect[] => {
    const made: Turn<MasterEffect> = { writes: [], effects: [] };
    core.step(event, { instant, wall: 1_700_000_000_000 + instant }, made);
    for (const { key, value } of made.writes) {
      if (value === null) written.delete(key);
      else written.set(key, value);
    }
    return made.effects;
  };
  /** The event, and what is due then; with the time that passes until nothing more is. */
  const post = (event: MasterEvent, settle = false): MasterEffect[] => {
    const effects = [...turn(event)];
    for (let at = core.nextWakeAt(); at !== null && at <= instant + (settle ? 200 : 0); at = core.nextWakeAt()) {
      instant = Math.max(instant, at);
      effects.push(...turn({ kind: "wake-up" }));
    }
    return effects;
  };
  return { post, written };
}

type OpenCore = ReturnType<typeof openCore>;

export function reRegister(workers: number, executorsEach: number): ReRegistration {
  const { records, inventories, drivers } = fill(workers, executorsEach);
  const heapBefore = heapBytes();
  const startedAt = performance.now();
  let isAlive = false;
  let disturbed = 0;
  const note = (effects: readonly MasterEffect[]) => {
    for (const effect of effects) {
      if (effect.kind === "phase" && effect.phase === "ALIVE") isAlive = true;
      if (effect.kind === "launch" || (effect.kind === "send" && effect.message === "worker.stop")) disturbed++;
    }
  };
  const second = openCore(2, records);
  note(second.post({ kind: "elected" }));
  let linkId = 1;
  for (const [workerId, inventory] of inventories) note(registerWorker(second, linkId++, workerId, inventory));
  for (const driver of drivers) note(registerDriver(second, linkId++, driver));
  const milliseconds = performance.now() - startedAt;
  const heap = heapBytes() - heapBefore;
  // The core is asked once more, so that it is still there when its memory is looked at.
  note(second.post({ kind: "wake-up" }));
  const changed = disturbed > 0 ? `${disturbed} processes were started or stopped` : null;
  return { milliseconds, heapBytes: heap, lost: isAlive ? changed : "the core is not ALIVE when everybody is back" };
}

interface Driver {
  readonly launch: Launch;
  readonly executors: string[];
}

/** As many jobs as fill the workers, each with all its executors running. */
function fill(workers: number, executorsEach: number) {
  const core = openCore(1, new Map());
  core.post({ kind: "elected" });
  const inventories = new Map<string, ProcessReport[]>();
  const workerOfLink = new Map<number, string>();
  for (let number = 0; number < workers; number++) {
    const workerId = `worker-${number}`;
    inventories.set(workerId, []);
    workerOfLink.set(number + 1, workerId);
    registerWorker(core, number + 1, workerId, [], executorsEach);
  }
  const drivers = new Map<string, Driver>();
  let linkId = workers + 1;
  const launched = (effects: readonly MasterEffect[]): Launch[] => {
    const orders: Launch[] = [];
    for (const effect of effects) {
      if (effect.kind !== "launch") continue;
      const { processId, resources, application } = effect.order;
      orders.push(effect.order);
      inventories.get(workerOfLink.get(effect.linkId) ?? "")?.push({ processId, pid: 2, resources, end: null, application });
      core.post({
        kind: "message",
        linkId: effect.linkId,
        message: "worker.report",
        body: { processId, pid: 2, end: null, launchFailed: null },
        requestId: null,
      });
    }
    return orders;
  };
  for (let number = 0; number < (workers * executorsEach) / EXECUTORS_A_JOB; number++) {
    const client = linkId++;
    core.post({ kind: "opened", linkId: client, role: "client", peerId: `client-${number}`, scope: "cluster" });
    const body = { key: `job-${number}`, spec: SPEC };
    const [launch] = launched(core.post({ kind: "message", linkId: client, message: "submit", body, requestId: 1 }, true));
    if (launch === undefined) throw new Error(`job ${number} was not placed`);
    const driver: Driver = { launch, executors: [] };
    drivers.set(launch.application.id, driver);
    const orders = launched(registerDriver(core, linkId++, driver, true));
    for (const order of orders) driver.executors.push(order.processId);
    if (driver.executors.length !== EXECUTORS_A_JOB) throw new Error(`job ${number} has ${driver.executors.length} executors`);
    core.post({ kind: "closed", linkId: client, heardAt: 0 });
  }
  return { records: core.written, inventories, drivers: [...drivers.values()] };
}

function registerWorker(core: OpenCore, linkId: number, workerId: string, inventory: readonly ProcessReport[], executorsEach = 0) {
  core.post({ kind: "opened", linkId, role: "worker", peerId: workerId, scope: "cluster" });
  const slots = executorsEach === 0 ? inventory.length : executorsEach;
  const body = {
    workerId,
    incarnation: 1,
    address: "127.0.0.1:1",
    pid: 1,
    resources: { cores: slots, memoryBytes: 2 * slots * MEBIBYTE },
    highestEpoch: 1,
    inventory,
  };
  return core.post({ kind: "message", linkId, message: "worker.register", body, requestId: null });
}

function registerDriver(core: OpenCore, linkId: number, { launch, executors }: Driver, settle = false) {
  const { application } = launch;
  const processId = driverProcessId(application.id, application.attempt);
  core.post({ kind: "opened", linkId, role: "driver", peerId: processId, scope: `application/${application.id}` });
  const body = {
    applicationId: application.id,
    attempt: application.attempt,
    pid: 2,
    address: "127.0.0.1:2",
    highestEpoch: 1,
    application,
    wanted: EXECUTORS_A_JOB,
    executors,
    released: [],
  };
  return core.post({ kind: "message", linkId, message: "driver.register", body, requestId: 1 }, settle);
}

/** After a collection: node has no other way to ask for one without a flag on its command line. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

const SPEC: ApplicationSpec = {
  name: "bench",
  kind: "job",
  deployMode: "cluster",
  supervise: true,
  restart: DEFAULT_RESTART_POLICY,
  driver: { cores: 0, memoryBytes: MEBIBYTE },
  job: { artifact: "a".repeat(64), graphHash: "b".repeat(64), params: {}, parallelism: EXECUTORS_A_JOB, executor: RESOURCES },
  process: null,
};
