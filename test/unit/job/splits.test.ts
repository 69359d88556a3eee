/** Who is given which splits. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SplitAssignment } from "../../../src/job/splits.js";

const splitsOf = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `s${i}`, sizeHint: 1 }));

const endless = (count: number, subtasks: number) =>
  new SplitAssignment([{ uid: "in", subtasks, splits: splitsOf(count), totalRecords: null, isEndless: true }]);

describe("splits of an endless source", () => {
  test("are all handed out when every subtask has asked for its share, and no subtask has two more than another one, in whatever order they ask", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 20 }),
        fc.integer({ min: 1, max: 6 }),
        fc.infiniteStream(fc.nat(5)),
        (count, subtasks, turns) => {
          const assignment = endless(count, subtasks);
          const asks = new Map<number, number>();
          const given = new Map<number, string[]>();
          const over = new Set<number>();
          while (over.size < subtasks) {
            const subtask = (turns.next().value as number) % subtasks;
            const at = over.has(subtask) ? [...Array(subtasks).keys()].find((other) => !over.has(other)) : subtask;
            if (at === undefined) break;
            const ask = (asks.get(at) ?? 0) + 1;
            asks.set(at, ask);
            const split = assignment.answer("in", `e${at}`, ask)?.split ?? null;
            if (split === null) over.add(at);
            else given.set(at, [...(given.get(at) ?? []), split.id]);
          }
          const counts = [...Array(subtasks).keys()].map((subtask) => given.get(subtask)?.length ?? 0);
          expect([...given.values()].flat().sort()).toEqual(
            splitsOf(count)
              .map(({ id }) => id)
              .sort(),
          );
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
          expect(assignment.hasMore("in")).toBe(false);
          // A rate is shared by those that read, also when they have been told that there is nothing more for them.
          expect(assignment.answer("in", "e0", asks.get(0) ?? 1)?.readers).toBe(Math.min(count, subtasks));
        },
      ),
    );
  });

  test("are a reader's own when it restarts alone: its share again, from where it stood at the last complete checkpoint, and no other's", () => {
    const assignment = endless(5, 2);
    const next = (reader: string, ask: number) => assignment.answer("in", reader, ask);
    expect([1, 2, 3].map((ask) => next("a", ask)?.split?.id)).toEqual(["s0", "s1", "s2"]);
    const reading = [
      { nth: 0, position: 7 },
      { nth: 2, position: null },
    ];
    assignment.checkpointed((_source, reader) => (reader === "a" ? { taken: 3, reading } : { taken: 0, reading: [] }));
    assignment.restart("a");
    expect([1, 2, 3].map((ask) => next("b", ask)?.split?.id)).toEqual(["s3", "s4", undefined]);
    expect(next("a", 1)).toMatchObject({ split: { id: "s0" }, position: 7, more: true });
    expect(next("a", 2)).toMatchObject({ split: { id: "s2" }, position: null, readers: 2, more: false });
    expect(next("a", 3)).toMatchObject({ split: null });
    expect(
      assignment
        .remaining(() => ({ taken: 0, reading: [] }))
        .get("in")
        ?.splits.map(({ split }) => split.id),
    ).toEqual([...["s0", "s2", "s3", "s4"]]);
  });

  test("remain, each from where it stands; those that ended don't", () => {
    const assignment = endless(4, 2);
    for (let ask = 1; ask <= 3; ask++) for (const executor of ["a", "b"]) assignment.answer("in", executor, ask);
    const marks = {
      a: {
        taken: 2,
        reading: [
          { nth: 0, position: 7 },
          { nth: 1, position: null },
        ],
      },
      b: { taken: 2, reading: [{ nth: 1, position: 9 }] },
    };
    const remaining = assignment.remaining((_source, executor) => marks[executor as "a" | "b"]).get("in");
    expect(remaining?.splits.map(({ split, position }) => [split.id, position])).toEqual([
      ["s0", 7],
      ["s2", null],
      ["s3", 9],
    ]);
  });
});
