/** What users ask (wire/operations.ts): one case an operation. Artifacts and logs are bytes, which the hosts serve. */
import { unreachable } from "../base/assert.js";
import { OPERATIONS, type OperationInput, type OperationName, type OperationOutput } from "../wire/operations.js";
import { findApplication, submit } from "./applications.js";
import { requestCancel } from "./cancellation.js";
import { requestCheckpoint } from "./checkpoint-requests.js";
import { cancelDrain, drainWorker } from "./drain.js";
import { answerEvents, endWait, wait } from "./events.js";
import { forgetApplication, forgottenBefore } from "./forgetting.js";
import { resumeApplication } from "./parking.js";
import { decideRemovals, removalsViewOf } from "./removals.js";
import { retireWorker } from "./retirement.js";
import { type Application, type MasterState, replyError, type Step, shape, type Waiter, type Worker } from "./state.js";
import {
  applicationSummaryOf,
  applicationView,
  checkpointsViewOf,
  clusterView,
  locateLogs,
  workerState,
  workerViewOf,
} from "./views.js";

export const isOperation = (kind: string): kind is OperationName => Object.hasOwn(OPERATIONS, kind);

/** Answered by the host, which has the bytes and the leadership. */
export const HOST_OPERATIONS: ReadonlySet<string> = new Set<OperationName>([
  "artifact.put",
  "artifact.get",
  "logs.read",
  "handover",
]);

/** `input` has been validated by the schema of the operation. */
export function operate(
  state: MasterState,
  step: Step,
  linkId: number,
  requestId: number,
  name: OperationName,
  input: unknown,
): void {
  const reply = <N extends OperationName>(_: N, body: OperationOutput<N>) => {
    step.turn.effects.push({ kind: "reply", linkId, requestId, body });
  };
  const withApplication = (act: (app: Application) => void) => {
    const ref = (input as OperationInput<"cancel">).application;
    const app = findApplication(state, ref);
    const unknown = () => shape("NOT_FOUND", `there is no application ${ref}`, "holdfast list shows those that are known.");
    if (app !== null) act(app);
    else replyError(step, linkId, requestId, state.quarantine.refusal(ref) ?? unknown());
  };
  const withWorker = (act: (worker: Worker) => void) => {
    const { worker: id } = input as OperationInput<"gone">;
    const worker = state.workers.get(id);
    if (worker !== undefined) act(worker);
    else replyError(step, linkId, requestId, shape("NOT_FOUND", `there is no worker ${id}`, SEE_WORKERS));
  };
  switch (name) {
    case "submit":
      submit(state, step, linkId, requestId, input as OperationInput<"submit">);
      return;
    case "status":
      withApplication((app) => answerStatus(state, step, linkId, requestId, app, input as OperationInput<"status">));
      return;
    case "list":
      reply(name, { applications: inOrder(state).map(applicationSummaryOf) });
      return;
    case "cancel":
      withApplication((app) => {
        requestCancel(state, step, app);
        reply(name, { id: app.id, state: app.record.state });
      });
      return;
    case "forget": {
      const gone = forgottenBefore(state, (input as OperationInput<"forget">).application);
      const isKnown = findApplication(state, (input as OperationInput<"forget">).application) !== null;
      if (gone !== null && !isKnown) reply(name, { id: gone, state: null, forgotten: true });
      else withApplication((app) => forgetApplication(state, step, app, linkId, requestId));
      return;
    }
    case "resume":
      withApplication((app) => resumeApplication(state, step, app, linkId, requestId, input as OperationInput<"resume">));
      return;
    case "checkpoints":
      withApplication((app) => reply(name, checkpointsViewOf(app)));
      return;
    case "checkpoint":
      withApplication((app) => requestCheckpoint(state, step, app, linkId, requestId, input as OperationInput<"checkpoint">));
      return;
    case "cluster":
      reply(name, clusterView(state));
      return;
    case "workers":
      reply(name, {
        workers: selectWorkers(state, input as OperationInput<"workers">).map((one) => workerViewOf(state, step, one)),
      });
      return;
    case "drain":
      withWorker((worker) => {
        const { cancel, deadlineMs } = input as OperationInput<"drain">;
        if (cancel === true) cancelDrain(state, step, worker);
        else drainWorker(state, step, worker, deadlineMs);
        reply(name, { id: worker.id, state: worker.record.state === "draining" ? "draining" : workerState(worker) });
      });
      return;
    case "gone":
      withWorker((worker) => {
        retireWorker(state, step, worker);
        reply(name, { id: worker.id, state: workerState(worker) });
      });
      return;
    case "removals":
      decideRemovals(state, step, (input as OperationInput<"removals">).decision);
      reply(name, removalsViewOf(state));
      return;
    case "events":
      answerEvents(state, step, linkId, requestId, input as OperationInput<"events">);
      return;
    case "logs.locate":
      withApplication((app) => reply(name, locateLogs(state, app)));
      return;
    case "artifact.put":
    case "artifact.get":
    case "logs.read":
    case "handover":
      replyError(step, linkId, requestId, shape("PROTOCOL_VIOLATION", `${name} is not for the master's core`));
      return;
    default:
      unreachable(name, "operation");
      return;
  }
}

