/** `--from SAVEPOINT`: read, checked file by file, and compared with the job, before anything is submitted. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { CodedError } from "../../base/errors.js";
import { checkCompatible, compareOperators, type OperatorChange, placedOperators } from "../../checkpoint/compatibility.js";
import { executionPlan } from "../../dataflow/chains.js";
import type { JobGraph } from "../../dataflow/graph.js";
import { readSavepoint, type SavepointAccess, verifySavepoint } from "../../host/job/savepoint-reading.js";
import { createNodeEnv } from "../../node/env.js";
import { createSavepointFiles } from "../../node/files/savepoint-files.js";
import { createLog } from "../../node/log.js";
import type { SavepointReference } from "../../wire/checkpoint.js";
import { styleFor, table } from "../terminal.js";

export interface BeginsFrom {
  readonly reference: SavepointReference;
  readonly checkpoint: number;
  readonly operators: readonly OperatorChange[];
}

function access(): SavepointAccess {
  const log = createLog({ format: "text", stream: process.stderr, role: "client", id: "cli", level: "error" });
  return { files: createSavepointFiles(), digest: createNodeEnv({ log }).digest };
}

/** `DIR` or `file:DIR`, as an absolute path. */
export function savepointDirectory(option: string, text: string): string {
  if (text.startsWith("file://")) return fileURLToPath(text);
  if (text.startsWith("file:")) return path.resolve(text.slice("file:".length));
  if (/^[a-z][a-z0-9+.-]*:/i.test(text))
    throw new CodedError("INVALID_ARGUMENT", `${option} is ${text}: a savepoint is a directory.`, {
      hint: "Give a directory that every machine of the cluster reaches under this path: DIR or file:DIR.",
    });
  return path.resolve(text);
}

/** Rejects with SAVEPOINT_UNREADABLE. */
export async function referenceOf(option: string, text: string): Promise<SavepointReference> {
  const directory = savepointDirectory(option, text);
  const { description, sha256 } = await readSavepoint(access(), directory, null);
  await verifySavepoint(access(), directory, description);
  return { directory, sha256 };
}

/** Rejects with SAVEPOINT_UNREADABLE or SAVEPOINT_MISMATCH. */
export async function beginFrom(
  text: string,
  graph: JobGraph,
  parallelism: number,
  options: { readonly allowDroppedState?: boolean },
): Promise<BeginsFrom> {
  const directory = savepointDirectory("--from", text);
  const files = access();
  const { description, sha256 } = await readSavepoint(files, directory, null);
  const { jobId, maxParallelism } = graph;
  const job = { jobId, maxParallelism, operators: placedOperators(executionPlan(graph, parallelism).vertices) };
  const allowDropped = options.allowDroppedState === true;
  checkCompatible(description, job, directory, allowDropped);
  await verifySavepoint(files, directory, description);
  return {
    reference: { directory, sha256, ...(allowDropped ? { allowDropped } : {}) },
    checkpoint: description.manifest.id,
    operators: compareOperators(description, job),
  };
}

/** For people: what becomes of each operator. */
export function operatorTable({ operators }: BeginsFrom): string {
  return table<OperatorChange>(
    [
      { title: "OPERATOR", of: ({ uid }) => uid, shrink: true },
      { title: "KIND", of: ({ kind }) => kind },
      { title: "STATE", of: ({ change }) => change },
    ],
    operators,
    styleFor(process.stderr),
  );
}
