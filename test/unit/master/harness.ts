/** A master's core without a host: a store that is a map, a clock that a test turns, and the effects of every turn. */
import { createHash } from "node:crypto";
import type { Turn } from "../../../src/base/core.js";
import { createMasterCore, type MasterCore } from "../../../src/master/core.js";
import type { MasterEffect, MasterEvent } from "../../../src/master/effects.js";
import type { StoredEvents } from "../../../src/master/event-history.js";
import type { Quarantined } from "../../../src/master/quarantine.js";
import { DEFAULT_MASTER_SETTINGS, type MasterSettings } from "../../../src/master/settings.js";
import type { ApplicationRecord, ApplicationSpec, WorkerRecord } from "../../../src/wire/application.js";
import { DEFAULT_RESTART_POLICY } from "../../../src/wire/application.js";
import { batchOf } from "../../../src/wire/event-records.js";
import type { OperationInput, OperationName, OperationOutput } from "../../../src/wire/operations.js";
import {
  decodeApplicationRecord,
  decodeRemovalsRecord,
  decodeWorkerRecord,
  REMOVALS_KEY,
  submissionKeyIn,
} from "../../../src/wire/records.js";
import type { LaunchOrder, ProcessReport } from "../../../src/wire/worker-messages.js";

export const MIB = 1024 * 1024;
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

export function programSpec(change: Partial<ApplicationSpec> = {}): ApplicationSpec {
  return {
    name: "sleep",
    kind: "process",
    deployMode: "cluster",
    supervise: false,
    restart: DEFAULT_RESTART_POLICY,
    driver: { cores: 1, memoryBytes: 100 * MIB },
    job: null,
    process: { argv: ["sleep", "1"], env: {}, cwd: null },
    ...change,
  };
}

export function jobSpec(parallelism: number, change: Partial<ApplicationSpec> = {}): ApplicationSpec {
  return programSpec({
    name: "job",
    kind: "job",
    supervise: true,
    process: null,
    job: {
      artifact: "a".repeat(64),
      graphHash: "b".repeat(64),
      params: {},
      parallelism,
      executor: { cores: 1, memoryBytes: 100 * MIB },
    },
    ...change,
  });
}

export type Effect<K extends MasterEffect["kind"]> = Extract<MasterEffect, { readonly kind: K }>;

export interface TestOptions {
  readonly settings?: Partial<MasterSettings>;
  readonly mode?: "none" | "store";
  readonly epoch?: number;
}

export class TestMaster {
  readonly store: Map<string, Uint8Array>;
  readonly options: TestOptions;
  core: MasterCore;
  epoch: number;
  now: { instant: number; wall: number };
  /** Effects since the last `take...`. */
  effects: MasterEffect[] = [];
  readonly logs: string[] = [];
  quarantined: Quarantined[] = [];
  private nextLink = 1;
  private nextRequest = 1;

  constructor(options: TestOptions = {}, store = new Map<string, Uint8Array>(), now = { instant: 1000, wall: 1_700_000_000_000 }) {
    this.options = options;
    this.store = store;
    this.now = now;
    this.epoch = options.epoch ?? 7;
    this.core = this.open();
    this.post({ kind: "elected" });
  }

  private open(): MasterCore {
    const applications: ApplicationRecord[] = [];
    const workers: WorkerRecord[] = [];
    this.quarantined = [];
    const removals = decodeRemovalsRecord(this.store.get(REMOVALS_KEY) ?? new Uint8Array());
    const events: StoredEvents[] = [];
    for (const [key, bytes] of this.store) {
      if (key === REMOVALS_KEY) continue;
      const batch = batchOf(key);
      if (batch !== null) {
        events.push({ batch, value: bytes });
        continue;
      }
      const decoded = key.startsWith("applications/") ? decodeApplicationRecord(bytes) : decodeWorkerRecord(bytes);
      if (!decoded.ok) this.quarantined.push({ key, reason: decoded.reason, submissionKey: submissionKeyIn(decoded.body) });
      else if (key.startsWith("applications/")) applications.push(decoded.record as ApplicationRecord);
      else workers.push(decoded.record as WorkerRecord);
    }
    return createMasterCore({
      epoch: this.epoch,
      masterId: "m1",
      clusterId: "test",
      address: "127.0.0.1:7077",
      pid: 42,
      build: "A",
      mode: this.options.mode ?? "store",
      settings: { ...DEFAULT_MASTER_SETTINGS, ...this.options.settings },
      contentHash: sha256,
      records: { applications, workers, removals: removals.ok ? removals.record : null, events },
      quarantined: this.quarantined,
    });
  }

