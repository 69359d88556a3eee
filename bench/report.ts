/** Prints what benchmarks measured: for people while it runs, and at the end a table to paste into docs/benchmarks.md and one JSON object. */
import { writeFileSync } from "node:fs";
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

export interface ReportOptions {
  /** The file, STANDARD_OUTPUT, or null: none. */
  readonly json: string | null;
  readonly showTimes: boolean;
  readonly machine: string;
  readonly commit: string;
  readonly command: string;
}

export const STANDARD_OUTPUT = "-";
/** Up to this load average a machine of two cores counts as quiet: the benchmarks themselves make one of 2 to 4. */
const QUIET_LOAD = 4;
/** A table is of use where several benchmarks were run. */
const TABLE_FROM_BENCHMARKS = 2;

export function createReport(options: ReportOptions): Report {
  const entries: Entry[] = [];
  const mistakes: string[] = [];
  const startedAt = new Date();
  let benchmark = "machine";
  const isOnStandardOutput = options.json === STANDARD_OUTPUT;
  const say = (text: string) => void (isOnStandardOutput ? process.stderr : process.stdout).write(`${text}\n`);
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
      const measured = new Set(entries.map((entry) => entry.benchmark));
      measured.delete("machine");
      if (options.showTimes && measured.size >= TABLE_FROM_BENCHMARKS) say(`\n${tableOf(options, startedAt, entries)}`);
      if (options.json !== null) {
        const text = `${JSON.stringify(toJson(options, startedAt, entries, mistakes))}\n`;
        if (isOnStandardOutput) process.stdout.write(text);
        else writeFileSync(options.json, text);
      }
      say(mistakes.length === 0 ? "\nAll results were right." : `\n${mistakes.length} results were wrong.`);
      return mistakes.length === 0;
    },
  };
}

const isQuiet = (entries: readonly Entry[]): boolean => entries.every(({ load: loadAverage }) => loadAverage <= QUIET_LOAD);

/** In Markdown, with everything that a figure has to be read with. */
function tableOf({ machine, commit, command }: ReportOptions, startedAt: Date, entries: readonly Entry[]): string {
  const loads = entries.map(({ load: loadAverage }) => loadAverage);
  const how = isQuiet(entries) ? "quiet machine" : "BUSY machine";
  const lines = entries.map(({ benchmark, row, load: loadAverage }) => {
    const aims = (row.aims ?? []).map((aim) => gapOf(row, aim).replace(/^aim /, ""));
    const cells = [benchmark, row.what.trim(), formatFigures(row), `${row.samples.length}`, `${loadAverage}`, aims.join("; ")];
    return `| ${cells.map((cell) => cell.replaceAll("|", "/")).join(" | ")} |`;
  });
  return [
    `\`${command}\`, commit ${commit}, ${startedAt.toISOString().slice(0, 16)} UTC, ${machine}; ${how}, load ${Math.min(...loads)} to ${Math.max(...loads)}.`,
    "",
    "| benchmark | what | min / median / (p99) / max | n | load | aim |",
    "|---|---|---|---|---|---|",
    ...lines,
  ].join("\n");
}

function toJson(
  { machine, commit, command }: ReportOptions,
  startedAt: Date,
  entries: readonly Entry[],
  mistakes: readonly string[],
) {
  return {
    at: startedAt.toISOString(),
    seconds: Math.round((Date.now() - startedAt.getTime()) / 1_000),
    commit,
    command,
    machine,
    quiet: isQuiet(entries),
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
