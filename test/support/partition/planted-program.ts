/**
 * The program built once more with a mistake in it, to see that the checks of the partition tests find it. The product has no switch for that:
 * the sources are changed while they are bundled, and the build stands in a directory of its own.
 */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { build, type Plugin } from "esbuild";
import { ROOT } from "../holdfast.js";

/** One change of a source file: a text that is there exactly once, and what stands in its place. */
export interface Plant {
  /** Relative to the repository. */
  readonly file: string;
  readonly text: string;
  readonly instead: string;
}

/** The path of the program. `directory` is made. */
export async function buildPlanted(plants: readonly Plant[], directory: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  // The program reads its own package, and loads what was not bundled from beside it.
  cpSync(path.join(ROOT, "package.json"), path.join(directory, "package.json"));
  symlinkSync(path.join(ROOT, "node_modules"), path.join(directory, "node_modules"));
  const planted = new Set<Plant>();
  await build({
    entryPoints: { holdfast: path.join(ROOT, "src/cli/main.ts") },
    outdir: path.join(directory, "dist/bin"),
    outExtension: { ".js": ".mjs" },
    ...{ absWorkingDir: ROOT, bundle: true, splitting: true, format: "esm", platform: "node", target: "node20", logLevel: "error" },
    external: ["esbuild", "classic-level", "@duckdb/node-api"],
    plugins: [planting(plants, planted)],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  const missed = plants.filter((plant) => !planted.has(plant));
  if (missed.length > 0) throw new Error(`nothing was planted in ${missed.map(({ file }) => file).join(", ")}: is it bundled?`);
  return path.join(directory, "dist/bin/holdfast.mjs");
}

function planting(plants: readonly Plant[], planted: Set<Plant>): Plugin {
  return {
    name: "planting",
    setup: (bundle) => {
      bundle.onLoad({ filter: /\.ts$/ }, ({ path: loaded }) => {
        const here = plants.filter(({ file }) => path.join(ROOT, file) === loaded);
        if (here.length === 0) return null;
        let contents = readFileSync(loaded, "utf8");
        for (const plant of here) {
          contents = plantedText(contents, plant);
          planted.add(plant);
        }
        return { contents, loader: "ts" };
      });
    },
  };
}

function plantedText(contents: string, { file, text, instead }: Plant): string {
  const found = contents.split(text).length - 1;
  if (found !== 1) throw new Error(`${file} has ${found} times what is to be changed: ${text}`);
  return contents.replace(text, () => instead);
}
