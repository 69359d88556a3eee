import { expect, test } from "vitest";
import { progressView } from "../../../src/cli/client/progress-view.js";
import type { ApplicationView } from "../../../src/wire/views.js";

function view(recordsIn: number, operators: number, changes: Partial<ApplicationView> = {}): ApplicationView {
  const progress = {
    recordsIn,
    recordsOut: 0,
    badRecords: 0,
    totalRecords: 1_000,
    operators: Array.from({ length: operators }, (_, index) => ({ uid: `op${index}`, kind: "map", in: recordsIn, out: recordsIn })),
    firstBadRecords: [],
    jobRestarts: 0,
    lastRestartReason: null,
    phase: "running",
  };
  return { id: "app-1-1", state: "running", attempt: 1, reason: null, progress, ...changes } as unknown as ApplicationView;
}

/** What a screen of one column of lines would show after all that was written. */
function screen(written: string): string[] {
  const lines = [""];
  let row = 0;
  for (const [piece] of written.replaceAll("\u001b", "~").matchAll(/~\[(\d*)([AJKm])|\n|\r|[^~\n\r]+/g)) {
    const control = /^~\[(\d*)([AJKm])$/.exec(piece);
    if (control?.[2] === "A") row -= Number(control[1]);
    else if (control?.[2] === "J") lines.splice(row, lines.length, "");
    else if (piece === "\n") lines[++row] ??= "";
    else if (piece !== "\r" && control === null) lines[row] += piece;
  }
  return lines;
}

function terminal(isTTY: boolean, rows = 24) {
  let text = "";
  const write = (part: string) => {
    text += part;
    return true;
  };
  const stream = { isTTY, rows, write } as unknown as NodeJS.WriteStream;
  return { stream, text: () => text };
}

test("a terminal shows a bar and every operator with its rate, in place, and is clean at the end", () => {
  let now = 0;
  const { stream, text } = terminal(true);
  const shown = progressView(stream, () => now);
  shown.show(view(0, 2));
  now = 1_000;
  shown.show(view(500, 2));
  expect(screen(text())).toEqual([
    "app-1-1 running ██████████░░░░░░░░░░  50 % 500 in, 0 out, 500/s (1.0 s)",
    "  op0 (map): 500 in, 500 out, 500/s",
    "  op1 (map): 500 in, 500 out, 500/s",
  ]);
  shown.note("looking for a master");
  shown.show(view(500, 2));
  expect(screen(text())).toHaveLength(4);
  shown.end();
  expect(screen(text()).slice(1)).toEqual([""]);
});

test("operators that do not fit are counted", () => {
  const { stream, text } = terminal(true, 6);
  progressView(stream, () => 0).show(view(1, 9));
  expect(screen(text()).slice(-2)).toEqual(["  op3 (map): 1 in, 1 out", "  and 5 more operators"]);
});

test("without a terminal there is a plain line now and then", () => {
  let now = 0;
  const { stream, text } = terminal(false);
  const shown = progressView(stream, () => now);
  for (; now < 5_000; now += 100) shown.show(view(now, 2));
  shown.end();
  expect(text().split("\n").slice(0, -1)).toHaveLength(3);
  expect(text()).not.toContain("\u001b");
});
