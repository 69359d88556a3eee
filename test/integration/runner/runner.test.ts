import { appendFileSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import { waitFor } from "../../support/wait-for.js";
import { buildPrograms, filesBelow, openStage, partsOf, readRecords, type Stage, type StageOptions } from "./runner-support.js";

let stage: Stage;
const open = async (options: StageOptions) => {
  stage = await openStage(options);
  return { ...stage, output: path.join(stage.folder, "out") };
};

beforeAll(buildPrograms);
afterEach(() => stage?.close());

/** What the job `buckets` has to give. */
function buckets(count: number, number: number): unknown[] {
  const sums = new Map<string, { count: number; sum: number }>();
  for (let n = 0; n < count; n++) {
    const key = `bucket-${n % number}`;
    const sum = sums.get(key) ?? { count: 0, sum: 0 };
    sums.set(key, { count: sum.count + 1, sum: sum.sum + n });
  }
  return [...sums].map(([key, value]) => ({ key, value })).sort((a, b) => a.key.localeCompare(b.key));
}

const sorted = (records: unknown[]) => (records as { key: string }[]).sort((a, b) => a.key.localeCompare(b.key));
const numbers = (output: string) => (readRecords(output) as { n: number }[]).map(({ n }) => n).sort((a, b) => a - b);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);
const FINISHED = { exitCode: 0, signal: null };
const FAILED = { exitCode: 1, signal: null };

/** A directory of an output holds its parts, the list of them, and no trace of anything else. */
function expectNoTraces(output: string): void {
  const files = filesBelow(output);
  expect(files.filter((file) => !/^(part-\d+\.ndjson|_SUCCESS)$/.test(file))).toEqual([]);
  const listed = readFileSync(path.join(output, "_SUCCESS"), "utf8");
  for (const part of partsOf(output)) expect(listed).toContain(path.basename(part));
}

describe("a job on two executor processes", () => {
  test("its output is exact, and every process ends with exit code 0", async () => {
    const { output, master } = await open({ job: "buckets", params: { count: "200000", buckets: 10, output: "OUT/out" } });
    const driver = master.startDriver();
    expect(await driver.ended, driver.log("stderr")).toEqual(FINISHED);
    expect(sorted(readRecords(output))).toEqual(buckets(200_000, 10));
    expectNoTraces(output);
    expect(master.finished).toMatchObject({ outcome: "finished", reason: null });
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
  });

  test("an executor is killed in its middle: another takes its place, and no trace of the failed try is left", async () => {
    const params = { count: "60000", buckets: 10, output: "OUT/out", rate: 60_000 };
    const { output, master } = await open({ job: "buckets", params });
    const driver = master.startDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 5_000);
    const [victim] = master.executors.values();
    victim?.child.kill("SIGKILL");
    expect(await driver.ended, driver.log("stderr")).toEqual(FINISHED);
    expect(sorted(readRecords(output))).toEqual(buckets(60_000, 10));
    expectNoTraces(output);
    expect(master.executors.size).toBe(3);
    expect(master.commit).toMatchObject({ attempt: 1, try: 2 });
    expect(master.progress?.lastRestartReason).toContain(victim?.processId);
  });

  test("the master dies and comes back elsewhere with the next epoch: the job runs on, and reports its end there", async () => {
    const { output, master, folder } = await open({ job: "tricky", params: { count: "20000", rate: 15_000, output: "OUT/out" } });
    const file = path.join(folder, "masters");
    appendFileSync(file, `${master.address}\n`);
    const driver = master.startDriver(`file://${file}`);
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 1_000);
    await master.die();
    master.epoch += 1;
    await master.listen();
    appendFileSync(file, `${master.address}\n`);
    expect(await driver.ended, driver.log("stderr")).toEqual(FINISHED);
    expect(numbers(output)).toEqual(upTo(20_000));
    expect(master.registrations).toHaveLength(2);
    expect(master.registrations[1]).toMatchObject({ attempt: 1, wanted: 2, highestEpoch: 2 });
    expect([...(master.registrations[1]?.executors ?? [])].sort()).toEqual([...master.executors.keys()].sort());
    expect(master.commit).toMatchObject({ try: 1 });
  });

  test("the driver is killed after its commit is durable: the next attempt makes the output visible, without executors", async () => {
    const { output, master } = await open({ job: "tricky", params: { count: "5000", output: "OUT/out" } });
    let first = true;
    const driver = master.startDriver();
    master.onCommit = () => {
      if (first) driver.child.kill("SIGKILL");
      first = false;
    };
    await driver.ended;
    await waitFor(() => [...master.executors.values()].every(({ state }) => state === "ended"));
    expect(readRecords(output)).toEqual([]);
    master.nextAttempt();
    const second = master.startDriver();
    expect(await second.ended, second.log("stderr")).toEqual(FINISHED);
    expect(numbers(output)).toEqual(upTo(5_000));
    expectNoTraces(output);
    expect(master.executors.size).toBe(2);
    expect(master.finished).toMatchObject({ outcome: "finished" });
  });

  test("the driver is killed while the job runs: its executors end themselves, and the next attempt does all of it again", async () => {
    const { output, master } = await open({ job: "tricky", params: { count: "12000", rate: 10_000, output: "OUT/out" } });
    const driver = master.startDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 1_000);
    driver.child.kill("SIGKILL");
    await driver.ended;
    const orphans = [...master.executors.values()];
    master.nextAttempt();
    const second = master.startDriver();
    for (const orphan of orphans) expect(await orphan.ended).toEqual(FAILED);
    expect(await second.ended, second.log("stderr")).toEqual(FINISHED);
    expect(numbers(output)).toEqual(upTo(12_000));
    expectNoTraces(output);
    expect(master.commit).toMatchObject({ attempt: 2, try: 1 });
  });
});

