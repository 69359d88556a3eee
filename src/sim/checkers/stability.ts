/** I21, its other half: when faults have ended and the cluster had time to settle, leadership does not change any more. */
import { EPOCH_KEY } from "../../coordination/keys.js";
import { type Checker, putOf } from "./context.js";

const SETTLE_MS = 40_000;

export const checkStability: Checker = ({ cluster, violate }) => {
  let calmAt: number | null = null;
  return {
    calm: () => {
      calmAt = cluster.world.now();
    },
    committed: (commit) => {
      const taken = putOf(commit, EPOCH_KEY);
      if (taken !== undefined && calmAt !== null && commit.at > calmAt + SETTLE_MS)
        violate("I21", `epoch ${String(taken.epoch)} was taken ${Math.round(commit.at - calmAt)} ms after the last fault`);
    },
  };
};
