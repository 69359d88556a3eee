/**
 * The worker's core: registers with all it has, obeys the leading master, keeps what runs running, reports what ends until that is durable.
 *
 *   process:  launching -> running -> ended -> (acknowledged) forgotten
 *             launching -> ended "could not be started"
 *
 * Boundary: processes are the launcher's, connections the host's. Everything durable about processes lies beside their logs (worker-notes.ts), so
 * a worker that starts again begins with the same core state: the folders are its outbox.
 * Invariants:
 *   1. Orders of an epoch below the highest one seen are refused, and the connection they came over is ended (I6). The epoch is durable before
 *      its first order is carried out.
 *   2. An order names a process id and may be repeated: what runs or has ended is not launched again, its report is repeated.
 *   3. An end is kept until the master has it durable. Nothing is stopped because no master is there, however long.
 *   4. A worker that is stopped says so before it stops its processes, and says when none is left and all ends were acknowledged.
 *   5. An incarnation that is over stops all its processes, and the next one, durable by then, registers only when none of them lives.
 */
import { unreachable } from "../base/assert.js";
import type { Core, Now, Turn } from "../base/core.js";
import { utf8Encode } from "../base/utf8.js";
import type { ApplicationRecord, Resources } from "../wire/application.js";
import { UNRECORDED_CLUSTER_ID } from "../wire/handshake.js";
import type { LaunchOrder, ProcessReport } from "../wire/worker-messages.js";
import {
  type FoundProcess,
  type FromMaster,
  type ProcessEnd,
  type ToMaster,
  WORKER_LIMITS,
  type WorkerEffect,
  type WorkerEvent,
  type WorkerIdentity,
  type WorkerLimits,
} from "./worker-events.js";
import { readNote, writeNote } from "./worker-notes.js";

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

export interface WorkerCore extends Core<WorkerEvent, WorkerEffect> {
  readonly identity: WorkerIdentity;
  /** Whether the process is being launched or runs. */
  isLive(processId: string): boolean;
}

interface Entry {
  readonly processId: string;
  readonly resources: Resources;
  /** Null only for abandoned processes whose note cannot be read. */
  readonly application: ApplicationRecord | null;
  /** Characters it takes in an inventory. */
  readonly length: number;
  phase: "launching" | "running" | "ended";
  pid: number;
  end: ProcessEnd | null;
  launchFailed: string | null;
  /** The present connection has been told the present phase. */
  reported: boolean;
  /** Of an incarnation that is over: stopped, never reported. */
  abandoned: boolean;
}

export function createWorkerCore(options: WorkerCoreOptions): WorkerCore {
  return new CoreOfWorker(options);
}

class CoreOfWorker implements WorkerCore {
  identity: WorkerIdentity;
  readonly #options: WorkerCoreOptions;
  readonly #limits: WorkerLimits;
  readonly #processes = new Map<string, Entry>();
  #link: { readonly id: number; state: "new" | "asked" | "registered" | "left" } | null = null;
  #masterDeadlineMs: number | null = null;
  #leaseAt: number | null = null;
  /** When this process last showed that it runs. */
  #renewedAt: number | null = null;
  #registerAt: number | null = null;
  #closing: { deadline: number; readonly leave: boolean; done: boolean } | null = null;

  constructor(options: WorkerCoreOptions) {
    this.#options = options;
    this.identity = options.identity;
    this.#limits = { ...WORKER_LIMITS, ...options.limits };
  }

  isLive(processId: string): boolean {
    const entry = this.#processes.get(processId);
    return entry !== undefined && entry.phase !== "ended";
  }

  nextWakeAt(): number | null {
    const instants = [this.#leaseAt, this.#registerAt, this.#closing?.done === false ? this.#closing.deadline : null].filter(
      (instant) => instant !== null,
    );
    return instants.length === 0 ? null : Math.min(...instants);
  }

