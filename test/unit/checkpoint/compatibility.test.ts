import { describe, expect, test } from "vitest";
import { checkCompatible, compareOperators } from "../../../src/checkpoint/compatibility.js";
import { jobOf, operatorsOf, savepointOf } from "./savepoints.js";

const check =
  (job: ReturnType<typeof jobOf>, allowDropped = false) =>
  () =>
    checkCompatible(savepointOf(2), job, "/sp", allowDropped);

describe("a job that begins from a savepoint", () => {
  test("shows which of its operators go on, which are new, and which of the savepoint are dropped", () => {
    const kinds = { in: "source", "map-1": "map", tally: "process", out: "sink" };
    expect(compareOperators(savepointOf(2), jobOf(2, { operators: operatorsOf(2, kinds) }))).toEqual([
      { uid: "in", kind: "source", change: "restored" },
      { uid: "tally", kind: "process", change: "new" },
      { uid: "out", kind: "sink", change: "restored" },
      { uid: "count", kind: "process", change: "dropped" },
    ]);
  });

  test("may have another parallelism, and operators more", () => {
    expect(check(jobOf(8))).not.toThrow();
    expect(check(jobOf(2, { operators: [...operatorsOf(2), ...operatorsOf(2, { audit: "sink" })] }))).not.toThrow();
  });

  test("is refused by the name of what differs: another job, other key groups, another kind of operator, state that nobody takes", () => {
    expect(check(jobOf(2, { jobId: "other" }))).toThrow("is of job 'counts', and this is 'other'");
    expect(check(jobOf(2, { maxParallelism: 256 }))).toThrow("in 128 key groups, and this job wants 256");
    const kinds = { in: "source", count: "aggregate", out: "sink" };
    expect(check(jobOf(2, { operators: operatorsOf(2, kinds) }))).toThrow(
      "operator 'count' as process, and in this job it is aggregate",
    );
    const without = jobOf(2, { operators: operatorsOf(2, { in: "source", out: "sink" }) });
    expect(check(without)).toThrow("holds state of 'count', which this job does not have");
    expect(check(without, true)).not.toThrow();
  });
});
