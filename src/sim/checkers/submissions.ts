/**
 * I4 what was acknowledged survives. I5 what was not is applied at most once, and the same key names the same application.
 */
import { isFinal } from "../../wire/application.js";
import { type Checker, keepsRecords } from "./context.js";

export const checkSubmissions: Checker = (context) => {
  const { history, violate, accounts, cluster } = context;
  if (!keepsRecords(context)) return {};
  const forgetsSoon = (cluster.options.settings.maxFinished ?? 1_000) < 100;
  const idOfKey = new Map<string, string>();
  const acknowledged = new Map<string, string>();
  const cancelled = new Set<string>();
  return {
    committed: ({ records }) => {
      for (const seen of records) {
        if (seen.kind !== "application") continue;
        const before = history.applications.get(seen.id);
        if (seen.record === null) {
          if (before !== undefined && !isFinal(before.state) && !forgetsSoon)
            violate("I4", `${seen.id} was deleted while it was ${before.state}`);
          if (before !== undefined && idOfKey.get(before.submissionKey) === seen.id) {
            idOfKey.delete(before.submissionKey);
            acknowledged.delete(before.submissionKey);
          }
          continue;
        }
        const { submissionKey, cancelRequested } = seen.record;
        const known = idOfKey.get(submissionKey);
        if (known !== undefined && known !== seen.id) violate("I5", `the key ${submissionKey} names ${known} and ${seen.id}`);
        idOfKey.set(submissionKey, seen.id);
        if (before?.cancelRequested && !cancelRequested) violate("I4", `the cancel of ${seen.id} was forgotten`);
      }
    },
    client: (_process, seen) => {
      if (seen.kind === "submitted") {
        if (!history.everRecorded.has(seen.id)) violate("I4", `${seen.id} was acknowledged before it was durable`);
        const known = acknowledged.get(seen.key);
        if (known !== undefined && known !== seen.id && history.applications.has(known))
          violate("I5", `the key ${seen.key} was answered with ${known} and then with ${seen.id}`);
        acknowledged.set(seen.key, seen.id);
      } else if (seen.kind === "cancelled") {
        const record = history.applications.get(seen.id);
        if (record === undefined || isFinal(record.state)) return;
        if (record.commit === null && !record.cancelRequested)
          violate("I4", `the cancel of ${seen.id} was acknowledged before it was durable`);
        cancelled.add(seen.id);
      }
    },
    finished: () => {
      for (const id of cancelled) {
        const record = history.applications.get(id);
        if (record?.cancelRequested && record.state !== "cancelled" && record.commit === null)
          violate("I4", `${id} was to be cancelled, which was acknowledged, and is ${record.state}`);
      }
      for (const { id, finalState } of accounts) {
        const record = id === null ? undefined : history.applications.get(id);
        if (record !== undefined && finalState !== null && record.state !== finalState)
          violate("I4", `${id} ended as ${finalState} for its user, and its record says ${record.state}`);
      }
    },
  };
};
