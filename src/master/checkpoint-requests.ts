/**
 * Checkpoints and savepoints that users ask for: durable before they are answered, told to whatever driver runs, settled by its answer.
 *
 * Boundary: taking and writing them is the driver's (job/driver-savepoints.ts). What is told of checkpoints here is for people.
 *
 * Invariants:
 *   1. A key names one request for as long as it is remembered; asking again changes nothing.
 *   2. Requests, answers and failures that are kept are bounded; what a person waits for is dropped last.
 */

import { isFinal } from "../wire/application.js";
import {
  type CheckpointAnswer,
  type CheckpointRequest,
  type CheckpointsRecord,
  type FailedCheckpoint,
  MAX_CHECKPOINT_ANSWERS,
  MAX_CHECKPOINT_REQUESTS,
  MAX_FAILED_TOLD,
} from "../wire/checkpoint.js";
import type { OperationInput } from "../wire/operations.js";
import { tell } from "./events.js";
import { type Application, changeApplication, type MasterState, replyError, type Step, shape } from "./state.js";

export function requestCheckpoint(
  state: MasterState,
  step: Step,
  app: Application,
  linkId: number,
  requestId: number,
  { key, savepoint }: OperationInput<"checkpoint">,
): void {
  const { record } = app;
  const { checkpoints } = record;
  const refuse = (code: "CHECKPOINT_UNSUPPORTED" | "CONFLICT" | "LIMIT_EXCEEDED", message: string, hint: string | null = null) =>
    replyError(step, linkId, requestId, shape(code, message, hint));
  if (checkpoints === undefined) {
    if (record.spec.job === null)
      refuse("CHECKPOINT_UNSUPPORTED", `${app.id} is a program, and has no checkpoints: it keeps its own state`);
    else
      refuse(
        "CHECKPOINT_UNSUPPORTED",
        `${app.id} takes no checkpoints: it was submitted without them`,
        "Submit it with --checkpoint-interval.",
      );
    return;
  }
  const isKnown = [...(checkpoints.requests ?? []), ...(checkpoints.answers ?? [])].some((one) => one.key === key);
  if (!isKnown) {
    if (isFinal(record.state) || record.state === "parked" || record.commit !== null || record.cancelRequested) {
      refuse(
        "CONFLICT",
        `${app.id} ${isFinal(record.state) || record.state === "parked" ? `is ${record.state}` : "is ending"}: no checkpoint follows`,
      );
      return;
    }
    const requests = checkpoints.requests ?? [];
    if (requests.length >= MAX_CHECKPOINT_REQUESTS) {
      refuse("LIMIT_EXCEEDED", `${requests.length} checkpoints of ${app.id} are asked for already and not there yet`);
      return;
    }
    const asked: CheckpointRequest = { key, requestedAt: step.now.wall, savepoint };
    changeApplication(state, app, { checkpoints: { ...checkpoints, requests: [...requests, asked] } });
    tellRequests(step, app);
  }
  step.turn.effects.push({ kind: "reply", linkId, requestId, body: { id: app.id, key } });
}

function tellRequests(step: Step, app: Application): void {
  const linkId = app.driver?.linkId ?? null;
  if (linkId === null) return;
  const requests = [...(app.record.checkpoints?.requests ?? [])];
  step.turn.effects.push({ kind: "send", linkId, message: "driver.checkpoint-requests", body: { requests } });
}

export function checkpointsAnswered(state: MasterState, step: Step, app: Application, answers: readonly CheckpointAnswer[]): void {
  const { checkpoints } = app.record;
  if (checkpoints === undefined) return;
  const fresh = answers.filter(({ key }) => checkpoints.requests?.some((request) => request.key === key) === true);
  if (fresh.length === 0) return;
  changeApplication(state, app, { checkpoints: withAnswers(checkpoints, fresh) });
  for (const answer of fresh) tellAnswer(state, step, app, answer);
}

/** The job ends with it: recorded together with the decision. */
export function withAnswers(checkpoints: CheckpointsRecord, fresh: readonly CheckpointAnswer[]): CheckpointsRecord {
  const settled = new Set(fresh.map(({ key }) => key));
  return {
    ...checkpoints,
    requests: checkpoints.requests?.filter(({ key }) => !settled.has(key)),
    answers: [...(checkpoints.answers ?? []), ...fresh].slice(-MAX_CHECKPOINT_ANSWERS),
  };
}

export function tellAnswer(state: MasterState, step: Step, app: Application, { savepoint, error }: CheckpointAnswer): void {
  if (savepoint !== null)
    tell(state, step, "savepoint.completed", app.id, `The savepoint of ${app.id} is in ${savepoint.directory}.`);
  else if (error !== null)
    tell(state, step, "checkpoint.refused", app.id, `A checkpoint of ${app.id} that was asked for failed: ${error.message}`);
}

export function checkpointFailed(state: MasterState, app: Application, failed: FailedCheckpoint): void {
  const { checkpoints } = app.record;
  if (checkpoints === undefined || checkpoints.failed?.some(({ id }) => id === failed.id) === true) return;
  const all = [...(checkpoints.failed ?? []), failed].slice(-MAX_FAILED_TOLD);
  changeApplication(state, app, { checkpoints: { ...checkpoints, failed: all } });
}