  step(event: WorkerEvent, now: Now, turn: Turn<WorkerEffect>): void {
    this.#leaveWhenAway(now, turn);
    switch (event.kind) {
      case "inventory":
        this.#adopt(event.processes, now, turn);
        break;
      case "link-up":
        this.#link = { id: event.linkId, state: "new" };
        break;
      case "link-down":
        if (this.#link?.id !== event.linkId) break;
        this.#link = null;
        this.#registerAt = null;
        if (this.#closing === null)
          this.#log(turn, "info", `The connection to the master ended (${event.reason}); its processes run on.`, {
            processes: this.#liveCount(),
          });
        break;
      case "message":
        if (this.#link?.id === event.linkId && this.#admits(event.epoch, turn)) this.#hear(event.message, now, turn);
        break;
      case "launched":
        this.#launched(event.processId, event.pid, turn);
        break;
      case "launch-failed":
        this.#launchFailed(event.processId, event.reason, turn);
        break;
      case "ended":
        this.#ended(event.processId, event.end, turn);
        break;
      case "close":
        this.#close(event.leave, now, turn);
        break;
      case "wake-up":
        break;
      default:
        unreachable(event, "event");
    }
    this.#settle(now, turn);
  }

  /** What is due or has become possible, whatever the event was. */
  #settle(now: Now, turn: Turn<WorkerEffect>): void {
    if (this.#leaseAt !== null && this.#leaseAt <= now.instant) {
      turn.effects.push({ kind: "renew-lease" });
      this.#renewedAt = now.instant;
      this.#leaseAt = now.instant + this.#renewEveryMs();
    }
    if (this.#registerAt !== null && this.#registerAt <= now.instant) {
      this.#registerAt = null;
      if (this.#link !== null) this.#link.state = "new";
    }
    this.#register(turn);
    const closing = this.#closing;
    if (closing === null || closing.done) return;
    const isListenedTo = this.#link?.state === "registered";
    if (!closing.leave && isListenedTo && this.#processes.size === 0) this.#leave(turn);
    const isAwaited = (isListenedTo && this.#processes.size > 0) || this.#link?.state === "left";
    if (this.#liveCount() === 0 && isAwaited)
      closing.deadline = Math.min(closing.deadline, now.instant + this.#limits.closeAcknowledgeMs);
    if (closing.leave || closing.deadline <= now.instant || (this.#liveCount() === 0 && !isAwaited)) {
      closing.done = true;
      turn.effects.push({ kind: "closed" });
    }
  }

  /** The last word. The next process on this directory is another incarnation, whether the master heard it or not. */
  #leave(turn: Turn<WorkerEffect>): void {
    if (this.#link === null) return;
    this.#changeIdentity({ incarnation: this.identity.incarnation + 1 }, turn);
    this.#send(turn, { kind: "worker.left", body: {} });
    this.#link.state = "left";
  }

  /**
   * This process was stopped (SIGSTOP, a frozen machine) for so long that the master may have given it up: orders that waited meanwhile may be
   * given to others by now, so nothing more is taken over this connection, and the next one begins with a registration.
   */
  #leaveWhenAway(now: Now, turn: Turn<WorkerEffect>): void {
    const limitMs = this.#programLeaseMs();
    if (this.#link === null || this.#renewedAt === null || limitMs === null) return;
    const awayMs = now.instant - this.#renewedAt;
    if (awayMs < limitMs) return;
    this.#log(turn, "warn", `This worker was stopped for ${Math.round(awayMs)} ms: it registers again.`, {
      awayMs: Math.round(awayMs),
    });
    turn.effects.push({ kind: "close-link", linkId: this.#link.id, reason: "this worker was stopped for too long" });
    this.#link = null;
    this.#registerAt = null;
  }

  #adopt(found: readonly FoundProcess[], now: Now, turn: Turn<WorkerEffect>): void {
    for (const process of found) {
      const note = readNote(process.note);
      const isOurs = note?.workerId === this.identity.workerId && note.incarnation === this.identity.incarnation;
      if (!isOurs && process.end !== null) {
        turn.effects.push({ kind: "forget", processId: process.processId });
        continue;
      }
      const entry: Entry = {
        processId: process.processId,
        resources: note?.resources ?? { cores: 1, memoryBytes: 1 },
        application: note?.application ?? null,
        length: process.note.length,
        phase: process.end === null ? "running" : "ended",
        pid: process.pid,
        end: process.end,
        launchFailed: null,
        reported: false,
        abandoned: !isOurs,
      };
      this.#processes.set(entry.processId, entry);
      if (isOurs) continue;
      if (note === null)
        this.#log(turn, "error", "A process is stopped, because what is noted beside it cannot be read.", {
          process: entry.processId,
        });
      this.#stop(entry, "its worker's incarnation is over", turn);
    }
    this.#leaseAt = now.instant;
    this.#log(turn, "info", `Worker ${this.identity.workerId} started.`, {
      incarnation: this.identity.incarnation,
      adopted: this.#liveCount(),
    });
  }

  /** Once a connection, as soon as nothing of an earlier incarnation lives (invariant 5). */
  #register(turn: Turn<WorkerEffect>): void {
    if (this.#link?.state !== "new" || this.#registerAt !== null) return;
    // One that is stopped goes on telling of the ends of its processes, to the next master if need be.
    if (this.#closing !== null && (this.#closing.leave || this.#closing.done)) return;
    if ([...this.#processes.values()].some((entry) => entry.abandoned)) return;
    this.#link.state = "asked";
    const { address, pid, resources } = this.#options;
    const { workerId, incarnation, highestEpoch } = this.identity;
    const inventory = this.#inventory();
    this.#send(turn, {
      kind: "worker.register",
      body: { workerId, incarnation, highestEpoch, address, pid, resources, inventory },
    });
  }

  /** What lives always; ends as far as they fit, the others are reported one by one afterwards. */
  #inventory(): ProcessReport[] {
    const entries = [...this.#processes.values()];
    const inventory: ProcessReport[] = [];
    let length = 0;
    for (const entry of [...entries.filter((one) => one.phase !== "ended"), ...entries.filter((one) => one.phase === "ended")]) {
      const { processId, pid, resources, application } = entry;
      length += entry.length;
      entry.reported = application !== null && (entry.phase !== "ended" || length <= this.#limits.maxInventoryLength);
      if (!entry.reported || application === null) continue;
      const end = entry.launchFailed === null ? entry.end : { exitCode: null, signal: null, reason: entry.launchFailed };
      inventory.push({ processId, pid, resources, application, end });
    }
    return inventory;
  }

  /** Invariant 1. */
  #admits(epoch: number, turn: Turn<WorkerEffect>): boolean {
    if (epoch < this.identity.highestEpoch) {
      this.#log(turn, "warn", `An order of epoch ${epoch} was refused: epoch ${this.identity.highestEpoch} leads.`, { epoch });
      if (this.#link !== null)
        turn.effects.push({ kind: "close-link", linkId: this.#link.id, reason: `its epoch ${epoch} is over` });
      this.#link = null;
      return false;
    }
    if (epoch > this.identity.highestEpoch) this.#changeIdentity({ highestEpoch: epoch }, turn);
    return true;
  }

  #changeIdentity(change: Partial<WorkerIdentity>, turn: Turn<WorkerEffect>): void {
    this.identity = { ...this.identity, ...change };
    turn.writes.push({ key: IDENTITY_KEY, value: utf8Encode(JSON.stringify(this.identity)) });
  }

  #bindToCluster(clusterId: string, turn: Turn<WorkerEffect>): void {
    if (clusterId === UNRECORDED_CLUSTER_ID || clusterId === this.identity.clusterId) return;
    this.#changeIdentity({ clusterId }, turn);
  }

  #hear(message: FromMaster, now: Now, turn: Turn<WorkerEffect>): void {
    switch (message.kind) {
      case "worker.registered":
        this.#bindToCluster(message.body.clusterId, turn);
        this.#registered(message.body.deadlineMs, now, turn);
        break;
      case "worker.refused":
        if (message.body.reason === "incarnation-over") this.#incarnationOver(message.body.message, turn);
        else this.#registerAt = now.instant + this.#limits.registerAgainMs;
        break;
      case "worker.launch":
        this.#launch(message.body, turn);
        break;
      case "worker.stop":
        this.#stopOrdered(message.body, turn);
        break;
      case "worker.acknowledge":
        for (const processId of message.body.processIds) this.#acknowledged(processId, turn);
        break;
      default:
        unreachable(message, "message");
    }
  }

  #registered(deadlineMs: number, now: Now, turn: Turn<WorkerEffect>): void {
    if (this.#link === null) return;
    this.#masterDeadlineMs = deadlineMs;
    this.#leaseAt = Math.min(this.#leaseAt ?? Number.POSITIVE_INFINITY, now.instant);
    this.#link.state = "registered";
    const { workerId, incarnation, highestEpoch: epoch } = this.identity;
    this.#log(turn, "info", `Worker ${workerId} is registered with the master of epoch ${epoch}.`, {
      incarnation,
      epoch,
      processes: this.#liveCount(),
    });
    this.#sayLeaving(turn);
    for (const entry of this.#processes.values()) this.#report(entry, turn);
  }

  #sayLeaving(turn: Turn<WorkerEffect>): void {
    if (this.#closing?.leave === false && this.#link?.state === "registered")
      this.#send(turn, { kind: "worker.leaving", body: {} });
  }

  #incarnationOver(why: string, turn: Turn<WorkerEffect>): void {
    const incarnation = this.identity.incarnation + 1;
    this.#changeIdentity({ incarnation }, turn);
    if (this.#link !== null) this.#link.state = "new";
    this.#log(turn, "warn", `This worker was declared lost: it stops its processes and registers as incarnation ${incarnation}.`, {
      reason: why,
    });
    for (const entry of [...this.#processes.values()]) this.#abandon(entry, turn);
  }

  #abandon(entry: Entry, turn: Turn<WorkerEffect>): void {
    entry.abandoned = true;
    if (entry.phase === "ended") this.#forget(entry, turn);
    else this.#stop(entry, "its worker's incarnation is over", turn);
  }

