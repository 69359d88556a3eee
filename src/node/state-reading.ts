/** Reading a piece of state that a record or a manifest names, wherever blobs are kept: it is there as it was written, or CHECKPOINT_UNREADABLE says why not. */
import { CodedError } from "../base/errors.js";
import type { BlobHandle } from "../env/blob-store.js";

/** `place`: where it was looked for, as users know it. `read` rejects with NOT_FOUND or ARTIFACT_CORRUPT; what else it rejects with may pass, and is passed on. */
export async function readStateFrom(
  place: string,
  { sha256, sizeBytes }: BlobHandle,
  read: (sha256: string) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const unreadable = (why: string, cause?: unknown): CodedError =>
    new CodedError("CHECKPOINT_UNREADABLE", `The state ${sha256} in ${place} ${why}.`, { details: { place, sha256 }, cause });
  let bytes: Uint8Array;
  try {
    bytes = await read(sha256);
  } catch (thrown) {
    const { code } = CodedError.from(thrown);
    if (code === "NOT_FOUND") throw unreadable("is not there", thrown);
    if (code === "ARTIFACT_CORRUPT") throw unreadable("is damaged", thrown);
    throw thrown;
  }
  if (bytes.length !== sizeBytes) throw unreadable(`has ${bytes.length} bytes, and ${sizeBytes} were written`);
  return bytes;
}
