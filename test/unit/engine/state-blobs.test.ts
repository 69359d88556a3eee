import { describe, expect, test } from "vitest";
import { readState, STATE_BLOB_BYTES, StateEncoder, writeState } from "../../../src/executor/run/checkpoint/state-blobs.js";
import { EVERY_SUBTASK, type KeyedState, type StateEntry } from "../../../src/executor/run/keyed-state.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import type { StateHandle } from "../../../src/wire/checkpoint.js";
import { MemoryBlobs } from "./checkpoint-run.js";

const HEADER = { applicationId: "app-1-1", checkpoint: 5, attempt: "1.1", operator: "count", subtask: 0 };
const NAME = { applicationId: "app-1-1", operator: "count" };
const text = createNodeTextCodec();

/** A clock on which each look takes so long. */
function access(blobs: MemoryBlobs, lookMs = 0) {
  let now = 0;
  const clock = { now: () => (now += lookMs), wallNow: () => 0, at: () => ({ cancel: () => undefined }) };
  const pauses = { count: 0 };
  const pacer = new Pacer(clock, async () => {
    pauses.count++;
    await new Promise((resolve) => setImmediate(resolve));
  });
  return { blobs, text, pacer, pauses };
}

function stateOf(entries: readonly StateEntry[]): KeyedState & { readonly restored: StateEntry[] } {
  const restored: StateEntry[] = [];
  return {
    size: entries.length,
    entries: () => entries,
    // An entry is valid until the next one.
    restore: (given) => {
      for (const entry of given) restored.push({ ...entry });
    },
    restored,
  };
}

const many = (count: number, valueAt: (index: number) => unknown): StateEntry[] =>
  Array.from({ length: count }, (_, index) => ({ keyGroup: index % 128, key: `key ${index}`, value: valueAt(index) }));

describe("state in blobs", () => {
  test("comes back entry by entry, whatever a record may hold, in as many blobs as it takes", async () => {
    const entries = [
      ...many(20_000, (index) => ({ count: index, text: `${index}`.repeat(100) })),
      { keyGroup: 3, key: { nested: [1, undefined] }, value: [undefined, new Map([[1, 2n]]), new Date(7), [new Set(["x"])]] },
    ];
    const blobs = new MemoryBlobs();
    const { handles } = await writeState(stateOf(entries), HEADER, 128, access(blobs));
    const kept = await handles;
    expect(kept.length).toBeGreaterThan(1);
    for (const { sizeBytes } of kept) expect(sizeBytes).toBeLessThan(2 * STATE_BLOB_BYTES);
    const fresh = stateOf([]);
    await readState(fresh, kept, NAME, access(blobs));
    expect(fresh.restored).toEqual(entries);
  });

  test("two writers never have the encoder of one operator at once", () => {
    const encoders = new StateEncoder(createNodeTextCodec());
    const first = encoders.take();
    const second = encoders.take();
    expect(second === first).toBe(false);
    encoders.giveBack(first);
    expect(encoders.take() === first).toBe(true);
    expect(encoders.take() === first).toBe(false);
  });

  test("of a rescaled job each takes the entries of its own key groups, and what all subtasks have from one of them only", async () => {
    const blobs = new MemoryBlobs();
    const all = many(128, (index) => index);
    const parts = [all.slice(0, 64), all.slice(64)].map((part) => [...part, { keyGroup: EVERY_SUBTASK, key: "all", value: 1 }]);
    const handles: StateHandle[] = [];
    for (const [subtask, part] of parts.entries()) {
      const written = await writeState(stateOf(part), { ...HEADER, subtask }, 128, access(blobs));
      handles.push(...(await written.handles));
    }
    const fresh = stateOf([]);
    await readState(fresh, handles, { operator: "count", own: { first: 60, last: 70 } }, access(blobs));
    expect(fresh.restored.map(({ keyGroup }) => keyGroup)).toEqual([60, 61, 62, 63, EVERY_SUBTASK, 64, 65, 66, 67, 68, 69, 70]);
  });

  test("gives way to the process again and again, with smaller steps when they take long", async () => {
    const quick = access(new MemoryBlobs(), 0.5);
    await writeState(stateOf(many(50_000, (index) => index)), HEADER, 128, quick);
    expect(quick.pauses.count).toBeGreaterThan(3);
    const slow = access(new MemoryBlobs(), 10);
    await writeState(stateOf(many(2_000, (index) => index)), HEADER, 128, slow);
    expect(slow.pauses.count).toBeGreaterThan(1_500);
  });

  test("a store that does not keep up stops the encoding: what waits for it is bounded", async () => {
    const blobs = new MemoryBlobs();
    const waiting: (() => void)[] = [];
    const put = blobs.put.bind(blobs);
    blobs.put = async (bytes) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return put(bytes);
    };
    const writing = writeState(stateOf(many(60_000, (index) => `${index}`.repeat(150))), HEADER, 128, access(blobs));
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(waiting.length).toBe(4);
    let encoded = false;
    void writing.then(() => {
      encoded = true;
    });
    while (!encoded) {
      for (const release of waiting.splice(0)) release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const release of waiting.splice(0)) release();
    expect((await (await writing).handles).length).toBeGreaterThan(4);
  });

  test("blobs of two checkpoints are never the same, though the state is", async () => {
    const entries = many(10, (index) => index);
    const blobs = new MemoryBlobs();
    const names = new Set<string>();
    for (const header of [HEADER, { ...HEADER, checkpoint: 6 }, { ...HEADER, attempt: "2.1" }, { ...HEADER, subtask: 1 }]) {
      const { handles } = await writeState(stateOf(entries), header, 128, access(blobs));
      for (const { sha256 } of await handles) names.add(sha256);
    }
    expect(names.size).toBe(4);
  });

  test("what is cut off, of another operator, or no state at all is refused by name, and nothing of it is restored twice", async () => {
    const blobs = new MemoryBlobs();
    const { handles } = await writeState(stateOf(many(100, (index) => index)), HEADER, 128, access(blobs));
    const [handle] = await handles;
    const bytes = await blobs.get(handle as StateHandle);
    for (const damaged of [bytes.subarray(0, 3), bytes.subarray(0, 40), bytes.subarray(0, bytes.length - 16), new Uint8Array(64)]) {
      const reading = readState(stateOf([]), [await blobs.put(damaged)], NAME, access(blobs));
      await expect(reading).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE", message: expect.stringContaining("count") });
    }
    for (const name of [
      { ...NAME, operator: "other" },
      { ...NAME, applicationId: "app-1-2" },
    ])
      await expect(readState(stateOf([]), [handle as StateHandle], name, access(blobs))).rejects.toMatchObject({
        code: "CHECKPOINT_UNREADABLE",
      });
  });

  test("a value that no record could hold fails the checkpoint", async () => {
    const writing = writeState(stateOf(many(3, () => () => 1)), HEADER, 128, access(new MemoryBlobs()));
    await expect(writing).rejects.toMatchObject({ code: "BAD_RECORD" });
  });
});
