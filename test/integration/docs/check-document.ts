/** All checks of one document's blocks; each gives what is wrong, in sentences that begin with the place. */
import { execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual, promisify } from "node:util";
import { build } from "esbuild";
// @ts-expect-error a script without types
import { violationsOf } from "../../../scripts/tidy.mjs";
import { ROOT } from "../../support/holdfast.js";
import { at, type Block, type Document } from "./markdown.js";
import { openSession } from "./session.js";
import { isRule, type Snippet, snippetsOf } from "./snippets.js";

const TSC = path.join(ROOT, "node_modules/typescript/bin/tsc");
/** Without a language: a picture. */
const LANGUAGES = ["sh", "ts", "json", "text", "csv", ""];
const COMMAND = /^\s*(?:\$ )?(?:holdfast|npx|npm|node|kill|curl) /m;
const SHORTEST_REASON = 20;
const run = promisify(execFile);

/** Blocks that nothing would run or compare, and that do not say why. */
export function unaccounted(document: Document): readonly string[] {
  const commands = document.blocks.filter((block) => block.language === "sh").map((block) => block.text);
  return document.blocks.flatMap((block) => {
    const { language, info } = block;
    const found: string[] = [];
    if (!LANGUAGES.includes(language)) found.push(`${at(block)}: the language '${language}' is not known`);
    if (language === "" && COMMAND.test(block.text)) found.push(`${at(block)}: commands in a block without a language`);
    if (info.norun === true && String(info.reason ?? "").length < SHORTEST_REASON)
      found.push(`${at(block)}: not run, without a reason`);
    if (typeof info.file === "string" && language === "ts" && !commands.some((text) => text.includes(String(info.file))))
      found.push(`${at(block)}: no command runs ${info.file}`);
    if (language === "json" && info.output === undefined && info.file === undefined)
      found.push(`${at(block)}: compared with nothing`);
    return found;
  });
}

/** Runs everything in it. */
export async function problemsOf(document: Document): Promise<readonly string[]> {
  const snippets = snippetsOf(document.blocks);
  const session = await openSession();
  const problems: string[] = [];
  try {
    problems.push(...(await typeErrors(session.directory, snippets)));
    for (const block of document.blocks) {
      if (isRule(block)) problems.push(...brokenRule(block));
      else await session.run(block);
    }
    const runs = snippets.filter((snippet) => snippet.runs);
    for (const parallelism of runs.length === 0 || problems.length > 0 ? [] : [2, 1]) {
      const outcomes = await runAll(session.directory, runs, parallelism);
      for (const snippet of runs) {
        const outcome = outcomes.find(({ id }) => id === at(snippet.block));
        problems.push(...differences(session.directory, snippet, outcome, parallelism));
      }
    }
  } catch (thrown) {
    problems.push(thrown instanceof Error ? thrown.message : String(thrown));
  } finally {
    await session.close();
  }
  return problems;
}

/** One compilation of all snippets, as in a strict project of a user's. */
async function typeErrors(directory: string, snippets: readonly Snippet[]): Promise<readonly string[]> {
  if (snippets.length === 0) return [];
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
  const files = snippets.map(({ file }) => file);
  writeFileSync(path.join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  try {
    await run(process.execPath, [TSC, "-p", directory], { cwd: directory });
    return [];
  } catch (thrown) {
    const lines = String((thrown as { stdout?: string }).stdout ?? thrown).trim();
    return lines.split("\n").map((line) =>
      line.replace(/at-line-(\d+)\.ts\((\d+),/, (_, start: string, row: string) => {
        const snippet = snippets.find(({ block }) => String(block.line) === start);
        return `${snippet === undefined ? start : at(snippet.block)} (line ${row} with its frame,`;
      }),
    );
  }
}

interface Outcome {
  readonly id: string;
  readonly collected?: Readonly<Record<string, readonly unknown[]>>;
  readonly code?: string | null;
  readonly message?: string;
}

async function runAll(directory: string, snippets: readonly Snippet[], parallelism: number): Promise<readonly Outcome[]> {
  const requests = snippets.map(({ file, params, block }) => {
    const module = path.join(directory, file.replace(/\.ts$/, ".mjs"));
    return { id: at(block), entry: path.join(directory, file), module, params, parallelism };
  });
  for (const { entry, module } of requests)
    await build({
      entryPoints: [entry],
      outfile: module,
      bundle: true,
      packages: "external",
      format: "esm",
      platform: "node",
      logLevel: "silent",
    });
  const child = spawn(process.execPath, [path.join(import.meta.dirname, "run-snippets.mjs")], {
    cwd: directory,
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify(requests));
  let text = "";
  for await (const chunk of child.stdout) text += chunk;
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Outcome);
}

function differences(directory: string, snippet: Snippet, outcome: Outcome | undefined, parallelism: number): readonly string[] {
  const { block, expected, fails } = snippet;
  const failure = outcome?.collected === undefined ? `${outcome?.code}: ${outcome?.message}` : null;
  if (fails !== null)
    return outcome?.code === fails ? [] : [`${at(block)}: does not fail with ${fails} (${failure ?? "it ends well"})`];
  if (failure !== null) return [`${at(block)}: fails with ${failure}`];
  return expected.flatMap(({ name, values }) => {
    const given = outcome?.collected?.[name] ?? valuesOf(directory, name);
    const same =
      parallelism === 1 ? isDeepStrictEqual(given, plain(values)) : isDeepStrictEqual(anyOrder(given), anyOrder(plain(values)));
    if (given !== null && same) return [];
    return [`${at(block)}: ${name} is ${JSON.stringify(given)}, not ${JSON.stringify(values)} (parallelism ${parallelism})`];
  });
}

const plain = (values: readonly unknown[]): readonly unknown[] => JSON.parse(JSON.stringify(values)) as unknown[];
const anyOrder = (values: readonly unknown[] | null): readonly string[] =>
  (values ?? []).map((value) => JSON.stringify(value)).sort();

/** Lines of a file, or of all parts of a directory, as values; null when there is nothing. */
function valuesOf(directory: string, name: string): readonly unknown[] | null {
  const place = path.join(directory, name);
  try {
    return filesOf(place)
      .flatMap((file) => readFileSync(file, "utf8").split("\n"))
      .filter((line) => line !== "")
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

function filesOf(place: string): readonly string[] {
  try {
    const parts = readdirSync(place).filter((name) => name.startsWith("part-"));
    return parts.sort().map((part) => path.join(place, part));
  } catch {
    return [place];
  }
}

/** Pairs of wrong and right for contributors: what tidy says of them as files of a pure folder. */
function brokenRule(block: Block): readonly string[] {
  const violations = violationsOf("src/master/example.ts", `/** An example. */\n${block.text}`) as readonly string[];
  if (block.info.holds !== undefined) return violations.map((violation) => `${at(block)}: ${violation}`);
  const named = violations.some((violation) => violation.includes(String(block.info.violates)));
  return named
    ? []
    : [`${at(block)}: tidy does not refuse it for ${block.info.violates}, but says: ${violations.join("; ") || "nothing"}`];
}
