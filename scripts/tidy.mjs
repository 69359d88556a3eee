// Rules about the source that neither the compiler nor the linter can state. `node scripts/tidy.mjs [ROOT]` prints each violation and
// exits 1 when there is one. test/unit/tidy.test.ts plants violations and sees them reported.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { PROJECTS } from "./projects.mjs";

const BANNED_IN_PURE = [
  ["Date", /\bDate\b/],
  ["Math.random", /\bMath\s*\.\s*random\b/],
  ["a timer", /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/],
  ["performance", /\bperformance\s*\./],
  ["process", /\bprocess\s*\.\s*(?:env|nextTick|hrtime|pid|argv|exit)\b/],
  ["globalThis", /\bglobalThis\b/],
  ["Buffer", /\bBuffer\s*\./],
  ["crypto", /\bcrypto\s*\./],
  ["async code", /\bawait\b/],
];
// Neutral code may wait, but the clock and chance still come from env.
const BANNED_IN_NEUTRAL = BANNED_IN_PURE.filter(([name]) => name !== "async code" && name !== "a timer").concat([
  ["a timer", /\b(?:setTimeout|setInterval|setImmediate)\b/],
]);
/** Where a banned word is right, with the reason. */
const ALLOWED = [
  {
    file: /^src\/(?:api|executor\/run|dataflow|connectors|testing)\//,
    name: "Date",
    why: "Date is a value of users' records there, never a clock",
  },
  { file: /^src\/api\//, name: "globalThis", why: "the mark of a job object" },
];

const IMPORT = /(?:^|\n)\s*(?:import|export)\b[^;]*?from\s*["']([^"']+)["']|\bimport\s*\(\s*["']([^"']+)["']/g;

/** The text without comments and string contents, so that a word in a sentence is not taken for code. */
export function codeOf(text) {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, " ")
    .replace(/(^|[^:"'`\\])\/\/[^\n]*/g, "$1")
    .replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""')
    .replace(/`(?:[^`\\$]|\\.|\$(?!\{))*`/g, '""');
}

function* sourceFiles(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* sourceFiles(file);
    else if (/\.ts$/.test(entry.name) && !/\.test\.ts$/.test(entry.name)) yield file;
  }
}

/** The project that a path inside src/ belongs to: the longest folder of the table that contains it. */
export function projectOf(relative) {
  return Object.keys(PROJECTS)
    .filter((name) => relative === name || relative.startsWith(`${name}/`))
    .sort((a, b) => b.length - a.length)[0];
}

export function violationsOf(relative, text) {
  const name = projectOf(relative.replace(/^src\//, ""));
  if (name === undefined) return [`${relative}: stands outside the folders of scripts/projects.mjs`];
  const project = PROJECTS[name];
  const found = [];
  if (!/^\s*(?:#![^\n]*\n)?\s*\/\*\*/.test(text)) found.push(`${relative}: has no header comment (what is this file for?)`);
  const code = codeOf(text);
  const banned = project.kind === "pure" ? BANNED_IN_PURE : project.kind === "neutral" ? BANNED_IN_NEUTRAL : [];
  for (const [what, pattern] of banned) {
    if (pattern.test(code) && !ALLOWED.some((rule) => rule.name === what && rule.file.test(relative))) {
      found.push(`${relative}: ${project.kind} code names ${what}; take it from env, or as an argument`);
    }
  }
  for (const match of text.matchAll(IMPORT)) {
    const target = match[1] ?? match[2];
    if (target.startsWith("node:") && project.kind !== "node") found.push(`${relative}: ${project.kind} code imports ${target}`);
    if (!target.startsWith(".")) continue;
    const resolved = path.posix.join(path.posix.dirname(relative), target).replace(/^src\//, "");
    const other = projectOf(resolved);
    if (other !== name && !project.uses.includes(other ?? "")) {
      found.push(`${relative}: imports ${target}, but ${name} may only import ${project.uses.join(", ") || "nothing"}`);
    }
  }
  return found;
}

export function tidy(root) {
  const found = [];
  for (const file of sourceFiles(path.join(root, "src"))) {
    const relative = path.relative(root, file).split(path.sep).join("/");
    found.push(...violationsOf(relative, readFileSync(file, "utf8")));
  }
  const codes = [...readFileSync(path.join(root, "src/base/errors.ts"), "utf8").matchAll(/^ {2}([A-Z_]+): facts\(/gm)].map(
    (match) => match[1],
  );
  for (const code of codes) {
    if (!existsSync(path.join(root, "docs/errors", `${code}.md`)))
      found.push(`docs/errors/${code}.md: the page of this error code is missing`);
  }
  if (existsSync(path.join(root, "docs/errors"))) {
    for (const page of readdirSync(path.join(root, "docs/errors"))) {
      if (page !== "README.md" && !codes.includes(page.replace(/\.md$/, "")))
        found.push(`docs/errors/${page}: there is no such error code`);
    }
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = process.argv[2] ?? path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
  const found = tidy(root);
  for (const line of found) console.error(line);
  if (found.length > 0) process.exit(1);
}
