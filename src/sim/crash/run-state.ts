/**
 * What a run has come to, in words that do not depend on who led when: users' keys instead of ids (which carry the epoch that minted them), no
 * times, no pids. Two runs of the fixed situation are equal when these are.
 */
import type { Assembly } from "../assembly.js";
import type { LaunchedSeen } from "../observe.js";
import { isSteady, LEADER_GOES_AT_MS } from "./situation.js";

/** One sentence a fact, in order. */
export type RunState = readonly string[];

/** When recovery has settled: everything that was launched until then; the records of what nothing happens to just then, and what runs of it. */
export function settledState(assembly: Assembly): RunState {
  const { cluster, options } = assembly;
  const living = cluster.workers.flatMap(({ disk }) => disk.living()).filter((seen) => isSteady(seen.applicationName));
  if (options.mode === "none")
    return living
      .filter(isOlder)
      .map((seen) => `still runs: ${nameOf(seen)}`)
      .sort();
  const running = living.map((seen) => `runs: ${nameOf(seen)}`);
  const launched = cluster.launches.map((seen) => `launched: ${nameOf(seen)}`);
  return [...recordFacts(assembly, isSteady), ...running, ...launched].sort();
}

/**
 * At the end: every record, every answer, every attempt that was ever launched (an executor that ends with its job may just be being replaced). Without records nothing of it is promised: a user whose application
 * is not known to the next master submits it again, and what comes of it depends on who was sooner.
 */
export function finalState(assembly: Assembly): RunState {
  if (assembly.options.mode === "none") return [];
  const attempts = assembly.cluster.launches.filter(({ role }) => role !== "executor");
  const launched = attempts.map((seen) => `launched: ${nameOf(seen)}`);
  const facts = [...answerFacts(assembly), ...launched, ...recordFacts(assembly, () => true)];
  for (const { name, disk } of assembly.cluster.workers)
    if (disk.unforgotten().length > 0) facts.push(`kept on ${name}: ${disk.unforgotten().length} ends`);
  return facts.sort();
}

function recordFacts({ history }: Assembly, isWanted: (key: string) => boolean): string[] {
  const facts: string[] = [];
  for (const record of history.applications.values()) {
    const { submissionKey: key, state, attempt, restarts, reason, cancelRequested, commit, exitCode } = record;
    if (!isWanted(key)) continue;
    const decided = commit === null ? "" : `, output of ${commit.attempt}.${commit.try ?? 1}`;
    const why = reason === null ? "" : ` (${reason.code})`;
    facts.push(
      `record: ${key} is ${state}${why}, attempt ${attempt}, ${restarts} restarts, exit code ${exitCode}${cancelRequested ? ", to be cancelled" : ""}${decided}`,
    );
  }
  for (const worker of history.workers.values()) facts.push(`record: ${worker.workerId} is ${worker.state}`);
  return facts;
}

const answerFacts = ({ accounts }: Assembly): string[] =>
  accounts.map(
    ({ submission, finalState: state, exitCode, cancelAcknowledgedAt }) =>
      `answer: ${submission.key} is ${state}, exit code ${exitCode}${cancelAcknowledgedAt === null ? "" : ", cancel acknowledged"}`,
  );

const isOlder = ({ startedAt }: LaunchedSeen): boolean => startedAt < LEADER_GOES_AT_MS;

/** `app-3-7.d1.e100002` of key k: `k.d1.e`; numbers of executors carry the leader that minted them. */
const nameOf = ({ processId, applicationId, applicationName }: LaunchedSeen): string =>
  `${applicationName}${processId.slice(applicationId.length).replace(/\.e[0-9]+$/, ".e")}`;

export const MISSING = "missing";

/** What one has and the other has not; empty: they are equal. */
export function difference(expected: RunState, actual: RunState): readonly string[] {
  const counts = new Map<string, number>();
  for (const fact of expected) counts.set(fact, (counts.get(fact) ?? 0) + 1);
  for (const fact of actual) counts.set(fact, (counts.get(fact) ?? 0) - 1);
  return [...counts].flatMap(([fact, count]) => {
    if (count === 0) return [];
    return [`${count > 0 ? MISSING : "added"}: ${fact}${Math.abs(count) > 1 ? ` (${Math.abs(count)} times)` : ""}`];
  });
}
