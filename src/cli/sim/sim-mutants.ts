/**
 * Planted bugs: each has to be found within so many seeds.
 *
 * The seed that found one the last time (test/sim/mutant-seeds.txt) is tried first: one run instead of up to two hundred, for the same proof. Where the
 * simulator has changed so that it does not, all others are tried as ever. `--mutants --remember` writes the file anew.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { MUTANT_SEEDS, MUTANTS } from "../../sim/mutants/all.js";
import { type Outcome, runBatch, type Task } from "./sim-batch.js";

const REMEMBERED = fileURLToPath(new URL("../../test/sim/mutant-seeds.txt", import.meta.url));

interface Search {
  readonly mutant: string;
  readonly mistake: string;
  /** To be tried first; null: none, or it was. */
  hint: number | null;
  /** The hint is being tried. */
  isTryingHint: boolean;
  nextSeed: number;
  tried: number;
  found: Outcome | null;
}

/** `name seed`, a line each. */
function rememberedSeeds(): ReadonlyMap<string, number> {
  if (!existsSync(REMEMBERED)) return new Map();
  const lines = readFileSync(REMEMBERED, "utf8").split("\n");
  const seeds = lines.flatMap((line): [string, number][] => {
    const [name = "", seed = ""] = line.replace(/#.*/, "").trim().split(/\s+/);
    const value = Number(seed);
    return value >= 1 && value <= MUTANT_SEEDS ? [[name, value]] : [];
  });
  return new Map(seeds);
}

function remember(searches: readonly Search[]): void {
  const lines = searches.flatMap(({ mutant, found }) => (found === null ? [] : [`${mutant} ${found.seed}`]));
  writeFileSync(
    REMEMBERED,
    `# The seed that finds each planted bug: \`node dist/bin/sim.mjs --mutants --remember\`.\n${lines.join("\n")}\n`,
  );
}

/** For each the seed that is remembered, then seeds from 1 upwards, until it is found. */
export async function searchMutants(
  only: string | undefined,
  hints: ReadonlyMap<string, number> = rememberedSeeds(),
): Promise<readonly Search[]> {
  const searches: Search[] = MUTANTS.filter(({ name }) => only === undefined || name === only).map(({ name, mistake }) => ({
    mutant: name,
    mistake,
    hint: hints.get(name) ?? null,
    isTryingHint: false,
    nextSeed: 1,
    tried: 0,
    found: null,
  }));
  const next = (): Task | undefined => {
    const hinted = searches.find(({ hint }) => hint !== null);
    if (hinted?.hint != null) {
      const task = { seed: hinted.hint, mutant: hinted.mutant };
      hinted.hint = null;
      hinted.isTryingHint = true;
      return task;
    }
    const search = searches.find(
      ({ found, nextSeed, isTryingHint }) => found === null && !isTryingHint && nextSeed <= MUTANT_SEEDS,
    );
    if (search === undefined) return undefined;
    const seed = search.nextSeed;
    search.nextSeed += 1;
    return { seed, mutant: search.mutant };
  };
  await runBatch(next, (outcome) => {
    const search = searches.find(({ mutant }) => mutant === outcome.mutant);
    if (search === undefined) return;
    search.tried += 1;
    search.isTryingHint = false;
    if (outcome.violation !== null && (search.found === null || outcome.seed < search.found.seed)) search.found = outcome;
  });
  return searches;
}

/** `isNew`: nothing is remembered before, and what is found is remembered. */
export async function findMutants(only: string | undefined, json: boolean, isNew: boolean): Promise<number> {
  const searches = await (isNew ? searchMutants(only, new Map()) : searchMutants(only));
  if (isNew && only === undefined) remember(searches);
  if (searches.length === 0)
    throw new Error(`there is no planted bug ${only}; there are ${MUTANTS.map(({ name }) => name).join(", ")}`);
  if (json) {
    const found = searches.map((search) => ({
      mutant: search.mutant,
      seed: search.found?.seed ?? null,
      violation: search.found?.violation ?? null,
    }));
    process.stdout.write(`${JSON.stringify({ mutants: found })}\n`);
  } else {
    for (const { mutant, mistake, found } of searches) {
      const how =
        found === null ? `NOT FOUND within ${MUTANT_SEEDS} seeds` : `seed ${found.seed}: ${found.violation?.split("\n")[0]}`;
      process.stdout.write(`${mutant}: ${mistake}\n    ${how}\n`);
    }
  }
  return searches.every(({ found }) => found !== null) ? 0 : 1;
}
