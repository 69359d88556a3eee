/**
 * Files that are durable when the call resolves.
 *
 * Invariant: a name is given only to bytes that were written and synced whole, and the folder that holds the name is synced after it. Rejects with the
 * system's own error; what was begun is removed then.
 */
import { open, rename, unlink } from "node:fs/promises";
import path from "node:path";

/** `temporary`: a name of its own in the same folder, which nobody else uses. For this user only. */
export async function writeDurably(file: string, temporary: string, bytes: Uint8Array): Promise<void> {
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (thrown) {
    await unlink(temporary).catch(() => {});
    throw thrown;
  }
  await syncDirectory(path.dirname(file));
}

/** The names in it are durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
