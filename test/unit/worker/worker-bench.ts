/** Drives a worker's core by events, keeps what it wrote and asked for, and makes the messages of a master. */
import type { Turn } from "../../../src/base/core.js";
import { utf8Decode } from "../../../src/base/utf8.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import { DEFAULT_RESTART_POLICY } from "../../../src/wire/application.js";
import type { LaunchOrder } from "../../../src/wire/worker-messages.js";
import { createWorkerCore, type WorkerCoreOptions } from "../../../src/worker/worker-core.js";
import type {
  FoundProcess,
  FromMaster,
  ToMaster,
  WorkerEffect,
  WorkerEvent,
  WorkerIdentity,
} from "../../../src/worker/worker-events.js";

export const RESOURCES = { cores: 1, memoryBytes: 1e9 };
export const END = { exitCode: 0, signal: null, reason: null };

export function application(id = "app-1-1"): ApplicationRecord {
  const process = { argv: ["true"], env: {}, cwd: null };
  const spec = {
    name: id,
    kind: "process" as const,
    deployMode: "cluster" as const,
    supervise: false,
    restart: DEFAULT_RESTART_POLICY,
    driver: RESOURCES,
    job: null,
    process,
  };
  const nothing = {
    reason: null,
    notBefore: null,
    commit: null,
    exitCode: null,
    result: null,
    startedAt: null,
    endedAt: null,
    driver: null,
  };
  return {
    id,
    submissionKey: id,
    contentHash: "h",
    spec,
    state: "running",
    attempt: 1,
    restarts: 0,
    restartedAt: [],
    cancelRequested: false,
    submittedAt: 0,
    order: 1,
    attempts: [],
    ...nothing,
  };
}

export function order(processId: string, role: LaunchOrder["role"] = "program"): LaunchOrder {
  return {
    processId,
    role,
    resources: RESOURCES,
    application: application(),
    driverAddress: null,
    applicationKey: "ab".repeat(32),
  };
}

export class WorkerBench {
  readonly core;
  /** The identity as it lies on the work directory. */
  identity: WorkerIdentity = { workerId: "w", incarnation: 1, highestEpoch: 0 };
  effects: WorkerEffect[] = [];
  /** Durable before the effects that stand after it here. */
  writes: WorkerIdentity[] = [];
  now = 1_000;
  linkId = 0;
  epoch = 1;

  constructor(options: Partial<WorkerCoreOptions> = {}, found: readonly FoundProcess[] = []) {
    if (options.identity !== undefined) this.identity = options.identity;
    this.core = createWorkerCore({ identity: this.identity, pid: 7, address: "here:1", resources: RESOURCES, ...options });
    this.step({ kind: "inventory", processes: found });
  }

  /** What the event made the core do. */
  step(event: WorkerEvent): WorkerEffect[] {
    const turn: Turn<WorkerEffect> = { writes: [], effects: [] };
    this.core.step(event, { instant: this.now, wall: 0 }, turn);
    for (const { value } of turn.writes) {
      this.identity = JSON.parse(utf8Decode(value ?? new Uint8Array()) ?? "");
      this.writes.push(this.identity);
    }
    this.effects.push(...turn.effects);
    return turn.effects.filter((effect) => !isOfLeases(effect));
  }

  hear(message: FromMaster, epoch = this.epoch): WorkerEffect[] {
    return this.step({ kind: "message", linkId: this.linkId, epoch, message });
  }

  /** A connection to a master; what the worker says first. */
  connect(epoch = this.epoch, tellsApplications = true): ToMaster[] {
    this.epoch = epoch;
    this.linkId += 1;
    return sent(this.step({ kind: "link-up", linkId: this.linkId, remote: "master:1", tellsApplications }));
  }

  welcome(): WorkerEffect[] {
    return this.hear({
      kind: "worker.registered",
      body: { clusterId: "c", deadlineMs: 10_000, leaseMs: 6_000, heartbeatMs: 1_000 },
    });
  }

  register(epoch = this.epoch): ToMaster[] {
    const said = this.connect(epoch);
    this.welcome();
    return said;
  }

  disconnect(): WorkerEffect[] {
    return this.step({ kind: "link-down", linkId: this.linkId, reason: "gone" });
  }

  launch(processId: string, role: LaunchOrder["role"] = "program"): WorkerEffect[] {
    return this.hear({ kind: "worker.launch", body: order(processId, role) });
  }

  /** Of what runs on without a leader, so that it waits for no lease. */
  launchLasting(processId: string): WorkerEffect[] {
    return this.hear({ kind: "worker.launch", body: withPartition(order(processId), "continue") });
  }

  run(processId: string, pid = 100): void {
    this.launch(processId);
    this.step({ kind: "launched", processId, pid });
  }

  /** A worker process that starts on the same work directory, which has these processes. */
  restart(found: readonly FoundProcess[]): WorkerBench {
    return new WorkerBench({ identity: this.identity }, found);
  }

  /** As the launcher would give it back, with the note that the core had written. */
  found(processId: string, end: FoundProcess["end"] = null, pid = 100): FoundProcess {
    const launch = this.effects.find((effect) => effect.kind === "launch" && effect.order.processId === processId);
    return { processId, pid, note: launch?.kind === "launch" ? launch.note : "", end };
  }

  wakeUp(): WorkerEffect[] {
    this.now = this.core.nextWakeAt() ?? this.now;
    return this.step({ kind: "wake-up" });
  }
}

/** Logs and leases, which tests of other things do not ask for. */
const isOfLeases = (effect: WorkerEffect): boolean =>
  effect.kind === "log" ||
  effect.kind === "renew-lease" ||
  effect.kind === "renew-leader-lease" ||
  (effect.kind === "send" && effect.message.kind === "worker.renew");

export const withPartition = (one: LaunchOrder, onPartition: "continue" | "stop"): LaunchOrder => ({
  ...one,
  application: { ...one.application, spec: { ...one.application.spec, onPartition } },
});

export const sent = (effects: readonly WorkerEffect[]): ToMaster[] =>
  effects.flatMap((effect) => (effect.kind === "send" ? [effect.message] : []));
export const kinds = (effects: readonly WorkerEffect[]): string[] => effects.map((effect) => effect.kind);
