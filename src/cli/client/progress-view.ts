/**
 * Progress of an application that somebody waits for, on standard error: on a terminal a live line with a bar and below it one for each
 * operator, else a plain line when something changed and at most every PLAIN_INTERVAL_MS.
 */
import type { ApplicationView } from "../../wire/views.js";
import { formatCount, formatDuration, harmless, styleFor, WIDTH } from "../terminal.js";

const PLAIN_INTERVAL_MS = 2000;
const BAR_WIDTH = 20;
const RATE_SMOOTHING = 0.3;
const MIN_MEASURE_MS = 200;
/** Operators shown while they run; all of them are listed at the end. */
const MAX_OPERATOR_LINES = 12;

export interface ProgressView {
  show(view: ApplicationView): void;
  /** A sentence above the live line (what is being looked for, a restart). */
  note(text: string): void;
  /** Leaves the terminal clean. */
  end(): void;
}

export function progressView(stream: NodeJS.WriteStream, now: () => number): ProgressView {
  const live = stream.isTTY === true;
  const style = styleFor(stream);
  const startedAt = now();
  const total = rateMeter(now);
  const operators = new Map<string, ReturnType<typeof rateMeter>>();
  let drawnLines = 0;
  let lastLine = "";
  let lastPrintedAt = Number.NEGATIVE_INFINITY;
  let lastState = "";
  let lastRestored = "";
  let seenRecords: number | null = null;

  const headOf = (view: ApplicationView): string => {
    const { progress } = view;
    const head = `${view.id} ${view.state}`;
    const tail = formatDuration(now() - startedAt);
    if (progress === null) return `${head}${view.reason === null ? "" : `: ${harmless(view.reason.message)}`} (${tail})`;
    const counts = `${formatCount(progress.recordsIn)} in, ${formatCount(progress.recordsOut)} out${speedOf(total(progress.recordsIn))}`;
    const retries = progress.jobRestarts > 0 ? `, try ${progress.jobRestarts + 1}` : "";
    if (progress.totalRecords === null || progress.totalRecords === 0) return `${head} ${counts}${retries} (${tail})`;
    const share = Math.min(1, progress.recordsIn / progress.totalRecords);
    const bar = "█".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "░");
    return `${head} ${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${counts}${retries} (${tail})`;
  };

  const operatorsOf = (view: ApplicationView): readonly string[] => {
    const all = view.progress?.operators ?? [];
    const room = Math.max(0, Math.min(MAX_OPERATOR_LINES, (stream.rows ?? 24) - 2));
    const lines = all.slice(0, room).map((operator) => {
      const meter = operators.get(operator.uid) ?? rateMeter(now);
      operators.set(operator.uid, meter);
      return `${operatorLine(operator)}${speedOf(meter(operator.in))}`;
    });
    return all.length > room ? [...lines, `  and ${all.length - room} more operators`] : lines;
  };

  const clear = () => {
    if (live && drawnLines > 0) stream.write(`\r${drawnLines > 1 ? `\u001b[${drawnLines - 1}A` : ""}\u001b[J`);
    drawnLines = 0;
    lastLine = "";
  };

  const draw = (lines: readonly string[]) => {
    clear();
    stream.write(lines.map((line) => (line.length < WIDTH ? line : `${line.slice(0, WIDTH - 2)}…`)).join("\n"));
    drawnLines = lines.length;
  };

  const print = (view: ApplicationView) => {
    const line = headOf(view);
    const state = `${view.state} ${view.attempt} ${view.progress?.jobRestarts ?? 0}`;
    if (state === lastState && now() - lastPrintedAt < PLAIN_INTERVAL_MS) return;
    if (line === lastLine) return;
    lastState = state;
    lastPrintedAt = now();
    lastLine = line;
    stream.write(`${line}\n`);
  };

  const note = (text: string) => {
    clear();
    stream.write(`${style.dim(text)}\n`);
  };

  /** Counters that go back are never silent. */
  const tellRestored = (view: ApplicationView) => {
    const { progress } = view;
    const restored = progress?.restored;
    const name = restored?.try ?? "";
    if (
      restored !== undefined &&
      progress !== null &&
      name !== lastRestored &&
      progress.phase !== "restarting" &&
      progress.phase !== "waiting"
    ) {
      lastRestored = name;
      // A driver that took over can't know what the one before had read; whoever has watched does.
      const recordsBack = restored.recordsBack ?? (seenRecords === null ? null : Math.max(0, seenRecords - progress.recordsIn));
      note(restoredText({ ...restored, recordsBack }));
    }
    seenRecords = progress?.recordsIn ?? seenRecords;
  };

  return {
    show: (view) => {
      tellRestored(view);
      if (live) draw([headOf(view), ...operatorsOf(view)]);
      else print(view);
    },
    note,
    end: clear,
  };
}

/** Records a second, smoothed; null until two looks were far enough apart. */
function rateMeter(now: () => number): (records: number) => number | null {
  let rate: number | null = null;
  let last: { readonly at: number; readonly records: number } | null = null;
  return (records) => {
    const at = now();
    if (last !== null && at - last.at >= MIN_MEASURE_MS) {
      const current = Math.max(0, ((records - last.records) / (at - last.at)) * 1000);
      rate = rate === null ? current : rate + RATE_SMOOTHING * (current - rate);
      last = { at, records };
    }
    last ??= { at, records };
    return rate;
  };
}

const speedOf = (rate: number | null): string => (rate === null ? "" : `, ${formatCount(rate)}/s`);

type Operator = NonNullable<ApplicationView["progress"]>["operators"][number];
const operatorLine = ({ uid, kind, in: taken, out }: Operator): string =>
  `  ${uid} (${kind}): ${formatCount(taken)} in, ${formatCount(out)} out`;

export function restoredText({
  checkpoint,
  recordsBack,
  slice,
}: {
  readonly checkpoint: number;
  readonly recordsBack: number | null;
  /** Absent: of all. */
  readonly slice?: number | undefined;
}): string {
  const whose = slice === undefined ? "" : ` for slice ${slice}`;
  const back = recordsBack === null ? "" : `, ${formatCount(recordsBack)} records back`;
  return `restored checkpoint ${checkpoint}${whose}${back}`;
}

/** Counts per operator, for a summary after the end. */
export function operatorLines(view: ApplicationView): readonly string[] {
  return (view.progress?.operators ?? []).map(operatorLine);
}
