// Operator chains: the engine's generated loop beside a loop written by hand, and the keyed engine test in one process.
// `node bench/chains.mjs [runs]` after a build; prints M records/s (min, median, max).
import { createHash } from "node:crypto";
import { performance } from "node:perf_hooks";
import { defineJob, planJob, sinks, sources } from "../dist/api/index.js";
import { createLocalNetwork } from "../dist/executor/run/local-network.js";
import { runSlice } from "../dist/executor/run/run-slice.js";

const RUNS = Number(process.argv[2] ?? 5);
const RECORDS = 20_000_000;
const KEYS = Array.from({ length: 1_000 }, (_, i) => `key-${i}`);

const make = (i) => ({
  id: i,
  k: KEYS[(Math.imul(i, 2_654_435_761) >>> 0) % 1_000],
  v: (Math.imul(i, 2_654_435_761) >>> 0) & 1_023,
  t: i * 10,
});
const double = (r) => ({ k: r.k, v: r.v * 2, t: r.t });
const plusOne = (r) => ({ k: r.k, v: r.v + 1, t: r.t });
const plusTwo = (r) => ({ k: r.k, v: r.v + 2, t: r.t });
const notNegative = (r) => r.v >= 0;
const hasTime = (r) => r.t >= 0;
const large = (r) => r.v > 1_000;

/** Gives `records` generated records as splits for so many readers; batches are made as the readers ask. */
function generated(records, makeRecord) {
  return {
    bounded: true,
    enumerate: async ({ parallelism }) => ({
      splits: Array.from({ length: parallelism }, (_, i) => ({
        id: `${i}`,
        sizeHint: 1,
        from: Math.floor((records * i) / parallelism),
        to: Math.floor((records * (i + 1)) / parallelism),
      })),
      totalRecords: records,
      totalBytes: null,
    }),
    open: async (split) => {
      let at = split.from;
      return {
        next(out, limit) {
          const count = Math.min(limit, split.to - at);
          for (let i = 0; i < count; i++) out[i] = makeRecord(at + i);
          at += count;
          return count;
        },
        position: () => at,
        progress: () => 0,
        close: async () => {},
      };
    },
  };
}

const chainJob = (records) =>
  defineJob({
    id: "chain",
    build(job) {
      job
        .from("source", sources.custom(generated(records, make)))
        .map(double)
        .filter(notNegative)
        .map(plusOne)
        .filter(hasTime)
        .map(plusTwo)
        .filter(large)
        .keyBy((r) => r.k)
        .aggregate("sum", {
          init: () => ({ n: 0, s: 0 }),
          add: (a, r) => {
            a.n++;
            a.s += r.v;
            return a;
          },
        })
        .to("out", sinks.collect());
    },
  });

const keyedJob = (records) =>
  defineJob({
    id: "keyed",
    build(job) {
      job
        .from("source", sources.custom(generated(records, (i) => i)))
        .map(make)
        .keyBy((r) => r.k)
        .aggregate("count", {
          init: () => ({ n: 0, s: 0 }),
          add: (a, r) => {
            a.n++;
            a.s += r.v;
            return a;
          },
        })
        .to("out", sinks.collect());
    },
  });

async function run(job, parallelism) {
  const { built } = await planJob(
    job,
    {},
    { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex"), verify: false },
  );
  const source = built.functions.get("source").custom;
  const { splits } = await source.enumerate({ parallelism });
  const network = createLocalNetwork();
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const clock = {
    now: () => performance.now(),
    wallNow: () => 0,
    at: (instant, fire) => {
      const timer = setTimeout(fire, Math.max(0, instant - performance.now()));
      return { cancel: () => clearTimeout(timer) };
    },
  };
  let total = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: parallelism }, (_, subtask) => {
      let split = splits[subtask];
      const next = async () => {
        const given = split ?? null;
        split = null;
        return given === null ? null : { split: given, position: null };
      };
      return runSlice({
        built,
        applicationId: "bench",
        attempt: "1",
        subtask,
        parallelism,
        splits: { next },
        network,
        connectors: {},
        clock,
        log,
        yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
        onCollect: (_uid, records) => {
          for (const r of records) total += r.value.n;
        },
      }).done;
    }),
  );
  return { ms: performance.now() - startedAt, total };
}

/** The same work as `chainJob`, written as one loop by hand. */
function byHand(records) {
  const state = new Map();
  const startedAt = performance.now();
  const batch = new Array(1_024);
  for (let from = 0; from < records; from += 1_024) {
    const count = Math.min(1_024, records - from);
    for (let i = 0; i < count; i++) batch[i] = make(from + i);
    for (let i = 0; i < count; i++) {
      let r = batch[i];
      r = { k: r.k, v: r.v * 2, t: r.t };
      if (!(r.v >= 0)) continue;
      r = { k: r.k, v: r.v + 1, t: r.t };
      if (!(r.t >= 0)) continue;
      r = { k: r.k, v: r.v + 2, t: r.t };
      if (!(r.v > 1_000)) continue;
      let a = state.get(r.k);
      if (a === undefined) {
        a = { n: 0, s: 0 };
        state.set(r.k, a);
      }
      a.n++;
      a.s += r.v;
    }
  }
  let total = 0;
  for (const a of state.values()) total += a.n;
  return { ms: performance.now() - startedAt, total };
}

function report(name, aim, results, records) {
  const rates = results.map((result) => records / result.ms / 1_000).sort((a, b) => a - b);
  const [min, median, max] = [rates[0], rates[rates.length >> 1], rates[rates.length - 1]].map((rate) => rate.toFixed(1));
  console.log(`${name.padEnd(64)} ${min} / ${median} / ${max} M records/s   ${aim}`);
}

async function repeat(once) {
  const results = [];
  for (let i = 0; i < RUNS; i++) results.push(await once());
  return results;
}

const only = process.argv[3];
if (only === undefined || only === "hand")
  report("chain of 3 maps, 3 filters, 1 aggregation: loop by hand", "the limit here", await repeat(() => byHand(RECORDS)), RECORDS);
if (only === undefined || only === "chain")
  report("the same through the engine, one subtask", "aim >= 20", await repeat(() => run(chainJob(RECORDS), 1)), RECORDS);
if (only === undefined || only === "keyed")
  report(
    "map, keyBy 1,000 keys, count: 2 subtasks in one process",
    "Flink warm 8.2",
    await repeat(() => run(keyedJob(RECORDS), 2)),
    RECORDS,
  );
console.log(`memory at most ${(process.resourceUsage().maxRSS / 1_024).toFixed(0)} MB`);
