/** Names of everything below a directory, relative to it, while others remove what is there. */
import { readdirSync } from "node:fs";
import path from "node:path";

export function filesBelow(directory: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    // A file, or a directory that is gone by now.
    return [];
  }
  return names.flatMap((name) => [name, ...filesBelow(path.join(directory, name)).map((below) => path.join(name, below))]);
}
