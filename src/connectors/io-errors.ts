/** Errors of the file system as sentences: which path, what happened, what to do. Boundary: the only place that reads `errno` codes. */
import { CodedError } from "../base/errors.js";

const CAUSES: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EISDIR: "it is a directory",
  ENOTDIR: "a part of the path is not a directory",
  EEXIST: "it exists already",
  ENOSPC: "no space left on the device",
  EDQUOT: "disk quota exceeded",
  EFBIG: "the file would exceed the size limit",
  EROFS: "the file system is read-only",
  EMFILE: "too many open files in this process",
  ENFILE: "too many open files on this machine",
  EIO: "input/output error of the device",
  EXDEV: "it is on another file system",
};

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "Free space on that file system or choose another path.",
  EDQUOT: "Free space in that quota or choose another path.",
  EACCES: "Let the user that runs the cluster read and write this path, or choose another.",
  EROFS: "Choose a path on a writable file system.",
  ENOENT: "Check the path; on a cluster it must be the same on every machine.",
};

export function errnoOf(thrown: unknown): string | null {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : null;
  return typeof code === "string" ? code : null;
}

/** "no space left on the device (ENOSPC)", or the message of any other error. */
export function causeOf(thrown: unknown): string {
  const errno = errnoOf(thrown);
  if (errno !== null && Object.hasOwn(CAUSES, errno)) return `${CAUSES[errno]} (${errno})`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function failed(code: "SOURCE_FAILED" | "SINK_FAILED", act: string, path: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const errno = errnoOf(thrown);
  const hint = errno === null ? undefined : HINTS[errno];
  return new CodedError(code, `cannot ${act} ${path}: ${causeOf(thrown)}`, {
    cause: thrown,
    details: { path, ...(errno === null ? {} : { errno }) },
    ...(hint === undefined ? {} : { hint }),
  });
}

/** A CodedError stays itself, so this may wrap code that already names the path. */
export function sourceFailed(path: string, thrown: unknown, act = "read"): CodedError {
  return failed("SOURCE_FAILED", act, path, thrown);
}

export function sinkFailed(path: string, thrown: unknown, act = "write"): CodedError {
  return failed("SINK_FAILED", act, path, thrown);
}
