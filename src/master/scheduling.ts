/**
 * What each application needs of the workers, and the passes that place it (by scheduler/place.ts).
 *
 * An application that waits needs its program, or its driver together with all executors (so drivers alone can never fill the cluster). A
 * running job needs executors in place of those that it lost.
 * A pass runs in the step that made it worth while. In a large cluster passes that find an application blocked, or new workers, are
 * PASS_INTERVAL_MS apart: those cost time in proportion to the number of workers. So are passes that look at many applications which no worker
 * can hold (a queue without any worker): those cost time in proportion to their number, each time anew.
 */
import type { ErrorShape } from "../base/errors.js";
import { type Amount, amountOf, type Capacity } from "../scheduler/capacity.js";
import { fitsWhenEmpty, type Part, type PlacementRequest, placeInOrder, takeRoom } from "../scheduler/place.js";
import { isFinal, type Resources } from "../wire/application.js";
import { startAttempt, waitsForFormer } from "./attempts.js";
import { isLive, liveExecutors, placeExecutors, stayingExecutors } from "./executors.js";
import { mayBeCleaned, startCleaner } from "./leftovers.js";
import { MANY_IMPOSSIBLE, MAX_BLOCKED, MAX_STEP_CHANGES, PASS_INTERVAL_MS, SMALL_CLUSTER } from "./settings.js";
import { type Application, changeApplication, type MasterState, type Step, shape, type Worker } from "./state.js";

interface Need {
  readonly parts: readonly Part[];
  readonly all: boolean;
}

const WAITING = new Set(["submitted", "waiting", "restarting"]);
const part = (resources: Resources, count: number): Part => ({ amount: amountOf(resources), count });

export function needOf(state: MasterState, app: Application): Need | null {
  const { record } = app;
  const { spec } = record;
  if (isFinal(record.state)) return mayBeCleaned(state, app) ? { parts: [part(spec.driver, 1)], all: true } : null;
  if (record.cancelRequested) return null;
  if (WAITING.has(record.state)) {
    if (spec.deployMode === "client") return null;
    const driver = part(spec.driver, 1);
    // A driver that finishes what an earlier attempt decided needs no executors.
    if (spec.job === null || record.commit !== null) return { parts: [driver], all: true };
    // What an attempt before has left running is the next one's, in its place.
    const missing = Math.max(0, spec.job.parallelism - liveExecutors(app));
    return { parts: missing === 0 ? [driver] : [driver, part(spec.job.executor, missing)], all: true };
  }
  if (record.state !== "running" || spec.job === null || app.wanted === null) return null;
  const live = liveExecutors(app);
  if (live < app.wanted) return { parts: [part(spec.job.executor, app.wanted - live)], all: live === 0 };
  const staying = stayingExecutors(state, app);
  if (staying >= app.wanted) return null;
  // In place of those on a draining worker all or none: the driver changes over when it has all of them, and half of them would only take room.
  return { parts: [part(spec.job.executor, app.wanted - staying)], all: true };
}

/**
 * Whether what a draining worker runs of this application fits on the others, which `room` is a copy of; takes it from there. (What has waited for
 * longer may still be faster.)
 */
export function hasRoomElsewhere(state: MasterState, app: Application, worker: Worker, room: Capacity): boolean {
  const { spec, commit } = app.record;
  const parts = [part(spec.driver, 1)];
  const moving = [...app.executors.values()].filter((executor) => isLive(executor) && executor.workerId === worker.id).length;
  if (spec.job !== null && commit === null && moving > 0) parts.push(part(spec.job.executor, moving));
  return takeRoom(room, parts, state.settings.placement);
}

/** Puts the application among those that wait, by its order. Harmless when it is there or needs nothing. */
export function enqueue(state: MasterState, app: Application): void {
  state.passWanted = true;
  if (app.queued) return;
  app.queued = true;
  const { queue } = state;
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((queue[middle]?.record.order ?? 0) <= app.record.order) low = middle + 1;
    else high = middle;
  }
  queue.splice(low, 0, app);
}

/** At the end of a step. */
export function scheduleIfWanted(state: MasterState, step: Step): void {
  if (!state.passWanted) return;
  if (state.queue.length === 0) {
    state.passWanted = false;
    return;
  }
  const costly = state.capacity.size > SMALL_CLUSTER && (state.blocked || state.capacity.stale);
  const intervals = Math.max(costly ? 1 : 0, Math.floor(state.impossible / MANY_IMPOSSIBLE));
  const dueAt = intervals === 0 ? step.now.instant : state.passedAt + intervals * PASS_INTERVAL_MS;
  if (dueAt <= step.now.instant) {
    runPass(state, step);
  } else if (state.passDueAt === null) {
    state.passDueAt = dueAt;
    state.deadlines.add(dueAt, { kind: "pass" });
  }
}

