/** Prints what benchmarks measured: for people while it runs, as one JSON object at the end. */
import { figuresOf, formatFigures, gapOf, type Row } from "./figures.js";
import { load } from "./machine.js";

export interface Report {
  begin(name: string, summary: string): void;
  row(row: Row): void;
  note(text: string): void;
  wrong(what: string): void;
  /** True when every result was right. */
  end(): boolean;
}

interface Entry {
  readonly benchmark: string;
  readonly row: Row;
  readonly load: number;
}

export function createReport(options: { readonly json: boolean; readonly showTimes: boolean; readonly machine: string }): Report {
  const entries: Entry[] = [];
  const mistakes: string[] = [];
  let benchmark = "machine";
  const say = (text: string) => void (options.json ? process.stderr : process.stdout).write(`${text}\n`);
  return {
    begin: (name, summary) => {
      benchmark = name;
      say(`\n${name}: ${summary}`);
    },
    row: (row) => {
      const entry = { benchmark, row, load: load() };
      entries.push(entry);
      if (!options.showTimes) return;
      say(`  ${row.what.padEnd(58)} ${formatFigures(row)}  (n ${row.samples.length}, load ${entry.load})`);
      for (const aim of row.aims ?? []) say(`      ${gapOf(row, aim)}`);
      if (row.beside !== undefined) say(`      beside: ${row.beside}`);
    },
    note: (text) => say(`  ${text}`),
    wrong: (what) => {
      mistakes.push(`${benchmark}: ${what}`);
      say(`  WRONG RESULT: ${what}`);
    },
    end: () => {
      if (options.json) process.stdout.write(`${JSON.stringify(toJson(options.machine, entries, mistakes))}\n`);
      else say(mistakes.length === 0 ? "\nAll results were right." : `\n${mistakes.length} results were wrong.`);
      return mistakes.length === 0;
    },
  };
}

function toJson(machine: string, entries: readonly Entry[], mistakes: readonly string[]) {
  return {
    at: new Date().toISOString(),
    machine,
    rows: entries.map(({ benchmark, row, load: loadAverage }) => ({
      benchmark,
      what: row.what,
      unit: row.unit,
      ...figuresOf(row.samples),
      load: loadAverage,
      aims: (row.aims ?? []).map((aim) => ({ ...aim, gap: gapOf(row, aim) })),
      beside: row.beside ?? null,
    })),
    wrong: mistakes,
  };
}
