/** Rare states around elections and recoveries; see coverage.ts. */
import { EPOCH_KEY } from "../coordination/keys.js";
import type { Transaction } from "../env/coordination-store.js";
import { type CheckContext, putOf } from "./checkers/context.js";
import type { RareState } from "./coverage.js";
import type { CommitSeen, LogSeen, Observer } from "./observe.js";
import type { SimProcess } from "./world.js";

/** Two that try within this have not seen each other's try. */
const SAME_MOMENT_MS = 5;

const takesEpoch = ({ writes }: Transaction): boolean => writes.some((write) => "put" in write && write.put === EPOCH_KEY);

export function ofElections({ history, cluster }: CheckContext, reached: (state: RareState) => void): Observer {
  /** Of the latest try to take the epoch. */
  let tried: { readonly process: SimProcess; readonly at: number } | null = null;
  const suspicious = new WeakSet<SimProcess>();
  const recovering = new Set<SimProcess>();
  const isRecovering = () => cluster.leader()?.state === "RECOVERING";
  let frozenMasters: readonly string[] = [];

  const takenOver = (before: SimProcess, by: SimProcess | null) => {
    if (before.state !== "dead" && recovering.has(before)) reached("recovery interrupted by another election");
    if (before.state === "paused") reached("take-over while the leader is stopped");
    if (by !== null && suspicious.has(by) && before.state !== "dead") reached("take-over by suspicion of a living leader");
    if (frozenMasters.length > 0) reached("take-over from a frozen leader");
  };
  return {
    commitBegun: (process, transaction) => {
      if (!takesEpoch(transaction)) return;
      const now = cluster.world.now();
      if (tried !== null && tried.process !== process && now - tried.at < SAME_MOMENT_MS) reached("two candidates at one moment");
      tried = { process, at: now };
    },
    commitEnded: (process, transaction, error) => {
      if (error !== "refused") return;
      if (takesEpoch(transaction)) reached("candidate beaten to the epoch");
      else if (history.epoch?.process !== process) reached("stale leader's write fenced");
    },
    committed: (commit: CommitSeen) => {
      if (putOf(commit, EPOCH_KEY) === undefined) return;
      const before = history.epoch?.process ?? null;
      if (before !== null && before !== commit.process) takenOver(before, commit.process);
    },
    masterState: (process, _name, state) => {
      if (state === "RECOVERING") recovering.add(process);
      else recovering.delete(process);
    },
    logged: ({ process, message }: LogSeen) => {
      if (/this master tries to take over/.test(message)) suspicious.add(process);
      if (!isRecovering()) return;
      if (/^Worker .* re-attached/.test(message)) reached("worker re-attached while recovering");
      if (/^The driver of .* re-attached/.test(message)) reached("driver re-attached while recovering");
    },
    client: (_process, seen) => {
      if (seen.kind === "cancelled" && isRecovering()) reached("cancel taken while recovering");
    },
    processEnded: () => {
      if (isRecovering()) reached("process ended while recovering");
      if (cluster.leader() === null) reached("process ended while no master led");
    },
    calm: (frozen) => {
      frozenMasters = frozen.filter((name) => name.startsWith("master-"));
      if (frozen.some((name) => name.startsWith("worker-"))) reached("workers frozen while the rest finishes");
    },
    thawed: () => {
      frozenMasters = [];
    },
  };
}
