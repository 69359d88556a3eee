/** What LevelDB's errors mean. It tells most of them apart only by their text (leveldb 1.20, util/env_posix.cc). */
import { CodedError } from "../../base/errors.js";
import { explainFileError } from "./level-directory.js";
import { damaged } from "./level-journal.js";

const ERRNO_BY_TEXT = [
  [/permission denied/i, "EACCES"],
  [/read-only/i, "EROFS"],
  [/no space left/i, "ENOSPC"],
  [/quota/i, "EDQUOT"],
  [/too many open files/i, "EMFILE"],
] as const;

/** Another process has the lock. A file system that cannot lock gives the same code with another text, and is no reason to wait. */
export function isLocked(thrown: unknown): boolean {
  const { code, message } = reasonOf(thrown);
  return code === "LEVEL_LOCKED" && /temporarily unavailable|already held/i.test(message);
}

export function explainLevelError(thrown: unknown, directory: string): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const { code, message } = reasonOf(thrown);
  if (code === "LEVEL_CORRUPTION" || (code === "LEVEL_IO_ERROR" && /no such file/i.test(message)))
    return damaged(`LevelDB says "${message}"`);
  if (code === "LEVEL_LOCKED") {
    return new CodedError("STORE_UNUSABLE", `the file system of ${directory} cannot lock files (LevelDB says "${message}")`, {
      hint: "Choose a directory on a local file system.",
    });
  }
  const errno = ERRNO_BY_TEXT.find(([text]) => text.test(message))?.[1];
  return explainFileError(
    errno === undefined ? thrown : Object.assign(new Error(message, { cause: thrown }), { code: errno }),
    directory,
  );
}

/** abstract-level wraps what happened in LEVEL_DATABASE_NOT_OPEN. */
function reasonOf(thrown: unknown): { readonly code: unknown; readonly message: string } {
  const reason = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  if (!(reason instanceof Error)) return { code: undefined, message: String(reason) };
  return { code: "code" in reason ? reason.code : undefined, message: reason.message };
}
