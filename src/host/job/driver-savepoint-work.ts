/**
 * What a driver does itself for savepoints: copies all that a checkpoint refers to into a directory, and makes the first checkpoint of a job of such a copy.
 *
 * Invariants: the description is written last, so a savepoint that is not whole is none; every file is checked before anything refers to it.
 */
import { CodedError } from "../../base/errors.js";
import { isoTime } from "../../base/iso-time.js";
import { utf8Encode } from "../../base/utf8.js";
import { checkCompatible, type TargetJob } from "../../checkpoint/compatibility.js";
import { firstCheckpoint } from "../../checkpoint/rescale.js";
import type { StateStore } from "../../env/blob-store.js";
import type {
  CheckpointManifest,
  CompletedCheckpoint,
  SavepointDescription,
  SavepointReference,
  StateHandle,
  WrittenSavepoint,
} from "../../wire/checkpoint.js";
import { readManifest, storeManifest } from "./driver-checkpoint-work.js";
import { enumerateNew, type InputsOptions } from "./driver-inputs.js";
import {
  DESCRIPTION_FILE,
  fileOfState,
  handlesOf,
  readSavepoint,
  readSavepointFile,
  type SavepointAccess,
} from "./savepoint-reading.js";

const SAVEPOINTS = "savepoints";

export interface SavepointWork extends SavepointAccess {
  readonly job: TargetJob;
  /** Number of executors. */
  readonly parallelism: number;
  readonly graphHash: string;
}

/** Rejects with CHECKPOINT_UNREADABLE or DISK_FAILED. `directory` null: below the storage. */
export async function writeSavepoint(
  work: SavepointWork,
  { state, applicationId, storage }: { readonly state: StateStore; readonly applicationId: string; readonly storage: string },
  pointer: CompletedCheckpoint,
  directory: string | null,
): Promise<WrittenSavepoint> {
  const { files, digest, job } = work;
  const manifest = await readManifest(state, pointer, applicationId);
  const place = await files.create(directory ?? besideState(storage), `${applicationId}-${pointer.id}`);
  const handles = handlesOf({ manifest });
  for (const handle of handles) await files.write(place, fileOfState(handle.sha256), await state.get(handle));
  const description: SavepointDescription = {
    version: 1,
    kind: "holdfast-savepoint",
    jobId: job.jobId,
    takenAt: isoTime(pointer.completedAt),
    maxParallelism: job.maxParallelism,
    operators: job.operators.map((operator) => ({ ...operator })),
    files: handles.map(({ sha256, sizeBytes }) => ({ name: fileOfState(sha256), sha256, sizeBytes })),
    manifest,
  };
  const bytes = utf8Encode(JSON.stringify(description));
  await files.write(place, DESCRIPTION_FILE, bytes);
  const sizeBytes = handles.reduce((sum, handle) => sum + handle.sizeBytes, bytes.length);
  return { directory: place, sha256: digest.sha256Hex(bytes), sizeBytes };
}

function besideState(storage: string): string {
  if (!storage.includes("://")) return `${storage}/${SAVEPOINTS}`;
  throw new CodedError("INVALID_ARGUMENT", `A savepoint is a directory, and the masters' storage ${storage} has none.`, {
    hint: "Say where: holdfast savepoint APP --to DIR, a directory that every machine of the cluster reaches.",
  });
}

/** Rejects with SAVEPOINT_UNREADABLE, SAVEPOINT_MISMATCH, SOURCE_FAILED or DISK_FAILED. */
export async function restoreSavepoint(
  work: SavepointWork,
  inputs: InputsOptions,
  state: StateStore,
  { id, attempt, from }: { readonly id: number; readonly attempt: string; readonly from: SavepointReference },
): Promise<{ readonly manifest: CheckpointManifest; readonly handle: StateHandle }> {
  const { job, parallelism, graphHash } = work;
  const { directory, sha256, allowDropped = false } = from;
  const { description } = await readSavepoint(work, directory, sha256);
  checkCompatible(description, job, directory, allowDropped);
  const known = new Set(Object.keys(description.manifest.sources));
  const manifest = firstCheckpoint(description, job, {
    ...{ applicationId: inputs.applicationId, id, attempt, graphHash, parallelism },
    newSources: await enumerateNew(inputs, known),
  });
  for (const handle of handlesOf({ manifest })) await state.put(await readSavepointFile(work, directory, handle));
  return { manifest, handle: await storeManifest(state, manifest) };
}