function runPass(state: MasterState, step: Step): void {
  state.passWanted = false;
  state.passedAt = step.now.instant;
  const satisfied = new Set<Application>();
  const result = placeInOrder(state.capacity, requestsInOrder(state, step, satisfied), {
    placement: state.settings.placement,
    maxPlaced: MAX_STEP_CHANGES,
    maxBlocked: MAX_BLOCKED,
  });
  for (const { request, workers } of result.placed) {
    const app = request.owner;
    // The pass has taken the room; the placement below counts each process by itself.
    workers.forEach((list, index) => {
      const amount = request.parts[index]?.amount;
      if (amount !== undefined) for (const worker of list) state.capacity.give(worker, amount);
    });
    if (app.record.state === "running") placeExecutors(state, step, app, workers[0] ?? []);
    else if (isFinal(app.record.state)) startCleaner(state, step, app, workers[0]?.[0] ?? "");
    else startAttempt(state, step, app, workers[0]?.[0] ?? "", workers[1] ?? []);
    if (needOf(state, app) === null) satisfied.add(app);
  }
  state.blocked = result.blocked.length > 0;
  state.impossible = result.impossible.length;
  const told =
    result.blocked.every((request) => tellWaiting(state, request.owner, null)) && tellImpossible(state, result.impossible);
  if (satisfied.size > 0) removeFromQueue(state, satisfied);
  if (result.more || !told) {
    state.passWanted = true;
    state.passDueAt = step.now.instant;
    state.deadlines.add(step.now.instant, { kind: "pass" });
  }
}

function* requestsInOrder(state: MasterState, step: Step, satisfied: Set<Application>): Iterable<PlacementRequest<Application>> {
  for (const app of state.queue) {
    const need = needOf(state, app);
    if (need === null) {
      satisfied.add(app);
      continue;
    }
    if (app.readyAt > step.now.instant || waitsForFormer(app)) continue;
    yield { owner: app, ...need, avoid: app.avoid, possible: () => isPossible(state, app, need) };
  }
}

function removeFromQueue(state: MasterState, gone: ReadonlySet<Application>): void {
  let kept = 0;
  for (const app of state.queue) {
    if (gone.has(app)) app.queued = false;
    else state.queue[kept++] = app;
  }
  state.queue.length = kept;
}

/** Whether the workers there are (also those that are late) could hold it if they were empty. */
function isPossible(state: MasterState, app: Application, need: Need): boolean {
  if (app.judgedAt !== state.capacityVersion) {
    app.judgedAt = state.capacityVersion;
    app.possible = fitsWhenEmpty(totals(state), need.parts);
  }
  return app.possible;
}

function* totals(state: MasterState): Iterable<readonly [string, Amount]> {
  for (const worker of state.workers.values()) {
    if (worker.record.state === "alive" && !worker.leaving) yield [worker.id, amountOf(worker.record.resources)];
  }
}

function tellImpossible(state: MasterState, impossible: readonly PlacementRequest<Application>[]): boolean {
  // While workers are still coming back nobody is told that there is no room; nor when there is no worker at all (the view says that).
  if (state.phase !== "ALIVE" || impossible.length === 0 || totals(state)[Symbol.iterator]().next().done === true) return true;
  return impossible.every((request) => tellWaiting(state, request.owner, unplaceable(state, request.owner)));
}

/** False when this step has made enough changes: the rest is told in the next pass. */
function tellWaiting(state: MasterState, app: Application, reason: ErrorShape | null): boolean {
  const { record } = app;
  const stale = reason === null ? record.reason?.code === "UNPLACEABLE" : record.reason?.message !== reason.message;
  if (record.state !== "submitted" && !stale) return true;
  if (record.state === "running" || isFinal(record.state)) return true;
  if (state.marked.applications.size >= 2 * MAX_STEP_CHANGES) return false;
  changeApplication(state, app, {
    ...(record.state === "submitted" ? { state: "waiting" as const } : {}),
    ...(stale ? { reason } : {}),
  });
  return true;
}

const MEBIBYTE = 1024 * 1024;
const sizeText = (resources: Resources): string =>
  `${resources.cores} ${resources.cores === 1 ? "core" : "cores"} and ${Math.ceil(resources.memoryBytes / MEBIBYTE)} MiB`;

function unplaceable(state: MasterState, app: Application): ErrorShape {
  const { spec } = app.record;
  let largest: Resources | null = null;
  let count = 0;
  for (const worker of state.workers.values()) {
    if (worker.record.state !== "alive") continue;
    count += 1;
    const { resources } = worker.record;
    const larger = largest === null || resources.cores > largest.cores;
    if (larger || (resources.cores === largest?.cores && resources.memoryBytes > largest.memoryBytes)) largest = resources;
  }
  const needs =
    spec.job === null
      ? sizeText(spec.driver)
      : `${sizeText(spec.driver)} for its driver and ${spec.job.parallelism} times ${sizeText(spec.job.executor)} for its executors`;
  const has =
    largest === null
      ? "there is no worker"
      : `the largest of ${count} ${count === 1 ? "worker" : "workers"} has ${sizeText(largest)} in all`;
  return shape(
    "UNPLACEABLE",
    `${app.id} needs ${needs}, and no set of the present workers could ever hold it: ${has}.`,
    "It waits: start larger workers (or more of them), or cancel it and submit it again with smaller needs.",
  );
}
