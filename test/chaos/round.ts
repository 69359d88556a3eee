/**
 * One round: faults begin, are held, and are taken back; the cluster comes to rest; everything is checked. Tests of single faults and
 * the random run share it.
 */
import type { Machines } from "../support/partition/machines.js";
import { MASTERS } from "../support/partition/machines.js";
import type { Chance } from "./chance.js";
import { checkEnds, checkLeader, checkSingle, checkStore, type Ledger, livesOfSteady, storeHistory } from "./checks.js";
import type { Begun, Fault, Scene } from "./faults/fault.js";
import type { Workload } from "./workload.js";

export interface Arena {
  readonly machines: Machines;
  readonly workload: Workload;
  readonly chance: Chance;
  readonly ledger: Ledger;
  say(text: string): void;
}

export interface RoundOptions {
  /** In the order in which they begin; the pause before each. */
  readonly faults: readonly { readonly fault: Fault; readonly afterMs: number }[];
  /** After the last has begun. */
  readonly holdMs: number;
  /** Submits the job that checks itself just before. */
  readonly withJob: boolean;
  /** While the faults are in force, at the end of the hold. */
  readonly meanwhile?: (scene: Scene) => Promise<void>;
}

export interface Played {
  readonly problems: readonly string[];
  readonly before: Scene;
  /** From the first fault to the next epoch that was taken; null: none was, before the cluster came to rest. */
  readonly newLeaderAfterMs: number | null;
}

const QUIET_WITHIN_MS = 60_000;
const pause = (durationMs: number) => new Promise((resolve) => setTimeout(resolve, durationMs));

export async function playRound(arena: Arena, options: RoundOptions): Promise<Played> {
  const { machines, workload, chance, say } = arena;
  const steady = livesOfSteady(workload);
  const { epoch, leader: leading, masters } = await machines.view();
  const leader = machines.machineAt(leading?.address ?? "");
  const masterPids = new Map(masters.map(({ address, pid }) => [machines.machineAt(address), pid]));
  const scene: Scene = { machines, chance, leader, standbys: MASTERS.filter((name) => name !== leader), masterPids };
  const job = options.withJob ? workload.job() : null;
  const begun: Begun[] = [];
  let beganAt = 0;
  try {
    for (const { fault, afterMs } of options.faults) {
      await pause(afterMs);
      beganAt = beganAt === 0 ? Date.now() : beganAt;
      const one = await fault.begin(scene);
      begun.push(one);
      say(`${fault.name}: ${one.what}`);
    }
    await pause(options.holdMs);
    await options.meanwhile?.(scene);
  } finally {
    // The network first: what is started again may need it before it serves.
    await machines.network.heal();
    for (const { end } of begun.reverse()) await end?.();
    say("healed");
  }
  await machines.quiet(QUIET_WITHIN_MS);
  await job;
  const problems = await check(arena, leavesWorkAlone(options) ? steady : null);
  const taken = (await storeHistory(machines)).epochs.find((one) => one.epoch > epoch);
  return { problems, before: scene, newLeaderAfterMs: taken === undefined ? null : taken.at - beganAt };
}

const leavesWorkAlone = ({ faults }: RoundOptions): boolean =>
  faults.every(({ fault }) => fault.reach === "control" || (fault.reach === "leader" && faults.length === 1));

/** `steady`: what must still run, and nothing beside it. */
async function check({ machines, workload, ledger }: Arena, steady: readonly string[] | null): Promise<readonly string[]> {
  const problems = [
    ...(await checkEnds(machines, workload, ledger)),
    ...(await checkStore(machines, workload)),
    ...(await checkLeader(machines)),
    ...checkSingle(workload),
  ];
  const now = livesOfSteady(workload);
  if (steady !== null && JSON.stringify(now) !== JSON.stringify(steady))
    problems.push(`a fault of masters or ZooKeeper restarted a program: ${steady.join(", ")} became ${now.join(", ")}`);
  return problems;
}
