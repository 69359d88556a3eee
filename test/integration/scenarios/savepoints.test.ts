/** Checkpoints on demand, savepoints, and jobs that begin from them: moved, at another parallelism, with another graph; and those that must not. */
import { cpSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { checkpointAfter, expectExact, stateOf, visible } from "../../support/checkpointed-jobs.js";
import { holdfast, until } from "../../support/holdfast.js";
import { expectBuckets, jobFile, jobWords, killPid, type Stage, scenario } from "../../support/scenario.js";

const RATE = 2_000;
const OFTEN = ["--checkpoint-interval", "300ms"];

async function json<T>(stage: Stage, args: readonly string[]): Promise<T> {
  const ran = await stage.command([...args, "--json"], {});
  expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
  return JSON.parse(ran.stdout) as T;
}

interface Savepoint {
  readonly directory: string;
  readonly checkpoint: number;
  readonly state?: string;
}

/** Each record once, and each key's counts without a gap; a bounded input is read in several splits, so in which order is open. */
function expectCounted(records: readonly { readonly n: number; readonly count: number }[]): void {
  expect(new Set(records.map(({ n }) => n)).size).toBe(records.length);
  for (let key = 0; key < 10; key++) {
    const counts = records.filter(({ n }) => n % 10 === key).map(({ count }) => count);
    expect(counts.sort((a, b) => a - b)).toEqual(counts.map((_, index) => index + 1));
  }
}

const stop = (stage: Stage, job: string, ...args: readonly string[]) =>
  json<Savepoint>(stage, ["savepoint", job, "--stop", ...args]);

scenario(
  "a job stops with a savepoint, which is moved and goes on at twice the parallelism, then at half of that, and what it writes is exact",
  async (stage) => {
    stage.master();
    stage.workers(2, { cores: 4 });
    const output = stage.cluster.file("out");
    const params = { rate: RATE, output };
    const first = await stage.job({ name: "running-counts", params, args: OFTEN });
    await checkpointAfter(stage, first, 0);
    const one = await stop(stage, first, "--to", stage.cluster.file("savepoints"));
    expect(one).toMatchObject({ state: "finished", directory: stage.cluster.file("savepoints", `${first}-${one.checkpoint}`) });
    const shown = visible(output).length;
    expect(shown).toBe((await stage.status(first)).records?.out);
    expectExact(visible(output));
    await until("the state of the job to be removed", () => stateOf(stage, first).length === 0);

    const moved = stage.cluster.file("moved");
    renameSync(one.directory, moved);
    const from = (directory: string) => [...OFTEN, "--from", directory];
    const second = await stage.job({ name: "running-counts", params, parallelism: 4, args: from(moved) });
    const began = await checkpointAfter(stage, second, 1);
    rmSync(moved, { recursive: true });
    killPid((await stage.status(second)).executors.find(({ state }) => state === "running")?.pid);
    await checkpointAfter(stage, second, began.id + 2);
    const two = await stop(stage, second);
    expect(visible(output).length).toBeGreaterThan(shown);
    expectExact(visible(output));

    // Its input is in two parts that never end: the one subtask reads both.
    const before = new Set(visible(output).map(({ n }) => n));
    const third = await stage.job({ name: "running-counts", params, parallelism: 1, args: from(two.directory) });
    await checkpointAfter(stage, third, 1);
    const three = await stop(stage, third);
    expectExact(visible(output));
    const later = visible(output).filter(({ n }) => !before.has(n));
    expect(new Set(later.map(({ n }) => n % 10)).size, "of both parts there is more").toBe(10);
    expect(three.directory).toContain("savepoints");
    expect(await stage.status(third)).toMatchObject({ state: "finished", attempt: 1 });
  },
  { timeoutMs: 170_000 },
);

scenario(
  "a bounded job that was stopped goes on from its savepoint, and its answer is that of the whole input",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const params = { count: 20_000, rate: RATE, output };
    const first = await stage.job({ params, args: OFTEN });
    await checkpointAfter(stage, first, 0);
    const asked = await stage.command(["checkpoint", first]);
    expect(asked.stdout).toMatch(new RegExp(`^Checkpoint \\d+ of ${first} is complete\\.$`, "m"));
    const { directory } = await stop(stage, first);
    const second = await stage.job({ params, parallelism: 3, args: [...OFTEN, "--from", directory] });
    // What it goes on from is its own: the state of aggregations holds what changed since a whole one, and that one is of its own parallelism.
    await checkpointAfter(stage, second, 2);
    killPid((await stage.status(second)).executors.find(({ state }) => state === "running")?.pid);
    expect(await stage.ended(second, 120_000)).toMatchObject({
      state: "finished",
      progress: { recordsIn: 20_000, recordsOut: 10 },
    });
    expectBuckets(output, 20_000);
  },
  { timeoutMs: 150_000 },
);

