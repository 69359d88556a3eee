/** Planted bugs: each has to be found within so many seeds. */
import { MUTANT_SEEDS, MUTANTS } from "../../sim/mutants/all.js";
import { type Outcome, runBatch, type Task } from "./sim-batch.js";

interface Search {
  readonly mutant: string;
  readonly mistake: string;
  nextSeed: number;
  tried: number;
  found: Outcome | null;
}

/** Seeds from 1 upwards for each, until it is found. */
export async function searchMutants(only: string | undefined): Promise<readonly Search[]> {
  const searches: Search[] = MUTANTS.filter(({ name }) => only === undefined || name === only).map(({ name, mistake }) => ({
    mutant: name,
    mistake,
    nextSeed: 1,
    tried: 0,
    found: null,
  }));
  const next = (): Task | undefined => {
    const search = searches.find(({ found, nextSeed }) => found === null && nextSeed <= MUTANT_SEEDS);
    if (search === undefined) return undefined;
    const seed = search.nextSeed;
    search.nextSeed += 1;
    return { seed, mutant: search.mutant };
  };
  await runBatch(next, (outcome) => {
    const search = searches.find(({ mutant }) => mutant === outcome.mutant);
    if (search === undefined) return;
    search.tried += 1;
    if (outcome.violation !== null && (search.found === null || outcome.seed < search.found.seed)) search.found = outcome;
  });
  return searches;
}

export async function findMutants(only: string | undefined, json: boolean): Promise<number> {
  const searches = await searchMutants(only);
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
