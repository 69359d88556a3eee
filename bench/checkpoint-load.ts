/**
 * One slice in this process whose keyed state is as large as wanted, with checkpoints into files: what the `checkpoints` benchmark measures.
 *
 * Order of a run: every key is seen once (not measured), a checkpoint of all of it is complete, then updates of the keys that `pick` names are measured.
 */
import { createHash } from "node:crypto";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { defineJob, planJob, sinks, sources } from "../src/api/index.js";
import type { SinkConnector, SourceConnector } from "../src/dataflow/connector.js";
import { createLocalNetwork } from "../src/executor/run/local-network.js";
import { runSlice } from "../src/executor/run/run-slice.js";
import type { StateBlobs } from "../src/executor/run/slice.js";
import { createNodeClock } from "../src/node/clock.js";
import { createFileBlobStore } from "../src/node/files/blob-store.js";
import { createScratchStores } from "../src/node/level-store/scratch-store.js";
import { createNodeTextCodec } from "../src/node/text-codec.js";
import type { SlicePart, SliceSnapshot, StateHandle } from "../src/wire/checkpoint.js";
import { createThreadClock, watchTurns } from "./thread-time.js";

export interface LoadOptions {
  readonly keys: number;
  readonly updates: number;
  /** Updates are for that many of the keys, in an order that jumps. */
  readonly active: number;
  /** Text in the value of each key: 64 characters make about 100 bytes a key. */
  readonly textChars: number;
  /** From the beginning of one checkpoint to the next; null: none but the first. */
  readonly everyMs: number | null;
  readonly folder: string;
  readonly isOnDisk: boolean;
}

export interface RestoreOptions extends Pick<LoadOptions, "folder" | "textChars" | "isOnDisk"> {
  readonly part: SlicePart;
  /** The sum of all counts. */
  readonly expected: number;
}

export interface RestoreResult {
  readonly restoredMs: number;
  /** Processor time until then: of all threads, and of the one that runs the event loop. */
  readonly cpuMs: number;
  readonly threadMs: number;
  readonly longestTurnMs: number;
  readonly rssBytes: number;
  readonly isRight: boolean;
}

export interface LoadResult {
  /** Of the measured part: of all threads, and of the one that runs the event loop. */
  readonly cpuMs: number;
  readonly threadMs: number;
  /** Processor time of each turn of the event loop. */
  readonly turnsMs: readonly number[];
  readonly wallMs: number;
  /** Of the loop's thread, until each key was seen once; and of the checkpoint of all of them, by the clock. */
  readonly fillThreadMs: number;
  readonly firstMs: number;
  /** Time between two batches of the source: what a record may wait for. */
  readonly pausesMs: readonly number[];
  readonly checkpoints: number;
  readonly firstBytes: number;
  /** Of the checkpoints of the measured part: what each wrote. */
  readonly changedBytes: readonly number[];
  readonly heapBytes: number;
  readonly rssBytes: number;
  readonly last: SlicePart;
  /** Records that the last checkpoint holds. */
  readonly lastRecords: number;
  readonly isRight: boolean;
}

interface Value {
  count: number;
  at: number;
  readonly text: string;
}

const textOf = (key: number, chars: number): string => `${key}`.padStart(chars, "value of key ");

export function sumsOf(records: SourceConnector<number>, sink: SinkConnector<{ value: number }>, textChars: number) {
  return defineJob({
    id: "bench-checkpoints",
    build(job) {
      job
        .from("numbers", sources.custom(records))
        .keyBy((key) => `key-${key}`)
        .aggregate("sums", {
          init: (key): Value => ({ count: 0, at: 0, text: textOf(Number(key.slice(4)), textChars) }),
          add: (value) => {
            value.count += 1;
            value.at += 3;
            return value;
          },
          result: ({ count }) => count,
        })
        .to("counts", sinks.custom(sink));
    },
  });
}

