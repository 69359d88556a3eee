// The exchange between two real executor processes: numbers -> {key, n} -> keyBy (both ways) -> count.
// `node bench/exchange.mjs [runs] [records]` after a build; prints M records/s (min, median, max) of the job, half of whose records
// cross between the processes and half stay, then of an exchange all of whose records cross.
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { defineJob, planJob, sinks, sources } from "../dist/api/index.js";
import { MAX_EXCHANGE_FRAME_BYTES, openExchanges } from "../dist/cli/runner/runner-exchange.js";
import { runSlice } from "../dist/executor/run/run-slice.js";
import { createNodeEnv } from "../dist/node/env.js";

const KEYS = Array.from({ length: 1_000 }, (_, i) => `key-${i}`);
const make = (i) => ({ key: KEYS[(Math.imul(i, 2_654_435_761) >>> 0) % 1_000], n: i });
const log = { debug() {}, info() {}, warn() {}, error() {} };

/** Gives the numbers from..to-1. */
const numbers = (records) => ({
  bounded: true,
  enumerate: async () => ({ splits: [], totalRecords: records, totalBytes: null }),
  open: async (split) => {
    let at = split.from;
    return {
      next(out, limit) {
        const count = Math.min(limit, split.to - at);
        for (let i = 0; i < count; i++) out[i] = at + i;
        at += count;
        return count;
      },
      position: () => at,
      progress: () => 0,
      close: async () => {},
    };
  },
});

const job = (records) =>
  defineJob({
    id: "exchange",
    build(builder) {
      builder
        .from("source", sources.custom(numbers(records)))
        .map(make)
        .keyBy((r) => r.key)
        .aggregate("count", {
          init: () => ({ n: 0, s: 0 }),
          add: (a, r) => {
            a.n++;
            a.s += r.n;
            return a;
          },
        })
        .to("out", sinks.collect());
    },
  });

async function openExecutor(subtask) {
  const env = createNodeEnv({ log, transport: { maxFrameBytes: MAX_EXCHANGE_FRAME_BYTES } });
  const start = {
    processId: `bench-x1-${subtask}`,
    application: { id: "bench" },
    applicationKey: "0".repeat(64),
    listenHost: "127.0.0.1",
  };
  return { env, exchanges: await openExchanges(start, env) };
}

async function runJob({ env, exchanges }, { subtask, records, order }) {
  const sha256Hex = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const { built } = await planJob(job(records), {}, { sha256Hex, verify: false });
  let split = { id: `${subtask}`, sizeHint: 1, from: (records / 2) * subtask, to: (records / 2) * (subtask + 1) };
  const attempt = `1.${order.try}`;
  const network = exchanges.open(attempt, order);
  let total = 0;
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  await runSlice({
    built,
    applicationId: "bench",
    attempt,
    subtask,
    parallelism: 2,
    splits: {
      next: async () => {
        const given = split;
        split = null;
        return given;
      },
    },
    network,
    connectors: {},
    clock: env.clock,
    log,
    yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
    onCollect: (_uid, collected) => {
      for (const r of collected) total += r.value.n;
    },
  }).done;
  await network.close();
  return {
    ms: performance.now() - startedAt,
    total,
    cpuMs: cpuMsSince(cpu),
    peakBytes: network.waiting().peakBytes,
  };
}

/** Only the network: sends whole batches as fast as credit allows, and takes what comes. */
async function runRaw({ exchanges }, { subtask, records, order }) {
  const network = exchanges.open(`1.${order.try}`, order);
  const other = 1 - subtask;
  const output = network.output({ edge: "raw", fromSubtask: subtask, toSubtask: other });
  const input = network.input([{ edge: "raw", fromSubtask: other, toSubtask: subtask }]);
  const batch = Array.from({ length: 1_024 }, (_, i) => make(i));
  let total = 0;
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const send = async () => {
    for (let sent = 0; sent < records / 2; sent += 1_024) {
      const answer = output.send(batch, 0, Math.min(1_024, records / 2 - sent));
      if (answer !== true) await answer;
    }
    output.end();
  };
  const receive = () =>
    new Promise((resolve, reject) => {
      const drain = () => {
        try {
          for (let next = input.poll(); next !== undefined; next = input.poll()) {
            if (next.records === null) resolve();
            else total += next.records.length;
          }
        } catch (thrown) {
          reject(thrown);
        }
      };
      input.onReady(drain);
      drain();
    });
  await Promise.all([send(), receive()]);
  await network.close();
  return { ms: performance.now() - startedAt, total, cpuMs: cpuMsSince(cpu), peakBytes: network.waiting().peakBytes };
}

function cpuMsSince(start) {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1_000;
}

async function child(subtask) {
  const executor = await openExecutor(subtask);
  process.on("message", async (message) => {
    if (message === "end") {
      await executor.exchanges.close();
      process.exit(0);
    }
    process.send(await (message.raw ? runRaw : runJob)(executor, message));
  });
  process.send({ address: executor.exchanges.address });
}

const nextMessage = (process_) => new Promise((resolve) => process_.once("message", resolve));

async function main(runs, records) {
  const children = [0, 1].map((subtask) => fork(fileURLToPath(import.meta.url), ["child", String(subtask)]));
  const hellos = await Promise.all(children.map(nextMessage));
  const peers = hellos.map(({ address }, subtask) => ({ processId: `bench-x1-${subtask}`, dataAddress: address }));
  let number = 0;
  const once = async (raw) => {
    number += 1;
    const answers = Promise.all(children.map(nextMessage));
    for (const [subtask, process_] of children.entries())
      process_.send({ raw, subtask, records, order: { try: number, subtask, parallelism: 2, peers } });
    const results = await answers;
    const total = results.reduce((sum, { total }) => sum + total, 0);
    if (total !== records) throw new Error(`${total} records of ${records} arrived`);
    return {
      ms: Math.max(...results.map(({ ms }) => ms)),
      peakBytes: Math.max(...results.map(({ peakBytes }) => peakBytes)),
      cpuMs: Math.max(...results.map(({ cpuMs }) => cpuMs)),
    };
  };
  const report = async (name, raw, aim) => {
    await once(raw);
    const results = [];
    for (let i = 0; i < runs; i++) results.push(await once(raw));
    const rates = results.map(({ ms }) => records / ms / 1_000).sort((a, b) => a - b);
    const [min, median, max] = [rates[0], rates[rates.length >> 1], rates[rates.length - 1]].map((rate) => rate.toFixed(1));
    const peak = Math.max(...results.map(({ peakBytes }) => peakBytes));
    // What the processes would reach with a core each of their own: the machine may be shared.
    const cpuMs = results.map((result) => result.cpuMs).sort((a, b) => a - b)[results.length >> 1];
    const byCpu = `by CPU time ${(records / cpuMs / 1_000).toFixed(1)}`;
    console.log(`${name.padEnd(48)} ${min} / ${median} / ${max} M records/s   ${aim}; ${byCpu}; waited <= ${peak >> 10} KiB`);
  };
  await report("numbers, keyBy 1,000 keys, count: 2 processes", false, "aim >= 6");
  await report("batches of {key, n} both ways, nothing else", true, "peer: 6.1 with keyed sums");
  for (const process_ of children) process_.send("end");
}

const [first, second] = process.argv.slice(2);
if (first === "child") await child(Number(second));
else await main(Number(first ?? 5), Number(second ?? 10_000_000));