  /** The next leader, on the same records (or on none). `calendarMs`: so much is its calendar ahead of this one's. */
  failover(
    options: { readonly store?: Map<string, Uint8Array>; readonly afterMs?: number; readonly calendarMs?: number } = {},
  ): TestMaster {
    const { afterMs = 10, calendarMs = 0 } = options;
    const now = { instant: this.now.instant + afterMs, wall: this.now.wall + afterMs + calendarMs };
    return new TestMaster({ ...this.options, epoch: this.epoch + 1 }, options.store ?? this.store, now);
  }

  /** One turn: the event, and every wake-up that is due at once. */
  post(event: MasterEvent): void {
    this.turn(event);
    for (let wakeUps = 0; (this.core.nextWakeAt() ?? Number.POSITIVE_INFINITY) <= this.now.instant; wakeUps++) {
      if (wakeUps > 10_000) throw new Error("the core wakes itself for ever");
      this.turn({ kind: "wake-up" });
    }
  }

  private turn(event: MasterEvent): void {
    const turn: Turn<MasterEffect> = { writes: [], effects: [] };
    this.core.step(event, { ...this.now }, turn);
    for (const { key, value } of turn.writes) {
      if (value === null) this.store.delete(key);
      else this.store.set(key, value);
    }
    this.effects.push(...turn.effects);
    for (const effect of turn.effects) if (effect.kind === "log") this.logs.push(effect.message);
  }

  /** Lets time pass, waking the core at each of its deadlines. */
  pass(durationMs: number): void {
    const end = this.now.instant + durationMs;
    for (;;) {
      const at = this.core.nextWakeAt();
      if (at === null || at > end) break;
      this.advance(Math.max(at, this.now.instant));
      this.turn({ kind: "wake-up" });
    }
    this.advance(end);
  }

  /** As by SIGSTOP and SIGCONT: time passes, and no step is made until then. */
  stopFor(durationMs: number): void {
    this.advance(this.now.instant + durationMs);
    this.post({ kind: "wake-up" });
  }

  private advance(instant: number): void {
    this.now.wall += instant - this.now.instant;
    this.now.instant = instant;
  }

  link(role: "worker" | "driver" | "client", peerId: string, scope = "cluster"): number {
    const linkId = this.nextLink++;
    this.post({ kind: "opened", linkId, role, peerId, scope });
    return linkId;
  }

  close(linkId: number, heardAt: number = this.now.instant): void {
    this.post({ kind: "closed", linkId, heardAt });
  }

  send(linkId: number, message: string, body: unknown): void {
    this.post({ kind: "message", linkId, message, body, requestId: null });
  }

  /** The answer, or the error's code. */
  request(linkId: number, message: string, body: unknown): { body: unknown; error: string | null; details: unknown } {
    const requestId = this.requestLater(linkId, message, body);
    const answer = this.answer(requestId);
    if (answer === null) throw new Error(`${message} was not answered`);
    return answer;
  }

  requestLater(linkId: number, message: string, body: unknown): number {
    const requestId = this.nextRequest++;
    this.post({ kind: "message", linkId, message, body, requestId });
    return requestId;
  }

  answer(requestId: number): { body: unknown; error: string | null; details: unknown } | null {
    for (const effect of this.effects) {
      if (effect.kind === "reply" && effect.requestId === requestId) return { body: effect.body, error: null, details: null };
      if (effect.kind === "reply-error" && effect.requestId === requestId)
        return { body: effect.error, error: effect.error.code, details: effect.error.details };
    }
    return null;
  }

