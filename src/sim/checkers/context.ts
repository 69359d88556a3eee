/** What checkers share: the run, what the store has taken so far, and how to say that an invariant is broken. */

import { utf8Decode } from "../../base/utf8.js";
import { CLUSTER_KEY, EPOCH_KEY, LAST_COMMIT_KEY } from "../../coordination/keys.js";
import type { ApplicationRecord, WorkerRecord } from "../../wire/application.js";
import type { Account } from "../clients.js";
import type { Cluster } from "../cluster.js";
import { type CommitSeen, type Observer, Violation } from "../observe.js";
import type { SimProcess } from "../world.js";

export interface EpochSeen {
  readonly epoch: number;
  readonly session: string;
  readonly process: SimProcess | null;
}

/** The durable state, as the history of the store gives it. */
export interface History {
  readonly applications: ReadonlyMap<string, ApplicationRecord>;
  readonly workers: ReadonlyMap<string, WorkerRecord>;
  /** Ids of all applications that were ever recorded. */
  readonly everRecorded: ReadonlySet<string>;
  readonly epoch: EpochSeen | null;
  readonly epochsTaken: number;
}

export interface CheckContext {
  readonly cluster: Cluster;
  readonly accounts: readonly Account[];
  readonly history: History;
  violate(invariant: string, message: string): void;
}

export type Checker = (context: CheckContext) => Observer;

/** The value that a commit puts under a key, as JSON; undefined: it does not put it. */
export function putOf(commit: CommitSeen, key: string): Readonly<Record<string, unknown>> | undefined {
  for (const write of commit.transaction.writes) {
    if ("put" in write && write.put === key) return JSON.parse(utf8Decode(write.value) ?? "{}") as Record<string, unknown>;
  }
  return undefined;
}

export const isOfRecords = (commit: CommitSeen): boolean => commit.records.length > 0;
export const OWN_KEYS: ReadonlySet<string> = new Set([CLUSTER_KEY, EPOCH_KEY, LAST_COMMIT_KEY]);

/** Follows the history; checkers that are told of a commit still see the state before it. */
export class HistoryFollower implements History {
  readonly applications = new Map<string, ApplicationRecord>();
  readonly workers = new Map<string, WorkerRecord>();
  readonly everRecorded = new Set<string>();
  epoch: EpochSeen | null = null;
  epochsTaken = 0;

  observer(): Observer {
    return {
      storeReset: () => {
        this.applications.clear();
        this.workers.clear();
      },
      committed: (commit) => this.take(commit),
    };
  }

  private take(commit: CommitSeen): void {
    const epoch = putOf(commit, EPOCH_KEY);
    if (epoch !== undefined) {
      this.epoch = { epoch: Number(epoch.epoch), session: String(epoch.session), process: commit.process };
      this.epochsTaken += 1;
    }
    for (const seen of commit.records) {
      if (seen.kind === "worker") set(this.workers, seen.id, seen.record);
      else {
        set(this.applications, seen.id, seen.record);
        this.everRecorded.add(seen.id);
      }
    }
  }
}

function set<T>(map: Map<string, T>, key: string, value: T | null): void {
  if (value === null) map.delete(key);
  else map.set(key, value);
}

export function createContext(cluster: Cluster, accounts: readonly Account[], history: History): CheckContext {
  return {
    cluster,
    accounts,
    history,
    violate: (invariant, message) => cluster.world.fail(new Violation(invariant, message)),
  };
}

/** Recovery mode none forgets by design; what needs a store is not asked of it. */
export const keepsRecords = ({ cluster }: CheckContext): boolean => cluster.options.mode !== "none";
