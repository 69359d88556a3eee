/** Memory behind a sink that has stopped taking anything: credits stop the source, so it stays where it is; and what comes out when the sink goes on. */
import { createHash } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { defineJob, planJob, sinks, sources } from "../src/api/index.js";
import { createSource } from "../src/connectors/index.js";
import type { SinkConnector } from "../src/dataflow/connector.js";
import { createLocalNetwork } from "../src/executor/run/local-network.js";
import { runSlice } from "../src/executor/run/run-slice.js";
import { createNodeClock } from "../src/node/clock.js";
import type { Benchmark } from "./benchmark.js";

const STALLED_MS = 3_000;
/** More would mean that something grows. */
const ALLOWED_MB = 64;

export const stalledSink: Benchmark["run"] = async (context) => {
  const records = context.pick(2_000_000, 2_000_000, 200_000);
  let taken = 0;
  let sum = 0;
  let letGo: () => void = () => undefined;
  const stalled = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const sink: SinkConnector<unknown> = {
    open: async () => ({
      write: (batch, count) => {
        taken += count;
        for (let i = 0; i < count; i++) sum += (batch[i] as { readonly n: number }).n;
        return taken > 100_000 ? stalled : undefined;
      },
      prepare: async () => null,
      abort: async () => undefined,
      close: async () => undefined,
    }),
    commit: async () => undefined,
    cleanUp: async () => undefined,
  };
  const job = defineJob({
    id: "bench-stalled",
    build: (builder) =>
      builder
        .from("numbers", sources.numbers({ to: records }))
        .map((n) => ({ n, text: `record ${n}` }))
        .rebalance()
        .to("out", sinks.custom(sink), { parallelism: 1 }),
  });
  const { built } = await planJob(job, {}, { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") });
  let ask = 0;
  const source = createSource({ kind: "numbers", to: records });
  const { splits } = await source.enumerate({ parallelism: 1, signal: context.signal });
  const slice = runSlice({
    built,
    applicationId: "app-1-1",
    attempt: "1.1",
    subtask: 0,
    parallelism: 1,
    splits: {
      next: async () => {
        const split = splits[ask++];
        return split === undefined ? null : { split, position: null };
      },
    },
    network: createLocalNetwork(),
    connectors: {
      source: createSource,
      sink: () => {
        throw new Error("the job has its own sink");
      },
    },
    clock: createNodeClock(),
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
  });
  slice.done.catch(() => undefined);
  while (taken <= 100_000) await pause(5, undefined, { signal: context.signal });
  const before = process.memoryUsage().rss;
  await pause(context.pick(STALLED_MS, STALLED_MS, 200), undefined, { signal: context.signal });
  const grownMb = Math.max(0, process.memoryUsage().rss - before) / 1e6;
  if (grownMb > ALLOWED_MB) context.wrong(`memory grew by ${Math.round(grownMb)} MB behind a sink that takes nothing`);
  context.row({ what: "memory grows behind a stalled sink by", unit: "MB", samples: [grownMb], beside: "channels x 9 batches" });
  letGo();
  await slice.done;
  if (taken !== records || sum !== (records * (records - 1)) / 2)
    context.wrong(`${taken} records came out behind a sink that had stalled, of ${records}`);
};
