/**
 * What must hold when a disturbed cluster has come to rest. Each check answers with sentences about what is wrong; none means that all is well.
 * Ground truth is ZooKeeper's transaction log, and what the programs themselves wrote down.
 */
import { isFinal } from "../../src/wire/application.js";
import { until } from "../support/holdfast.js";
import { wrongBuckets } from "../support/partition/applications.js";
import { checkAcknowledged, replayStores, type StoreHistory } from "../support/partition/ground-truth.js";
import { type Machines, ROOT_PATH } from "../support/partition/machines.js";
import { livesOf, overlaps, readTicks } from "../support/partition/ticks.js";
import type { Submitted, Workload } from "./workload.js";

const ENDS_WITHIN_MS = 60_000;

export interface Ledger {
  /** How many of the acknowledged have been checked to the end. */
  done: number;
}

/** The history of the one store that there has been. */
export async function storeHistory(machines: Machines): Promise<StoreHistory> {
  const histories = replayStores(await machines.transactions(), ROOT_PATH);
  const [history] = histories;
  if (history === undefined || histories.length > 1) throw new Error(`${histories.length} stores were made at ${ROOT_PATH}`);
  return history;
}

export async function checkStore(machines: Machines, workload: Workload): Promise<readonly string[]> {
  const promised = [...workload.acknowledged];
  const history = await storeHistory(machines);
  return [...history.problems, ...checkAcknowledged(history, promised), ...workload.problems];
}

/** The leader that clients see is the one that the store knows. */
export async function checkLeader(machines: Machines): Promise<readonly string[]> {
  const view = await machines.view();
  const last = (await storeHistory(machines)).epochs.at(-1);
  if (last?.epoch === view.epoch) return [];
  return [`clients see epoch ${view.epoch}, and the store's last is ${last?.epoch}`];
}

/** Everything that was to end has ended, and ran as often as it may have. */
export async function checkEnds(machines: Machines, workload: Workload, ledger: Ledger): Promise<readonly string[]> {
  const due = workload.acknowledged.slice(ledger.done).filter(({ kind }) => kind !== "steady" && kind !== "single");
  const upTo = workload.acknowledged.length;
  const states = new Map<string, string>();
  await until(
    "the end of all short applications",
    async () => {
      const { applications } = await machines.client.call("list", {});
      for (const { id, state } of applications) states.set(id, state);
      return due.every(({ id }) => isFinal((states.get(id) ?? "waiting") as "waiting"));
    },
    ENDS_WITHIN_MS,
  ).catch((thrown) => {
    const open = due.filter(({ id }) => !isFinal((states.get(id) ?? "waiting") as "waiting"));
    throw new Error(`${thrown}: ${open.map(({ key, id }) => `${key} (${id}) is ${states.get(id) ?? "unknown"}`).join(", ")}`);
  });
  ledger.done = upTo;
  return due.flatMap((one) => checkEnd(one, states.get(one.id) ?? "unknown"));
}

function checkEnd({ key, kind, file, count }: Submitted, state: string): readonly string[] {
  if (kind === "job") {
    if (state !== "finished") return [`${key} is ${state}`];
    const wrong = wrongBuckets(file, count);
    return wrong === null ? [] : [`${key}: ${wrong}`];
  }
  const lives = livesOf(readTicks(file));
  if (state === "finished" && lives.length === 0) return [`${key} is finished and never ran`];
  // Not supervised: it ran once, whatever died around it.
  if (kind === "short" && lives.length > 1) return [`${key} ran ${lives.length} times: ${JSON.stringify(lives)}`];
  return kind === "supervised" ? overlaps(lives).map((overlap) => `${key}: ${overlap}`) : [];
}

/** With `--on-partition stop` two attempts never run at once. */
export function checkSingle(workload: Workload): readonly string[] {
  return workload.acknowledged
    .filter(({ kind }) => kind === "single")
    .flatMap(({ key, file }) => overlaps(livesOf(readTicks(file))).map((overlap) => `${key}: ${overlap}`));
}

/** What ran before, by application: the processes that no fault of masters or ZooKeeper may touch. */
export function livesOfSteady(workload: Workload): readonly string[] {
  return workload.acknowledged
    .filter(({ kind }) => kind === "steady")
    .flatMap(({ file }) => livesOf(readTicks(file)).map(({ process, pid }) => `${process} ${pid}`));
}
