/**
 * One leadership, from the won epoch to its end: records are read, the core runs, turns are committed under the fence and then acted upon.
 *
 * Invariants:
 *   1. Effects follow the commit of their turn (host/turns.ts), and are carried out only while leadership is certain (`active`).
 *   2. However it ends, the core is discarded and never stepped again.
 *   3. A record that cannot be decoded is kept in the store, shown, and never written.
 */
import type { RecordChange } from "../../base/core.js";
import { CodedError } from "../../base/errors.js";
import type { Leadership } from "../../coordination/leadership.js";
import type { Env } from "../../env/env.js";
import { createMasterCore } from "../../master/core.js";
import type { MasterEffect, MasterEvent } from "../../master/effects.js";
import type { StoredEvents } from "../../master/event-history.js";
import type { Quarantined } from "../../master/quarantine.js";
import type { MasterSettings } from "../../master/settings.js";
import type { ApplicationRecord, WorkerRecord } from "../../wire/application.js";
import { batchOf, EVENTS_PREFIX } from "../../wire/event-records.js";
import {
  APPLICATIONS_PREFIX,
  applicationKey,
  decodeApplicationRecord,
  decodeRemovalsRecord,
  decodeWorkerRecord,
  REGISTRAR_PREFIX,
  REMOVALS_KEY,
  submissionKeyIn,
  WORKERS_PREFIX,
  workerKey,
} from "../../wire/records.js";
import type { RemovalsRecord } from "../../wire/registrar.js";
import type { MasterState } from "../../wire/views.js";
import type { Link } from "../link/link.js";
import { applicationKeyHex } from "../link/link-keys.js";
import { type From, Inbox } from "../turns/inbox.js";
import { runTurns } from "../turns/turns.js";
import type { MasterArtifacts } from "./master-artifacts.js";
import type { MasterHostOptions } from "./master-options.js";

/** Keys of applications are derived once each. */
const MAX_KEYS = 10_000;

export interface LeadingOptions {
  readonly env: Env;
  readonly leadership: Leadership;
  readonly masterId: string;
  readonly clusterId: string;
  readonly address: string;
  readonly pid: number;
  readonly build: string | null;
  readonly mode: "none" | "store";
  readonly settings: MasterSettings;
  readonly secret: Uint8Array | null;
  link(linkId: number): Link | undefined;
  /** Absent: what applications keep there is left to their drivers. */
  readonly removeState: MasterHostOptions["removeState"];
  readonly artifacts: MasterArtifacts;
  onPhase(phase: MasterState): void;
  onEpochTooLow(seen: number): void;
}

export interface Leading {
  /** As `Turns.post`: also while the records are still being read. */
  post(event: MasterEvent, from?: From): boolean;
  /** Why leadership is over. */
  readonly ended: Promise<CodedError>;
  /** Whether it is certain at this moment that this master leads. */
  active(): boolean;
  /** Before a planned end: what the turn under way has decided is committed and said; nothing new is begun. */
  finish(): Promise<void>;
  /** Ends the core; leadership itself is resigned by the caller. */
  close(): Promise<void>;
}

