/** What scenarios about checkpoints share: waiting for one, and looking at what was kept and shown. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import type { ApplicationView } from "../../src/wire/views.js";
import { filesBelow } from "./files-below.js";
import { until } from "./holdfast.js";
import type { Stage } from "./scenario.js";

export type Checkpoint = NonNullable<ApplicationView["checkpoint"]>;

/** Waits for a checkpoint beyond this id that holds records. */
export async function checkpointAfter(stage: Stage, job: string, id: number): Promise<Checkpoint> {
  let found: Checkpoint | null = null;
  await until(`a checkpoint of ${job} after ${id}`, async () => {
    const { checkpoint } = await stage.status(job);
    found = checkpoint !== null && checkpoint.id > id && checkpoint.records.in > 0 ? checkpoint : null;
    return found !== null;
  });
  return found ?? expect.fail("unreachable");
}

/** Of those that run: process and pid. */
export async function runningExecutors(stage: Stage, job: string): Promise<readonly string[]> {
  const { executors } = await stage.status(job);
  return executors
    .filter(({ state }) => state === "running")
    .map(({ id, pid }) => `${id} ${pid}`)
    .sort();
}

/** Waits until that attempt of the driver goes on with what the executors of the one before still run: the same processes, of which all have gone on. */
export async function takenOver(stage: Stage, job: string, attempt: number, executors: readonly string[]): Promise<void> {
  const client = await stage.client();
  await until(`attempt ${attempt} of ${job} to go on with what runs`, async () => {
    const { events } = await client.call("events", { after: null, limit: 1_000, waitMs: 0 });
    return events.some(
      ({ kind, message }) => kind === "job.taken-over" && message.startsWith(`Attempt ${attempt} of the driver of ${job} `),
    );
  });
  expect(await runningExecutors(stage, job)).toEqual(executors);
}

/** Files and folders that the job keeps, or anybody for it. */
export function stateOf(stage: Stage, job: string): readonly string[] {
  return filesBelow(stage.cluster.directory).filter((name) => name.includes(path.join("state", job)));
}

/** Records that are visible, in the order of their parts. */
export function visible(directory: string): { readonly n: number; readonly count: number }[] {
  if (!existsSync(directory)) return [];
  const parts = readdirSync(directory).filter((name) => name.startsWith("part-"));
  return parts
    .sort()
    .flatMap((name) => readFileSync(path.join(directory, name), "utf8").trim().split("\n"))
    .map((line) => JSON.parse(line) as { n: number; count: number });
}

/** Each key's records once each, from the first on, with the counts that an undisturbed run gives. */
export function expectExact(records: readonly { readonly n: number; readonly count: number }[]): void {
  for (let key = 0; key < 10; key++) {
    const own = records.filter(({ n }) => n % 10 === key);
    const counts = own.map(({ count }) => count).sort((a, b) => a - b);
    expect(counts, `counts of key ${key}`).toEqual(counts.map((_, index) => index + 1));
    for (const { n, count } of own) expect(n).toBe(key + 10 * (count - 1));
  }
}
