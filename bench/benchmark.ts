/** One benchmark: a file of this folder that measures and returns rows. It asserts results, never times. */
import type { Row } from "./figures.js";

/** full: what docs/benchmarks.md shows. quick: fewer runs. ci: a short fixed part, whose results are checked and whose times say nothing. */
export type Size = "full" | "quick" | "ci";

export interface Context {
  readonly size: Size;
  /** The repository. */
  readonly root: string;
  /** Inputs and results; kept between runs, not in git. */
  readonly cache: string;
  readonly program: string;
  readonly signal: AbortSignal;
  /** How often the user wants a fault to be repeated; null: as the size says. */
  readonly runs: number | null;
  /** A number for each size. */
  pick(full: number, quick: number, ci: number): number;
  /** Shows at once what was measured. */
  row(row: Row): void;
  /** Progress, for people. */
  note(text: string): void;
  /** The result is not what it has to be; the run goes on and fails at its end. */
  wrong(what: string): void;
}

export interface Benchmark {
  readonly name: string;
  readonly summary: string;
  run(context: Context): Promise<void>;
}
