/**
 * I12 programs and drivers are started again when they should be, no more often than their limit, and never while another attempt may run. What
 * says `continue` may run beside what a lost worker, that nobody can reach, still runs; what says `stop` never, but where a firewall rejects
 * connections (which looks like dead masters), or the operator said of a living machine that it is gone.
 */
import { type ApplicationRecord, DEFAULT_RESTART_POLICY, isFinal, onPartitionOf } from "../../wire/application.js";
import type { LaunchedSeen } from "../observe.js";
import type { FaultKind } from "../options.js";
import { type Checker, keepsRecords } from "./context.js";

const DELAYING: ReadonlySet<FaultKind> = new Set([
  "cut-both-ways",
  "cut-one-way",
  "cut-most-workers",
  "reject",
  "slow-links",
  "pause-worker",
  "kill-worker",
  "leave-worker",
  "kill-machine",
]);

export const checkSupervision: Checker = (context) => {
  const { history, violate, cluster, accounts } = context;
  const living = new Map<string, Set<LaunchedSeen>>();
  const exits = new Map<string, number>();
  // Without records a master that was restarted knows only the attempts that it is told of in time.
  const isAttemptUnique = keepsRecords(context) || !cluster.options.faults.some((kind) => DELAYING.has(kind));
  const submissionOf = (record: ApplicationRecord) =>
    accounts.find(({ submission }) => submission.key === record.submissionKey)?.submission;

  const lostOrGone = (seen: LaunchedSeen): boolean => {
    const worker = history.workers.get(seen.workerId);
    return worker === undefined || worker.state === "lost" || worker.state === "gone" || worker.incarnation > seen.incarnation;
  };
  const mayRefuse = cluster.options.faults.some((kind) => kind === "reject" || kind === "usurp");
  const mustStop = (seen: LaunchedSeen): boolean => {
    const spec = history.applications.get(seen.applicationId)?.spec;
    if (spec === undefined || onPartitionOf(spec) !== "stop" || mayRefuse) return false;
    return !isRetired(seen);
  };
  /** Its operator said that the worker is gone: true or not, nothing is waited for. */
  const isRetired = (seen: LaunchedSeen): boolean => history.workers.get(seen.workerId)?.retired === true;
  /** Nobody has renewed its lease for long: it had to end before the next attempt. */
  const leaseIsOver = (seen: LaunchedSeen): boolean => {
    if (isRetired(seen)) return false;
    const slot = cluster.workers.find(({ name }) => name === seen.workerId);
    return slot?.process === null || slot?.process.state === "paused";
  };

  return {
    storeReset: () => {},
    launched: (seen) => {
      if (seen.role === "executor") return;
      const ended = history.applications.get(seen.applicationId);
      if (ended !== undefined && isFinal(ended.state) && seen.attempt > ended.attempt) {
        // It removes what the sinks staged, and runs nothing of the job.
        if (keepsRecords(context) && ended.attempt + (ended.leftovers?.tries ?? 0) < seen.attempt)
          violate("I12", `${seen.processId} was started before its record said so`);
        return;
      }
      const others = living.get(seen.applicationId) ?? new Set();
      living.set(seen.applicationId, others);
      for (const other of others) {
        if (other.attempt === seen.attempt) {
          if (isAttemptUnique) violate("I12", `${seen.processId} runs twice`);
        } else if (mustStop(other) && keepsRecords(context)) {
          violate("I12", `${seen.processId} was started while ${other.processId} runs, which must not run twice`);
        } else if (seen.role === "program" && keepsRecords(context)) {
          if (!lostOrGone(other))
            violate("I12", `${seen.processId} was started while ${other.processId} runs on a worker that is there`);
          else if (leaseIsOver(other))
            violate("I12", `${seen.processId} was started while ${other.processId} runs without a worker`);
        }
      }
      others.add(seen);
      const record = history.applications.get(seen.applicationId);
      if (record === undefined || !keepsRecords(context)) return;
      if (record.attempt < seen.attempt) violate("I12", `${seen.processId} was started before its attempt was durable`);
    },
    processEnded: (seen, how) => {
      living.get(seen.applicationId)?.delete(seen);
      if (seen.role === "program" && how === "exit") exits.set(seen.applicationId, (exits.get(seen.applicationId) ?? 0) + 1);
    },
    committed: ({ records }) => {
      for (const seen of records) {
        if (seen.kind !== "application" || seen.record === null) continue;
        const { restart } = seen.record.spec;
        const newest = seen.record.restartedAt.at(-1);
        const inWindow = seen.record.restartedAt.filter((at) => newest !== undefined && at > newest - restart.windowMs);
        const limit =
          seen.record.commit === null ? restart.maxRestarts : Math.max(restart.maxRestarts, DEFAULT_RESTART_POLICY.maxRestarts);
        if (inWindow.length > limit)
          violate("I12", `${seen.id} was restarted ${inWindow.length} times within its window, allowed are ${limit}`);
        const before = history.applications.get(seen.id);
        if (before?.cancelRequested === true && seen.record.attempt > before.attempt && before.commit === null)
          violate("I12", `${seen.id} was restarted although it was asked to stop`);
      }
    },
    finished: () => {
      if (!keepsRecords(context)) return;
      for (const record of history.applications.values()) {
        const program = submissionOf(record)?.program;
        if (program === null || program === undefined || record.state === "cancelled") continue;
        const why = outcomeProblem(record, program.exitCodes, exits.get(record.id) ?? 0);
        if (why !== null) violate("I12", `${record.id} is ${record.state} after ${record.attempt} attempts: ${why}`);
      }
    },
  };
};

/** Against what the program does: exit codes by attempt, the last one for ever. */
function outcomeProblem(record: ApplicationRecord, exitCodes: readonly number[], exits: number): string | null {
  const last = exitCodes[Math.min(record.attempt, exitCodes.length) - 1] ?? 0;
  const { supervise } = record.spec;
  if (record.state === "finished") {
    if (last !== 0) return `its last attempt exits with ${last}`;
    return exits === 0 ? "no attempt of it came to its end" : null;
  }
  if (record.state !== "failed") return "it should have ended";
  const code = record.reason?.code;
  if (code === "RESTARTS_EXHAUSTED") return null;
  if (supervise) return `it is supervised, and failed with ${code ?? "no reason"}`;
  return null;
}
