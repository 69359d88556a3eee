/** All planted bugs, by the part of the product that they break. */
import { MASTER_MUTANTS } from "./master-mutants.js";
import type { Mutant } from "./mutant.js";
import { STORE_MUTANTS } from "./store-mutants.js";
import { WORKER_MUTANTS } from "./worker-mutants.js";

/** Each must be found within MUTANT_SEEDS seeds. */
export const MUTANTS: readonly Mutant[] = [...STORE_MUTANTS, ...MASTER_MUTANTS, ...WORKER_MUTANTS];
export const MUTANT_SEEDS = 200;