  private client: number | null = null;
  ask<N extends OperationName>(name: N, input: OperationInput<N>): OperationOutput<N> {
    const answer = this.try(name, input);
    if (answer.error !== null) throw new Error(`${name}: ${answer.error}`);
    return answer.body as OperationOutput<N>;
  }

  try<N extends OperationName>(name: N, input: OperationInput<N>): { body: unknown; error: string | null } {
    this.client ??= this.link("client", "client-1");
    return this.request(this.client, name, input);
  }

  submit(key: string, spec: ApplicationSpec): string {
    return this.ask("submit", { key, spec }).id;
  }

  status(application: string) {
    return this.ask("status", { application, after: null, waitMs: 0 }).application;
  }

  state(application: string): string {
    return this.status(application).state;
  }

  record(id: string): ApplicationRecord {
    const decoded = decodeApplicationRecord(this.store.get(`applications/${id}`) ?? new Uint8Array());
    if (!decoded.ok) throw new Error(decoded.reason);
    return decoded.record;
  }

  take<K extends MasterEffect["kind"]>(kind: K): Effect<K>[] {
    const taken = this.effects.filter((effect): effect is Effect<K> => effect.kind === kind);
    this.effects = this.effects.filter((effect) => effect.kind !== kind);
    return taken;
  }

  launches(): Effect<"launch">["order"][] {
    return this.take("launch").map((effect) => effect.order);
  }

  sent(message: string): { linkId: number; body: Record<string, unknown> }[] {
    const all = this.effects.filter((effect): effect is Effect<"send"> => effect.kind === "send" && effect.message === message);
    this.effects = this.effects.filter((effect) => !all.includes(effect as Effect<"send">));
    return all.map((effect) => ({ linkId: effect.linkId, body: effect.body as Record<string, unknown> }));
  }

  stops(): string[] {
    return this.sent("worker.stop").map(({ body }) => String(body.processId));
  }
}

export interface WorkerOptions {
  readonly cores?: number;
  readonly memoryBytes?: number;
  readonly incarnation?: number;
  readonly inventory?: readonly ProcessReport[];
  readonly highestEpoch?: number;
}

/** A worker as the master sees it: it does what it is ordered to, and remembers it for its next registration. */
export class TestWorker {
  readonly id: string;
  readonly options: WorkerOptions;
  incarnation: number;
  master: TestMaster;
  linkId = 0;
  readonly running = new Map<string, Omit<LaunchOrder, "applicationKey">>();
  readonly refused: string[] = [];

  constructor(master: TestMaster, id: string, options: WorkerOptions = {}) {
    this.master = master;
    this.id = id;
    this.options = options;
    this.incarnation = options.incarnation ?? 1;
    this.register();
  }

  /** A master that keeps records is not told of the applications. */
  inventory(): ProcessReport[] {
    const keepsRecords = (this.master.options.mode ?? "store") === "store";
    return [...this.running.values()].map(({ processId, resources, role, application }) => ({
      processId,
      pid: 1000,
      resources,
      end: null,
      role,
      application: keepsRecords ? null : application,
    }));
  }

  register(master = this.master, inventory: readonly ProcessReport[] = this.options.inventory ?? this.inventory()): void {
    this.master = master;
    this.linkId = master.link("worker", this.id);
    master.send(this.linkId, "worker.register", {
      workerId: this.id,
      incarnation: this.incarnation,
      address: `${this.id}:9`,
      pid: 100,
      resources: { cores: this.options.cores ?? 4, memoryBytes: this.options.memoryBytes ?? 4096 * MIB },
      highestEpoch: this.options.highestEpoch ?? 0,
      inventory,
    });
  }

  /** Takes the launch orders sent to it and reports their start; returns their process ids. */
  launch(): string[] {
    const mine = this.master.effects.filter(
      (effect): effect is Effect<"launch"> => effect.kind === "launch" && effect.linkId === this.linkId,
    );
    this.master.effects = this.master.effects.filter((effect) => !mine.includes(effect as Effect<"launch">));
    for (const { order } of mine) {
      this.running.set(order.processId, order);
      this.master.send(this.linkId, "worker.report", { processId: order.processId, pid: 1000, end: null, launchFailed: null });
    }
    return mine.map(({ order }) => order.processId);
  }

