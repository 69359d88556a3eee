/** A slow consumer slows the source down, across executor processes; what waits in between, and the memory for it, are bounded. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openClient } from "../../../src/cli/client/cluster-client.js";
import { EXCHANGE_CREDITS } from "../../../src/executor/run/exchange/exchange-network.js";
import { BATCH_RECORDS, CREDITS_PER_CHANNEL } from "../../../src/executor/run/network.js";
import { holdfast, PROGRAM, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

const JOB = path.join(import.meta.dirname, "slow-sink.job.ts");
const EXECUTORS = 2;
const MAX_RSS_MEGABYTES = 200;
/** Each executor: what is on the way from the other one and from itself, part-filled batches, and what the sink has in hand. */
const MAX_WAITING_RECORDS = EXECUTORS * (EXCHANGE_CREDITS + CREDITS_PER_CHANNEL + 8) * BATCH_RECORDS;

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await processCluster(PROGRAM);
  cluster.startMaster("master");
  cluster.startWorker("worker", { cores: 4 });
});
afterAll(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
});

const rssMegabytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

test("a slow sink and a source without end", async () => {
  const submitted = await holdfast(["submit", JOB, "--id", "slow", "--master", cluster.masterUrl]);
  expect(submitted).toMatchObject({ exitCode: 0 });
  const samples: { rss: number; waiting: number }[] = [];
  await using client = await openClient({ master: cluster.masterUrl, timeout: "30s" }, new AbortController().signal);
  await until(
    "the sink to have taken as much as may wait",
    async () => {
      const { application } = await client.call("status", { application: "slow", after: null, waitMs: 0 });
      const { records, executors } = application;
      if (records === null || records.out === 0) return false;
      const living = executors.filter(({ state }) => state === "running");
      expect(living).toHaveLength(EXECUTORS);
      samples.push({ waiting: records.in - records.out, rss: Math.max(...living.map(({ pid }) => rssMegabytes(pid ?? 0))) });
      return records.out > MAX_WAITING_RECORDS;
    },
    90_000,
  );
  expect(samples.length).toBeGreaterThan(5);
  expect(Math.max(...samples.map(({ waiting }) => waiting))).toBeLessThan(MAX_WAITING_RECORDS);
  expect(Math.max(...samples.map(({ rss }) => rss))).toBeLessThan(MAX_RSS_MEGABYTES);
  expect(await holdfast(["cancel", "slow", "--master", cluster.masterUrl])).toMatchObject({ exitCode: 0 });
});
