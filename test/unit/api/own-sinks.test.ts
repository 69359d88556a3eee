import { describe, expect, test } from "vitest";
import { sinks } from "../../../src/api/index.js";
import type { JsonValue } from "../../../src/base/json.js";
import { MAX_COMMITTABLE_CHARS, refuseCommittable } from "../../../src/dataflow/committables.js";
import type { SinkConnector, SinkWriter } from "../../../src/dataflow/connector.js";

const signal = new AbortController().signal;
const identity = { applicationId: "app-1-1", attempt: "3.2" };
const open = (sink: { readonly custom: SinkConnector<unknown> | null }, subtask = 0): Promise<SinkWriter<unknown>> =>
  sink.custom?.open({ ...identity, subtask, parallelism: 2, signal }) ?? expect.fail("it has a connector");

/** A system that keeps what is staged apart from what is visible. */
function bank() {
  const staged = new Map<string, number[]>();
  const visible: number[] = [];
  const committed = new Set<string>();
  const events: string[] = [];
  let names = 0;
  const sink = sinks.twoPhase<number, string>({
    open: ({ subtask, fence }) => {
      let held: number[] = [];
      events.push(`open ${subtask} with ${fence}`);
      return {
        write: (records) => void held.push(...records),
        prepare: async () => {
          const name = `staged-${names++}`;
          staged.set(name, held);
          held = [];
          await Promise.resolve();
          return name;
        },
        abort: async () => void events.push("abort"),
        close: async () => void events.push("close"),
      };
    },
    commit: async (name, { part, again }) => {
      events.push(`commit ${name} of ${part}${again ? " again" : ""}`);
      if (committed.has(part)) return;
      committed.add(part);
      visible.push(...(staged.get(name) ?? []));
    },
    abort: async ({ isOver }) => void events.push(`clean up ${isOver?.("3.1")} ${isOver?.("4.1")}`),
  });
  return { sink, visible, events };
}

describe("a two-phase sink", () => {
  test("prepares at each barrier what was written since the last, and commits it under a name of its own", async () => {
    const { sink, visible, events } = bank();
    const writer = await open(sink, 1);
    await writer.write([1, 2, 99], 2);
    const first = await writer.checkpoint?.();
    const none = await writer.checkpoint?.();
    await writer.write([3], 1);
    const last = await writer.prepare();
    expect([first?.committables, none?.committables]).toEqual([[{ part: "3.2-1-0", prepared: "staged-0" }], []]);
    expect(last).toEqual({ part: "3.2-1-1", prepared: "staged-1" });
    expect(await writer.prepare()).toBeNull();
    await writer.close();
    await writer.close();
    expect(visible).toEqual([]);
    const all = [...(first?.committables ?? []), last];
    await sink.custom?.commit(all, { ...identity, parallelism: 2 });
    await sink.custom?.commit(all, { ...identity, parallelism: 2, again: true });
    expect(visible).toEqual([1, 2, 3]);
    expect(events).toEqual([
      `open 1 with ${3 * 2 ** 32 + 2}`,
      "close",
      "commit staged-0 of 3.2-1-0",
      "commit staged-1 of 3.2-1-1",
      "commit staged-0 of 3.2-1-0 again",
      "commit staged-1 of 3.2-1-1 again",
    ]);
  });

  test("writes nothing while it prepares: what comes meanwhile is in the next part", async () => {
    const { sink } = bank();
    const writer = await open(sink);
    await writer.write([1], 1);
    const staging = writer.checkpoint?.();
    const writing = writer.write([2], 1);
    await Promise.all([staging, writing]);
    const seen: JsonValue[] = [...((await staging)?.committables ?? []), await writer.prepare()];
    await sink.custom?.commit(seen.slice(0, 1), { ...identity, parallelism: 2 });
    const { sink: other, visible } = bank();
    expect(other.custom?.appears).toBe("at-checkpoint");
    expect(visible).toEqual([]);
    expect(seen).toHaveLength(2);
  });

  test("aborts its writer once, and tells the sink which tries are over", async () => {
    const { sink, events } = bank();
    const writer = await open(sink);
    await writer.abort();
    await writer.close();
    await sink.custom?.cleanUp({ applicationId: "app-1-1", keepAttempt: null, isOver: (name) => name === "3.1" });
    expect(events.slice(1)).toEqual(["abort", "close", "clean up true false"]);
  });
});

describe("sinks without a second phase", () => {
  test("an idempotent one writes each record under its id, and its barrier waits until all is safe", async () => {
    const table = new Map<string, number>();
    const events: string[] = [];
    const sink = sinks.idempotent<number>({
      id: (n) => `n-${n % 3}`,
      open: () => ({
        writeIdempotent: (n, id) => void table.set(id, n),
        flush: async () => void events.push(`flush ${table.size}`),
      }),
    });
    expect(sink.custom).toMatchObject({ guarantee: "effectively-once" });
    const writer = await open(sink);
    await writer.write([0, 1, 2, 3, 9], 4);
    expect(await writer.checkpoint?.()).toEqual({ committables: [], state: null });
    expect(await writer.prepare()).toBeNull();
    expect([...table]).toEqual([
      ["n-0", 3],
      ["n-1", 1],
      ["n-2", 2],
    ]);
    expect(events).toEqual(["flush 3", "flush 3"]);
  });

  test.each([[""], ["x".repeat(513)], [undefined as unknown as string]])("an id that is none is refused: %j", async (id) => {
    const sink = sinks.idempotent<number>({ id: () => id, open: () => ({ writeIdempotent: () => undefined }) });
    await expect((await open(sink)).write([1], 1)).rejects.toMatchObject({ code: "SINK_FAILED" });
  });

  test("an at-least-once one says so", async () => {
    const written: number[] = [];
    const sink = sinks.atLeastOnce<number>({ open: () => ({ write: async (n) => void written.push(n) }) });
    expect(sink.custom).toMatchObject({ guarantee: "at-least-once" });
    await (await open(sink)).write([4, 5], 2);
    expect(written).toEqual([4, 5]);
  });
});

test("what a sink prepares is JSON, and small", () => {
  expect(() => refuseCommittable("out", { file: "a" })).not.toThrow();
  expect(() => refuseCommittable("out", "x".repeat(MAX_COMMITTABLE_CHARS))).toThrow(
    expect.objectContaining({ code: "SINK_FAILED", message: expect.stringContaining("'out'") }),
  );
  expect(() => refuseCommittable("out", 1n as unknown as JsonValue)).toThrow(expect.objectContaining({ code: "SINK_FAILED" }));
  expect(() => refuseCommittable("out", undefined as unknown as JsonValue)).toThrow(/is not JSON/);
});
