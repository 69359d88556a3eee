/** The ways in which a leader is lost, how each is done, and what its recovery is held against. */
import type { ClusterClient } from "../src/cli/client/cluster-client.js";
import type { ClusterView } from "../src/wire/views.js";
import type { ClusterProcess } from "../test/support/process-cluster.js";
import type { Context } from "./benchmark.js";
import type { Aim } from "./figures.js";

/** A step on the way of the next leader, as its log tells it (its clock has millisecond steps). */
export interface Part {
  readonly what: string;
  readonly says: RegExp;
}

export const ON_FILE_PARTS: readonly Part[] = [
  { what: "the standby is sure that the process is gone", says: /^Nobody listens at/ },
  { what: "it owns the store, all records read", says: /^the coordination store is open/ },
  { what: "it has the epoch (its first synced commit)", says: /^Elected/ },
];
export const ON_ZOOKEEPER_PARTS: readonly Part[] = [
  { what: "the standby is sure that the process is gone", says: /^Nobody listens at/ },
  { what: "it has the epoch (a quorum has synced it)", says: /^Elected/ },
];

export interface Strike {
  readonly client: ClusterClient;
  readonly view: ClusterView;
  readonly leaderPid: number;
  readonly leader: ClusterProcess;
}

export interface Tier {
  readonly name: string;
  readonly what: string;
  readonly aims: readonly Aim[];
  readonly beside: string;
  /** Whether the process of the leader is gone afterwards. */
  readonly ends: boolean;
  readonly hasParts?: boolean;
  /** A client asks all the time, and no call may fail. */
  readonly hasCaller?: boolean;
  /** Further words of the masters' command lines. */
  readonly masterArgs?: readonly string[];
  runs(context: Context): number;
  strike(strike: Strike): Promise<void>;
}

const runs =
  (full: number, quick: number, ci: number) =>
  (context: Context): number =>
    context.runs ?? context.pick(full, quick, ci);

const CRASH: Omit<Tier, "beside" | "runs"> = {
  name: "crash",
  what: "crash: kill -9 of the leader -> a new submit is durable on the next",
  aims: [
    { of: "median", value: 15 },
    { of: "p99", value: 50 },
  ],
  ends: true,
  hasParts: true,
  strike: async ({ leaderPid }) => void process.kill(leaderPid, "SIGKILL"),
};

const HAND_OVER: Omit<Tier, "runs"> = {
  name: "hand-over",
  what: "hand-over: asked for -> a new submit is durable on the next",
  aims: [{ of: "median", value: 10 }],
  beside: "graceful close of a ZooKeeper session 2.5 ms (reliability.md 2.1); Spark and Mesos have none",
  ends: false,
  hasCaller: true,
  strike: async ({ client, view: { epoch } }) => void (await client.call("handover", { epoch, to: null })),
};

const HUNG: Omit<Tier, "runs"> = {
  name: "hung",
  what: "hung: event loop stands still (SIGSTOP) -> a new submit is durable on the next",
  aims: [{ of: "max", value: 800 }],
  beside: "500 ms of silence, looked at every 100 ms; else a session's expiry, or never",
  ends: true,
  strike: async ({ leaderPid }) => void process.kill(leaderPid, "SIGSTOP"),
};

/** Of the servers; sessions end on its steps. */
export const SERVER_TICK_MS = 200;
const LOST_SESSION_MS = 2_000;

/**
 * Everything of it stands still and its connections stay open, as when its machine has lost its power or its network: nobody is told anything, and
 * the end of its session is the first that is known of it.
 */
const MACHINE_LOST: Omit<Tier, "runs"> = {
  name: "machine lost",
  what: `machine lost: silence of the leader and its parent, session ${LOST_SESSION_MS} ms -> a new submit is durable`,
  aims: [{ of: "max", value: LOST_SESSION_MS + SERVER_TICK_MS + 100 }],
  beside: "a session's expiry (400 ms: 365-541 ms; 4 s: 3.2-5.4 s; reliability.md 2.1); Spark 7.4-10.3 s, Flink 40 s",
  ends: true,
  hasParts: true,
  masterArgs: ["--session-timeout", `${LOST_SESSION_MS}ms`],
  strike: async ({ leader }) => leader.freeze(),
};

export const FILE_TIERS: readonly Tier[] = [
  {
    ...CRASH,
    beside:
      "limit 8.8 ms (lock, LevelDB, first sync; reliability.md 2.1); Spark 7.4 / 8.2 / 10.3 s, Flink 40.1 / 41.1 / 41.5 s (performance.md 1)",
    runs: runs(30, 15, 2),
  },
  { ...HAND_OVER, runs: runs(30, 15, 2) },
  { ...HUNG, runs: runs(10, 5, 1) },
];

export const ZOOKEEPER_TIERS: readonly Tier[] = [
  {
    ...CRASH,
    beside:
      "limit 3.5 ms, max 9.1 (end of a connection, epoch; reliability.md 2.1); Spark 7.4 / 8.2 / 10.3 s, Flink 40.1 / 41.1 / 41.5 s",
    runs: runs(40, 20, 2),
  },
  { ...HAND_OVER, runs: runs(40, 20, 2) },
  { ...HUNG, runs: runs(20, 8, 1) },
  { ...MACHINE_LOST, runs: runs(20, 5, 1) },
];
