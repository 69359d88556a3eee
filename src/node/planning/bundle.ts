/**
 * A user's job file as one ES module: with everything it imports, this package's API included. What workers run is these bytes, by their hash.
 *
 * Boundary: esbuild does the work; it is loaded when the first job is bundled, not before.
 * Invariants:
 *   1. The same files give the same bytes, wherever they lie: names in the bundle are relative to the project (nearest package.json), those of
 *      packages to their node_modules, which may be a link to somewhere else.
 *   2. What can't be shipped (native addons, packages that are not installed) is refused here, with file and line, not on a worker.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Message, OutputFile, Plugin } from "esbuild";
import { CodedError } from "../../base/errors.js";
import { programPath } from "../programs.js";

/** As MAX_ARTIFACT_BYTES of wire/operations.ts, told here where the user can still do something about it. */
const MAX_BUNDLE_BYTES = 64 * 1024 * 1024;
const MAX_MESSAGES = 10;

export interface JobBundle {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly warnings: readonly string[];
}

/** CommonJS packages in the bundle ask for Node's modules by `require`, which an ES module does not have. */
const REQUIRE_BANNER =
  'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

/** Rejects with NOT_FOUND, BUNDLE_FAILED (each message names file, line and column), LIMIT_EXCEEDED. */
export async function bundleJob(entryPath: string): Promise<JobBundle> {
  const entry = path.resolve(entryPath);
  if (!existsSync(entry))
    throw new CodedError("NOT_FOUND", `there is no job file ${entryPath}`, { hint: "Give the path of a .ts, .js or .mjs file." });
  let built = await build(entry, entryPath, [ownApi(), noNativeAddons(), zodInEnglish()]);
  if (usesOtherLocales(built)) built = await build(entry, entryPath, [ownApi(), noNativeAddons()]);
  const bytes = withSourceMap(built.outputFiles);
  if (bytes.length > MAX_BUNDLE_BYTES) {
    throw new CodedError(
      "LIMIT_EXCEEDED",
      `the bundle of ${entryPath} has ${bytes.length} bytes, at most ${MAX_BUNDLE_BYTES} can be submitted`,
      { hint: "Read large data from files at run time instead of importing it." },
    );
  }
  return { bytes, sha256: createHash("sha256").update(bytes).digest("hex"), warnings: built.warnings.map(messageLine) };
}

interface Built {
  readonly outputFiles: readonly OutputFile[];
  readonly warnings: readonly Message[];
}

async function build(entry: string, entryPath: string, plugins: Plugin[]): Promise<Built> {
  const esbuild = await import("esbuild");
  try {
    return await esbuild.build({
      entryPoints: [entry],
      absWorkingDir: projectDirectory(entry),
      bundle: true,
      write: false,
      outfile: "job.mjs",
      format: "esm",
      platform: "node",
      target: "node20",
      minifySyntax: true,
      minifyWhitespace: true,
      keepNames: false,
      legalComments: "none",
      sourcemap: "external",
      sourcesContent: false,
      logLevel: "silent",
      banner: { js: REQUIRE_BANNER },
      plugins,
    });
  } catch (thrown) {
    throw bundleFailed(entryPath, thrown);
  }
}

const codeOf = (files: readonly OutputFile[]): string => files.find((file) => file.path.endsWith(".mjs"))?.text ?? "";

function withSourceMap(files: readonly OutputFile[]): Uint8Array {
  const code = codeOf(files);
  const map = JSON.parse(files.find((file) => file.path.endsWith(".map"))?.text ?? "{}") as { sources?: string[] };
  // Stack traces on workers name the files of the job by this, instead of by paths that lead nowhere there.
  map.sources = (map.sources ?? []).map((source) => `job:///${source.replace(/^.*\/node_modules\//, "node_modules/")}`);
  const comment = `//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString("base64")}\n`;
  return new TextEncoder().encode(code + comment);
}

function projectDirectory(entry: string): string {
  let folder = path.dirname(entry);
  while (!existsSync(path.join(folder, "package.json"))) {
    const parent = path.dirname(folder);
    if (parent === folder) return path.dirname(entry);
    folder = parent;
  }
  return folder;
}

/** `holdfast` is this package, also where the job's project has not installed it; one file, so that it costs one read. */
function ownApi(): Plugin {
  return {
    name: "holdfast-api",
    setup(build) {
      build.onResolve({ filter: /^holdfast$/ }, () => ({ path: "api", namespace: "holdfast", sideEffects: false }));
      build.onLoad({ filter: /^api$/, namespace: "holdfast" }, () => {
        const file = programPath("api");
        // Packages that the API itself imports are this package's own.
        const text = readFileSync(file, "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
        return { contents: text, loader: "js", resolveDir: path.dirname(file) };
      });
      build.onResolve({ filter: /^holdfast\/postgres$/ }, ({ resolveDir }) => ({
        path: "postgres",
        namespace: "holdfast",
        pluginData: resolveDir,
      }));
      build.onLoad({ filter: /^postgres$/, namespace: "holdfast" }, ({ pluginData }) => ({
        // The package `pg` is the job's own: the one of its project.
        contents: readFileSync(programPath("postgres"), "utf8"),
        loader: "js",
        resolveDir: pluginData as string,
      }));
    },
  };
}

function noNativeAddons(): Plugin {
  return {
    name: "no-native-addons",
    setup(build) {
      build.onResolve({ filter: /\.node$/ }, ({ path: name }) => ({
        errors: [{ text: `"${name}" is a native addon, which can't be shipped in a bundle` }],
      }));
    },
  };
}

/**
 * zod brings its messages in 50 languages with it, half of the bundle of a small job: 25 ms of bundling, and more to ship and load everywhere.
 * Jobs that name `locales` anywhere get all of them.
 */
function zodInEnglish(): Plugin {
  return {
    name: "zod-in-english",
    setup(build) {
      build.onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, () => ({ contents: 'export { default as en } from "./en.js";' }));
    },
  };
}

function usesOtherLocales({ outputFiles }: Built): boolean {
  const code = codeOf(outputFiles).replaceAll("locales:()=>locales_exports", "");
  return /\blocales\b|\blocales_exports\d*\./.test(code);
}

function bundleFailed(entryPath: string, thrown: unknown): CodedError {
  const errors = (thrown as { readonly errors?: readonly Message[] }).errors;
  if (errors === undefined || errors.length === 0) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    return new CodedError("BUNDLE_FAILED", `${entryPath} could not be bundled: ${reason}`, { cause: thrown });
  }
  const lines = errors.slice(0, MAX_MESSAGES).map(messageLine);
  const unresolved = errors.map((error) => /^Could not resolve "([^"]+)"/.exec(error.text)?.[1]).find((name) => name !== undefined);
  return new CodedError("BUNDLE_FAILED", `${entryPath} could not be bundled: ${lines.join("; ")}`, {
    hint: hintFor(unresolved, errors),
    details: { errors: lines },
  });
}

function hintFor(unresolved: string | undefined, errors: readonly Message[]): string {
  if (errors.some((error) => error.text.includes("native addon"))) {
    return "Use a package without native code, or run the program as a process application: holdfast submit -- COMMAND.";
  }
  if (unresolved === undefined) return "Correct the file and submit it again.";
  if (unresolved.startsWith(".") || unresolved.startsWith("/")) return "Check the path of the import.";
  return `Install the package beside the job: npm install ${unresolved
    .split("/")
    .slice(0, unresolved.startsWith("@") ? 2 : 1)
    .join("/")}`;
}

function messageLine({ text, location }: Message): string {
  return location === null ? text : `${location.file}:${location.line}:${location.column + 1}: ${text}`;
}
