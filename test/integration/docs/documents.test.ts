/**
 * Every command and snippet of the documentation is run (session.ts and snippets.ts say how), or says in its fence why not. A block that is
 * neither fails. Set DOCS=docs/job-guide.md to run one document.
 */
import { execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";
// @ts-expect-error a script without types
import { violationsOf } from "../../../scripts/tidy.mjs";
import { ROOT } from "../../support/holdfast.js";
import { allDocuments, at, type Block, type Document, parseDocument } from "./markdown.js";
import { openSession, projectDirectory } from "./session.js";
import { isRule, type Snippet, snippetsOf } from "./snippets.js";

const DOCUMENT_TIMEOUT_MS = 300_000;
const TSC = path.join(ROOT, "node_modules/typescript/bin/tsc");
const run = promisify(execFile);

const wanted = process.env.DOCS;
const documents = allDocuments().filter((document) => wanted === undefined || document.name === wanted);

/** What nothing would run, and why that is not so for a good reason. Empty: all is well. */
function unaccounted(document: Document): readonly string[] {
  const found: string[] = [];
  const commands = document.blocks.filter((block) => block.language === "sh").map((block) => block.text);
  for (const block of document.blocks) {
    const { language, info } = block;
    if (info.norun === true && (typeof info.reason !== "string" || info.reason.length < 20))
      found.push(`${at(block)}: not run, without a reason`);
    if (language === "ts" && typeof info.file === "string" && !document.text.includes(info.file.replace(/\.ts$/, ""), 0))
      found.push(`${at(block)}: no command uses ${info.file}`);
    if (
      language === "ts" &&
      typeof info.file === "string" &&
      !commands.some((text) => text.includes(String(info.file)) || /vitest/.test(text))
    )
      found.push(`${at(block)}: no command runs ${info.file}`);
    if (language === "json" && info.output === undefined && info.file === undefined)
      found.push(`${at(block)}: compared with nothing`);
    if (!["sh", "ts", "json", "text", "csv"].includes(language))
      found.push(`${at(block)}: the language '${language}' is not known`);
  }
  return found;
}

/** One compilation of all snippets, as in a strict project of a user's. */
async function compile(directory: string, snippets: readonly Snippet[]): Promise<void> {
  for (const { file, text } of snippets) writeFileSync(path.join(directory, file), text);
  const compilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    module: "NodeNext",
    moduleResolution: "NodeNext",
    target: "ES2023",
    lib: ["ES2023", "DOM"],
    types: ["node"],
    skipLibCheck: true,
  };
  writeFileSync(
    path.join(directory, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: snippets.map(({ file }) => file) }),
  );
  await run(process.execPath, [TSC, "-p", directory], { cwd: directory }).catch((failed: { stdout?: string }) => {
    const lines = (failed.stdout ?? String(failed)).replace(/at-line-(\d+)\.ts\((\d+),/g, (_, line: string, column: string) => {
      const snippet = snippets.find(({ block }) => String(block.line) === line);
      return `${snippet === undefined ? "?" : at(snippet.block)} (line ${column} of its file,`;
    });
    throw new Error(lines);
  });
}

interface Outcome {
  readonly id: string;
  readonly collected?: Readonly<Record<string, readonly unknown[]>>;
  readonly code?: string | null;
  readonly message?: string;
}

async function runAll(directory: string, snippets: readonly Snippet[], parallelism: number): Promise<readonly Outcome[]> {
  const modules = await Promise.all(
    snippets.map(async ({ file, params, block }) => {
      const module = path.join(directory, file.replace(/\.ts$/, ".mjs"));
      await build({
        entryPoints: [path.join(directory, file)],
        outfile: module,
        bundle: true,
        packages: "external",
        format: "esm",
        platform: "node",
        logLevel: "silent",
      });
      return { id: at(block), module, params, parallelism };
    }),
  );
  const child = spawn(process.execPath, [path.join(import.meta.dirname, "run-snippets.mjs")], {
    cwd: directory,
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify(modules));
  let text = "";
  for await (const chunk of child.stdout) text += chunk;
  return text.trim() === ""
    ? []
    : text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Outcome);
}

/** Where it stands in a file: its lines as values; of a directory: of all its parts. */
function valuesOf(directory: string, name: string): readonly unknown[] | null {
  const place = path.join(directory, name);
  let files: readonly string[];
  try {
    files = readdirSync(place)
      .filter((part) => part.startsWith("part-"))
      .sort()
      .map((part) => path.join(place, part));
  } catch {
    files = [place];
  }
  try {
    return files
      .flatMap((file) =>
        readFileSync(file, "utf8")
          .split("\n")
          .filter((line) => line !== ""),
      )
      .map((line) => {
        try {
          return JSON.parse(line) as unknown;
        } catch {
          return line;
        }
      });
  } catch {
    return null;
  }
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const inAnyOrder = (values: readonly unknown[]): readonly string[] => values.map((value) => JSON.stringify(value)).sort();

function compare(directory: string, snippet: Snippet, outcome: Outcome | undefined, parallelism: number): void {
  const { block, expected, fails } = snippet;
  const failure = outcome?.collected === undefined ? `${outcome?.code}: ${outcome?.message}` : null;
  if (fails !== null) {
    expect(outcome?.code ?? "it ended well", at(block)).toBe(fails);
    return;
  }
  expect(failure, at(block)).toBeNull();
  for (const { name, values } of expected) {
    const given = outcome?.collected?.[name] ?? valuesOf(directory, name);
    expect(given, `${at(block)}: ${name}`).not.toBeNull();
    if (parallelism === 1) expect(given, `${at(block)}: ${name}`).toEqual(plain(values));
    else
      expect(inAnyOrder(given ?? []), `${at(block)}: ${name}, parallelism ${parallelism}`).toEqual(
        inAnyOrder(plain(values) as unknown[]),
      );
  }
}

/** Pairs of wrong and right for contributors: what tidy says of them as files of a pure folder. */
function checkRule(block: Block): void {
  const violations = violationsOf("src/master/example.ts", `/** An example. */\n${block.text}`) as readonly string[];
  if (block.info.holds !== undefined) expect(violations, at(block)).toEqual([]);
  else expect(violations.join("\n"), at(block)).toContain(String(block.info.violates));
}

describe.each(documents.filter((document) => document.blocks.length > 0))("$name", (document) => {
  test("every block is run, or says why not", () => {
    expect(unaccounted(document)).toEqual([]);
  });

  const work = document.blocks.filter((block) => block.language !== "text" || Object.keys(block.info).length > 0);
  test.runIf(work.length > 0)(
    "its snippets compile, its commands run, and both give what it says",
    { timeout: DOCUMENT_TIMEOUT_MS },
    async () => {
      const snippets = snippetsOf(document.blocks);
      const session = await openSession();
      try {
        await compile(session.directory, snippets);
        for (const block of document.blocks) {
          if (isRule(block)) checkRule(block);
          else await session.run(block);
        }
        for (const parallelism of [2, 1]) {
          const runs = snippets.filter((snippet) => snippet.runs);
          const outcomes = await runAll(session.directory, runs, parallelism);
          for (const snippet of runs)
            compare(
              session.directory,
              snippet,
              outcomes.find(({ id }) => id === at(snippet.block)),
              parallelism,
            );
        }
      } finally {
        await session.close();
      }
    },
  );
});
