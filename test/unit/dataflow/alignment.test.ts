import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BarrierAlignment } from "../../../src/dataflow/alignment.js";

describe("alignment of barriers", () => {
  test("the snapshot is due with the barrier of the last channel, and all channels go on after it", () => {
    const alignment = new BarrierAlignment<string>(3);
    expect(alignment.barrier("a", 1)).toEqual({ release: [], aligned: null });
    expect(alignment.barrier("b", 1)).toEqual({ release: [], aligned: null });
    expect(alignment.barrier("c", 1)).toEqual({ release: [], aligned: 1 });
    expect(alignment.done(1)).toEqual(["a", "b", "c"]);
  });

  test("a channel that ends is not waited for, whether it ends before or after the barriers of the others", () => {
    const alignment = new BarrierAlignment<string>(3);
    alignment.ended();
    alignment.barrier("a", 1);
    expect(alignment.ended()).toEqual({ release: [], aligned: 1 });
    expect(alignment.done(1)).toEqual(["a"]);
    expect(alignment.ended()).toEqual({ release: [], aligned: null });
  });

  test("a later checkpoint takes the place of the one that is waited for", () => {
    const alignment = new BarrierAlignment<string>(2);
    alignment.barrier("a", 1);
    expect(alignment.barrier("b", 2)).toEqual({ release: ["a"], aligned: null });
    expect(alignment.barrier("a", 1)).toEqual({ release: ["a"], aligned: null });
    expect(alignment.barrier("a", 2)).toEqual({ release: [], aligned: 2 });
  });

  test("a checkpoint that was given up lets go of its channels, and its late barriers stop nothing", () => {
    const alignment = new BarrierAlignment<string>(2);
    alignment.barrier("a", 5);
    expect(alignment.over(5)).toEqual(["a"]);
    expect(alignment.barrier("b", 5)).toEqual({ release: ["b"], aligned: null });
    alignment.barrier("a", 6);
    expect(alignment.over(5)).toEqual([]);
    expect(alignment.barrier("b", 6)).toEqual({ release: [], aligned: 6 });
  });

  /** A subtask that reads channels in any order: records before a barrier are in the snapshot, those behind it are not. */
  function snapshots(channels: readonly (readonly (number | "end")[])[], turns: readonly number[], blocks: boolean) {
    const alignment = new BarrierAlignment<number>(channels.length);
    const next = channels.map(() => 0);
    const stopped = new Set<number>();
    const seen = channels.map(() => 0);
    const taken: { id: number; seen: number[] }[] = [];
    const snapshot = (id: number | null) => {
      if (id === null) return;
      taken.push({ id, seen: [...seen] });
      for (const channel of alignment.done(id)) stopped.delete(channel);
    };
    const step = (channel: number) => {
      const item = channels[channel]?.[next[channel] ?? 0];
      if (item === undefined || (blocks && stopped.has(channel))) return;
      next[channel] = (next[channel] ?? 0) + 1;
      if (item === "end") snapshot(alignment.ended().aligned);
      else if (item === 0) seen[channel] = (seen[channel] ?? 0) + 1;
      else {
        stopped.add(channel);
        const { release, aligned } = alignment.barrier(channel, item);
        for (const other of release) stopped.delete(other);
        snapshot(aligned);
      }
    };
    for (const turn of turns) step(turn % channels.length);
    for (let round = 0; round < 1_000; round++) for (let channel = 0; channel < channels.length; channel++) step(channel);
    return taken;
  }

  const world = fc.record({
    // Records (0) of each channel before barrier 1, between the barriers and after them; a channel may end before its barriers.
    counts: fc.array(fc.tuple(fc.nat(5), fc.nat(5), fc.nat(5), fc.constantFrom("lives", "ends")), { minLength: 1, maxLength: 4 }),
    turns: fc.array(fc.nat(1_000), { maxLength: 60 }),
  });
  const channelsOf = (counts: readonly (readonly [number, number, number, string])[]) =>
    counts.map(([first, second, third, life]) => {
      const records = (count: number): 0[] => Array.from({ length: count }, () => 0 as const);
      if (life === "ends") return [...records(first), "end" as const];
      return [...records(first), 1, ...records(second), 2, ...records(third), "end" as const];
    });

  test("whatever the order, a snapshot holds exactly the records before the barriers of all channels", () => {
    fc.assert(
      fc.property(world, ({ counts, turns }) => {
        const taken = snapshots(channelsOf(counts), turns, true);
        const live = counts.some(([, , , life]) => life === "lives");
        expect(taken.map(({ id }) => id)).toEqual(live ? [1, 2] : []);
        for (const { id, seen } of taken)
          expect(seen).toEqual(counts.map(([first, second, , life]) => (life === "ends" || id === 1 ? first : first + second)));
      }),
    );
  });

  test("the property finds a subtask that goes on reading behind a barrier", () => {
    const overtaken = () =>
      fc.assert(
        fc.property(world, ({ counts, turns }) => {
          for (const { id, seen } of snapshots(channelsOf(counts), turns, false))
            if (id === 1) expect(seen).toEqual(counts.map(([first]) => first));
        }),
      );
    expect(overtaken).toThrow();
  });
});
