/**
 * Where the programs of this package are: each is one bundled file in `dist/bin` (scripts/bundle.mjs).
 *
 * This module itself may run from three places: inside such a bundle, from `dist/node` (an import of the library), or from `src/node` (tests).
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { CodedError } from "../base/errors.js";

export type Program = "holdfast" | "runner" | "planner" | "api" | "postgres";

const here = path.dirname(fileURLToPath(import.meta.url));
const FOLDERS = [here, path.join(here, "..", "bin"), path.join(here, "..", "..", "dist", "bin")];

/** Throws INTERNAL when the package was not built. */
export function programPath(program: Program): string {
  for (const folder of FOLDERS) {
    const file = path.join(folder, `${program}.mjs`);
    if (existsSync(file)) return file;
  }
  throw new CodedError("INTERNAL", `the program ${program}.mjs is missing in ${FOLDERS.at(-1)}`, {
    hint: "Run `npm run build`, or install the package again.",
  });
}
