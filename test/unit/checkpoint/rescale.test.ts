import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstCheckpoint } from "../../../src/checkpoint/rescale.js";
import { keyGroupsOfSubtask } from "../../../src/dataflow/key-groups.js";
import { handle, jobOf, MADE, operatorsOf, partOf, savepointOf } from "./savepoints.js";

describe("the first checkpoint of a job that begins from a savepoint", () => {
  test("is the savepoint's own, under another application, id and graph; what was committed is not committed again", () => {
    const made = firstCheckpoint(savepointOf(2), jobOf(2), { ...MADE, parallelism: 2 });
    expect(made).toMatchObject({
      applicationId: "app-2-1",
      id: 1,
      graphHash: MADE.graphHash,
      commit: {},
      counts: { recordsIn: 100 },
    });
    expect(made.slices).toEqual([partOf(0), partOf(1)]);
    expect(made.sources.in).toMatchObject({ subtasks: 2, remaining: [{ position: 5 }] });
  });

  test("at another parallelism each subtask gets the blobs of all that own some of its key groups, and every group has one owner", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 16 }), (before, after) => {
        const { slices } = firstCheckpoint(savepointOf(before), jobOf(after), { ...MADE, parallelism: after });
        expect(slices).toHaveLength(after);
        for (let group = 0; group < 128; group++) {
          const holdsGroup = (subtask: number, parallelism: number) => {
            const { first, last } = keyGroupsOfSubtask(subtask, 128, parallelism);
            return group >= first && group <= last;
          };
          const old = Array.from({ length: before }, (_, subtask) => subtask).filter((subtask) => holdsGroup(subtask, before));
          const owner = slices.findIndex((_, subtask) => holdsGroup(subtask, after));
          const given = slices[owner]?.states.count?.map(({ sha256 }) => sha256) ?? [];
          for (const subtask of old) expect(given).toContain(handle(`c${subtask}`).sha256);
        }
        for (const { spread } of slices) expect(spread ?? []).toEqual(before === after ? [] : ["count"]);
      }),
    );
  });

  test("writers go on from the furthest of all, so that no part's number is used twice", () => {
    const up = firstCheckpoint(savepointOf(2), jobOf(4), { ...MADE, parallelism: 4 });
    expect(up.slices.map(({ writers }) => writers.out)).toEqual(new Array(4).fill({ next: 4 }));
    const numbers = savepointOf(2);
    numbers.manifest.slices.forEach((slice, index) => {
      slice.writers.out = index + 7;
    });
    const down = firstCheckpoint(numbers, jobOf(1), { ...MADE, parallelism: 1 });
    expect(down.slices.map(({ writers }) => writers.out)).toEqual([8]);
  });

  test("what a broadcast join holds may lie anywhere, so each subtask is given all of it", () => {
    const kinds = { in: "source", count: "broadcastJoin", out: "sink" };
    const savepoint = { ...savepointOf(2), operators: operatorsOf(2, kinds) };
    const { slices } = firstCheckpoint(savepoint, jobOf(3, { operators: operatorsOf(3, kinds) }), { ...MADE, parallelism: 3 });
    for (const { states } of slices) expect(states.count).toEqual([handle("c0"), handle("c1")]);
  });

  test("a vertex has ended when all its operators had, at another parallelism in all their subtasks", () => {
    const half = savepointOf(2, { slices: [partOf(0, { finished: ["in"] }), partOf(1)] });
    expect(firstCheckpoint(half, jobOf(2), { ...MADE, parallelism: 2 }).slices.map(({ finished }) => finished)).toEqual([
      ["in"],
      [],
    ]);
    expect(firstCheckpoint(half, jobOf(3), { ...MADE, parallelism: 3 }).slices.map(({ finished }) => finished)).toEqual([
      [],
      [],
      [],
    ]);
    const whole = savepointOf(2, { slices: [partOf(0, { finished: ["in", "count"] }), partOf(1, { finished: "all" })] });
    const more = firstCheckpoint(whole, jobOf(3), { ...MADE, parallelism: 3 });
    expect(more.slices.map(({ finished }) => finished)).toEqual(new Array(3).fill(["in", "count"]));
    const added = { ...jobOf(2), operators: [...operatorsOf(2), { uid: "audit", kind: "sink", subtasks: 2, vertex: "count" }] };
    const changed = firstCheckpoint(whole, added, { ...MADE, parallelism: 2 });
    expect(changed.slices.map(({ finished }) => finished)).toEqual([["in"], ["in"]]);
  });

  test("a source that is new is read from its start, one that is dropped not at all", () => {
    const kinds = { other: "source", count: "process", out: "sink" };
    const newSources = {
      other: { subtasks: 2, totalRecords: 3, remaining: [{ split: { id: "n", sizeHint: 1 }, position: null }] },
    };
    const made = firstCheckpoint(savepointOf(2), jobOf(2, { operators: operatorsOf(2, kinds) }), {
      ...MADE,
      parallelism: 2,
      newSources,
    });
    expect(Object.keys(made.sources)).toEqual(["other"]);
    expect(made.counts.operators).toEqual([]);
  });
});
