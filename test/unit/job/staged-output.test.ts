/** What a driver remembers of the output that checkpoints have made visible. */
import { describe, expect, test } from "vitest";
import { allShown, type ShownOutput, stagedOf, stillTold } from "../../../src/job/staged-output.js";

const shownAt = (checkpoint: number, ...parts: readonly string[]): ShownOutput => ({
  checkpoint,
  staged: stagedOf("1.1", { out: parts }),
});

describe("output that was made visible", () => {
  test("is forgotten when every executor has heard of its checkpoint, however long the job lasts", () => {
    let shown: readonly ShownOutput[] = [];
    for (let id = 1; id <= 1_000; id++) {
      shown = stillTold([...shown, shownAt(id, `part-${id}`)], id - 1, {});
      expect(shown).toEqual([shownAt(id, `part-${id}`)]);
    }
  });

  test("is remembered as long as one has not heard of it", () => {
    const shown = stillTold([shownAt(1, "a"), shownAt(2, "b"), shownAt(3, "c")], 1, {});
    expect(shown).toEqual([shownAt(2, "b"), shownAt(3, "c")]);
    expect(allShown(shown)).toEqual(stagedOf("1.1", { out: ["b", "c"] }));
  });

  test("of an executor that has ended is remembered for good, under any name of its try", () => {
    const ended = stagedOf("", { out: ["b"], other: ["a"] });
    expect(stillTold([shownAt(1, "a", "b"), shownAt(2, "c")], 5, ended)).toEqual([shownAt(1, "b")]);
  });
});
