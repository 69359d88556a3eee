/**
 * Rare states that a run went through: a simulation proves nothing about what it never reaches. Seen from outside, like everything else.
 *
 * `CI_STATES` are those that the seeds of CI have to reach together; a change that makes one unreachable fails there.
 */
import { EPOCH_KEY } from "../coordination/keys.js";
import type { Transaction } from "../env/coordination-store.js";
import { isFinal, onPartitionOf } from "../wire/application.js";
import { type CheckContext, putOf } from "./checkers/context.js";
import type { LaunchedSeen, LogSeen, Observer } from "./observe.js";
import { ofCheckpoints } from "./rare-checkpoints.js";
import { ofElections } from "./rare-elections.js";
import type { SimProcess } from "./world.js";

export const STATES = [
  "take-over while a commit is in flight",
  "take-over while the deposed leader lives",
  "recovery interrupted by the leader's death",
  "unknown outcome, applied",
  "unknown outcome, not applied",
  "leader deposed by the fence",
  "leader deposed by the end of its session",
  "leader deposed by its disk",
  "leader handed over",
  "commit failed on a disk",
  "submission taken while recovering",
  "submission answered from an earlier one",
  "cancel across a failover",
  "cancel too late: the output was decided",
  "cancel of what waits or restarts",
  "worker lost",
  "lost incarnation returns",
  "worker adopts what ran while it was dead",
  "worker adopts what ended while it was dead",
  "stopped worker leaves its connection",
  "program ended by its lease",
  "program runs twice: beside a lost worker",
  "restarts exhausted",
  "attempt moved off a draining worker",
  "executors moved off a draining worker",
  "drain across a failover",
  "removals wait: too many in a minute",
  "removals wait: too large a share is away",
  "removals wait: the operator holds them",
  "the operator lets removals go on",
  "worker gone for good ends",
  "what must not run twice ended by its lease",
  "machine lost with a driver on it",
  "superseded driver told so",
  "driver superseded while committing",
  "decided output finished by another attempt",
  "sink commit repeated",
  "executor replaced within an attempt",
  "job tried again within an attempt",
  "job finished while no master led",
  "launch failed",
  "client mode driver lost",
  "application forgotten",
  "nothing can hold it",
  "two candidates at one moment",
  "candidate beaten to the epoch",
  "stale leader's write fenced",
  "take-over by suspicion of a living leader",
  "take-over while the leader is stopped",
  "take-over from a frozen leader",
  "recovery interrupted by another election",
  "worker re-attached while recovering",
  "driver re-attached while recovering",
  "cancel taken while recovering",
  "process ended while recovering",
  "process ended while no master led",
  "workers frozen while the rest finishes",
  "lease confirmed beside a stopped leader",
  "leader notices that it was away",
  "failover on a link that stood",
  "leader left that had not noticed another one",
  "checkpoint completed",
  "checkpoint given up: not in time",
  "checkpoint given up: its storage is full",
  "checkpoint given up: its pointer was refused",
  "checkpoint given up: a slice restarts alone",
  "slice restarts alone, from the start",
  "slice restarts alone, from a checkpoint",
  "job tried again after too many checkpoints failed",
  "sinks could not commit a checkpoint at once",
  "checkpoint unreadable for a while",
  "output of a checkpoint decided at the end",
  "pointer durable after its driver's death",
  "ids skipped by a new driver",
  "checkpoint with a finished executor",
  "checkpoint with a finished subtask",
  "restored from a checkpoint",
  "restored by another driver",
  "taken over by another driver",
  "taken over at a checkpoint whose completion nobody was told",
  "not taken over, though something runs",
  "restored with output that waits for the end",
  "superseded driver begins a try",
  "superseded driver takes a checkpoint",
  "checkpoint begins while no master leads",
  "output of a checkpoint committed at a restore",
  "output of a checkpoint committed twice",
  "state lost that was not synced",
] as const;
export type RareState = (typeof STATES)[number];
/** Seen in one seed of many: what is cut off from a leader that lives for longer than its deadline; slices that end at different times. */
const TOO_RARE: ReadonlySet<RareState> = new Set<RareState>([
  "program runs twice: beside a lost worker",
  "superseded driver begins a try",
  "superseded driver takes a checkpoint",
  "checkpoint with a finished executor",
  "checkpoint given up: its pointer was refused",
  "job tried again after too many checkpoints failed",
]);
export const CI_STATES: readonly RareState[] = STATES.filter((state) => !TOO_RARE.has(state));