  /** The stop orders sent to it, carried out. */
  stop(): string[] {
    const mine = this.master.effects.filter(
      (e): e is Effect<"send"> => e.kind === "send" && e.message === "worker.stop" && e.linkId === this.linkId,
    );
    this.master.effects = this.master.effects.filter((effect) => !mine.includes(effect as Effect<"send">));
    const ids = mine.map((effect) => (effect.body as { processId: string }).processId);
    for (const id of ids) {
      // Orders arrive in their order: what was to be launched before is launched and stopped.
      const launch = this.master.effects.find(
        (effect) => effect.kind === "launch" && effect.linkId === this.linkId && effect.order.processId === id,
      );
      this.master.effects = this.master.effects.filter((effect) => effect !== launch);
      if (this.running.has(id) || launch !== undefined) this.end(id, null, "SIGTERM");
    }
    return ids;
  }

  end(processId: string, exitCode: number | null, signal: string | null = null, reason: string | null = null): void {
    this.running.delete(processId);
    this.master.send(this.linkId, "worker.report", { processId, pid: 1000, end: { exitCode, signal, reason }, launchFailed: null });
  }

  failLaunch(why: string): void {
    const mine = this.master.effects.filter(
      (effect): effect is Effect<"launch"> => effect.kind === "launch" && effect.linkId === this.linkId,
    );
    this.master.effects = this.master.effects.filter((effect) => !mine.includes(effect as Effect<"launch">));
    for (const { order } of mine)
      this.master.send(this.linkId, "worker.report", { processId: order.processId, pid: 0, end: null, launchFailed: why });
  }

  /** `heardAt`: of its last word. Default: now. */
  disconnect(heardAt?: number): void {
    this.master.close(this.linkId, heardAt);
  }
}

export interface DriverOptions {
  readonly wanted?: number;
  readonly executors?: readonly string[];
  readonly expected?: readonly { readonly processId: string; readonly workerId: string }[];
  readonly highestEpoch?: number;
}

/** A job's driver on its own connection. */
export class TestDriver {
  readonly linkId: number;
  readonly master: TestMaster;
  readonly registered: { body: unknown; error: string | null; details: unknown };

  constructor(master: TestMaster, record: ApplicationRecord, attempt: number, options: DriverOptions = {}) {
    this.master = master;
    this.linkId = master.link("driver", `${record.id}.d${attempt}`, `application/${record.id}`);
    this.registered = master.request(this.linkId, "driver.register", {
      applicationId: record.id,
      attempt,
      pid: 500,
      address: "127.0.0.1:5000",
      highestEpoch: options.highestEpoch ?? 0,
      application: record,
      wanted: options.wanted ?? record.spec.job?.parallelism ?? 0,
      executors: options.executors ?? [],
      ...(options.expected === undefined ? {} : { expected: options.expected }),
      released: [],
    });
  }

  /** The last view of its executors that it was sent. */
  view(): { processId: string; state: string; workerId: string | null }[] {
    const views = this.master.effects.filter(
      (e): e is Effect<"send"> => e.kind === "send" && e.message === "driver.executors" && e.linkId === this.linkId,
    );
    const last = views.at(-1);
    return last === undefined
      ? []
      : (last.body as { executors: { processId: string; state: string; workerId: string | null }[] }).executors;
  }

  executors(wanted: number, released: readonly string[] = []): void {
    this.master.send(this.linkId, "driver.executors", { wanted, released });
  }

  commit(attempt: number, result: unknown = null) {
    return this.master.request(this.linkId, "driver.commit", { attempt, try: 1, sinks: {}, result });
  }

  finish(
    outcome: "finished" | "failed" | "cancelled",
    change: { readonly result?: unknown; readonly restart?: boolean; readonly leftovers?: boolean } = {},
  ) {
    const reason = outcome === "failed" ? { code: "OPERATOR_FAILED", message: "it threw", hint: null } : null;
    return this.master.request(this.linkId, "driver.finished", {
      outcome,
      result: change.result ?? null,
      reason,
      restart: change.restart ?? false,
      ...(change.leftovers === undefined ? {} : { leftovers: change.leftovers }),
    });
  }
}
