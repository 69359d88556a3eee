import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../../src/base/json.js";
import { checkCompatible, compareOperators, type PlacedOperator, placedOperators } from "../../../src/checkpoint/compatibility.js";
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

  test("is refused by the name of a state that became one of another kind; one that is new, or gone, or has another codec is not", () => {
    const declaring = (config: JsonValue): PlacedOperator[] =>
      placedOperators([
        {
          ...{ id: "count", parallelism: 2, fused: [], inputs: [], outputs: [] },
          operators: [
            { uid: "count", kind: "process", parallelism: null, config },
            { uid: "map-1", kind: "map", parallelism: null, config: null },
          ],
        },
      ]);
    const savepoint = {
      ...savepointOf(2),
      operators: [
        ...operatorsOf(2, { in: "source", out: "sink" }),
        ...declaring({ state: { seen: "value", all: { kind: "list", version: 1 } } }),
      ],
    };
    const begin = (state: JsonValue) => () =>
      checkCompatible(
        savepoint,
        jobOf(2, { operators: [...operatorsOf(2, { in: "source", out: "sink" }), ...declaring({ state })] }),
        "/sp",
        false,
      );
    expect(begin({ seen: { kind: "value", ttlMs: 5 }, all: { kind: "list", version: 2 }, fresh: "map" })).not.toThrow();
    expect(begin({ all: "list" })).not.toThrow();
    expect(begin({})).not.toThrow();
    expect(begin({ seen: { kind: "list", version: 3 } })).toThrow(
      "holds state 'seen' of operator 'count' as a value, and in this job it is a list",
    );
  });
});
