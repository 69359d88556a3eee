/**
 * What jobs keep in the storage of checkpoints, once they have ended: it is removed, by the name of the application that the record names.
 *
 * A driver removes its own when it reports the end. That is not enough: it may die first, or the application may end without one. So the master
 * removes it with the end, again when the last process of the application is gone (it may have written since), again when a later leader has
 * recovered (the former one may have died in between), and at the latest when the application is forgotten. All of these are harmless when repeated.
 *
 * The last of these is before the record goes (forgetting.ts): the host says whether it succeeded.
 *
 * Kept, until the application is forgotten: the state of a job that asked for it (`retain`), and of one whose checkpoint can't be read.
 */
import { isFinal } from "../wire/application.js";
import type { Application, MasterState, Step } from "./state.js";

export function removeStateOfEnded(step: Step, app: Application): void {
  const { record, processes } = app;
  if (!isFinal(record.state) || processes.size > 0 || isKept(app)) return;
  removeState(step, app);
}

/** `isLast`: before the application is forgotten; whatever was kept goes, too. */
export function removeState(step: Step, { id, record: { checkpoints } }: Application, isLast = false): void {
  if (checkpoints !== undefined)
    step.turn.effects.push({ kind: "remove-state", applicationId: id, storage: checkpoints.storage, isLast });
}

/** A new leader does not know how far the former one had come. */
export function removeStateOfAllEnded(state: MasterState, step: Step): void {
  for (const id of state.finished.keys()) {
    const app = state.applications.get(id);
    if (app !== undefined) removeStateOfEnded(step, app);
  }
}

const isKept = ({ record: { spec, reason } }: Application): boolean =>
  spec.job?.checkpoint?.retain === true || reason?.code === "CHECKPOINT_UNREADABLE";
