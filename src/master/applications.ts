/**
 * Applications: submitted once, ended once, remembered for a while. (Their states: state.ts.)
 *
 * Invariants:
 *   1. A submission key names one application for as long as that is remembered; the same key with other content is refused (I5).
 *   2. A final state never changes (I8), and its processes are stopped in the same step.
 */

import type { ErrorShape } from "../base/errors.js";
import { canonicalJson, type JsonValue } from "../base/json.js";
import { type ApplicationSpec, isFinal, submittedApplication } from "../wire/application.js";
import { bundleFolder } from "../wire/bundles.js";
import { applicationId } from "../wire/ids.js";
import type { OperationInput } from "../wire/operations.js";
import { encodeApplicationRecord } from "../wire/records.js";
import { newDriverRun } from "./attempts.js";
import { addToBundle } from "./bundles.js";
import { newCheckpoints } from "./checkpoints.js";
import { emit, tell } from "./events.js";
import { remember, settleEnded } from "./forgetting.js";
import { noteLeftovers } from "./leftovers.js";
import { stopProcesses } from "./processes.js";
import { enqueue } from "./scheduling.js";
import {
  type Application,
  changeApplication,
  type MasterState,
  newApplication,
  replyError,
  type Step,
  shape,
  touch,
} from "./state.js";
import { lingerDriver } from "./supervision.js";

export function submit(state: MasterState, step: Step, linkId: number, requestId: number, input: OperationInput<"submit">): void {
  const refuse = (error: ErrorShape) => replyError(step, linkId, requestId, error);
  const wrong = problemOf(input.spec);
  if (wrong !== null) {
    refuse(shape("INVALID_ARGUMENT", wrong));
    return;
  }
  const contentHash = state.contentHash(canonicalJson(input.spec as unknown as JsonValue));
  const known = knownByKey(state, input.key);
  const quarantined = known === null ? state.quarantine.refusal(input.key) : null;
  if (quarantined !== null) {
    refuse(quarantined);
    return;
  }
  if (known !== null && known.record.contentHash !== contentHash) {
    const message = `the key ${input.key} names application ${known.id}, which was submitted with other content`;
    refuse(shape("CONFLICT", message, "Use another --id for another application, or repeat the submission unchanged."));
    return;
  }
  if (known === null && state.applications.size - state.finished.size >= state.settings.maxActive) {
    refuse(shape("LIMIT_EXCEEDED", `${state.settings.maxActive} applications have not ended yet`, "Wait until some have ended."));
    return;
  }
  if (known === null && input.spec.job?.checkpoint !== undefined && state.settings.storage === null) {
    refuse(
      shape("CHECKPOINT_STORAGE", "this master has no storage that a job could keep checkpoints in", "Start it with --storage."),
    );
    return;
  }
  const app = known ?? create(state, step, input, contentHash);
  if (app === null) {
    const limit = Math.floor(state.settings.maxRecordBytes / 1024);
    refuse(shape("LIMIT_EXCEEDED", `the application's parameters, arguments and environment take more than ${limit} KiB`));
    return;
  }
  const { id, record } = app;
  const body = { id, name: record.spec.name, kind: record.spec.kind, state: record.state, created: known === null };
  step.turn.effects.push({ kind: "reply", linkId, requestId, body });
}

/** What the schema cannot say. */
function problemOf(spec: ApplicationSpec): string | null {
  if (spec.kind === "job" ? spec.job === null || spec.process !== null : spec.process === null || spec.job !== null) {
    return `an application of kind ${spec.kind} has exactly its ${spec.kind} part`;
  }
  if (spec.kind === "process" && spec.deployMode === "client")
    return "a program cannot run in client mode: only the driver of a job can";
  return null;
}

function knownByKey(state: MasterState, key: string): Application | null {
  const id = state.byKey.get(key);
  return id === undefined ? null : (state.applications.get(id) ?? null);
}

/** By its id, or by the key it was submitted with. */
export function findApplication(state: MasterState, ref: string): Application | null {
  return state.applications.get(ref) ?? knownByKey(state, ref);
}

function create(state: MasterState, step: Step, input: OperationInput<"submit">, contentHash: string): Application | null {
  const record = submittedApplication({
    id: applicationId(state.self.epoch, state.nextApplication),
    submissionKey: input.key,
    contentHash,
    spec: input.spec,
    submittedAt: step.now.wall,
    order: state.nextOrder,
    ...(input.spec.job === null ? {} : { bundleFolder: bundleFolder(state.self.clusterId, state.self.epoch) }),
    ...checkpointsOf(state, input.spec),
  });
  if (encodeApplicationRecord(record).length > state.settings.maxRecordBytes) return null;
  state.nextApplication += 1;
  state.nextOrder += 1;
  const app = newApplication(record);
  addApplication(state, app);
  changeApplication(state, app, {});
  emit(
    state,
    step,
    "application.submitted",
    app.id,
    `Application ${app.id} (${input.spec.name}) was submitted with the key ${input.key}.`,
  );
  if (input.spec.deployMode === "client") expectClient(state, step, app);
  else enqueue(state, app);
  return app;
}

function checkpointsOf({ settings }: MasterState, { job }: ApplicationSpec) {
  return job?.checkpoint === undefined || settings.storage === null
    ? {}
    : { checkpoints: newCheckpoints(settings.storage, job.from) };
}

export function addApplication(state: MasterState, app: Application): void {
  state.applications.set(app.id, app);
  state.byKey.set(app.record.submissionKey, app.id);
  addToBundle(state, app);
  state.nextOrder = Math.max(state.nextOrder, app.record.order + 1);
  touch(state, app);
}

/** A driver in client mode registers by itself; nobody starts it again. */
export function expectClient(state: MasterState, step: Step, app: Application): void {
  const driver = newDriverRun(app, Math.max(1, app.record.attempt), null);
  driver.deadlineAt =
    step.now.instant + (app.record.attempt === 0 ? state.settings.driverStartMs : state.settings.driverDeadlineMs);
  app.driver = driver;
  state.deadlines.add(driver.deadlineAt, { kind: "driver", id: app.id, attempt: driver.attempt });
}

export interface ApplicationEnd {
  readonly state: "finished" | "failed" | "cancelled";
  readonly reason: ErrorShape | null;
  readonly exitCode: number | null;
  readonly result: unknown;
}

export function finishApplication(state: MasterState, step: Step, app: Application, end: ApplicationEnd): void {
  const { driver } = app;
  changeApplication(state, app, { ...end, endedAt: step.now.wall, notBefore: null });
  const spared = driver?.finished === true ? driver.processId : null;
  stopProcesses(state, step, app, `the application is ${end.state}`, (process) => process.processId !== spared);
  if (spared !== null) lingerDriver(state, step, app, spared);
  state.recovery.drivers.delete(app.id);
  app.executors = new Map(
    [...app.executors].map(([id, executor]) => [id, { ...executor, state: executor.state === "lost" ? "lost" : "ended" }]),
  );
  app.released = new Set();
  const why = end.reason === null ? "" : `: ${end.reason.message}`;
  tell(state, step, `application.${end.state}`, app.id, `Application ${app.id} (${app.record.spec.name}) is ${end.state}${why}.`);
  // What a person may still want to look at stays as it is until it is forgotten.
  if (driver?.reported !== true && end.reason?.code !== "CHECKPOINT_UNREADABLE") noteLeftovers(state, app);
  settleEnded(state, step, app);
  remember(state, step, app);
}

export const activeApplications = (state: MasterState): number => state.applications.size - state.finished.size;
export const isOver = (app: Application): boolean => isFinal(app.record.state);
