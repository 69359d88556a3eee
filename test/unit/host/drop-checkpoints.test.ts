/** Which blobs go with a checkpoint that no record names any more. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { StateStore } from "../../../src/env/blob-store.js";
import { dropCheckpoints, storeManifest } from "../../../src/host/job/driver-checkpoint-work.js";
import type { CheckpointManifest, CompletedCheckpoint, StateHandle } from "../../../src/wire/checkpoint.js";

function memoryStore() {
  const blobs = new Map<string, Uint8Array>();
  const state: StateStore = {
    put: async (bytes) => {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      blobs.set(sha256, bytes);
      return { sha256, sizeBytes: bytes.length };
    },
    get: async ({ sha256 }) => {
      const bytes = blobs.get(sha256);
      if (bytes === undefined) throw new CodedError("CHECKPOINT_UNREADABLE", `${sha256} is not there`);
      return bytes;
    },
    remove: async ({ sha256 }) => void blobs.delete(sha256),
    list: async () => [],
    removeAll: async () => blobs.clear(),
  };
  return { blobs, state };
}

async function checkpoint(state: StateStore, id: number, handles: readonly StateHandle[]): Promise<CompletedCheckpoint> {
  const counts = { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] };
  const manifest: CheckpointManifest = {
    version: 1,
    applicationId: "app-1-1",
    id,
    attempt: "1.1",
    graphHash: "g",
    slices: [{ finished: [], states: { sums: [...handles] }, writers: {} }],
    sources: {},
    commit: {},
    carried: {},
    counts,
  };
  const handle = await storeManifest(state, manifest);
  return { id, attempt: 1, try: 1, manifest: handle, sizeBytes: 0, completedAt: 0, durationMs: 0, records: { in: 0, out: 0 } };
}

const job = { sources: new Map(), sinks: new Map() };
const options = (warnings: string[] = []) => ({
  job,
  applicationId: "app-1-1",
  attempt: 1,
  log: { debug: () => undefined, info: () => undefined, warn: (text: string) => void warnings.push(text), error: () => undefined },
  signal: new AbortController().signal,
});

describe("a checkpoint that is dropped", () => {
  test("takes with it what only it refers to; shared state stays until the last one that refers to it goes", async () => {
    const { blobs, state } = memoryStore();
    const [base, own, change] = await Promise.all(
      ["base", "own", "change"].map((text) => state.put(new TextEncoder().encode(text))),
    );
    if (base === undefined || own === undefined || change === undefined) throw new Error("no blobs");
    const first = await checkpoint(state, 1, [base, own]);
    const second = await checkpoint(state, 2, [base, change]);
    const third = await checkpoint(state, 3, [change]);
    await dropCheckpoints(options(), state, { dropped: [first], kept: [second, third] });
    expect([...blobs.keys()].sort()).toEqual([base, change, second.manifest, third.manifest].map(({ sha256 }) => sha256).sort());
    await dropCheckpoints(options(), state, { dropped: [second], kept: [third] });
    expect([...blobs.keys()].sort()).toEqual([change, third.manifest].map(({ sha256 }) => sha256).sort());
  });

  test("stays whole when a kept one can't be read: what that one shares is not known", async () => {
    const { blobs, state } = memoryStore();
    const base = await state.put(new TextEncoder().encode("base"));
    const first = await checkpoint(state, 1, [base]);
    const second = await checkpoint(state, 2, [base]);
    await state.remove(second.manifest);
    const warnings: string[] = [];
    await dropCheckpoints(options(warnings), state, { dropped: [first], kept: [second] });
    expect(blobs.size).toBe(2);
    expect(warnings).toHaveLength(1);
  });
});
