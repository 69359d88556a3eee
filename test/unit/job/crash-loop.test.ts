import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CRASH_LOOP_FAILURES, crashLoop, isLoop, type LoopNotes, noteLoop } from "../../../src/job/crash-loop.js";
import { countedFailures, notesOf } from "../../../src/job/failure-notes.js";
import { failureOf } from "../../../src/job/failures.js";

const failure = (record: string | null, operator = "count", message = "no") =>
  failureOf({ code: "OPERATOR_FAILED", message, hint: null, details: { operator, record } }, "app-1-1.d1.e1");

function seen(failures: readonly ReturnType<typeof failure>[], gapMs = 1_000): LoopNotes | null {
  return failures.reduce<LoopNotes | null>((notes, one, index) => noteLoop(notes, one, index * gapMs), null);
}

describe("a crash loop", () => {
  test("is the same operator failing at the same record so often in a row, and names both", () => {
    const notes = seen(new Array(CRASH_LOOP_FAILURES).fill(failure('{"n":500}')));
    expect(isLoop(notes)).toBe(true);
    const error = notes === null ? null : crashLoop(notes, failure('{"n":500}').error);
    expect(error?.code).toBe("CRASH_LOOP");
    expect(error?.message).toBe(`The job failed 3 times in the same way in operator 'count', at the record {"n":500}: no`);
    expect(error?.details).toMatchObject({ operator: "count", record: '{"n":500}' });
  });

  test("is not one when another record, another operator or a long time comes in between", () => {
    const [one, two] = [failure("1"), failure("2")];
    expect(isLoop(seen([one, one, two, one]))).toBe(false);
    expect(isLoop(seen([one, one, failure("1", "other")]))).toBe(false);
    expect(isLoop(seen([one, one, one], 600_000))).toBe(false);
  });

  test("is not what fails at no record, such as a storage that is away; it begins the count anew", () => {
    const away = failureOf({ code: "DISK_FAILED", message: "input/output error", hint: null }, null);
    expect(isLoop(seen(new Array(CRASH_LOOP_FAILURES + 2).fill(away)))).toBe(false);
    expect(isLoop(seen(new Array(CRASH_LOOP_FAILURES + 2).fill(failure(null))))).toBe(false);
    expect(isLoop(seen([failure("1"), failure("1"), away, failure("1")]))).toBe(false);
  });

  test("what is lost counts for nothing", () => {
    const lost = failureOf({ code: "EXECUTOR_LOST", message: "gone", hint: null }, null);
    expect(seen([failure("1"), failure("1"), lost as never])?.times).toBe(2);
  });
});

describe("what was counted", () => {
  test("is the same for the next driver, whatever its clock shows", () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.nat(1_000_000), fc.nat(100_000), (now, later, ago) => {
        const counted = {
          lost: { row: 3, lastFailureAt: now - ago, recent: [now - ago] },
          user: { row: 0, lastFailureAt: null, recent: [] },
          loop: { signature: "s", times: 2, lastAt: now - ago },
        };
        const read = countedFailures(notesOf(counted, { now, wall: 5_000_000 }), { now: later, wall: 5_000_500 });
        expect(read.lost).toEqual({ row: 3, lastFailureAt: later - ago - 500, recent: [later - ago - 500] });
        expect(read.user).toEqual(counted.user);
        expect(read.loop).toEqual({ signature: "s", times: 2, lastAt: later - ago - 500 });
      }),
    );
  });

  test("does not lie in the future when a calendar was set back", () => {
    const notes = notesOf(
      { lost: { row: 1, lastFailureAt: 100, recent: [] }, user: { row: 0, lastFailureAt: null, recent: [] }, loop: null },
      { now: 100, wall: 9_000 },
    );
    expect(countedFailures(notes, { now: 50, wall: 1_000 }).lost.lastFailureAt).toBe(50);
  });
});
