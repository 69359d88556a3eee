/**
 * What a driver does itself for checkpoints: manifests in the state store, sinks that commit what a checkpoint holds, and what is not needed any more.
 *
 * Boundary: which checkpoint, and when, is decided by the driver's core.
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import { utf8Decode, utf8Encode } from "../../base/utf8.js";
import type { Split } from "../../dataflow/connector.js";
import type { StateStore } from "../../env/blob-store.js";
import type { EnumeratedSource } from "../../job/splits.js";
import {
  type CheckpointManifest,
  type CompletedCheckpoint,
  checkpointManifest,
  type StagedBySink,
  type StateHandle,
} from "../../wire/checkpoint.js";
import { commitOne, type InputsOptions, type JobInputs } from "./driver-inputs.js";
import { handlesOf } from "./savepoint-reading.js";

export async function storeManifest(state: StateStore, manifest: CheckpointManifest): Promise<StateHandle> {
  return state.put(utf8Encode(JSON.stringify(manifest)));
}

/** Rejects with CHECKPOINT_UNREADABLE, naming the checkpoint. Drivers and executors both read it. */
export async function readManifest(
  state: Pick<StateStore, "get">,
  pointer: Pick<CompletedCheckpoint, "id" | "manifest">,
  applicationId: string,
): Promise<CheckpointManifest> {
  const unreadable = (why: string, cause?: unknown): CodedError =>
    new CodedError("CHECKPOINT_UNREADABLE", `Checkpoint ${pointer.id} of ${applicationId} can't be read: ${why}`, {
      hint: `Its files are kept. Repair the storage, then: holdfast resume ${applicationId} --from latest. Or choose an older one, or --fresh.`,
      details: { checkpoint: pointer.id, manifest: pointer.manifest.sha256 },
      cause,
    });
  let bytes: Uint8Array;
  try {
    bytes = await state.get(pointer.manifest);
  } catch (thrown) {
    const error = CodedError.from(thrown);
    throw error.code === "CHECKPOINT_UNREADABLE" ? unreadable(error.message, thrown) : error;
  }
  const parsed = checkpointManifest.safeParse(jsonOf(bytes));
  if (!parsed.success) throw unreadable(`its manifest is not one: ${parsed.error.issues[0]?.message ?? "unknown"}`);
  if (parsed.data.id !== pointer.id || parsed.data.applicationId !== applicationId)
    throw unreadable(`its manifest is that of checkpoint ${parsed.data.id} of ${parsed.data.applicationId}`);
  return parsed.data;
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8Decode(bytes) ?? "null");
  } catch {
    return null;
  }
}

/** Rejects with SINK_FAILED; may be repeated. */
export async function commitStaged(
  options: InputsOptions,
  staged: StagedBySink,
  how: { readonly attempt: string; readonly again: boolean },
): Promise<void> {
  const commits = Object.entries(staged).map(([uid, list]) =>
    commitOne(
      options,
      uid,
      list.map(({ committable }) => committable as JsonValue),
      how,
    ),
  );
  const outcomes = await Promise.allSettled(commits);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

/** What is left of each source, in place of an enumeration. */
export function remainingSources({ sources }: CheckpointManifest, job: Pick<JobInputs, "sources">): EnumeratedSource[] {
  return Object.entries(sources).map(([uid, { subtasks, totalRecords, remaining }]) => ({
    uid,
    subtasks,
    totalRecords,
    isEndless: job.sources.get(uid)?.connector.bounded === false,
    splits: remaining.map(({ split }) => split as Split),
    positions: new Map(
      remaining.flatMap(({ split, position }) =>
        position === null || position === undefined ? [] : [[split.id, position as JsonValue] as const],
      ),
    ),
  }));
}

/**
 * Removes the blobs of checkpoints that no record names any more, but for those that a kept one refers to as well: unchanged state is shared. When a kept one
 * can't be read nothing is removed. What can't be removed is logged: it costs space, not correctness.
 */
export async function dropCheckpoints(
  options: InputsOptions,
  state: StateStore,
  { dropped, kept }: { readonly dropped: readonly CompletedCheckpoint[]; readonly kept: readonly CompletedCheckpoint[] },
): Promise<void> {
  const { applicationId, log } = options;
  let at: number | null = null;
  try {
    const live = new Set<string>();
    for (const pointer of kept) {
      at = pointer.id;
      for (const { sha256 } of handlesOf({ manifest: await readManifest(state, pointer, applicationId) })) live.add(sha256);
    }
    for (const pointer of dropped) {
      at = pointer.id;
      const handles = handlesOf({ manifest: await readManifest(state, pointer, applicationId) });
      for (const handle of handles) if (!live.has(handle.sha256)) await state.remove(handle);
      // Last, so that what is left after a crash can still be found.
      await state.remove(pointer.manifest);
    }
  } catch (thrown) {
    const reason = CodedError.from(thrown).message;
    log.warn("an old checkpoint could not be removed", { app: applicationId, checkpoint: at, reason });
  }
}
