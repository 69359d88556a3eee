/**
 * Checkpoints of jobs, as far as a master is concerned: where they are kept, which ids may be used, and the pointers to the completed ones.
 *
 * Invariants:
 *   1. A pointer is recorded for the current attempt only, before its output is decided, and only above the last one; it is answered when it is durable.
 *   2. `nextId` only grows, and is above every pointer.
 *   3. Repeating a request gives the same answer and changes nothing.
 */
import type { CheckpointsRecord, CompletedCheckpoint, SavepointReference } from "../wire/checkpoint.js";
import { retainedOf } from "../wire/checkpoint.js";
import { encodeApplicationRecord } from "../wire/records.js";
import type { DriverCheckpoint } from "./messages.js";
import {
  type Application,
  changeApplication,
  type DriverRun,
  type LinkState,
  type MasterState,
  replyError,
  type Step,
  shape,
} from "./state.js";

/** Of an application that has just been submitted. */
export function newCheckpoints(storage: string, from: SavepointReference | undefined): CheckpointsRecord {
  return { storage, nextId: 1, completed: [], ...(from === undefined ? {} : { from }) };
}

export function driverCheckpoint(
  state: MasterState,
  step: Step,
  app: Application,
  driver: DriverRun,
  link: LinkState,
  requestId: number,
  { attempt, nextId, completed }: DriverCheckpoint,
): void {
  const { record } = app;
  const { checkpoints } = record;
  const refuse = (code: "SUPERSEDED" | "CONFLICT" | "INVALID_ARGUMENT" | "LIMIT_EXCEEDED", message: string) =>
    replyError(step, link.id, requestId, shape(code, message));
  if (checkpoints === undefined) {
    refuse("INVALID_ARGUMENT", `${app.id} takes no checkpoints`);
    return;
  }
  if (attempt !== driver.attempt || (completed !== null && completed.attempt !== attempt)) {
    refuse("INVALID_ARGUMENT", `attempt ${driver.attempt} cannot speak for attempt ${completed?.attempt ?? attempt}`);
    return;
  }
  if (record.commit !== null || record.cancelRequested) {
    refuse(
      "CONFLICT",
      `${app.id} ${record.commit === null ? "is being cancelled" : "has decided its output"}: no checkpoint follows`,
    );
    return;
  }
  const wrong = completed === null ? null : problemOf(checkpoints, completed, nextId);
  if (wrong !== null) {
    refuse("CONFLICT", wrong);
    return;
  }
  const changed = withCheckpoint(checkpoints, nextId, completed, retainedOf(record.spec.job?.checkpoint));
  if (encodeApplicationRecord({ ...record, checkpoints: changed }).length > state.settings.maxRecordBytes) {
    refuse("LIMIT_EXCEEDED", `the checkpoints of ${app.id} do not fit its record of ${state.settings.maxRecordBytes} bytes`);
    return;
  }
  if (changed !== checkpoints) changeApplication(state, app, { checkpoints: changed });
  step.turn.effects.push({ kind: "reply", linkId: link.id, requestId, body: {} });
}

function problemOf({ completed: known }: CheckpointsRecord, completed: CompletedCheckpoint, nextId: number): string | null {
  const last = known.at(-1);
  if (completed.id >= nextId) return `checkpoint ${completed.id} is not below ${nextId}, the next id`;
  if (last === undefined || completed.id > last.id || isSame(last, completed)) return null;
  return `checkpoint ${completed.id} does not follow checkpoint ${last.id}`;
}

const isSame = (one: CompletedCheckpoint, other: CompletedCheckpoint): boolean =>
  one.id === other.id && one.manifest.sha256 === other.manifest.sha256 && one.attempt === other.attempt;

function withCheckpoint(
  record: CheckpointsRecord,
  nextId: number,
  completed: CompletedCheckpoint | null,
  retained: number,
): CheckpointsRecord {
  const last = record.completed.at(-1);
  const isNew = completed !== null && (last === undefined || completed.id > last.id);
  if (!isNew && nextId <= record.nextId) return record;
  const all = isNew ? [...record.completed, completed] : record.completed;
  return { ...record, nextId: Math.max(record.nextId, nextId), completed: all.slice(-retained) };
}
