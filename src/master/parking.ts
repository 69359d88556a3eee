/**
 * Parked jobs: the driver could go on only by a guess (job/driver-parking.ts), so nothing of the job runs until a person decides.
 *
 * Boundary: which checkpoint a driver goes on from is what the record says; a decision changes the record, durably, before any driver is started.
 *
 * Invariants:
 *   1. A parked job holds no driver and no executors; its checkpoints and staged output stay.
 *   2. Only a completed checkpoint of the history is gone back to, and only by a decision that names it.
 *   3. Repeating a decision, also at the next leader, changes nothing and gives the same answer.
 */
import type { ErrorShape } from "../base/errors.js";
import { canonicalJson, type JsonValue } from "../base/json.js";
import { isFinal, MAX_ATTEMPT_REASONS, type ResumeChoice } from "../wire/application.js";
import type { CheckpointsRecord } from "../wire/checkpoint.js";
import type { OperationInput } from "../wire/operations.js";
import { resetAttempt } from "./attempts.js";
import { tell } from "./events.js";
import { stopProcesses } from "./processes.js";
import { enqueue } from "./scheduling.js";
import { type Application, changeApplication, type MasterState, replyError, type Step, shape } from "./state.js";
import { lingerDriver } from "./supervision.js";

/** The driver has said so and ends by itself. */
export function parkApplication(state: MasterState, step: Step, app: Application, reason: ErrorShape): void {
  const { record, driver } = app;
  const processId = driver?.processId ?? null;
  const attempt = { attempt: record.attempt, workerId: record.driver?.workerId ?? null, endedAt: step.now.wall };
  const attempts = [...record.attempts, { ...attempt, reason, exitCode: null }].slice(-MAX_ATTEMPT_REASONS);
  changeApplication(state, app, { state: "parked", reason, attempts, driver: null, notBefore: null });
  stopProcesses(state, step, app, "the job is parked", (process) => process.processId !== processId);
  if (processId !== null) lingerDriver(state, step, app, processId);
  resetAttempt(app);
  tell(state, step, "application.parked", app.id, `Application ${app.id} (${record.spec.name}) is parked: ${reason.message}`);
}

export function resumeApplication(
  state: MasterState,
  step: Step,
  app: Application,
  linkId: number,
  requestId: number,
  { choice }: OperationInput<"resume">,
): void {
  const refusal = decide(state, step, app, choice);
  if (refusal !== null) {
    replyError(step, linkId, requestId, refusal);
    return;
  }
  step.turn.effects.push({ kind: "reply", linkId, requestId, body: { id: app.id, state: app.record.state } });
}

function decide(state: MasterState, step: Step, app: Application, choice: OperationInput<"resume">["choice"]): ErrorShape | null {
  const { record } = app;
  const wanted = choice.kind === "latest" ? latestOf(record.checkpoints) : choice;
  if (record.state !== "parked") {
    // The answer was lost, and it is asked again.
    if (record.resumed !== undefined && !isFinal(record.state) && wanted !== null && isSame(record.resumed.choice, wanted))
      return null;
    return shape("CONFLICT", `${app.id} is ${record.state}: only a parked job can be resumed`);
  }
  if (wanted === null) return shape("NOT_FOUND", `${app.id} has no completed checkpoint`, "Begin from its input: --fresh.");
  if (record.cancelRequested) return shape("CONFLICT", `${app.id} is being cancelled`);
  const checkpoints = goesOnFrom(app, wanted);
  if ("code" in checkpoints) return checkpoints;
  changeApplication(state, app, {
    state: "waiting",
    reason: null,
    checkpoints,
    failures: undefined,
    restartedAt: [],
    resumed: { choice: wanted, attempt: record.attempt },
  });
  app.readyAt = step.now.instant;
  tell(state, step, "application.resumed", app.id, `Application ${app.id} is resumed ${textOf(wanted)}.`);
  enqueue(state, app);
  return null;
}

function latestOf(checkpoints: CheckpointsRecord | undefined): ResumeChoice | null {
  const last = checkpoints?.completed.at(-1);
  return last === undefined ? null : { kind: "checkpoint", id: last.id };
}

/** The checkpoints of the record after the decision. What it gives up stays on disk until a later checkpoint completes. */
function goesOnFrom({ id, record }: Application, choice: ResumeChoice): CheckpointsRecord | ErrorShape {
  const { checkpoints, commit } = record;
  if (checkpoints === undefined) return shape("INVALID_ARGUMENT", `${id} takes no checkpoints`);
  const last = checkpoints.completed.at(-1);
  if (commit !== null && !(choice.kind === "checkpoint" && choice.id === last?.id))
    return shape("CONFLICT", `the output of ${id} is decided: it can only go on from latest, to finish that`);
  if (choice.kind === "fresh") return { ...checkpoints, completed: [], from: undefined };
  if (choice.kind === "savepoint") return { ...checkpoints, completed: [], from: choice.savepoint };
  const completed = checkpoints.completed.filter((one) => one.id <= choice.id);
  if (completed.at(-1)?.id === choice.id) return { ...checkpoints, completed };
  const known = checkpoints.completed.map((one) => one.id).join(", ");
  return shape(
    "NOT_FOUND",
    `checkpoint ${choice.id} is not in the history of ${id}`,
    known === "" ? "It has none: use --fresh." : `It has: ${known}.`,
  );
}

const isSame = (one: ResumeChoice, other: ResumeChoice): boolean =>
  canonicalJson(one as unknown as JsonValue) === canonicalJson(other as unknown as JsonValue);

function textOf(choice: ResumeChoice): string {
  if (choice.kind === "fresh") return "from the start of its input";
  return choice.kind === "checkpoint" ? `from checkpoint ${choice.id}` : `from the savepoint ${choice.savepoint.directory}`;
}
