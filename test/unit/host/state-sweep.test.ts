import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { utf8Encode } from "../../../src/base/utf8.js";
import type { BlobHandle, StateStore } from "../../../src/env/blob-store.js";
import { storeManifest } from "../../../src/host/job/driver-checkpoint-work.js";
import type { InputsOptions } from "../../../src/host/job/driver-inputs.js";
import { sweepState } from "../../../src/host/job/state-sweep.js";
import type { CheckpointManifest, CompletedCheckpoint } from "../../../src/wire/checkpoint.js";

const APP = "app-1-1";
const silent = () => undefined;
const inputs: InputsOptions = {
  job: { sources: new Map(), sinks: new Map() },
  applicationId: APP,
  attempt: 1,
  log: { debug: silent, info: silent, warn: silent, error: silent },
  signal: new AbortController().signal,
};

class Memory implements StateStore {
  readonly blobs = new Map<string, Uint8Array>();
  async put(bytes: Uint8Array): Promise<BlobHandle> {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    this.blobs.set(sha256, bytes);
    return { sha256, sizeBytes: bytes.length };
  }
  async get({ sha256 }: BlobHandle): Promise<Uint8Array> {
    const bytes = this.blobs.get(sha256);
    if (bytes === undefined) throw new CodedError("CHECKPOINT_UNREADABLE", "gone");
    return bytes;
  }
  async list(): Promise<readonly BlobHandle[]> {
    return [...this.blobs].map(([sha256, bytes]) => ({ sha256, sizeBytes: bytes.length }));
  }
  async remove({ sha256 }: BlobHandle): Promise<void> {
    this.blobs.delete(sha256);
  }
  async removeAll(): Promise<void> {
    this.blobs.clear();
  }
}

function stateBlob(applicationId: string, checkpoint: number, content = ""): Uint8Array {
  const header = utf8Encode(JSON.stringify({ applicationId, checkpoint, content }));
  const blob = new Uint8Array(8 + header.length);
  blob.set([0x48, 0x46, 0x53, 0x31]);
  new DataView(blob.buffer).setUint32(4, header.length, true);
  blob.set(header, 8);
  return blob;
}

async function checkpoint(state: Memory, id: number, handles: readonly BlobHandle[]): Promise<CompletedCheckpoint> {
  const manifest: CheckpointManifest = {
    ...{ version: 1, applicationId: APP, id, attempt: "1.1", graphHash: "", sources: {}, commit: {}, carried: {} },
    slices: [{ finished: [], states: { count: [...handles] }, writers: {} }],
    counts: { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] },
  };
  const handle = await storeManifest(state, manifest);
  const size = { sizeBytes: 1, completedAt: 0, durationMs: 0, records: { in: 0, out: 0 } };
  return { id, attempt: 1, try: 1, manifest: handle, ...size };
}

async function stored(state: Memory, applicationId: string, id: number, content = ""): Promise<BlobHandle> {
  return state.put(stateBlob(applicationId, id, content));
}

describe("mark and sweep of a job's state", () => {
  test("removes what was given up, state and manifests, and nothing that a live checkpoint needs, however old it is", async () => {
    const state = new Memory();
    const shared = await stored(state, APP, 2, "unchanged since");
    const own = await stored(state, APP, 9);
    const givenUp = await stored(state, APP, 4);
    const forgotten = await checkpoint(state, 5, [givenUp]);
    const live = [await checkpoint(state, 9, [shared, own])];
    await sweepState(inputs, state, live);
    const left = new Set(state.blobs.keys());
    expect(left).toEqual(new Set([shared.sha256, own.sha256, live[0]?.manifest.sha256]));
    expect(left.has(forgotten.manifest.sha256)).toBe(false);
  });

  test("leaves what is newer than the oldest live one, of another application, or of a form that it does not know", async () => {
    const state = new Memory();
    const kept = [
      await stored(state, APP, 10),
      await stored(state, "app-9-9", 1),
      await state.put(utf8Encode("something else")),
      await state.put(utf8Encode("{}")),
    ];
    const live = [await checkpoint(state, 9, [])];
    await sweepState(inputs, state, live);
    for (const { sha256 } of kept) expect(state.blobs.has(sha256)).toBe(true);
  });

  test("removes nothing when a live manifest can't be read: what that refers to is not known", async () => {
    const state = new Memory();
    const givenUp = await stored(state, APP, 1);
    const live = [await checkpoint(state, 8, []), await checkpoint(state, 9, [])];
    state.blobs.delete(live[0]?.manifest.sha256 ?? "");
    await sweepState(inputs, state, live);
    expect(state.blobs.has(givenUp.sha256)).toBe(true);
  });
});