export function lead(options: LeadingOptions): Leading {
  const { env, leadership } = options;
  const stop = new AbortController();
  /** What comes while the records are being read. */
  const early = new Inbox<MasterEvent>();
  let turns: ReturnType<typeof runTurns<MasterEvent, MasterEffect>> | null = null;
  let settle: (reason: CodedError) => void = () => {};
  const ended = new Promise<CodedError>((resolve) => {
    settle = resolve;
  });
  const act = createActor(options, (event) => void turns?.post(event));

  const begin = async () => {
    const { records, quarantined } = await readAll(leadership, stop.signal);
    stop.signal.throwIfAborted();
    const { masterId, clusterId, address, pid, build, mode, settings } = options;
    const contentHash = (text: string) => env.digest.sha256Hex(new TextEncoder().encode(text));
    const self = { epoch: leadership.epoch, masterId, clusterId, address, pid, build };
    const core = createMasterCore({ ...self, mode, settings, contentHash, records, quarantined });
    const running = runTurns<MasterEvent, MasterEffect>({
      core,
      clock: env.clock,
      commit: (writes) => commitInParts(leadership, writes, stop.signal),
      act: (effect) => {
        if (!leadership.active()) throw new CodedError("SESSION_ENDED", "it is no longer certain that this master leads");
        act(effect);
      },
      wakeUp: { kind: "wake-up" },
    });
    turns = running;
    running.post({ kind: "elected" });
    for (let index = 0; index < early.length; index += 1) {
      const waiting = early.peek(index);
      if (waiting !== undefined) running.post(waiting.event, waiting.from ?? undefined);
    }
    early.clear();
    void running.ended.then((reason) => settle(reason ?? new CodedError("CLOSED", "closed")));
  };

  void leadership.ended.then(settle);
  begin().catch((thrown) => settle(CodedError.from(thrown)));

  return {
    post: (event, from) => (turns === null ? early.push(event, from ?? null) : turns.post(event, from)),
    ended,
    active: () => leadership.active(),
    finish: async () => {
      await turns?.finish();
    },
    close: async () => {
      stop.abort(new CodedError("CLOSED", "leadership is over"));
      early.clear();
      await turns?.close();
    },
  };
}

/** All kinds at once: nobody else writes records any more, and a store far away is asked once instead of four times. */
async function readAll(leadership: Leadership, signal: AbortSignal) {
  const quarantined: Quarantined[] = [];
  const [applications, workers, removals, events] = await Promise.all([
    readApplications(leadership, signal, quarantined),
    readWorkers(leadership, signal, quarantined),
    readRemovals(leadership, signal, quarantined),
    readEvents(leadership, signal, quarantined),
  ]);
  return { records: { applications, workers, removals, events }, quarantined };
}

async function readApplications(leadership: Leadership, signal: AbortSignal, quarantined: Quarantined[]) {
  const applications: ApplicationRecord[] = [];
  for await (const page of leadership.readRecords({ prefix: APPLICATIONS_PREFIX, signal })) {
    for (const { key, value } of page) {
      const decoded = decodeApplicationRecord(value);
      if (!decoded.ok) quarantined.push({ key, reason: decoded.reason, submissionKey: submissionKeyIn(decoded.body) });
      else if (applicationKey(decoded.record.id) !== key) quarantined.push({ key, reason: `it is of ${decoded.record.id}` });
      else applications.push(decoded.record);
    }
  }
  return applications;
}

async function readWorkers(leadership: Leadership, signal: AbortSignal, quarantined: Quarantined[]) {
  const workers: WorkerRecord[] = [];
  for await (const page of leadership.readRecords({ prefix: WORKERS_PREFIX, signal })) {
    for (const { key, value } of page) {
      const decoded = decodeWorkerRecord(value);
      if (!decoded.ok) quarantined.push({ key, reason: decoded.reason });
      else if (workerKey(decoded.record.workerId) !== key) quarantined.push({ key, reason: `it is of ${decoded.record.workerId}` });
      else workers.push(decoded.record);
    }
  }
  return workers;
}

async function readRemovals(leadership: Leadership, signal: AbortSignal, quarantined: Quarantined[]) {
  let removals: RemovalsRecord | null = null;
  for await (const page of leadership.readRecords({ prefix: REGISTRAR_PREFIX, signal })) {
    for (const { key, value } of page) {
      const decoded = decodeRemovalsRecord(value);
      if (!decoded.ok || key !== REMOVALS_KEY)
        quarantined.push({ key, reason: decoded.ok ? "nothing is known of it" : decoded.reason });
      else removals = decoded.record;
    }
  }
  return removals;
}

