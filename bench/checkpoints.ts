/** Checkpoints of large keyed state: what they cost, how long they hold anything up, how fast they are read back, and what bounds memory. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Benchmark, Context } from "./benchmark.js";
import { type LoadOptions, type LoadResult, restoreLoad, runLoad } from "./checkpoint-load.js";
import { stalledSink } from "./stalled-sink.js";

const TEXT_CHARS = 64;
/** Of a million keys those that are in use: they change all the time, the others never. */
const ACTIVE = 20_000;

type Kind = Pick<LoadOptions, "pick" | "updates" | "everyMs">;

export const checkpoints: Benchmark = {
  name: "checkpoints",
  summary: "a million keys with 100 MB of state in one process, a checkpoint each second into files; parallelism 1",
  run: async (context) => {
    const keys = context.pick(1_000_000, 1_000_000, 20_000);
    const updates = context.pick(20_000_000, 10_000_000, 400_000);
    const everyMs = context.size === "ci" ? 50 : 1_000;
    const active = (update: number) => (Math.imul(update, 2_654_435_761) >>> 0) % Math.min(ACTIVE, keys);
    const all = (update: number) => (Math.imul(update, 2_654_435_761) >>> 0) % keys;
    await inFolder(context, async (load) => {
      const runs = context.pick(3, 2, 1);
      await overhead(context, `${ACTIVE.toLocaleString("en-US")} keys in use`, runs, (everyOrNull) =>
        load(keys, { pick: active, updates, everyMs: everyOrNull === null ? null : everyMs }),
      );
      await overhead(context, "all keys in use, so that all is written each time", 1, (everyOrNull) =>
        load(keys, { pick: all, updates: updates / 4, everyMs: everyOrNull === null ? null : everyMs }),
      );
      await restore(context, keys, load);
      await manyKeys(context, load);
    });
    await stalledSink(context);
  },
};

type Load = (keys: number, kind: Kind, textChars?: number) => Promise<LoadResult & { readonly folder: string }>;

async function inFolder(context: Context, run: (load: Load) => Promise<void>): Promise<void> {
  const root = mkdtempSync(path.join(os.tmpdir(), "holdfast-checkpoints-"));
  let number = 0;
  const load: Load = async (keys, kind, textChars = TEXT_CHARS) => {
    const folder = path.join(root, `${++number}`);
    const result = await runLoad({ keys, ...kind, textChars, folder, signal: context.signal });
    if (!result.isRight) context.wrong("the counts of all keys are not those of the updates");
    if (kind.everyMs !== null && result.checkpoints === 0) context.wrong("no checkpoint was complete");
    return { ...result, folder };
  };
  try {
    await run(load);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function overhead(context: Context, what: string, runs: number, run: (every: "second" | null) => Promise<LoadResult>) {
  const rates: number[] = [];
  const costs: number[] = [];
  const pauses: number[] = [];
  const loops: number[] = [];
  for (let i = 0; i < runs; i++) {
    const without = await run(null);
    const withThem = await run("second");
    rates.push(1000 * (withThem.changedBytes.reduce((sum, bytes) => sum + bytes, 0) / withThem.checkpoints / 1e9));
    costs.push((withThem.cpuMs / without.cpuMs - 1) * 100);
    pauses.push(...withThem.pausesMs);
    loops.push(withThem.loopP99Ms);
  }
  const isMain = runs > 1;
  context.row({
    what: `${what}: processor time more than without`,
    unit: "%",
    samples: costs,
    ...(isMain ? { aims: [{ of: "median" as const, value: 3 }] } : {}),
    beside: "Flink, 18 KB of state: not measurable (performance.md 3)",
  });
  context.row({ what: "  written by a checkpoint", unit: "MB", samples: rates });
  context.row({
    what: "  between two batches of the source",
    unit: "ms",
    samples: pauses,
    aims: [{ of: "p99", value: 10 }],
    beside: "snapshot of 1 M keys in slices of 2 ms: longest 5.3 (performance.md 4)",
  });
  context.row({ what: "  the event loop is held, p99 of its turns", unit: "ms", samples: loops, aims: [{ of: "max", value: 10 }] });
}

async function restore(context: Context, keys: number, load: Load): Promise<void> {
  const { last, folder, firstBytes, isRight } = await load(keys, { pick: (update) => update % keys, updates: 1, everyMs: null });
  if (!isRight) return;
  const times: number[] = [];
  for (let i = 0; i < context.pick(5, 3, 1); i++) {
    const restored = await restoreLoad(folder, last, TEXT_CHARS, keys);
    if (!restored.isRight) context.wrong("a restored state has not the counts of its checkpoint");
    times.push(restored.restoredMs);
  }
  context.row({
    what: `restore of ${Math.round(firstBytes / 1e6)} MB, ${keys.toLocaleString("en-US")} keys`,
    unit: "ms",
    samples: times,
    aims: [{ of: "median", value: 1_000 }],
  });
}

async function manyKeys(context: Context, load: Load): Promise<void> {
  const keys = context.pick(5_000_000, 5_000_000, 50_000);
  const pick = (update: number) => (Math.imul(update, 2_654_435_761) >>> 0) % keys;
  const { heapBytes, wallMs, firstBytes } = await load(keys, { pick, updates: keys, everyMs: null }, 0);
  context.row({
    what: `${keys.toLocaleString("en-US")} keys in memory: heap`,
    unit: "MB",
    samples: [heapBytes / 1e6],
    beside: "one Map of short records: 0.9 GB, 163 B a key (performance.md 4)",
  });
  context.row({
    what: "  updates of random keys",
    unit: "M records/s",
    samples: [keys / wallMs / 1000],
    beside: "one Map: 1.7, keys fresh from a decoder less (performance.md 4)",
  });
  context.row({ what: "  written by a checkpoint of all", unit: "MB", samples: [firstBytes / 1e6] });
}
