/**
 * Executors of running jobs: minted, placed, ordered when their driver can be reached, and shown to it.
 *
 *   waiting (room reserved) -> placed (ordered) -> running -> ended | lost
 *
 * They outlive their driver: while a next attempt may take over what they run (`mayBeTakenOver`), those that run are kept, with their room, shown to it, and
 * told where it is. Whether it takes them or gives them back is its affair (job/takeover.ts); until it says so none of them is stopped.
 *
 * They are not in the records: workers report them, and their driver says which ones it has, and which ones were ordered: it is told of each before
 * its worker is. So a leader that comes before their worker has spoken orders no others in their place. Their ids never repeat: the number starts at
 * a multiple of EXECUTORS_PER_EPOCH that grows with the leader's epoch.
 */
import { isFinal, onPartitionOf } from "../wire/application.js";
import { executorProcessId, parseProcessId } from "../wire/ids.js";
import { emit } from "./events.js";
import type { ProcessEnd } from "./messages.js";
import { order, place, redirect } from "./processes.js";
import { ADOPTED_VIEW_MS, DRIVER_VIEW_INTERVAL_MS, MAX_ENDED_EXECUTORS } from "./settings.js";
import { type Application, type Executor, type MasterState, type PlacedProcess, type Step, touch, type Worker } from "./state.js";

/** Executors that one leader may mint for one attempt before ids of the next epoch would begin. */
const EXECUTORS_PER_EPOCH = 100_000;

export const isLive = (executor: Executor): boolean => executor.state !== "ended" && executor.state !== "lost";

export function liveExecutors(app: Application): number {
  let live = 0;
  for (const executor of app.executors.values()) if (isLive(executor)) live += 1;
  return live;
}

/** Executors that are to stay: those on a draining worker count no more once others can take their place. */
export function stayingExecutors(state: MasterState, app: Application): number {
  let staying = 0;
  for (const executor of app.executors.values()) if (isLive(executor) && !isDraining(state, executor)) staying += 1;
  return staying;
}

const isDraining = (state: MasterState, executor: Executor): boolean =>
  executor.workerId !== null && state.workers.get(executor.workerId)?.record.state === "draining";

function mintExecutorId(state: MasterState, app: Application): string {
  const epochOfApplication = Number(app.id.split("-")[1]);
  const start = Math.max(0, state.self.epoch - epochOfApplication) * EXECUTORS_PER_EPOCH;
  for (;;) {
    app.executorsMinted += 1;
    const id = executorProcessId(app.id, app.record.attempt, start + app.executorsMinted);
    if (!app.executors.has(id) && !app.released.has(id)) return id;
  }
}

export function placeExecutors(state: MasterState, step: Step, app: Application, workerIds: readonly string[]): void {
  const { job } = app.record.spec;
  if (job === null) return;
  for (const workerId of workerIds) {
    const worker = state.workers.get(workerId);
    if (worker === undefined) continue;
    const processId = mintExecutorId(state, app);
    app.executors.set(processId, { processId, workerId, pid: null, state: "waiting", reason: null });
    place(state, worker, {
      processId,
      applicationId: app.id,
      attempt: app.record.attempt,
      role: "executor",
      resources: job.executor,
      phase: "reserved",
      stopping: null,
    });
  }
  showExecutors(state, app);
  orderExecutors(state, step, app);
}

/** Launches what has room reserved, once the driver's address is known. */
export function orderExecutors(state: MasterState, step: Step, app: Application): void {
  if (app.driver === null || app.driver.address === null || app.record.cancelRequested) return;
  const orders: { readonly worker: Worker; readonly process: PlacedProcess }[] = [];
  for (const executor of app.executors.values()) {
    if (executor.state !== "waiting" || executor.workerId === null) continue;
    const worker = state.workers.get(executor.workerId);
    const process = worker?.processes.get(executor.processId);
    if (worker === undefined || process === undefined) continue;
    executor.state = "placed";
    orders.push({ worker, process });
  }
  if (orders.length === 0) return;
  // First, and at once: should this leader die between the two, its driver can tell the next one.
  sendView(state, step, app);
  for (const { worker, process } of orders) order(step, app, worker, process);
}

/** The job goes on under another driver attempt, from a checkpoint: executors of this one may run on. */
export function mayBeTakenOver({ record }: Application): boolean {
  const { spec, checkpoints, commit, cancelRequested, state } = record;
  if (spec.job === null || spec.deployMode === "client" || onPartitionOf(spec) === "stop") return false;
  return commit === null && !cancelRequested && !isFinal(state) && state !== "parked" && (checkpoints?.completed.length ?? 0) > 0;
}

/** Of another attempt than the current one; between two attempts that is every one. */
const isFormer = ({ record }: Application, processId: string): boolean =>
  record.state !== "running" || parseProcessId(processId)?.attempt !== record.attempt;

/** Those that the next attempt may take: what runs, or was ordered and may run by now. */
export function keptExecutors(state: MasterState, app: Application): Map<string, Executor> {
  const kept = new Map<string, Executor>();
  if (!mayBeTakenOver(app)) return kept;
  for (const [processId, executor] of app.executors) {
    const worker = executor.workerId === null ? undefined : state.workers.get(executor.workerId);
    const process = worker?.processes.get(processId);
    if (process === undefined || process.stopping !== null || app.released.has(processId)) continue;
    if (executor.state === "running" || executor.state === "placed") kept.set(processId, executor);
  }
  return kept;
}

