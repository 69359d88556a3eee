import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CheckpointCourse, type CourseSettings, RESERVED_IDS } from "../../../src/checkpoint/course.js";

const SETTINGS = { intervalMs: 1_000, minPauseMs: 200, timeoutMs: 5_000, toleratedFailures: null };

function ready(settings: Partial<CourseSettings> = {}, nextId = 1) {
  const course = new CheckpointCourse<string>({ ...SETTINGS, ...settings }, nextId);
  course.reserve();
  course.reservedNow();
  course.tryBegan(0);
  return course;
}

/** A whole checkpoint of two members, at this instant. */
function take(course: CheckpointCourse<string>, now: number): number {
  const id = course.begin(now, ["a", "b"]);
  expect(course.acknowledge(id, "a", "of a", 0)).toBe("more");
  expect(course.acknowledge(id, "b", "of b", 0)).toBe("complete");
  course.collect();
  course.stored(id);
  course.published();
  course.committed(now);
  return id;
}

describe("the course of checkpoints", () => {
  test("nothing begins before ids are reserved", () => {
    const course = new CheckpointCourse<string>(SETTINGS, 7);
    course.tryBegan(0);
    expect(course.isDue(10_000)).toBe(false);
    expect(course.reserve()).toBe(7 + RESERVED_IDS);
    expect(course.reserve()).toBeNull();
    expect(course.isDue(10_000)).toBe(false);
    course.reservedNow();
    expect(course.isDue(10_000)).toBe(true);
    expect(course.begin(10_000, ["a"])).toBe(7);
  });

  test("one is due an interval after the try began, and an interval after the last one began", () => {
    const course = ready();
    expect(course.nextDeadline()).toBe(1_000);
    expect(course.isDue(999)).toBe(false);
    expect(course.isDue(1_000)).toBe(true);
    take(course, 1_000);
    expect(course.nextDeadline()).toBe(2_000);
  });

  test("a pause is kept after a checkpoint that took longer than the interval", () => {
    const course = ready();
    const id = course.begin(1_000, ["a"]);
    course.acknowledge(id, "a", "x", 0);
    course.collect();
    course.stored(id);
    course.published();
    expect(course.isDue(9_000)).toBe(false);
    course.committed(4_000);
    expect(course.nextDeadline()).toBe(4_200);
  });

  test("it is complete when every member has acknowledged, each once; others and other ids count nothing", () => {
    const course = ready();
    const id = course.begin(1_000, ["a", "b"]);
    expect(course.isAwaited("a")).toBe(true);
    expect(course.acknowledge(id, "a", "first", 0)).toBe("more");
    expect(course.isAwaited("a")).toBe(false);
    expect(course.acknowledge(id, "a", "again", 0)).toBe("stale");
    expect(course.acknowledge(id, "c", "of nobody", 0)).toBe("stale");
    expect(course.acknowledge(id + 1, "b", "too early", 0)).toBe("stale");
    expect(course.acknowledge(id, "b", "last", 0)).toBe("complete");
    expect([...course.collect()]).toEqual([
      ["a", "first"],
      ["b", "last"],
    ]);
  });

  test("one that takes too long is given up, and what comes of it later counts nothing", () => {
    const course = ready();
    const id = course.begin(1_000, ["a", "b"]);
    course.acknowledge(id, "a", "x", 0);
    expect(course.nextDeadline()).toBe(6_000);
    expect(course.isOverdue(5_999)).toBe(false);
    expect(course.isOverdue(6_000)).toBe(true);
    expect(course.failed(6_000).isTolerated).toBe(true);
    expect(course.acknowledge(id, "b", "late", 0)).toBe("stale");
    expect(course.stored(id)).toBeNull();
    expect(course.begin(6_200, ["a", "b"])).toBe(id + 1);
  });

  test("a try that ends takes its checkpoint with it, but not one whose pointer was asked for", () => {
    const taking = ready();
    const id = taking.begin(1_000, ["a"]);
    expect(taking.tryEnded()).toBe(id);
    expect(taking.isSettled).toBe(true);
    const publishing = ready();
    const other = publishing.begin(1_000, ["a"]);
    publishing.acknowledge(other, "a", "x", 0);
    publishing.collect();
    publishing.stored(other);
    expect(publishing.tryEnded()).toBeNull();
    expect(publishing.isSettled).toBe(false);
    publishing.published();
    expect(publishing.isSettled).toBe(false);
    publishing.committed(2_000);
    expect(publishing.isSettled).toBe(true);
  });

  test("failures in a row are tolerated up to their limit, and a completed one starts over", () => {
    const course = ready({ toleratedFailures: 1 });
    course.begin(1_000, ["a"]);
    expect(course.failed(1_100).isTolerated).toBe(true);
    take(course, 2_000);
    course.begin(3_000, ["a"]);
    expect(course.failed(3_100).isTolerated).toBe(true);
    course.begin(4_000, ["a"]);
    expect(course.failed(4_100).isTolerated).toBe(false);
  });

  test("ids that were reserved are used up by failures, then others are reserved", () => {
    const course = ready();
    let now = 0;
    for (let used = 0; used < RESERVED_IDS; used++) {
      now += 1_000;
      expect(course.begin(now, ["a"])).toBe(1 + used);
      course.failed(now);
    }
    expect(course.isDue(now + 10_000)).toBe(false);
    expect(course.reserve()).toBe(1 + 2 * RESERVED_IDS);
    course.reservedNow();
    expect(course.begin(now + 10_000, ["a"])).toBe(1 + RESERVED_IDS);
  });

  test("the pointer reserves further ids, so checkpoints that succeed never ask for them by themselves", () => {
    const course = ready();
    for (let number = 1; number <= 3 * RESERVED_IDS; number++) {
      expect(take(course, number * 1_000)).toBe(number);
      expect(course.reserve()).toBeNull();
    }
  });

  test("whatever happens, ids only grow, stay below what was reserved, and one at a time is under way", () => {
    const action = fc.constantFrom("begin", "ack", "store", "publish", "refuse", "commit", "fail", "end", "start", "reserve");
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), fc.integer({ min: 1, max: 1_000 }), (actions, first) => {
        const course = new CheckpointCourse<string>(SETTINGS, first);
        let recorded = first;
        let asked = 0;
        let last = first - 1;
        let now = 0;
        for (const what of actions) {
          now += 500;
          if (what === "start") course.tryBegan(now);
          else if (what === "end") course.tryEnded();
          else if (what === "reserve") {
            asked = course.reserve() ?? asked;
            if (course.kind === "reserving") {
              recorded = Math.max(recorded, asked);
              course.reservedNow();
            }
          } else if (what === "begin" && course.isDue(now)) {
            const id = course.begin(now, ["a"]);
            expect(id).toBeGreaterThan(last);
            expect(id).toBeLessThan(recorded);
            last = id;
          } else if (what === "ack" && course.kind === "taking" && course.acknowledge(last, "a", "x", 0) === "complete")
            course.collect();
          else if (what === "store" && course.kind === "storing") recorded = Math.max(recorded, course.stored(last)?.nextId ?? 0);
          else if (what === "publish" && course.kind === "publishing") course.published();
          else if (what === "commit") course.committed(now);
          else if ((what === "fail" || what === "refuse") && course.kind !== "committing") course.failed(now);
        }
      }),
    );
  });
});