export type Coverage = Map<RareState, number>;

export function createCoverage(context: CheckContext, coverage: Coverage): Observer {
  const reached = (state: RareState) => void coverage.set(state, (coverage.get(state) ?? 0) + 1);
  const parts = [
    ofStore(context, reached),
    ofLogs(reached),
    ofRecords(context, reached),
    ofProcesses(context, reached),
    ofElections(context, reached),
    ofCheckpoints(context, reached),
  ];
  const all =
    <K extends keyof Observer>(kind: K) =>
    (...args: unknown[]) => {
      for (const part of parts) (part[kind] as ((...args: unknown[]) => void) | undefined)?.(...args);
    };
  return {
    committed: all("committed"),
    commitBegun: all("commitBegun"),
    commitEnded: all("commitEnded"),
    masterState: all("masterState"),
    logged: all("logged"),
    launched: all("launched"),
    processEnded: all("processEnded"),
    leaseConfirmed: all("leaseConfirmed"),
    client: all("client"),
    sinkCommitted: all("sinkCommitted"),
    sliceStarted: all("sliceStarted"),
    checkpointOrdered: all("checkpointOrdered"),
    partsCommitted: all("partsCommitted"),
    stateLost: all("stateLost"),
    calm: all("calm"),
    thawed: all("thawed"),
  };
}

type Reached = (state: RareState) => void;

function ofStore({ history, cluster }: CheckContext, reached: Reached): Observer {
  const inFlight = new Map<SimProcess, number>();
  const applied = new WeakSet<Transaction>();
  const recovering = new Set<SimProcess>();
  return {
    commitBegun: (process) => void inFlight.set(process, (inFlight.get(process) ?? 0) + 1),
    commitEnded: (process, transaction, error) => {
      inFlight.set(process, (inFlight.get(process) ?? 1) - 1);
      if (error === "OUTCOME_UNKNOWN")
        reached(applied.has(transaction) ? "unknown outcome, applied" : "unknown outcome, not applied");
      if (error === "DISK_FAILED") reached("commit failed on a disk");
    },
    masterState: (process, _name, state) => {
      if (state === "STANDBY") {
        if (recovering.delete(process) && process.state === "dead") reached("recovery interrupted by the leader's death");
      } else if (state === "RECOVERING") recovering.add(process);
      else recovering.delete(process);
    },
    committed: (commit) => {
      applied.add(commit.transaction);
      if (putOf(commit, EPOCH_KEY) === undefined) return;
      const before = history.epoch?.process ?? null;
      if (before === null || before === commit.process) return;
      if ((inFlight.get(before) ?? 0) > 0) reached("take-over while a commit is in flight");
      const slot = cluster.masters.find(({ process }) => process === before);
      if (slot !== undefined && slot.state !== "STANDBY") reached("take-over while the deposed leader lives");
      for (const worker of history.workers.values()) if (worker.state === "draining") reached("drain across a failover");
      for (const record of history.applications.values())
        if (record.cancelRequested && !isFinal(record.state)) reached("cancel across a failover");
    },
  };
}

function ofLogs(reached: Reached): Observer {
  const byText: readonly (readonly [RegExp, RareState])[] = [
    [/^Resigned from epoch/, "leader handed over"],
    [/^This leader was away for/, "leader notices that it was away"],
    [/^A master that stood by leads now/, "failover on a link that stood"],
    [/^Another master leads with a higher epoch/, "leader left that had not noticed another one"],
    [/was declared lost: it stops its processes/, "lost incarnation returns"],
    [/^This worker was stopped for/, "stopped worker leaves its connection"],
    [/^the job is superseded/, "superseded driver told so"],
    [/could not be started/, "launch failed"],
    [/^Try \d+ moves off draining workers/, "executors moved off a draining worker"],
    [/not declared lost: \d+ were declared lost within/, "removals wait: too many in a minute"],
    [/not declared lost: more than/, "removals wait: too large a share is away"],
    [/not declared lost: the operator holds/, "removals wait: the operator holds them"],
    [/^The operator lets removals go on: [1-9]/, "the operator lets removals go on"],
    [/^The worker process ends: .*gone for good/, "worker gone for good ends"],
    [/^Try ([2-9]|\d\d+) runs on/, "job tried again within an attempt"],
    [/^the client that ran the driver|: the client that ran the driver/, "client mode driver lost"],
  ];
  const deposed: Readonly<Record<string, RareState>> = {
    FENCED: "leader deposed by the fence",
    SESSION_ENDED: "leader deposed by the end of its session",
    DISK_FAILED: "leader deposed by its disk",
  };
  return {
    logged: ({ message, fields }: LogSeen) => {
      for (const [pattern, state] of byText) if (pattern.test(message)) reached(state);
      if (message.startsWith("Deposed from epoch")) {
        const state = deposed[String(fields.code)];
        if (state !== undefined) reached(state);
      }
      if (/^Worker .* started\.$/.test(message) && Number(fields.adopted) > 0) reached("worker adopts what ran while it was dead");
    },
  };
}

