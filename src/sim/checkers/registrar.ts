/**
 * I28 a worker that is gone for good stays so, whoever leads: it is never recorded as anything else, and nobody registers under its id.
 * I29 no leader declares more workers lost than its limits and its operator allow.
 */
import { RECORDS_PREFIX } from "../../coordination/keys.js";
import { REMOVALS_KEY } from "../../wire/records.js";
import { REMOVAL_WINDOW_MS } from "../../wire/registrar.js";
import { type Checker, keepsRecords, putOf } from "./context.js";

/** Seen are commits, which come a little, and not always equally, after what the leader decided. */
const COMMIT_MS = 5_000;

export const checkRegistrar: Checker = (context) => {
  const { history, violate, cluster } = context;
  const perMinute = cluster.options.settings.removalLimit?.perMinute ?? null;
  /** By leader: when it declared workers lost. */
  const removals = new Map<string, number[]>();
  const retired = new Set<string>();
  let isHeld = false;
  /** The operator has let workers go beyond the limits. */
  let isContinued = false;

  const checkRate = (leader: string, at: number) => {
    const times = [...(removals.get(leader) ?? []), at].filter((one) => one > at - REMOVAL_WINDOW_MS + COMMIT_MS);
    removals.set(leader, times);
    if (perMinute !== null && !isContinued && times.length > perMinute)
      violate("I29", `${leader} declared ${times.length} workers lost within a minute, allowed are ${perMinute}`);
  };

  return {
    operator: (name, input) => {
      if (name === "removals" && "decision" in input && input.decision === "continue") isContinued = true;
      if (name === "gone" && "worker" in input && input.worker !== undefined && keepsRecords(context)) retired.add(input.worker);
    },
    storeReset: () => {
      retired.clear();
      isHeld = false;
    },
    committed: (commit) => {
      const word = putOf(commit, `${RECORDS_PREFIX}${REMOVALS_KEY}`) as { readonly body?: { readonly held?: boolean } } | undefined;
      // What was lost in the turn in which the word was given came before it, or was allowed by it.
      const mayLose = !isHeld || word?.body?.held === false;
      if (word?.body?.held === false) isContinued = true;
      for (const seen of commit.records) {
        if (seen.kind !== "worker" || seen.record === null) continue;
        const before = history.workers.get(seen.id);
        if ((before?.retired === true || retired.has(seen.id)) && seen.record.retired !== true)
          violate("I28", `${seen.id} is gone for good, and was recorded as ${seen.record.state}`);
        if (seen.record.state !== "lost" || before?.state === "lost") continue;
        if (!mayLose) violate("I29", `${seen.id} was declared lost while the operator holds removals`);
        // A worker that came back has a new record, so the next leader does not count it: the minute is that of a leadership.
        checkRate(`the leader of epoch ${history.epoch?.epoch ?? 0}`, commit.at);
      }
      if (word !== undefined) isHeld = word.body?.held === true;
    },
  };
};