/** Gives numbers; `next` says the one after that position, a promise when it has to wait, null at the end. */
function given(
  next: (at: number) => number | null,
  hold: (at: number) => Promise<void> | null,
  onBatch: () => void,
): SourceConnector<number> {
  return {
    bounded: true,
    enumerate: async () => ({ splits: [{ id: "all", sizeHint: 1 }], totalRecords: null, totalBytes: null }),
    open: async () => {
      let at = 0;
      const fill = (out: number[], limit: number): number => {
        onBatch();
        let count = 0;
        for (; count < limit && hold(at) === null; count++, at++) {
          const value = next(at);
          if (value === null) break;
          out[count] = value;
        }
        return count;
      };
      return {
        next: (out, limit) => {
          const wait = hold(at);
          return wait === null ? fill(out, limit) : wait.then(() => fill(out, limit));
        },
        position: () => at,
        progress: () => 0,
        close: async () => undefined,
      };
    },
  };
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Adds up the counts that come at the end. */
function adder() {
  let sum = 0;
  const connector: SinkConnector<{ value: number }> = {
    appears: "at-end",
    open: async () => ({
      write: (records, count) => {
        for (let i = 0; i < count; i++) sum += records[i]?.value ?? 0;
      },
      checkpoint: async () => ({ committables: [], state: null }),
      prepare: async () => null,
      abort: async () => undefined,
      close: async () => undefined,
    }),
    commit: async () => undefined,
    cleanUp: async () => undefined,
  };
  return { connector, sum: () => sum };
}

async function countingBlobs(folder: string) {
  const store = await createFileBlobStore(folder);
  let bytes = 0;
  const blobs: StateBlobs = {
    put: async (blob) => {
      bytes += blob.length;
      return { sha256: await store.put(blob), sizeBytes: blob.length };
    },
    get: ({ sha256 }: StateHandle) => store.get(sha256),
  };
  return {
    blobs,
    takeBytes: () => {
      const taken = bytes;
      bytes = 0;
      return taken;
    },
  };
}

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { keys, updates, active, everyMs, textChars } = options;
  const pick = (update: number): number => (Math.imul(update, 2_654_435_761) >>> 0) % active;
  const threadNow = await createThreadClock();
  const beganAt = threadNow();
  const { blobs, takeBytes } = await countingBlobs(options.folder);
  const { connector, sum } = adder();
  let held: Promise<void> | null = null;
  let letGo: () => void = () => undefined;
  let isFilled = false;
  let lastBatchAt = 0;
  const pausesMs: number[] = [];
  const onBatch = () => {
    const now = performance.now();
    if (isFilled && lastBatchAt > 0) pausesMs.push(now - lastBatchAt);
    lastBatchAt = isFilled ? now : 0;
  };
  let onFilled: () => void = () => undefined;
  const filled = new Promise<void>((resolve) => {
    onFilled = resolve;
  });
  const hold = (at: number): Promise<void> | null => {
    if (at !== keys || isFilled) return null;
    if (held === null) {
      held = new Promise((resolve) => {
        letGo = resolve;
      });
      onFilled();
    }
    return held;
  };
  const next = (at: number) => (at < keys ? at : at < keys + updates ? pick(at - keys) : null);
  const { built } = await planJob(sumsOf(given(next, hold, onBatch), connector, textChars), {}, { sha256Hex });
  let answered: (outcome: SliceSnapshot | Error) => void = () => undefined;
  const slice = runSlice({
    ...sliceOptions(built, null, blobs, (_id, outcome) => answered(outcome), options),
  });
  slice.done.catch(() => undefined);
  let id = 0;
  let completed = 0;
  const take = async (): Promise<SliceSnapshot | null> => {
    const answer = new Promise<SliceSnapshot | Error>((resolve) => {
      answered = resolve;
    });
    id += 1;
    slice.checkpoint({ id, order: "begin", completed });
    const outcome = await Promise.race([answer, slice.done.then(() => null)]);
    if (outcome instanceof Error) throw outcome;
    if (outcome !== null) completed = id;
    return outcome;
  };
  await Promise.race([filled, slice.done]);
  const fillThreadMs = threadNow() - beganAt;
  const firstAt = performance.now();
  let last = await take();
  const firstMs = performance.now() - firstAt;
  const firstBytes = takeBytes();
  global.gc?.();
  const turns = watchTurns(threadNow);
  const threadAt = threadNow();
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  isFilled = true;
  letGo();
  const changedBytes: number[] = [];
  let isOver = false;
  const done = slice.done.then(
    () => {
      isOver = true;
    },
    (thrown: unknown) => {
      isOver = true;
      throw thrown;
    },
  );
  if (everyMs !== null) {
    for (let at = startedAt + everyMs; !isOver; at += everyMs) {
      await Promise.race([pause(Math.max(0, at - performance.now())), done]);
      if (isOver) break;
      const one = await take();
      if (one === null) break;
      last = one;
      changedBytes.push(takeBytes());
    }
  }
  const { heapUsed: heapBytes, rss: rssBytes } = process.memoryUsage();
  await done;
  const used = process.cpuUsage(cpu);
  const threadMs = threadNow() - threadAt;
  turns.end();
  return {
    cpuMs: (used.user + used.system) / 1000,
    threadMs,
    turnsMs: turns.take(),
    wallMs: performance.now() - startedAt,
    fillThreadMs,
    firstMs,
    pausesMs,
    checkpoints: changedBytes.length,
    firstBytes,
    changedBytes,
    heapBytes,
    rssBytes,
    lastRecords: last?.counts.recordsIn ?? 0,
    last: last ?? { finished: [], states: {}, writers: {} },
    isRight: sum() === keys + updates,
  };
}

