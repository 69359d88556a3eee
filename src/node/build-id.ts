/**
 * Which build of Holdfast this is: the release, and a hash of the programs (scripts/bundle.mjs writes it beside them). For people, so that
 * an upgrade of masters one by one can be followed in `holdfast cluster`; nothing is decided by it.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { programPath } from "./programs.js";

const MAX_CHARACTERS = 64;

/** Throws INTERNAL when the package was not built. */
export function buildId(): string {
  const file = path.join(path.dirname(programPath("holdfast")), "build-id");
  try {
    return readFileSync(file, "utf8").trim().slice(0, MAX_CHARACTERS);
  } catch {
    return "unknown";
  }
}
