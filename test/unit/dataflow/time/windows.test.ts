import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Session, spanOf } from "../../../../src/dataflow/time/sessions.js";
import { dueAt, eachStartOf, type FixedWindows, lastStartOf, overAt } from "../../../../src/dataflow/time/windows.js";

const startsOf = (windows: FixedWindows, timeMs: number): number[] => {
  const starts: number[] = [];
  eachStartOf(windows, timeMs, (start) => starts.push(start));
  return starts;
};

describe("windows", () => {
  test("tumbling ones follow each other, also before 1970 and with an offset", () => {
    const hours = { kind: "tumbling", sizeMs: 100, offsetMs: 0 } as const;
    expect([0, 99, 100, -1].map((timeMs) => lastStartOf(hours, timeMs))).toEqual([0, 0, 100, -100]);
    const shifted = { ...hours, offsetMs: -30 };
    expect([0, 69, 70].map((timeMs) => lastStartOf(shifted, timeMs))).toEqual([-30, -30, 70]);
  });

  test("each time is in all sliding windows that hold it, and in no other", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: -60, max: 60 }),
        fc.integer({ min: -500, max: 500 }),
        (sizeMs, every, offsetMs, timeMs) => {
          const everyMs = Math.min(sizeMs, every);
          const expected: number[] = [];
          for (let i = -1_200; i <= 1_200; i++) {
            const start = offsetMs + i * everyMs;
            if (start <= timeMs && timeMs < start + sizeMs) expected.push(start);
          }
          expect(startsOf({ kind: "sliding", sizeMs, everyMs, offsetMs }, timeMs)).toEqual(expected.reverse());
        },
      ),
    );
  });

  test("a window is due when its last millisecond can't come any more, and over after the lateness", () => {
    expect([dueAt(100), overAt(100, 0), overAt(100, 50)]).toEqual([99, 99, 149]);
  });
});

describe("sessions", () => {
  const put = (sessions: Session[], timeMs: number, gapMs: number): void => {
    const { first, count, start, end } = spanOf(sessions, timeMs, gapMs);
    sessions.splice(first, count, { start, end });
  };

  test("a record between two joins them", () => {
    const sessions: Session[] = [];
    for (const timeMs of [0, 8, 4]) put(sessions, timeMs, 5);
    expect(sessions).toEqual([{ start: 0, end: 13 }]);
  });

  test("in whatever order the records come, the sessions are those of the sorted times", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { minLength: 1, maxLength: 30 }), fc.integer({ min: 1, max: 20 }), (times, gapMs) => {
        const sessions: Session[] = [];
        for (const timeMs of times) put(sessions, timeMs, gapMs);
        const expected: Session[] = [];
        for (const timeMs of [...times].sort((a, b) => a - b)) {
          const last = expected[expected.length - 1];
          if (last !== undefined && last.end >= timeMs) last.end = timeMs + gapMs;
          else expected.push({ start: timeMs, end: timeMs + gapMs });
        }
        expect(sessions).toEqual(expected);
      }),
    );
  });
});