function sliceOptions(
  built: Awaited<ReturnType<typeof planJob>>["built"],
  restored: SlicePart | null,
  blobs: StateBlobs,
  onCheckpointed: (id: number, outcome: SliceSnapshot | Error) => void,
  { folder, isOnDisk }: Pick<LoadOptions, "folder" | "isOnDisk">,
) {
  let given = false;
  return {
    built,
    applicationId: "app-1-1",
    attempt: "1.1",
    subtask: 0,
    parallelism: 1,
    splits: {
      next: async () => {
        if (given || restored !== null) return null;
        given = true;
        return { split: { id: "all", sizeHint: 1 }, position: null };
      },
    },
    network: createLocalNetwork(),
    connectors: {
      source: () => {
        throw new Error("the job has its own source");
      },
      sink: () => {
        throw new Error("the job has its own sink");
      },
    },
    clock: createNodeClock(),
    log: silent,
    ...(isOnDisk ? { scratch: createScratchStores(path.join(folder, `scratch-${process.pid}`)) } : {}),
    yieldToLoop: () => new Promise<void>((resolve) => setImmediate(resolve)),
    checkpoints: { blobs, text: createNodeTextCodec(), restored, onCheckpointed, asJson: () => [] },
  };
}

/** Milliseconds until a slice has its state back and asks for its first split, and whether it has all of it. */
export async function restoreLoad({ folder, part, textChars, expected, isOnDisk }: RestoreOptions): Promise<RestoreResult> {
  const { blobs } = await countingBlobs(folder);
  const { connector, sum } = adder();
  const { built } = await planJob(
    sumsOf(
      given(
        () => null,
        () => null,
        () => undefined,
      ),
      connector,
      textChars,
    ),
    {},
    { sha256Hex },
  );
  const threadNow = await createThreadClock();
  const turns = watchTurns(threadNow);
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const threadAt = threadNow();
  let restoredMs = Number.NaN;
  let threadMs = Number.NaN;
  let used = cpu;
  let longestTurnMs = Number.NaN;
  let rssBytes = Number.NaN;
  const options = sliceOptions(built, part, blobs, () => undefined, { folder, isOnDisk });
  const splits = {
    next: async () => {
      restoredMs = performance.now() - startedAt;
      used = process.cpuUsage(cpu);
      threadMs = threadNow() - threadAt;
      longestTurnMs = turns.take().reduce((longest, ms) => Math.max(longest, ms), 0);
      turns.end();
      rssBytes = process.memoryUsage().rss;
      return null;
    },
  };
  await runSlice({ ...options, splits }).done;
  return { restoredMs, threadMs, longestTurnMs, cpuMs: (used.user + used.system) / 1000, rssBytes, isRight: sum() === expected };
}
