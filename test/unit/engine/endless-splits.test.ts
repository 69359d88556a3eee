/** Splits of an endless source: all of them are read at the same time, whatever the number of subtasks. */
import { describe, expect, test } from "vitest";
import { type JobBuilder, type SourceConnector, sinks, sources, windows } from "../../../src/api/index.js";
import { runThroughCrashes } from "./checkpoint-run.js";
import { sorted } from "./support.js";

interface Row {
  readonly split: string;
  readonly n: number;
}

/**
 * So many splits of a source that says that it never ends; each ends all the same after `count` rows, so that the test does. A row of a split is given only when every
 * other one has given as many but for `ahead`: whoever reads one to its end before it begins another one waits for ever.
 */
function endless(count: number, splitCount: number, ahead: number): SourceConnector<Row> {
  const given = new Map<string, number>();
  const waiting = new Set<() => void>();
  const mayGive = (split: string) => [...given].every(([other, rows]) => other === split || rows + ahead > (given.get(split) ?? 0));
  return {
    bounded: false,
    enumerate: async () => ({
      splits: Array.from({ length: splitCount }, (_, i) => ({ id: `s${i}`, sizeHint: 1 })),
      totalRecords: null,
      totalBytes: null,
    }),
    open: async (split, position, { signal }) => {
      let at = typeof position === "number" ? position : 0;
      if (given.size === splitCount) given.clear();
      given.set(split.id, at);
      const give = (out: Row[]): number => {
        if (at >= count) return 0;
        out[0] = { split: split.id, n: at++ };
        given.set(split.id, at >= count ? Number.POSITIVE_INFINITY : at);
        for (const wake of waiting) wake();
        return 1;
      };
      const waits = async (out: Row[]) => {
        while (given.size < splitCount || !mayGive(split.id)) {
          signal.throwIfAborted();
          await new Promise<void>((resolve) => {
            const wake = () => {
              waiting.delete(wake);
              signal.removeEventListener("abort", wake);
              resolve();
            };
            waiting.add(wake);
            signal.addEventListener("abort", wake, { once: true });
          });
        }
        return give(out);
      };
      for (const wake of waiting) wake();
      return {
        next: (out) => (at >= count || (given.size === splitCount && mayGive(split.id)) ? give(out) : waits(out)),
        position: () => at,
        progress: () => 0,
        close: async () => undefined,
      };
    },
  };
}

const expected = (count: number, splitCount: number): Row[] =>
  Array.from({ length: splitCount }, (_, i) => Array.from({ length: count }, (_, n) => ({ split: `s${i}`, n }))).flat();

describe("splits of an endless source", () => {
  test.each([
    [1, 5],
    [2, 5],
    [3, 7],
  ])(
    "%i subtasks read all %i of them together, and go on in each from where a checkpoint left it",
    async (parallelism, splitCount) => {
      const count = 60;
      const { records, completed } = await runThroughCrashes(
        (job: JobBuilder, tick) => {
          const source = endless(count, splitCount, 3);
          const rows = job.from("rows", sources.custom(source)).map((row) => {
            tick();
            return row;
          });
          rows.to("out", sinks.ndjson("/unused"));
        },
        { parallelism, checkpointsAt: [20, 31, 50], crashAfter: 7 },
      );
      expect(completed).toBeGreaterThanOrEqual(3);
      expect(sorted(records)).toEqual(sorted(expected(count, splitCount)));
    },
  );

  test("hold event time at the least of them: nothing is late though their times lie far apart", async () => {
    const count = 60;
    // The second split happens a while after the first, and both are read by one subtask, record by record.
    const time = ({ split, n }: Row) => n * 10 + (split === "s0" ? 0 : 300);
    const { records } = await runThroughCrashes(
      (job: JobBuilder, tick) => {
        const windowed = job
          .from("rows", sources.custom(endless(count, 2, 3)), { eventTime: { time, watermarkEvery: 0 } })
          .map((row) => {
            tick();
            return row;
          })
          .keyBy(({ split }) => split)
          .window("w", { window: windows.tumbling(100), time, init: () => 0, add: (sum) => sum + 1 });
        const late = windowed.side("late").map((row): unknown => ({ late: row }));
        windowed
          .map((result): unknown => result)
          .union(late)
          .to("out", sinks.ndjson("/unused"));
      },
      { parallelism: 1, checkpointsAt: [25, 40], crashAfter: 5 },
    );
    const windowsOf = (key: string, from: number) =>
      Array.from({ length: 6 }, (_, i) => ({ key, window: { start: from + i * 100, end: from + (i + 1) * 100 }, value: 10 }));
    expect(sorted(records)).toEqual(sorted([...windowsOf("s0", 0), ...windowsOf("s1", 300)]));
  });
});