  #stop(entry: Entry, reason: string, turn: Turn<WorkerEffect>): void {
    turn.effects.push({ kind: "stop", processId: entry.processId, graceMs: this.#limits.stopGraceMs, reason });
  }

  /** Invariant 2. While this worker is stopped, orders go unanswered: the master gives them to others when the connection has ended. */
  #launch(order: LaunchOrder, turn: Turn<WorkerEffect>): void {
    const { processId, role, resources, application } = order;
    if (this.#link?.state !== "registered" || this.#closing !== null) return;
    const known = this.#processes.get(processId);
    if (known !== undefined) {
      known.reported = known.phase === "launching";
      this.#report(known, turn);
      return;
    }
    if (this.#processes.size >= this.#limits.maxProcesses) {
      const launchFailed = `worker ${this.identity.workerId} has ${this.#processes.size} processes or unacknowledged ends, which is its limit`;
      this.#send(turn, { kind: "worker.report", body: { processId, pid: 0, end: null, launchFailed } });
      return;
    }
    const note = writeNote(order, this.identity);
    const entry = {
      processId,
      resources,
      application,
      length: note.length,
      pid: 0,
      end: null,
      launchFailed: null,
      reported: true,
      abandoned: false,
    };
    this.#processes.set(processId, { ...entry, phase: "launching" });
    turn.effects.push({ kind: "launch", order, note, endsWithoutWorkerMs: role === "program" ? this.#programLeaseMs() : null });
  }

  /** The master counts its deadline from what it last heard; the lease is at most one renewal older than that. */
  #programLeaseMs(): number | null {
    const deadlineMs = this.#masterDeadlineMs;
    return deadlineMs === null ? null : Math.max(1, deadlineMs / 2, deadlineMs - this.#limits.leaseMarginMs);
  }

  /** Often enough that a short deadline is not mistaken for a stop. */
  #renewEveryMs(): number {
    return Math.min(this.#limits.leaseRenewMs, (this.#programLeaseMs() ?? Number.POSITIVE_INFINITY) / 4);
  }

  #stopOrdered(
    order: { readonly processId: string; readonly graceMs: number; readonly reason: string },
    turn: Turn<WorkerEffect>,
  ): void {
    const { processId, graceMs, reason } = order;
    const entry = this.#processes.get(processId);
    if (entry === undefined) {
      const end = { exitCode: null, signal: null, reason: "not known to this worker" };
      if (this.#link?.state === "registered")
        this.#send(turn, { kind: "worker.report", body: { processId, pid: 0, end, launchFailed: null } });
    } else if (entry.phase === "ended") {
      entry.reported = false;
      this.#report(entry, turn);
    } else {
      turn.effects.push({ kind: "stop", processId, graceMs, reason });
    }
  }

  #launched(processId: string, pid: number, turn: Turn<WorkerEffect>): void {
    const entry = this.#processes.get(processId);
    if (entry === undefined) return;
    entry.pid = pid;
    if (entry.phase !== "launching") return;
    entry.phase = "running";
    entry.reported = false;
    this.#log(turn, "info", `Process ${processId} runs.`, { process: processId, pid });
    if (entry.abandoned) this.#stop(entry, "its worker's incarnation is over", turn);
    else if (this.#closing !== null && !this.#closing.leave) this.#stop(entry, "its worker is stopped", turn);
    this.#report(entry, turn);
  }

  #launchFailed(processId: string, reason: string, turn: Turn<WorkerEffect>): void {
    const entry = this.#processes.get(processId);
    if (entry === undefined || entry.phase !== "launching") return;
    entry.phase = "ended";
    entry.launchFailed = reason;
    entry.reported = false;
    this.#log(turn, "warn", `Process ${processId} could not be started: ${reason}`, { process: processId });
    if (entry.abandoned) this.#forget(entry, turn);
    else this.#report(entry, turn);
  }

  #ended(processId: string, end: ProcessEnd, turn: Turn<WorkerEffect>): void {
    const entry = this.#processes.get(processId);
    if (entry === undefined || entry.phase === "ended") return;
    entry.phase = "ended";
    entry.end = end;
    entry.reported = false;
    this.#log(turn, "info", `Process ${processId} ended.`, {
      process: processId,
      exitCode: end.exitCode,
      signal: end.signal,
      reason: end.reason,
    });
    if (entry.abandoned) this.#forget(entry, turn);
    else this.#report(entry, turn);
  }

  #acknowledged(processId: string, turn: Turn<WorkerEffect>): void {
    const entry = this.#processes.get(processId);
    if (entry !== undefined && entry.phase === "ended" && entry.reported) this.#forget(entry, turn);
  }

  #forget(entry: Entry, turn: Turn<WorkerEffect>): void {
    this.#processes.delete(entry.processId);
    turn.effects.push({ kind: "forget", processId: entry.processId });
  }

  #report(entry: Entry, turn: Turn<WorkerEffect>): void {
    if (this.#link?.state !== "registered" || entry.reported || entry.abandoned || entry.phase === "launching") return;
    entry.reported = true;
    const { processId, pid, end, launchFailed } = entry;
    this.#send(turn, { kind: "worker.report", body: { processId, pid, end, launchFailed } });
  }

  #close(leave: boolean, now: Now, turn: Turn<WorkerEffect>): void {
    if (this.#closing !== null) return;
    this.#closing = { deadline: now.instant + this.#limits.closeDeadlineMs, leave, done: false };
    this.#log(
      turn,
      "info",
      leave ? "This worker ends; its processes run on." : "This worker is stopped, and its processes with it.",
      { processes: this.#liveCount() },
    );
    if (leave) return;
    this.#sayLeaving(turn);
    for (const entry of this.#processes.values()) if (entry.phase !== "ended") this.#stop(entry, "its worker is stopped", turn);
  }

  #liveCount(): number {
    let count = 0;
    for (const entry of this.#processes.values()) if (entry.phase !== "ended") count += 1;
    return count;
  }

  #send(turn: Turn<WorkerEffect>, message: ToMaster): void {
    if (this.#link !== null) turn.effects.push({ kind: "send", linkId: this.#link.id, message });
  }

  #log(
    turn: Turn<WorkerEffect>,
    level: "info" | "warn" | "error",
    message: string,
    fields: Readonly<Record<string, string | number | null>>,
  ): void {
    turn.effects.push({ kind: "log", level, message, fields });
  }
}
