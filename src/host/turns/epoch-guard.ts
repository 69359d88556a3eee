/**
 * Who takes orders from masters remembers the highest epoch that it has seen, and refuses lower ones (I6): a deposed leader that does not know it yet
 * is harmless.
 */
export interface EpochGuard {
  /** 0: no master seen yet. */
  highest(): number;
  /** False: the order comes from a deposed leader; refuse it with STALE_EPOCH. True: it is (now) the highest epoch known. */
  admit(epoch: number): boolean;
}

export function createEpochGuard(highestSeen = 0): EpochGuard {
  let highest = highestSeen;
  return {
    highest: () => highest,
    admit(epoch) {
      if (epoch < highest) return false;
      highest = epoch;
      return true;
    },
  };
}