function ofRecords({ history, cluster }: CheckContext, reached: Reached): Observer {
  return {
    committed: ({ records }) => {
      for (const seen of records) {
        if (seen.kind === "worker") {
          const before = history.workers.get(seen.id);
          if (seen.record?.state === "lost" && before?.state !== "lost") reached("worker lost");
          continue;
        }
        const before = history.applications.get(seen.id);
        if (seen.record === null) reached("application forgotten");
        else if (before === undefined) {
          if (cluster.leader()?.state === "RECOVERING") reached("submission taken while recovering");
        } else {
          const { record } = seen;
          const { code } = record.reason ?? {};
          if (code === "RESTARTS_EXHAUSTED" && before.reason?.code !== code) reached("restarts exhausted");
          if (code === "UNPLACEABLE" && before.reason?.code !== code) reached("nothing can hold it");
          if (record.cancelRequested && !before.cancelRequested && before.state !== "running")
            reached("cancel of what waits or restarts");
          if (record.state === "restarting" && before.state === "running" && /draining/.test(record.reason?.message ?? ""))
            reached("attempt moved off a draining worker");
        }
      }
    },
    client: (_process, seen) => {
      if (seen.kind === "submitted" && !seen.created) reached("submission answered from an earlier one");
      if (seen.kind !== "cancelled") return;
      const record = history.applications.get(seen.id);
      if (record !== undefined && record.commit !== null) reached("cancel too late: the output was decided");
    },
  };
}

function ofProcesses({ history, cluster }: CheckContext, reached: Reached): Observer {
  const living = new Map<string, Set<LaunchedSeen>>();
  const executors = new Map<string, number>();
  const commits = new Set<string>();
  return {
    launched: (seen) => {
      const { applicationId, attempt, role } = seen;
      if (role === "executor") {
        const key = `${applicationId}.${attempt}`;
        const count = (executors.get(key) ?? 0) + 1;
        executors.set(key, count);
        if (count === (history.applications.get(applicationId)?.spec.job?.parallelism ?? 0) + 1)
          reached("executor replaced within an attempt");
        return;
      }
      const set = living.get(applicationId) ?? new Set();
      living.set(applicationId, set);
      if (role === "program" && set.size > 0) reached("program runs twice: beside a lost worker");
      set.add(seen);
    },
    processEnded: (seen, how) => {
      living.get(seen.applicationId)?.delete(seen);
      if (how === "lease") reached("program ended by its lease");
      const spec = history.applications.get(seen.applicationId)?.spec;
      if (how === "lease" && spec !== undefined && onPartitionOf(spec) === "stop")
        reached("what must not run twice ended by its lease");
      if (how === "machine" && seen.role === "driver") reached("machine lost with a driver on it");
      const worker = cluster.workers.find(({ name }) => name === seen.workerId);
      if (worker?.process === null && how !== "machine") reached("worker adopts what ended while it was dead");
    },
    leaseConfirmed: (_workerId, confirmedAt) => {
      // Nothing that the leader itself says is of an instant within the stop.
      const stoppedMs = cluster.store.owner()?.pausedMs() ?? 0;
      if (stoppedMs > 0 && confirmedAt > cluster.world.now() - stoppedMs) reached("lease confirmed beside a stopped leader");
    },
    sinkCommitted: ({ applicationId, attempt, process }) => {
      const record = history.applications.get(applicationId);
      const driverAttempt = Number(/\.d(\d+)/.exec(process.id)?.[1] ?? 0);
      if (record !== undefined && record.attempt > driverAttempt) reached("driver superseded while committing");
      if (driverAttempt > Number(attempt.split(".")[0])) reached("decided output finished by another attempt");
      if (commits.has(applicationId)) reached("sink commit repeated");
      commits.add(applicationId);
      if (cluster.leader() === null) reached("job finished while no master led");
    },
  };
}
