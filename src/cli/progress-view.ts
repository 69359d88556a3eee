/**
 * Progress of an application that somebody waits for, on standard error: one live line with a bar on a terminal, else a plain line when
 * something changed and at most every PLAIN_INTERVAL_MS.
 */
import type { ApplicationView } from "../wire/views.js";
import { formatCount, formatDuration, harmless, styleFor, WIDTH } from "./terminal.js";

const PLAIN_INTERVAL_MS = 2000;
const BAR_WIDTH = 20;
const RATE_SMOOTHING = 0.3;

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
  let rate: number | null = null;
  let last: { readonly at: number; readonly records: number } | null = null;
  let lastLine = "";
  let lastPrintedAt = Number.NEGATIVE_INFINITY;
  let lastState = "";

  const measure = (records: number) => {
    const at = now();
    if (last !== null && at - last.at >= 200) {
      const current = Math.max(0, ((records - last.records) / (at - last.at)) * 1000);
      rate = rate === null ? current : rate + RATE_SMOOTHING * (current - rate);
      last = { at, records };
    }
    last ??= { at, records };
  };

  const lineOf = (view: ApplicationView): string => {
    const { progress } = view;
    const head = `${view.id} ${view.state}`;
    const tail = formatDuration(now() - startedAt);
    if (progress === null) return `${head}${view.reason === null ? "" : `: ${harmless(view.reason.message)}`} (${tail})`;
    measure(progress.recordsIn);
    const speed = rate === null ? "" : `, ${formatCount(rate)}/s`;
    const counts = `${formatCount(progress.recordsIn)} in, ${formatCount(progress.recordsOut)} out${speed}`;
    const retries = progress.jobRestarts > 0 ? `, try ${progress.jobRestarts + 1}` : "";
    if (progress.totalRecords === null || progress.totalRecords === 0) return `${head} ${counts}${retries} (${tail})`;
    const share = Math.min(1, progress.recordsIn / progress.totalRecords);
    const bar = "█".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "░");
    return `${head} ${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${counts}${retries} (${tail})`;
  };

  const clear = () => {
    if (live && lastLine !== "") stream.write("\r\u001b[K");
    lastLine = "";
  };

  return {
    show: (view) => {
      const line = lineOf(view);
      if (live) {
        const short = line.length < WIDTH ? line : `${line.slice(0, WIDTH - 2)}…`;
        stream.write(`\r\u001b[K${short}`);
        lastLine = short;
        return;
      }
      const state = `${view.state} ${view.attempt} ${view.progress?.jobRestarts ?? 0}`;
      if (state === lastState && now() - lastPrintedAt < PLAIN_INTERVAL_MS) return;
      if (line === lastLine) return;
      lastState = state;
      lastPrintedAt = now();
      lastLine = line;
      stream.write(`${line}\n`);
    },
    note: (text) => {
      clear();
      stream.write(`${style.dim(text)}\n`);
    },
    end: clear,
  };
}

/** Rates per operator, for a summary after the end. */
export function operatorLines(view: ApplicationView): readonly string[] {
  return (view.progress?.operators ?? []).map(
    (operator) => `  ${operator.uid} (${operator.kind}): ${formatCount(operator.in)} in, ${formatCount(operator.out)} out`,
  );
}
