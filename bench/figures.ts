/** What a benchmark reports: rows of samples, each beside its aim and beside the limit or peer of performance.md that it is held against. */

export type Unit = "processes" | "µs" | "ms" | "s" | "MB" | "M records/s" | "1/s" | "records/s" | "%";

export interface Aim {
  readonly of: "median" | "p99" | "max";
  readonly value: number;
}

export interface Row {
  readonly what: string;
  readonly unit: Unit;
  readonly samples: readonly number[];
  /** None: the row is a part of another, or a peer. */
  readonly aims?: readonly Aim[];
  /** The limit or the peer, with where it stands. */
  readonly beside?: string;
}

export interface Figures {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

/** Fewer samples have no 99th percentile worth the name. */
const P99_SAMPLES = 30;

export function figuresOf(samples: readonly number[]): Figures {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { count: sorted.length, min: at(0), median: at(0.5), p99: at(0.99), max: at(1) };
}

const lowerIsBetter = (unit: Unit): boolean =>
  unit === "processes" || unit === "µs" || unit === "ms" || unit === "s" || unit === "MB" || unit === "%";

/** A sentence: by how much the aim is met or missed. */
export function gapOf(row: Row, aim: Aim): string {
  const measured = figuresOf(row.samples)[aim.of];
  const lower = lowerIsBetter(row.unit);
  const name = `aim ${aim.of} ${lower ? "<=" : ">="} ${format(aim.value)} ${row.unit}`;
  if (aim.value === 0) return measured === 0 ? `${name}: met` : `${name}: MISSED (${format(measured)})`;
  const ratio = lower ? measured / aim.value : aim.value / measured;
  if (!Number.isFinite(ratio)) return `${name}: not measured`;
  return ratio <= 1 ? `${name}: met (${percent(ratio)} of it)` : `${name}: MISSED, ${ratio.toFixed(2)} times the aim`;
}

const percent = (ratio: number): string => `${Math.round(ratio * 100)} %`;

export function format(value: number): string {
  if (Number.isNaN(value)) return "-";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** `min / median / max`, with p99 where there are samples enough for one. */
export function formatFigures(row: Row): string {
  const { count, min, median, p99, max } = figuresOf(row.samples);
  if (count === 0) return "not measured";
  if (count === 1) return `${format(median)} ${row.unit}`;
  const tail = count >= P99_SAMPLES ? ` / p99 ${format(p99)}` : "";
  return `${format(min)} / ${format(median)}${tail} / ${format(max)} ${row.unit}`;
}
