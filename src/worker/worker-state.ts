/** The state of a worker's core, and the few things that all its parts do. Parts: worker-registration, worker-processes, worker-lease, worker-closing. */
import type { Now, Turn } from "../base/core.js";
import { utf8Encode } from "../base/utf8.js";
import { type ApplicationRecord, onPartitionOf, type Resources } from "../wire/application.js";
import { parseProcessId } from "../wire/ids.js";
import type { LaunchOrder } from "../wire/worker-messages.js";
import {
  type ProcessEnd,
  type ToMaster,
  WORKER_LIMITS,
  type WorkerEffect,
  type WorkerIdentity,
  type WorkerLimits,
} from "./worker-events.js";

/** Key of the one record that a worker writes: its identity, as JSON. */
export const IDENTITY_KEY = "worker";

export interface WorkerCoreOptions {
  readonly identity: WorkerIdentity;
  readonly pid: number;
  /** Where this worker's own listener is reached. */
  readonly address: string;
  readonly resources: Resources;
  readonly limits?: Partial<WorkerLimits>;
}

export interface Entry {
  readonly processId: string;
  readonly resources: Resources;
  /** Null only for abandoned processes whose note cannot be read. */
  readonly application: ApplicationRecord | null;
  /** Characters it takes in an inventory. */
  readonly length: number;
  /** What is written beside it; only while it is being launched. */
  note: string | null;
  phase: "launching" | "running" | "ended";
  pid: number;
  end: ProcessEnd | null;
  launchFailed: string | null;
  /** The present connection has been told the present phase. */
  reported: boolean;
  /** Of an incarnation that is over: stopped, never reported. */
  abandoned: boolean;
}

export interface WorkerState {
  identity: WorkerIdentity;
  readonly options: WorkerCoreOptions;
  readonly limits: WorkerLimits;
  readonly processes: Map<string, Entry>;
  link: WorkerLink | null;
  /** After this silence the master gives this worker up; null: it has not said so yet. */
  masterDeadlineMs: number | null;
  /** When the liveness of this process is shown again (the lease of programs that run on). */
  livelyAt: number | null;
  /** When this process last showed that it runs. */
  aliveAt: number | null;
  registerAt: number | null;
  /** The leader's confirmation, for what must not run twice (worker-lease.ts). */
  readonly lease: LeaderLease;
  closing: { deadline: number; readonly leave: boolean; done: boolean } | null;
  /** Its operator said that this worker is gone for good: what the master told. */
  goneReason: string | null;
}

export interface WorkerLink {
  readonly id: number;
  state: "new" | "asked" | "registered" | "left";
  /** When the registration was asked for. */
  askedAt: number;
  /** This master keeps no records of applications. */
  readonly tellsApplications: boolean;
}

export interface LeaderLease {
  /** Null: no leader has told it. */
  lengthMs: number | null;
  /** Instant from which the lease counts. */
  startedAt: number;
  renewAt: number | null;
  sequence: number;
  /** When each renewal that is not answered was asked for. */
  readonly asked: Map<number, number>;
  /** Launches that wait for a fresh lease. */
  readonly held: Map<string, LaunchOrder>;
}

export function createWorkerState(options: WorkerCoreOptions): WorkerState {
  return {
    identity: options.identity,
    options,
    limits: { ...WORKER_LIMITS, ...options.limits },
    processes: new Map(),
    link: null,
    masterDeadlineMs: null,
    livelyAt: null,
    aliveAt: null,
    registerAt: null,
    lease: {
      lengthMs: null,
      startedAt: Number.NEGATIVE_INFINITY,
      renewAt: null,
      sequence: 0,
      asked: new Map(),
      held: new Map(),
    },
    closing: null,
    goneReason: null,
  };
}

export interface WorkerStep {
  readonly now: Now;
  readonly turn: Turn<WorkerEffect>;
}

export function changeIdentity(worker: WorkerState, { turn }: WorkerStep, change: Partial<WorkerIdentity>): void {
  worker.identity = { ...worker.identity, ...change };
  turn.writes.push({ key: IDENTITY_KEY, value: utf8Encode(JSON.stringify(worker.identity)) });
}

export function send(worker: WorkerState, { turn }: WorkerStep, message: ToMaster): void {
  if (worker.link !== null) turn.effects.push({ kind: "send", linkId: worker.link.id, message });
}

export function log(
  { turn }: WorkerStep,
  level: "info" | "warn" | "error",
  message: string,
  fields: Readonly<Record<string, string | number | null>>,
): void {
  turn.effects.push({ kind: "log", level, message, fields });
}

export function liveCount(worker: WorkerState): number {
  let count = 0;
  for (const entry of worker.processes.values()) if (entry.phase !== "ended") count += 1;
  return count;
}

/** Whether it ends when no leader confirms its worker any more. Executors judge by their driver. */
export function isLeased(processId: string, application: ApplicationRecord | null): boolean {
  return application !== null && parseProcessId(processId)?.executor == null && onPartitionOf(application.spec) === "stop";
}
