/**
 * File name patterns: `*` and `?` within a name, `**` over directories, `[a-z]` and `[!a-z]`, `{a,b}`. Boundary: text only, no files.
 * Names that start with `.` or `_` (hidden, temporary, markers) match only a pattern that starts with the same character.
 */
import { CodedError } from "../base/errors.js";

/** `{a,b}` may nest; this many alternatives at most. */
const MAX_ALTERNATIVES = 1_000;

export interface GlobPattern {
  /** Leading names without any pattern, where walking starts. */
  readonly fixed: readonly string[];
  /** The remaining names; `**` stands for any number of directories. */
  readonly segments: readonly (RegExp | "**")[];
}

export function hasPattern(path: string): boolean {
  return /[*?[{]/.test(path);
}

/** One pattern per alternative of `{a,b}`. */
export function parseGlob(path: string): GlobPattern[] {
  return expandBraces(path).map((alternative) => {
    const names = alternative.split("/").filter((name, index) => name !== "" || index === 0);
    const first = names.findIndex((name) => hasPattern(name));
    const fixed = first < 0 ? names : names.slice(0, first);
    const rest = first < 0 ? [] : names.slice(first);
    return { fixed, segments: rest.map((name) => (name === "**" ? "**" : nameMatcher(name))) };
  });
}

export function expandBraces(text: string): string[] {
  const results: string[] = [];
  const todo = [text];
  while (todo.length > 0) {
    const next = todo.pop() ?? "";
    const group = firstGroup(next);
    if (group === null) results.unshift(next);
    else for (const choice of group.choices) todo.push(next.slice(0, group.open) + choice + next.slice(group.close + 1));
    if (results.length + todo.length > MAX_ALTERNATIVES) {
      throw new CodedError("INVALID_ARGUMENT", `the pattern ${text} has more than ${MAX_ALTERNATIVES} alternatives`);
    }
  }
  return results;
}

/** The first `{...}` with its choices, split at the commas of its own level. Null: none, or never closed (then it is plain text). */
function firstGroup(text: string): { open: number; close: number; choices: string[] } | null {
  const open = text.indexOf("{");
  if (open < 0) return null;
  let depth = 0;
  let from = open + 1;
  const choices: string[] = [];
  for (let i = open; i < text.length; i++) {
    const c = text[i];
    if (c === "{") depth++;
    else if (c === "," && depth === 1) {
      choices.push(text.slice(from, i));
      from = i + 1;
    } else if (c === "}" && --depth === 0) {
      choices.push(text.slice(from, i));
      return { open, close: i, choices };
    }
  }
  return null;
}

function nameMatcher(name: string): RegExp {
  let source = /^[._]/.test(name) ? "" : "(?![._])";
  for (let i = 0; i < name.length; i++) {
    const c = name.charAt(i);
    const close = c === "[" ? name.indexOf("]", i + 2) : -1;
    if (c === "*") source += ".*";
    else if (c === "?") source += ".";
    else if (close > 0) {
      const set = name
        .slice(i + 1, close)
        .replaceAll("\\", "\\\\")
        .replaceAll("[", "\\[");
      source += set.startsWith("!") || set.startsWith("^") ? `[^${set.slice(1)}]` : `[${set}]`;
      i = close;
    } else source += c.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  }
  try {
    return new RegExp(`^${source}$`, "su");
  } catch (thrown) {
    throw new CodedError("INVALID_ARGUMENT", `cannot understand the file name pattern ${name}`, { cause: thrown });
  }
}
