/** I24, for what the simulator has of it: what is recorded, and so what is run, is what its user has submitted. */
import { contentHashOf } from "../workload.js";
import type { Checker } from "./context.js";

export const checkSpecs: Checker = ({ accounts, violate }) => {
  const hashes = new Map(accounts.map(({ submission }) => [submission.key, contentHashOf(submission.spec)]));
  const seenIds = new Set<string>();
  return {
    committed: ({ records }) => {
      for (const seen of records) {
        // A spec never changes (the record's hash says so): it is enough to look at it once.
        if (seen.kind !== "application" || seen.record === null || seenIds.has(seen.id)) continue;
        seenIds.add(seen.id);
        const { submissionKey, spec } = seen.record;
        const expected = hashes.get(submissionKey);
        if (expected !== undefined && contentHashOf(spec) !== expected)
          violate("I24", `the record of ${seen.id} holds something else than was submitted as ${submissionKey}`);
      }
    },
  };
};