async function readEvents(leadership: Leadership, signal: AbortSignal, quarantined: Quarantined[]) {
  const events: StoredEvents[] = [];
  for await (const page of leadership.readRecords({ prefix: EVENTS_PREFIX, signal })) {
    for (const { key, value } of page) {
      const batch = batchOf(key);
      if (batch === null) quarantined.push({ key, reason: "it is no batch of events" });
      else events.push({ batch, value });
    }
  }
  return events;
}

/**
 * A turn's changes, the last one of each key, in as few transactions as the store's limits allow and in their order. Each record is whole by
 * itself, and nothing is acted upon before all are durable, so that a turn cut in two is no more than two turns.
 */
async function commitInParts(leadership: Leadership, changes: readonly RecordChange[], signal: AbortSignal): Promise<void> {
  const { maxWrites, maxCommitBytes } = leadership.limits;
  const last = new Map<string, RecordChange>();
  for (const change of changes) last.set(change.key, change);
  let part: RecordChange[] = [];
  let partBytes = 0;
  for (const change of last.values()) {
    // Keys are ASCII (wire/ids.ts).
    const bytes = change.key.length + (change.value?.length ?? 0);
    if (part.length > 0 && (part.length >= maxWrites || partBytes + bytes > maxCommitBytes)) {
      await leadership.commit(part, { signal });
      part = [];
      partBytes = 0;
    }
    part.push(change);
    partBytes += bytes;
  }
  if (part.length > 0) await leadership.commit(part, { signal });
}

type RemoveState = Extract<MasterEffect, { kind: "remove-state" }>;

/** One after the other; what can't be removed costs space, not correctness. The core waits for the last one of an application only. */
function createRemovals({ env, removeState }: LeadingOptions, post: (event: MasterEvent) => void): (effect: RemoveState) => void {
  let turn: Promise<void> = Promise.resolve();
  return ({ storage, applicationId, isLast }) => {
    const over = (error: string | null) => {
      if (isLast) post({ kind: "state-removed", applicationId, error });
    };
    turn = turn
      .then(async () => removeState?.(storage, applicationId))
      .then(
        () => over(null),
        (thrown: unknown) => {
          const reason = CodedError.from(thrown).message;
          env.log.warn("the state of an application that has ended could not be removed", { app: applicationId, reason });
          over(reason);
        },
      );
  };
}

function createActor(options: LeadingOptions, post: (event: MasterEvent) => void): (effect: MasterEffect) => void {
  const { env } = options;
  const keys = new Map<string, string>();
  const keyOf = (applicationId: string): string => {
    let key = keys.get(applicationId);
    if (key === undefined) {
      if (keys.size >= MAX_KEYS) keys.clear();
      key = applicationKeyHex(env.digest, options.secret, applicationId);
      keys.set(applicationId, key);
    }
    return key;
  };
  const removals = createRemovals(options, post);
  return (effect) => {
    switch (effect.kind) {
      case "send":
        return options.link(effect.linkId)?.send(effect.message, effect.body);
      case "launch": {
        const order = { ...effect.order, applicationKey: keyOf(effect.order.application.id) };
        return options.link(effect.linkId)?.send("worker.launch", order);
      }
      case "reply":
        return options.link(effect.linkId)?.reply(effect.requestId, effect.body);
      case "reply-error":
        return options.link(effect.linkId)?.replyError(effect.requestId, effect.error);
      case "close-link":
        return options.link(effect.linkId)?.close();
      case "log":
        return env.log[effect.level](effect.message, effect.fields);
      case "remove-state":
        return removals(effect);
      case "remove-bundle":
        return options.artifacts.remove(effect.bundle);
      case "sweep-bundles":
        return options.artifacts.sweep(effect.needed);
      case "submission-taken":
        return options.artifacts.taken(effect.sha256);
      case "phase":
        return options.onPhase(effect.phase);
      case "epoch-too-low":
        return options.onEpochTooLow(effect.seen);
    }
  };
}