describe("user code", () => {
  test("its log is JSON lines on the executor's standard output", async () => {
    const { master } = await open({ job: "tricky", params: { count: "10", output: "OUT/out" } });
    await master.startDriver().ended;
    const lines = [...master.executors.values()].flatMap((executor) => executor.log("stdout").split("\n").filter(Boolean));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ msg: "the first number", n: 0, role: "executor" }]);
  });

  test("collected records are the result", async () => {
    const { master } = await open({ job: "tricky", params: { count: "2000", output: "OUT/out", trouble: "collect" } });
    await master.startDriver().ended;
    expect(master.finished?.result).toEqual({ few: [0, 1, 2, 3, 4].map((n) => ({ n })) });
  });

  test("an operator that fails once is tried again", async () => {
    const { output, master } = await open({
      job: "tricky",
      params: { count: "5000", output: "OUT/out", trouble: "throw-once", flag: "OUT/flag" },
    });
    const driver = master.startDriver();
    expect(await driver.ended, driver.log("stderr")).toEqual(FINISHED);
    expect(numbers(output)).toEqual(upTo(5_000));
    expectNoTraces(output);
    expect(master.commit).toMatchObject({ try: 2 });
    expect(master.executors.size).toBe(2);
  });

  test("an operator that always fails ends the job with its error, its line, and no output", async () => {
    const { output, master } = await open({ job: "tricky", params: { count: "5000", output: "OUT/out", trouble: "throw" } });
    const driver = master.startDriver();
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished).toMatchObject({ outcome: "failed", restart: false, reason: { code: "RESTARTS_EXHAUSTED" } });
    expect(JSON.stringify(master.finished)).toContain("I do not like 1000");
    expect(JSON.stringify(master.finished)).toContain("tricky.job.ts:");
    expect(filesBelow(output)).toEqual([]);
    expect(master.commit).toBeNull();
  });

  test("an uncaught rejection is reported as the reason, and its executor ends with exit code 1", async () => {
    const { master } = await open({
      job: "tricky",
      params: { count: "3000", rate: 3_000, output: "OUT/out", trouble: "uncaught" },
    });
    const driver = master.startDriver();
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished?.reason).toMatchObject({ code: "RESTARTS_EXHAUSTED" });
    expect(JSON.stringify(master.finished?.reason)).toContain("nobody catches this");
    const ends = await Promise.all([...master.executors.values()].map(({ ended }) => ended));
    expect(ends.filter(({ exitCode }) => exitCode === 1)).toHaveLength(3);
  });
});

