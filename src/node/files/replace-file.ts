/** A small file that is replaced as a whole: readers see the old text or the new one, also on a full disk. For this user only. */
import { randomBytes } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";

export async function replaceFile(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomBytes(4).toString("hex")}`;
  try {
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, file);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}
