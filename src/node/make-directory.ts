/** Directories with all that is missing above them. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";

/** As `mkdir -p`. Node's own says ENOENT where the kernel says why not (a read-only file system); asking plainly tells. */
export async function makeDirectory(directory: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode });
  } catch (thrown) {
    let missing = path.resolve(directory);
    while (!existsSync(path.dirname(missing))) missing = path.dirname(missing);
    if (!existsSync(missing)) await mkdir(missing, { mode });
    throw thrown;
  }
}
