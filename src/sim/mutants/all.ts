/** All planted bugs, by the part of the product that they break. */
import { CHECKPOINT_MUTANTS } from "./checkpoint-mutants.js";
import { ELECTION_MUTANTS } from "./election-mutants.js";
import { MASTER_MUTANTS } from "./master-mutants.js";
import type { Mutant } from "./mutant.js";
import { STORE_MUTANTS } from "./store-mutants.js";
import { SUPERVISION_MUTANTS } from "./supervision-mutants.js";
import { WORKER_MUTANTS } from "./worker-mutants.js";

/** Each must be found within MUTANT_SEEDS seeds. */
export const MUTANTS: readonly Mutant[] = [
  ...STORE_MUTANTS,
  ...ELECTION_MUTANTS,
  ...MASTER_MUTANTS,
  ...WORKER_MUTANTS,
  ...SUPERVISION_MUTANTS,
  ...CHECKPOINT_MUTANTS,
];
export const MUTANT_SEEDS = 200;
