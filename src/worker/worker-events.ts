/** What the worker's core hears and what it wants done: data only. */

import type { z } from "zod";
import type { MessageOf } from "../wire/envelope.js";
import type { DriverPlace } from "../wire/runner-start.js";
import type { LaunchOrder, masterToWorker, processEnd, workerToMaster } from "../wire/worker-messages.js";

export type ProcessEnd = z.infer<typeof processEnd>;
export type FromMaster = MessageOf<typeof masterToWorker>;
export type ToMaster = MessageOf<typeof workerToMaster>;

/** Kept on the work directory, durable before anything that follows from a change of it. */
export interface WorkerIdentity {
  /** Minted once per work directory. */
  readonly workerId: string;
  /** Grows by one when the master has declared the present one lost. */
  readonly incarnation: number;
  /** The highest epoch of a master that was followed; orders of lower ones are refused (I6). */
  readonly highestEpoch: number;
  /**
   * The cluster it belongs to, once it registered with one that keeps records. A master of another cluster (an emptied recovery
   * directory, a wrong address) would take what runs here for strange and stop it; so this worker refuses to speak with it.
   */
  readonly clusterId?: string;
}

/** A process as the launcher's inventory has it. */
export interface FoundProcess {
  readonly processId: string;
  readonly pid: number;
  readonly note: string;
  readonly end: ProcessEnd | null;
}

export type WorkerEvent =
  /** The first event: what lies on the work directory. */
  | { readonly kind: "inventory"; readonly processes: readonly FoundProcess[] }
  /** `tellsApplications`: this master keeps no records, so it has to be told of the applications of what runs here. */
  | { readonly kind: "link-up"; readonly linkId: number; readonly remote: string; readonly tellsApplications: boolean }
  | { readonly kind: "link-down"; readonly linkId: number; readonly reason: string }
  | { readonly kind: "message"; readonly linkId: number; readonly epoch: number; readonly message: FromMaster }
  | { readonly kind: "launched"; readonly processId: string; readonly pid: number }
  | { readonly kind: "launch-failed"; readonly processId: string; readonly reason: string }
  | { readonly kind: "ended"; readonly processId: string; readonly end: ProcessEnd }
  /** Every master that is known does not lead (host/master-finder.ts): whoever leads now was elected, or went on, after `since` (an instant). */
  | { readonly kind: "nobody-leads"; readonly since: number }
  /** The operator ends this worker. `leave`: its processes run on for the next worker on this directory. */
  | { readonly kind: "close"; readonly leave: boolean }
  | { readonly kind: "wake-up" };

export type WorkerEffect =
  | {
      readonly kind: "launch";
      readonly order: LaunchOrder;
      /** Given back by the inventory; see worker-notes.ts. */
      readonly note: string;
      /** For programs that run on without a leader: they have no master of their own to judge them. */
      readonly endsWithoutWorkerMs: number | null;
      /** For what must not run twice. */
      readonly endsWithoutLeaderMs: number | null;
    }
  /** Harmless for what has ended; ends a launch that has not begun. */
  | { readonly kind: "stop"; readonly processId: string; readonly graceMs: number; readonly reason: string }
  /** This executor belongs to the driver there. */
  | { readonly kind: "tell-driver"; readonly processId: string; readonly driver: DriverPlace }
  | { readonly kind: "forget"; readonly processId: string }
  /** No process that this worker knows of runs this job bundle. */
  | { readonly kind: "bundle-unused"; readonly sha256: string }
  | { readonly kind: "send"; readonly linkId: number; readonly message: ToMaster }
  | { readonly kind: "close-link"; readonly linkId: number; readonly reason: string }
  /** The leader does not answer: the other masters are asked, beside the link (`nobody-leads`). Harmless while that goes on already. */
  | { readonly kind: "look-around"; readonly linkId: number }
  | { readonly kind: "renew-lease" }
  /** A leader confirmed this worker so long ago. */
  | { readonly kind: "renew-leader-lease"; readonly ageMs: number }
  | {
      readonly kind: "log";
      readonly level: "info" | "warn" | "error";
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number | null>>;
    }
  /** Nothing is left to be done before the end of this worker. */
  | { readonly kind: "closed" }
  /** This worker may never register again, and nothing of it runs: it ends by itself. */
  | { readonly kind: "gone"; readonly reason: string };

export const WORKER_LIMITS = {
  /** This process shows this often that it is alive. */
  leaseRenewMs: 1_000,
  /** A program that runs on without a leader ends itself so long before the deadline, once its worker process is gone. */
  leaseMarginMs: 3_000,
  /** After "not now" of a master. */
  registerAgainMs: 1_000,
  /** Polite time of processes that end with their incarnation, or with a worker that is stopped. */
  stopGraceMs: 3_000,
  /** A worker that is stopped waits so long for the ends of its processes, and for the master to have them. */
  closeDeadlineMs: 12_000,
  closeAcknowledgeMs: 2_000,
  /** Of launched, ended and not yet acknowledged processes. */
  maxProcesses: 4_096,
  /** Characters of an inventory; a message is at most 4 MiB. Ends beyond it are reported one by one. */
  maxInventoryLength: 3 * 1024 * 1024,
} as const;
export type WorkerLimits = { readonly [K in keyof typeof WORKER_LIMITS]: number };