scenario(
  "a job whose state has another codec since its savepoint goes on from it, with run, to its end; one whose state became another kind is refused",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const count = 40_000;
    const params = (version: string, rate = RATE) => ({ count, rate, output, version });
    const first = await stage.job({ name: "running-counts-coded", params: params("v1"), args: OFTEN });
    await checkpointAfter(stage, first, 0);
    const { directory } = await stop(stage, first);
    const shown = visible(output).length;
    expect(shown).toBeGreaterThan(0);
    expect(shown).toBeLessThan(count);
    expectCounted(visible(output));

    const words = (version: string) => [
      jobFile("running-counts-coded"),
      ...jobWords({ params: params(version, 10 * RATE), parallelism: 3, args: [...OFTEN, "--from", directory] }),
    ];
    for (const refused of [await stage.command(["submit", ...words("list")]), await holdfast(["run", ...words("list")])]) {
      expect(refused).toMatchObject({ exitCode: 2 });
      expect(refused.stderr).toContain("holds state 'seen' of operator 'count' as a value, and in this job it is a list");
    }
    const ran = await holdfast(["run", ...words("v2"), "--json"], { timeoutMs: 120_000 });
    expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ state: "finished" });
    expect(visible(output)).toHaveLength(count);
    expectCounted(visible(output));
  },
  { timeoutMs: 150_000 },
);

scenario(
  "checkpoints are listed with what each cost, also by the next leader; one on demand is taken whoever leads",
  async (stage) => {
    stage.masters(2);
    stage.worker({ cores: 2 });
    await stage.valid(2, 1);
    const job = await stage.job({ name: "running-counts", params: { rate: RATE, output: stage.cluster.file("out") }, args: OFTEN });
    await checkpointAfter(stage, job, 0);
    const { checkpoint } = await json<{ checkpoint: number }>(stage, ["checkpoint", job]);
    await stage.killLeader();
    const listed = await json<{ completed: { id: number; trigger: string; subtasks: unknown[] }[]; retained: number }>(stage, [
      "checkpoints",
      job,
    ]);
    expect(listed.completed.length).toBeLessThanOrEqual(listed.retained);
    expect(Math.max(...listed.completed.map(({ id }) => id))).toBeGreaterThanOrEqual(checkpoint);
    for (const { subtasks } of listed.completed) expect(subtasks).toHaveLength(2);
    const again = await json<{ checkpoint: number }>(stage, ["checkpoint", job]);
    expect(again.checkpoint).toBeGreaterThan(checkpoint);
    const text = (await stage.command(["checkpoints", job, "--subtasks"])).stdout;
    expect(text).toMatch(/^ *ID +TRIGGER +AGE +SIZE +TOOK +ALIGNED +RECORDS$/m);
    expect(text).toMatch(/^EXECUTOR +STATE +TOOK +ALIGNED$/m);
    expect((await stage.command(["cancel", job])).exitCode).toBe(0);
  },
  { timeoutMs: 120_000 },
);

scenario(
  "a savepoint of another job, a damaged one, and one with state that nobody takes are refused by the name of what is wrong",
  async (stage) => {
    stage.master();
    stage.worker({ cores: 2 });
    const output = stage.cluster.file("out");
    const params = { rate: RATE, output };
    const job = await stage.job({ name: "running-counts", params, args: OFTEN });
    await checkpointAfter(stage, job, 0);
    const { directory } = await stop(stage, job);
    const submit = (name: string, given: Readonly<Record<string, string | number>>, ...args: readonly string[]) =>
      stage.command(["submit", jobFile(name), ...jobWords({ params: given, args: [...OFTEN, ...args] })]);

    const other = await submit("buckets", { count: 10, output }, "--from", directory);
    expect(other).toMatchObject({ exitCode: 2 });
    expect(other.stderr).toContain("is of job 'running-counts', and this is 'buckets'");
    const changed = await submit("running-counts-changed", params, "--from", directory);
    expect(changed).toMatchObject({ exitCode: 2 });
    expect(changed.stderr).toContain("holds state of 'count', which this job does not have");
    const allowed = await submit("running-counts-changed", params, "--from", directory, "--allow-dropped-state");
    expect(allowed).toMatchObject({ exitCode: 0 });
    expect(allowed.stderr).toMatch(/^tally +process +new$/m);
    expect(allowed.stderr).toMatch(/^count +process +dropped$/m);
    expect(allowed.stderr).toMatch(/^numbers +source +restored$/m);
    const [id = ""] = /^app-\d+-\d+/.exec(allowed.stdout) ?? [];
    await checkpointAfter(stage, id, 1);
    expect((await stage.command(["cancel", id])).exitCode).toBe(0);

    const copy = stage.cluster.file("copy");
    cpSync(directory, copy, { recursive: true });
    const [file = ""] = readdirSync(path.join(copy, "state"));
    writeFileSync(path.join(copy, "state", file), "damaged");
    const damaged = await submit("running-counts", params, "--from", copy);
    expect(damaged).toMatchObject({ exitCode: 1 });
    expect(damaged.stderr).toContain(`its file state/${file}`);
    rmSync(path.join(copy, "savepoint.json"));
    expect((await submit("running-counts", params, "--from", copy)).stderr).toContain("its file savepoint.json is not there");
  },
  { timeoutMs: 120_000 },
);
