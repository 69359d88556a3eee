// Makes each program of the package one file in dist/bin, so that it loads with one read: node scripts/bundle.mjs [name ...]
// A program whose entry does not exist is skipped. Dependencies with native parts or files of their own stay outside.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const entry = (file) => path.join(root, file);

// holdfast loads its commands when they are needed, so it is split into chunks; the others are one file each.
const PROGRAMS = {
  holdfast: { file: "src/cli/main.ts", splitting: true },
  runner: { file: "src/cli/runner/runner.ts" },
  planner: { file: "src/cli/planner.ts" },
  // What `import ... from "holdfast"` means in a job file.
  api: { file: "src/api/index.ts" },
  // What `import ... from "holdfast/postgres"` means there.
  postgres: { file: "src/postgres/index.ts" },
  sim: { file: "src/cli/sim/sim.ts" },
  demo: { file: "demo/main.ts" },
  bench: { file: "bench/main.ts" },
  chaos: { file: "test/chaos/main.ts" },
};

/** Bundled once more, with the job that imports them. */
const IN_JOBS = ["api", "postgres"];

const wanted = process.argv.slice(2);
const names = Object.keys(PROGRAMS).filter(
  (name) => (wanted.length === 0 || wanted.includes(name)) && existsSync(entry(PROGRAMS[name].file)),
);

// Messages of zod in 50 languages are a quarter of a program, read at each start; ours are in English.
const zodInEnglish = {
  name: "zod-in-english",
  setup(build) {
    build.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({ contents: 'export { default as en } from "./en.js";' }));
  },
};

const built = await Promise.all(
  names.map((name) =>
    build({
      entryPoints: { [name]: entry(PROGRAMS[name].file) },
      absWorkingDir: root,
      outdir: entry("dist/bin"),
      outExtension: { ".js": ".mjs" },
      bundle: true,
      metafile: true,
      splitting: PROGRAMS[name].splitting ?? false,
      chunkNames: `${name}-[hash]`,
      format: "esm",
      platform: "node",
      target: "node20",
      minifySyntax: true,
      minifyWhitespace: true,
      legalComments: "none",
      sourcemap: IN_JOBS.includes(name) ? false : "linked",
      sourcesContent: false,
      logLevel: "warning",
      plugins: [zodInEnglish],
      external: ["esbuild", "classic-level", "@duckdb/node-api", "pg", "@aws-sdk/client-s3"],
      banner: {
        js: `${name === "holdfast" ? "#!/usr/bin/env node\n" : ""}${
          IN_JOBS.includes(name)
            ? ""
            : 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);'
        }`,
      },
    }),
  ),
);
// Chunks are named by their content, so those of earlier builds are swept out.
const made = new Set(built.flatMap(({ metafile }) => Object.keys(metafile.outputs).map((file) => path.basename(file))));
for (const file of readdirSync(entry("dist/bin"))) {
  if (/^holdfast-[A-Z0-9]+\.mjs/.test(file) && names.includes("holdfast") && !made.has(file))
    rmSync(path.join(entry("dist/bin"), file));
}
writeFileSync(entry("dist/bin/build-id"), `${buildId()}\n`);
console.log(`bundled: ${names.join(", ")}`);

// The release and what the installed programs hold: two builds of the same sources are one, and any other has another id.
function buildId() {
  const { version } = JSON.parse(readFileSync(entry("package.json"), "utf8"));
  const hash = createHash("sha256");
  const installed = readdirSync(entry("dist/bin")).filter((file) =>
    /^(?:holdfast|runner|planner|api|postgres)\b.*\.mjs$/.test(file),
  );
  for (const file of installed.sort()) hash.update(file).update(readFileSync(entry(path.join("dist/bin", file))));
  return `${version}+${hash.digest("hex").slice(0, 8)}`;
}