export function formerExecutors(app: Application): string[] {
  const live = [...app.executors.values()].filter((executor) => isLive(executor) && isFormer(app, executor.processId));
  return live.map(({ processId }) => processId);
}

/** Executors of earlier attempts hear from their workers where the driver is by now. May be repeated. */
export function tellFormer(state: MasterState, step: Step, app: Application, processId?: string): void {
  const address = app.driver?.address ?? null;
  if (address === null) return;
  for (const id of formerExecutors(app)) {
    const worker = state.workers.get(app.processes.get(id) ?? "");
    const process = worker?.processes.get(id);
    if (worker === undefined || process === undefined || (processId !== undefined && id !== processId)) continue;
    if (process.phase === "running" && process.stopping === null) redirect(step, app, worker, process, address);
  }
}

/** Ordered by an earlier leader, as its driver says: its worker will say whether it runs, and gets the order again if not. */
export function expectExecutor(state: MasterState, app: Application, processId: string, workerId: string): void {
  const { job } = app.record.spec;
  const worker = state.workers.get(workerId);
  if (job === null || worker === undefined || app.executors.has(processId) || app.released.has(processId)) return;
  const { state: workerState } = worker.record;
  // What a worker runs that has come back already is known.
  if (worker.attached || workerState === "lost" || workerState === "gone") return;
  app.executors.set(processId, { processId, workerId, pid: null, state: "placed", reason: null });
  place(state, worker, {
    processId,
    applicationId: app.id,
    attempt: app.record.attempt,
    role: "executor",
    resources: job.executor,
    phase: "expected",
    stopping: null,
  });
}

/** Its process ended, or its worker was lost. */
export function endExecutor(
  state: MasterState,
  step: Step,
  app: Application,
  processId: string,
  how: "ended" | "lost",
  reason: string,
): void {
  const executor = app.executors.get(processId);
  if (executor === undefined) return;
  if (!isLive(executor)) {
    if (executor.reason !== null) return;
    // Its driver was faster: it saw the connection break, and gave it back. How the process ended is news to it.
    executor.reason = reason;
    showExecutors(state, app);
    return;
  }
  executor.state = how;
  executor.reason = reason;
  if (how === "lost") emit(state, step, "executor.lost", processId, `Executor ${processId} is lost: ${reason}.`);
  forgetEnded(app);
  showExecutors(state, app);
}

/** Its driver has no use for it any more. It is kept for those who look for its logs, and until its worker has said how it ended. */
export function givenBack(state: MasterState, app: Application, executor: Executor): void {
  if (executor.state === "waiting") app.executors.delete(executor.processId);
  executor.state = "ended";
  forgetEnded(app);
  showExecutors(state, app);
}

function forgetEnded(app: Application): void {
  const ended = [...app.executors.values()].filter((executor) => !isLive(executor));
  for (const executor of ended.slice(0, Math.max(0, ended.length - MAX_ENDED_EXECUTORS))) app.executors.delete(executor.processId);
}

/** The driver gets the new state of its executors at the end of the step, or a little later when it has just got one. */
export function showExecutors(state: MasterState, app: Application): void {
  touch(state, app);
  state.marked.views.add(app);
}

/**
 * A worker came back with an executor: no news to a driver, which has its own connection to it, so all that come back soon after each other share
 * one view. After a failover every executor of the cluster comes back within a second, and a view names all executors of its job.
 */
export function showAdopted(state: MasterState, step: Step, app: Application): void {
  touch(state, app);
  if (!state.marked.views.has(app)) viewDueBy(state, app, step.now.instant + ADOPTED_VIEW_MS);
}

function viewDueBy(state: MasterState, app: Application, dueAt: number): void {
  if (app.viewDueAt !== null && app.viewDueAt <= dueAt) return;
  app.viewDueAt = dueAt;
  state.deadlines.add(dueAt, { kind: "view", id: app.id });
}

/** A deadline of an earlier view may come after that was sent with others. */
export function viewDeadline(state: MasterState, step: Step, app: Application): void {
  if (app.viewDueAt !== null && app.viewDueAt <= step.now.instant) state.marked.views.add(app);
}

export function flushViews(state: MasterState, step: Step): void {
  for (const app of state.marked.views) {
    const linkId = app.driver?.linkId ?? null;
    const dueAt = app.viewSentAt + DRIVER_VIEW_INTERVAL_MS;
    if (linkId !== null && dueAt > step.now.instant) {
      viewDueBy(state, app, dueAt);
      continue;
    }
    sendView(state, step, app);
  }
  state.marked.views.clear();
}

function sendView(state: MasterState, step: Step, app: Application): void {
  const linkId = app.driver?.linkId ?? null;
  app.viewDueAt = null;
  state.marked.views.delete(app);
  if (linkId === null) return;
  app.viewSentAt = step.now.instant;
  const executors = [...app.executors.values()].map((executor) =>
    isLive(executor) && isDraining(state, executor) ? { ...executor, draining: true } : { ...executor },
  );
  step.turn.effects.push({ kind: "send", linkId, message: "driver.executors", body: { executors } });
}

export function endText(end: ProcessEnd): string {
  if (end.reason !== null) return end.reason;
  if (end.signal !== null) return `ended by ${end.signal}`;
  return end.exitCode === null ? "ended, nobody knows how" : `ended with exit code ${end.exitCode}`;
}
