/** A file that holds where masters or their store are, perhaps with a password: then nobody else may be able to read it. */
import { open } from "node:fs/promises";
import { CodedError } from "../../base/errors.js";

const MAX_FILE_BYTES = 64 * 1024;
const OTHERS_MAY_READ = 0o044;

/** Rejects with INSECURE_SECRET, or as the file system does. */
export async function readUrlFile(file: string): Promise<string> {
  const handle = await open(file, "r");
  try {
    const { mode, size } = await handle.stat();
    const text = size > MAX_FILE_BYTES ? "" : await handle.readFile("utf8");
    // Nothing but credentials has an @ in such a file, if not in a comment.
    const holdsPassword = text.split("\n").some((line) => line.trim().startsWith("zk://") && line.includes("@"));
    if (holdsPassword && (mode & OTHERS_MAY_READ) !== 0) {
      throw new CodedError("INSECURE_SECRET", `${file} holds a password and may be read by others`, {
        hint: `Run: chmod 600 ${file}. If others may have read it, change the password.`,
      });
    }
    return text;
  } finally {
    await handle.close();
  }
}
