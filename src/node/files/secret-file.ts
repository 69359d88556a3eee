/**
 * The cluster secret: 256 random bits as one line of hexadecimal digits, in a file that only its owner can read.
 *
 * Invariant: a secret that others may have read is not used.
 */
import { randomBytes } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open, unlink } from "node:fs/promises";
import { bytesToHex, hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";

const SECRET_BYTES = 32;
/** 64 digits and a line end; what is larger is no secret of ours and is not read. */
const MAX_FILE_BYTES = 80;
const OTHERS = 0o077;

/** Rejects with CONFLICT when the file exists, with DISK_FAILED. */
export async function createSecretFile(path: string): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, "wx", 0o600);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EEXIST") {
      throw new CodedError("CONFLICT", `${path} exists already and is left as it is`, {
        hint: "Every process of a cluster needs the same secret. Choose another name, or remove the file to make a new cluster's secret.",
      });
    }
    throw new CodedError("DISK_FAILED", `the secret file ${path} cannot be made: ${(thrown as Error).message}`, { cause: thrown });
  }
  try {
    await file.writeFile(`${bytesToHex(randomBytes(SECRET_BYTES))}\n`);
    await file.sync();
    await file.close();
  } catch (thrown) {
    await file.close().catch(() => {});
    await unlink(path).catch(() => {});
    throw new CodedError("DISK_FAILED", `the secret file ${path} cannot be written: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
}

/** Rejects with INSECURE_SECRET (others can read it, or it is no secret of ours), NOT_FOUND, DISK_FAILED. */
export async function readSecretFile(path: string): Promise<Uint8Array> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") {
      throw new CodedError("NOT_FOUND", `there is no secret file ${path}`, { hint: `Make one with: holdfast secret ${path}` });
    }
    throw new CodedError("DISK_FAILED", `the secret file ${path} cannot be read: ${(thrown as Error).message}`, { cause: thrown });
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw insecure(path, "is not a file", "Give the path of a file that `holdfast secret` made.");
    if ((status.mode & OTHERS) !== 0) {
      const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
      throw insecure(
        path,
        `may be read or changed by others (mode ${mode})`,
        `Run: chmod 600 ${path}. If others may have read it, make a new one.`,
      );
    }
    if (status.size > MAX_FILE_BYTES) throw wrongContent(path);
    const text = (await file.readFile("utf8")).trim();
    if (!/^[0-9a-f]{64}$/.test(text)) throw wrongContent(path);
    return hexToBytes(text);
  } finally {
    await file.close();
  }
}

const insecure = (path: string, why: string, hint: string): CodedError =>
  new CodedError("INSECURE_SECRET", `the secret file ${path} ${why}`, { hint });

function wrongContent(path: string): CodedError {
  return insecure(
    path,
    "does not hold 64 hexadecimal digits (256 bits)",
    "Make one with `holdfast secret FILE`; a secret that a person thought of can be guessed.",
  );
}
