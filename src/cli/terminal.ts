/**
 * What commands print: tables that fit 80 columns, sizes, durations, colours only on a terminal. Text that came from users or logs is
 * made harmless first (control characters shown, not obeyed).
 */
export const WIDTH = 80;

export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
}

const plain = (text: string): string => text;
const wrap = (open: number, close: number) => (text: string) => `\u001b[${open}m${text}\u001b[${close}m`;

/** Colours only when the stream is a terminal and NO_COLOR is not set (https://no-color.org). */
export function styleFor(stream: { readonly isTTY?: boolean | undefined }): Style {
  const on = stream.isTTY === true && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb";
  if (!on) return { bold: plain, dim: plain, red: plain, green: plain, yellow: plain };
  return { bold: wrap(1, 22), dim: wrap(2, 22), red: wrap(31, 39), green: wrap(32, 39), yellow: wrap(33, 39) };
}

export function styleOfState(style: Style, state: string): (text: string) => string {
  if (["running", "finished", "alive", "ALIVE"].includes(state)) return style.green;
  if (["failed", "lost", "gone"].includes(state)) return style.red;
  if (["restarting", "waiting", "parked", "suspect", "draining", "RECOVERING", "STANDBY"].includes(state)) return style.yellow;
  return plain;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are exactly the characters that must not reach a terminal
const HARMFUL = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Control characters as \xNN, so that a job's name or a log line cannot drive the terminal. */
export function harmless(text: string): string {
  return text.replace(HARMFUL, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string;
  readonly align?: "left" | "right";
  /** The column that gives way when the line would be longer than WIDTH. */
  readonly shrink?: boolean;
  readonly paint?: (row: Row, text: string) => string;
}

const cut = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`);

export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], style: Style): string {
  const cells = rows.map((row) => columns.map((column) => harmless(column.of(row))));
  const widths = columns.map((column, index) => Math.max(column.title.length, ...cells.map((line) => (line[index] ?? "").length)));
  const over = widths.reduce((sum, width) => sum + width + 2, -2) - WIDTH;
  if (over > 0) {
    const index = columns.findIndex((column) => column.shrink === true);
    const width = widths[index];
    if (width !== undefined) widths[index] = Math.max(8, width - over);
  }
  const pad = (text: string, index: number) => {
    const width = widths[index] ?? 0;
    const short = cut(text, width);
    return columns[index]?.align === "right" ? short.padStart(width) : short.padEnd(width);
  };
  const head = style.bold(
    columns
      .map((column, index) => pad(column.title, index))
      .join("  ")
      .trimEnd(),
  );
  const body = rows.map((row, line) =>
    columns
      .map((column, index) => {
        const text = pad(cells[line]?.[index] ?? "", index);
        return column.paint === undefined ? text : column.paint(row, text);
      })
      .join("  ")
      .trimEnd(),
  );
  return [head, ...body].join("\n");
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  const seconds = durationMs / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function formatCount(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(?:\d{3})+$)/g, ",");
}

export function formatAge(iso: string | null, wallNow: number): string {
  return iso === null ? "-" : formatDuration(Math.max(0, wallNow - Date.parse(iso)));
}
