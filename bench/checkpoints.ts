/** Checkpoints of large keyed state: what they cost, how long they hold anything up, how fast they are read back, and what bounds memory. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Benchmark, Context } from "./benchmark.js";
import { type LoadOptions, type LoadResult, restoreLoad, runLoad } from "./checkpoint-load.js";
import { loadInProcess, restoreInProcess } from "./checkpoint-process.js";
import { figuresOf } from "./figures.js";
import { stalledSink } from "./stalled-sink.js";

const TEXT_CHARS = 64;
/** Of a million keys those that are in use: they change all the time, the others never. */
const ACTIVE = 20_000;
const HEAP_MB = 4_096;
/** Less than five million keys take. */
const SMALL_HEAP_MB = 384;

type Wanted = Pick<LoadOptions, "keys" | "updates" | "active" | "everyMs"> & Partial<LoadOptions>;
type Loaded = LoadResult & Pick<LoadOptions, "folder" | "textChars" | "isOnDisk" | "keys" | "updates">;
type Load = (wanted: Wanted, heapMb?: number) => Promise<Loaded>;

export const checkpoints: Benchmark = {
  name: "checkpoints",
  summary:
    "a million keys with 100 MB of state in one process, checkpoints into files; parallelism 1; each figure from a process of its own",
  run: async (context) => {
    const keys = context.pick(1_200_000, 1_200_000, 20_000);
    const updates = context.pick(8_000_000, 4_000_000, 200_000);
    const root = mkdtempSync(path.join(os.tmpdir(), "holdfast-checkpoints-"));
    let number = 0;
    const load: Load = async (wanted, heapMb = HEAP_MB) => {
      const options = { textChars: TEXT_CHARS, isOnDisk: false, folder: path.join(root, `${++number}`), ...wanted };
      // The short part asserts results only, and starting processes would take most of its time.
      const { size, signal } = context;
      const result = await (size === "ci" ? runLoad(options) : loadInProcess(options, { heapMb, signal }));
      if (!result.isRight) context.wrong("the counts of all keys are not those of the updates");
      // The short part may be over before its second checkpoint.
      if (size !== "ci" && options.everyMs !== null && result.checkpoints === 0) context.wrong("no checkpoint was complete");
      return { ...result, ...options };
    };
    try {
      const everyMs = context.pick(500, 500, 50);
      await overhead(context, load, { keys, updates, active: Math.min(ACTIVE, keys), everyMs });
      await overhead(context, load, { keys, updates: updates / 4, active: keys, everyMs });
      await restore(context, await load({ keys, updates: 1, active: 1, everyMs: null }), HEAP_MB, 1_000);
      const many = { keys: context.pick(5_000_000, 5_000_000, 50_000), active: ACTIVE, textChars: 0, everyMs: everyMs * 2 };
      await manyKeys(context, load, { ...many, updates: updates / 2 }, HEAP_MB);
      await manyKeys(context, load, { ...many, updates: updates / 2, isOnDisk: true }, SMALL_HEAP_MB);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    await stalledSink(context);
  },
};

/** By processor time, and by checkpoint, so that a machine on which everything takes longer says the same. */
async function overhead(context: Context, load: Load, wanted: Wanted): Promise<void> {
  const isMain = wanted.active < wanted.keys;
  const costs: number[] = [];
  const written: number[] = [];
  const pauses: number[] = [];
  const turns: number[] = [];
  for (let i = 0; i < (isMain ? context.pick(5, 3, 1) : 1); i++) {
    const without = await load({ ...wanted, everyMs: null });
    const withThem = await load(wanted);
    costs.push((withThem.cpuMs - without.cpuMs) / withThem.checkpoints);
    written.push(...withThem.changedBytes.map((bytes) => bytes / 1e6));
    pauses.push(...withThem.pausesMs);
    turns.push(...withThem.turnsMs);
  }
  const what = isMain ? `${ACTIVE.toLocaleString("en-US")} keys in use` : "all keys in use, so that all is written each time";
  context.row({
    what: `${what}: a checkpoint takes, of all threads`,
    unit: "ms",
    samples: costs,
    ...(isMain ? { aims: [{ of: "median" as const, value: 30 }] } : {}),
    beside: "3 % of a core at one a second; Flink, 18 KB of state: not measurable (performance.md 3)",
  });
  context.row({ what: "  written by it", unit: "MB", samples: written });
  context.row({
    what: "  between two batches of the source",
    unit: "ms",
    samples: pauses,
    aims: [{ of: "p99", value: 10 }],
    beside: "snapshot of 1 M keys in slices of 2 ms: longest 5.3 (performance.md 4)",
  });
  context.row({
    what: "  a turn of the event loop, by its own processor time",
    unit: "ms",
    samples: turns,
    aims: [{ of: "p99", value: 10 }],
  });
}

async function restore(context: Context, loaded: Loaded, heapMb: number, aimMs: number | null): Promise<void> {
  const { folder, textChars, isOnDisk, last: part, lastRecords: expected, keys, firstBytes } = loaded;
  const times: number[] = [];
  const threads: number[] = [];
  const turns: number[] = [];
  for (let i = 0; i < (aimMs === null ? 1 : context.pick(5, 3, 1)); i++) {
    const options = { folder, textChars, isOnDisk, part, expected };
    const { size, signal } = context;
    const restored = await (size === "ci" ? restoreLoad(options) : restoreInProcess(options, { heapMb, signal }));
    if (!restored.isRight) context.wrong("a restored state has not the counts of its checkpoint");
    times.push(restored.restoredMs);
    threads.push(restored.threadMs);
    turns.push(restored.longestTurnMs);
  }
  const what = `restore of ${Math.round(firstBytes / 1e6)} MB, ${keys.toLocaleString("en-US")} keys`;
  context.row({ what, unit: "ms", samples: times, ...(aimMs === null ? {} : { aims: [{ of: "median" as const, value: aimMs }] }) });
  context.row({ what: "  of the loop's thread", unit: "ms", samples: threads });
  context.row({ what: "  its longest turn", unit: "ms", samples: turns });
}

async function manyKeys(context: Context, load: Load, wanted: Wanted, heapMb: number): Promise<void> {
  const loaded = await load(wanted, heapMb);
  const { keys } = wanted;
  const { heapBytes, rssBytes, fillThreadMs, firstMs, firstBytes, changedBytes, turnsMs } = loaded;
  const where = wanted.isOnDisk === true ? `on disk, in a heap of ${heapMb} MB` : "in memory";
  context.row({
    what: `${keys.toLocaleString("en-US")} keys ${where}: heap`,
    unit: "MB",
    samples: [heapBytes / 1e6],
    beside: "one Map of short records: 0.9 GB, 163 B a key (performance.md 4)",
  });
  context.row({ what: "  memory of the process", unit: "MB", samples: [rssBytes / 1e6] });
  context.row({
    what: "  new keys, by processor time of the loop's thread",
    unit: "M records/s",
    samples: [keys / fillThreadMs / 1000],
    beside: "one Map: 1.7, keys fresh from a decoder less (performance.md 4)",
  });
  context.row({ what: "  a checkpoint of all", unit: "ms", samples: [firstMs] });
  context.row({ what: "  written by it", unit: "MB", samples: [firstBytes / 1e6] });
  context.row({ what: "  written by one of what changed", unit: "MB", samples: changedBytes.map((bytes) => bytes / 1e6) });
  context.row({
    what: "  a turn of the event loop, p99",
    unit: "ms",
    samples: [figuresOf(turnsMs).p99],
    aims: [{ of: "max", value: 10 }],
  });
  context.row({ what: "  the longest", unit: "ms", samples: [figuresOf(turnsMs).max] });
  await restore(context, loaded, heapMb, null);
}
