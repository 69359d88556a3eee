/** Directories with all that is missing above them. */
import { existsSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";

/**
 * As `mkdir -p`. Node's own `recursive` says ENOENT where the kernel says why not (a read-only file system), and where the kernel says ENOENT
 * though the directory above is there (below /proc, for one) it tries again for ever. Asking plainly, one by one, tells.
 */
export async function makeDirectory(directory: string, mode = 0o777): Promise<void> {
  const wanted = path.resolve(directory);
  const missing: string[] = [];
  for (let at = wanted; !existsSync(at); at = path.dirname(at)) missing.unshift(at);
  if (missing.length === 0 && !statSync(wanted).isDirectory()) missing.push(wanted);
  for (const at of missing) {
    await mkdir(at, { mode }).catch((thrown) => {
      // Another process was faster.
      if (!existsSync(at) || !statSync(at).isDirectory()) throw thrown;
    });
  }
}