const byId = (a: { readonly id: string }, b: { readonly id: string }): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

function inOrder(state: MasterState): Application[] {
  return [...state.applications.values()].sort((a, b) => a.record.order - b.record.order || byId(a, b));
}

const SEE_WORKERS = "holdfast workers shows those that are known.";

function selectWorkers(state: MasterState, { states, worker: id }: OperationInput<"workers">): Worker[] {
  const one = id === undefined ? undefined : state.workers.get(id);
  const workers = id === undefined ? [...state.workers.values()] : one === undefined ? [] : [one];
  return workers.filter((worker) => states === undefined || states.includes(workerState(worker))).sort(byId);
}

const versionOf = (state: MasterState, app: Application): string => `${state.self.epoch}.${app.version}`;

function answerStatus(
  state: MasterState,
  step: Step,
  linkId: number,
  requestId: number,
  app: Application,
  input: OperationInput<"status">,
): void {
  if (input.after === versionOf(state, app) && input.waitMs > 0) {
    const what = { kind: "status", applicationId: app.id } as const;
    if (wait(state, step, { linkId, requestId, what, over: false }, input.waitMs)) return;
  }
  replyStatus(state, step, linkId, requestId, app);
}

function replyStatus(state: MasterState, step: Step, linkId: number, requestId: number, app: Application): void {
  const body = { version: versionOf(state, app), application: applicationView(state, app) };
  step.turn.effects.push({ kind: "reply", linkId, requestId, body });
}

/** At the end of a step: who waits for a change of these applications gets it. */
export function flushStatus(state: MasterState, step: Step): void {
  for (const app of state.marked.touched) {
    for (const waiter of [...app.waiters]) {
      if (waiter.over) continue;
      endWait(state, waiter);
      replyStatus(state, step, waiter.linkId, waiter.requestId, app);
    }
  }
  state.marked.touched.clear();
}

/** A long poll that has waited long enough is answered with what there is. */
export function waiterDeadline(state: MasterState, step: Step, waiter: Waiter): void {
  if (waiter.over) return;
  endWait(state, waiter);
  if (waiter.what.kind === "events") {
    step.turn.effects.push({ kind: "reply", linkId: waiter.linkId, requestId: waiter.requestId, body: { events: [] } });
    return;
  }
  const app = state.applications.get(waiter.what.applicationId);
  if (app !== undefined) replyStatus(state, step, waiter.linkId, waiter.requestId, app);
  else
    replyError(
      step,
      waiter.linkId,
      waiter.requestId,
      shape("NOT_FOUND", `${waiter.what.applicationId} ended long ago and is forgotten`),
    );
}