describe("ends that are not the job's own", () => {
  test("a cancel ends executors and driver, and leaves no output", async () => {
    const { output, master } = await open({ job: "tricky", params: { rate: 1_000, output: "OUT/out" } });
    const driver = master.startDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 100);
    master.send("driver.cancel", { reason: "cancelled by a test" });
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished).toMatchObject({ outcome: "cancelled", reason: { message: "cancelled by a test" } });
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
    expect(filesBelow(output)).toEqual([]);
  });

  test("a superseded driver ends at once, and its executors with it", async () => {
    const { output, master } = await open({ job: "tricky", params: { rate: 1_000, output: "OUT/out" } });
    const driver = master.startDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 100);
    master.send("driver.superseded", { reason: "attempt 2 is current" });
    expect(await driver.ended).toEqual(FAILED);
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
    expect(master.finished).toBeNull();
    expect(readRecords(output)).toEqual([]);
  });

  test("SIGTERM ends a driver and its executors politely, without an end of the application", async () => {
    const { master } = await open({ job: "tricky", params: { rate: 1_000, output: "OUT/out" } });
    const driver = master.startDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 100);
    driver.child.kill("SIGTERM");
    expect(await driver.ended).toEqual({ exitCode: 143, signal: null });
    expect(master.finished).toBeNull();
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
  });

  test("a damaged bundle is told by its hash, and reported", async () => {
    const { master } = await open({ job: "tricky", params: { count: "10", output: "OUT/out" } });
    appendFileSync(master.bundle, "// one more byte\n");
    const driver = master.startDriver();
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished).toMatchObject({ outcome: "failed", restart: true, reason: { code: "ARTIFACT_CORRUPT" } });
  });

  test("a graph other than the submitted one is refused, naming both", async () => {
    const other = "0".repeat(64);
    const { master } = await open({
      job: "tricky",
      params: { count: "10", output: "OUT/out" },
      change: (record) => ({
        ...record,
        spec: { ...record.spec, job: record.spec.job && { ...record.spec.job, graphHash: other } },
      }),
    });
    const driver = master.startDriver();
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished).toMatchObject({ outcome: "failed", restart: false, reason: { code: "GRAPH_MISMATCH" } });
    expect(master.finished?.reason?.message).toMatch(new RegExp(`[1-9a-f][0-9a-f]{63}.*${other}`));
  });

  test("a commit that another attempt has superseded makes nothing visible", async () => {
    const { output, master } = await open({ job: "tricky", params: { count: "100", output: "OUT/out" } });
    master.refuseCommit = () => new CodedError("SUPERSEDED", "attempt 2 is current");
    const driver = master.startDriver();
    expect(await driver.ended).toEqual(FAILED);
    expect(readRecords(output)).toEqual([]);
  });
});

describe("other ways to start", () => {
  test("a spare that was loaded in advance becomes an executor by one line, and needs its input no more", async () => {
    const { output, master } = await open({ job: "tricky", params: { count: "5000", output: "OUT/out" } });
    master.spares = true;
    const driver = master.startDriver();
    expect(await driver.ended, driver.log("stderr")).toEqual(FINISHED);
    expect(numbers(output)).toEqual(upTo(5_000));
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
  });

  test("a spare whose input ends without a line ends with exit code 0", async () => {
    const { master } = await open({ job: "tricky", params: { count: "1", output: "OUT/out" } });
    expect(await master.unusedSpare()).toEqual(FINISHED);
  });

  test("a driver in the process tree of a command cancels the job when the command is gone", async () => {
    const client = (record: ApplicationRecord) => ({ ...record, spec: { ...record.spec, deployMode: "client" as const } });
    const { output, master } = await open({ job: "tricky", params: { rate: 1_000, output: "OUT/out" }, change: client });
    const driver = master.startClientDriver();
    await waitFor(() => (master.progress?.recordsIn ?? 0) > 100);
    driver.child.stdin?.end();
    expect(await driver.ended).toEqual(FAILED);
    expect(master.finished).toMatchObject({ outcome: "cancelled" });
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual(FINISHED);
    expect(filesBelow(output)).toEqual([]);
  });
});
