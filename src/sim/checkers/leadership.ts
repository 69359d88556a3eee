/**
 * I1 per epoch at most one process leads. I2 epochs grow strictly, and the store's order never shows a lower one after a higher one.
 * I3 what a deposed leader writes is never applied.
 */
import { EPOCH_KEY, LAST_COMMIT_KEY } from "../../coordination/keys.js";
import { type Checker, isOfRecords, putOf } from "./context.js";

export const checkLeadership: Checker = ({ history, violate, cluster }) => {
  const leaders = new Map<number, string>();
  return {
    masterState: (process, _name, state, epoch) => {
      if (state === "STANDBY") return;
      const known = leaders.get(epoch);
      if (known !== undefined && known !== process.id) violate("I1", `${known} and ${process.id} both lead in epoch ${epoch}`);
      leaders.set(epoch, process.id);
    },
    committed: (commit) => {
      const taken = putOf(commit, EPOCH_KEY);
      const before = history.epoch;
      if (taken !== undefined) {
        const epoch = Number(taken.epoch);
        if (before !== null && epoch <= before.epoch) violate("I2", `epoch ${epoch} was taken after epoch ${before.epoch}`);
        return;
      }
      const last = putOf(commit, LAST_COMMIT_KEY);
      if (last !== undefined && before !== null && Number(last.epoch) !== before.epoch)
        violate("I2", `a commit of epoch ${String(last.epoch)} was applied while epoch ${before.epoch} stood in the store`);
      if (isOfRecords(commit) && (before === null || before.session !== commit.sessionId)) {
        const holder = before === null ? "nobody" : `${before.session} (epoch ${before.epoch})`;
        violate("I3", `records were written by session ${commit.sessionId} while ${holder} held the epoch`);
      }
    },
    finished: () => {
      if (cluster.options.onlyFollowerFaults && history.epochsTaken > 1)
        violate("I22", `the leader changed ${history.epochsTaken - 1} times although only followers had faults`);
    },
  };
};
