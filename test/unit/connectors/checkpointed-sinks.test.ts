import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../../src/base/json.js";
import { createSink } from "../../../src/connectors/index.js";
import type { SinkWriter, WriterCheckpoint } from "../../../src/dataflow/connector.js";
import { signal, temporaryDir } from "./reading.js";
import { APP, visible } from "./writing.js";

type Appears = "at-checkpoint" | "at-end";

const sinkOf = (dir: string, parts: Appears, more: { rollRecords?: number } = {}) =>
  createSink({ kind: "text", path: path.join(dir, "out.txt"), ...more }, { parts });

function open(dir: string, parts: Appears, more: { attempt?: string; restored?: JsonValue; rollRecords?: number } = {}) {
  const { attempt = "1.1", restored, rollRecords } = more;
  return sinkOf(dir, parts, rollRecords === undefined ? {} : { rollRecords }).open({
    applicationId: APP,
    attempt,
    subtask: 0,
    parallelism: 1,
    signal,
    ...(restored === undefined ? {} : { restored }),
  });
}

async function checkpoint(writer: SinkWriter<unknown>, ...records: string[]): Promise<WriterCheckpoint> {
  if (records.length > 0) await writer.write(records, records.length);
  const given = await writer.checkpoint?.();
  if (given === undefined) throw new Error("the writer knows no checkpoints");
  return JSON.parse(JSON.stringify(given)) as WriterCheckpoint;
}

const commit = (dir: string, parts: Appears, committables: readonly JsonValue[], again = false) =>
  sinkOf(dir, parts).commit(committables, { applicationId: APP, attempt: "1.1", parallelism: 1, again });

const read = (dir: string, name: string) => readFileSync(path.join(dir, "out.txt", name), "utf8");

describe("a file sink of a job with checkpoints", () => {
  test("closes a part at each barrier that has records before it, and shows none by itself", async () => {
    const dir = temporaryDir();
    const writer = await open(dir, "at-checkpoint");
    const first = await checkpoint(writer, "a", "b");
    expect(first).toMatchObject({ committables: [{ records: 2 }], state: { next: 1 } });
    expect(await checkpoint(writer)).toEqual({ committables: [], state: { next: 1 } });
    const second = await checkpoint(writer, "c");
    expect(visible(dir)).toEqual(["out.txt"]);
    await commit(dir, "at-checkpoint", first.committables);
    expect(visible(dir)).toEqual(["out.txt", "out.txt/part-00000-000000.txt"]);
    await commit(dir, "at-checkpoint", second.committables);
    expect(read(dir, "part-00000-000000.txt") + read(dir, "part-00000-000001.txt")).toBe("a\nb\nc\n");
    await writer.close();
  });

  test("a record that is written while the barrier's part is closed belongs to the next one", async () => {
    const dir = temporaryDir();
    const writer = await open(dir, "at-checkpoint");
    await writer.write(["before"], 1);
    const closing = writer.checkpoint?.();
    const writing = writer.write(["behind"], 1);
    const first = await closing;
    await writing;
    const second = await checkpoint(writer);
    await commit(dir, "at-checkpoint", [...(first?.committables ?? []), ...second.committables]);
    expect(read(dir, "part-00000-000000.txt")).toBe("before\n");
    expect(read(dir, "part-00000-000001.txt")).toBe("behind\n");
    expect(first?.state).toEqual({ next: 1 });
    await writer.close();
  });

  test("parts that rolled between two barriers are told with the second", async () => {
    const dir = temporaryDir();
    const writer = await open(dir, "at-checkpoint", { rollRecords: 2 });
    const { committables, state } = await checkpoint(writer, "a", "b", "c", "d", "e");
    expect(committables).toHaveLength(3);
    expect(state).toEqual({ next: 3 });
    expect(visible(dir)).toEqual(["out.txt"]);
    await writer.close();
  });

  test("a restored writer numbers its parts on, also where they have been taken away", async () => {
    const dir = temporaryDir();
    const writer = await open(dir, "at-checkpoint");
    const { committables, state } = await checkpoint(writer, "a");
    await writer.close();
    await commit(dir, "at-checkpoint", committables);
    rmSync(path.join(dir, "out.txt", "part-00000-000000.txt"));
    const next = await open(dir, "at-checkpoint", { attempt: "1.2", restored: state });
    const later = await checkpoint(next, "b");
    await commit(dir, "at-checkpoint", later.committables);
    expect(visible(dir)).toEqual(["out.txt", "out.txt/part-00000-000001.txt"]);
    await next.close();
  });

  test("a commit is repeated without harm, also when its reader has taken the part away; a first one misses what is gone", async () => {
    const dir = temporaryDir();
    const writer = await open(dir, "at-checkpoint");
    const { committables } = await checkpoint(writer, "a");
    await writer.close();
    await commit(dir, "at-checkpoint", committables);
    await commit(dir, "at-checkpoint", committables, true);
    const part = path.join(dir, "out.txt", "part-00000-000000.txt");
    expect(readFileSync(part, "utf8")).toBe("a\n");
    renameSync(part, path.join(dir, "taken.txt"));
    await commit(dir, "at-checkpoint", committables, true);
    expect(existsSync(part)).toBe(false);
    await expect(commit(dir, "at-checkpoint", committables)).rejects.toMatchObject({ code: "SINK_FAILED" });
  });

  test("at the end of a bounded job parts of several tries appear together, with their list", async () => {
    const dir = temporaryDir();
    const first = await open(dir, "at-end");
    const one = await checkpoint(first, "a");
    await first.write(["lost"], 1);
    await first.abort();
    const second = await open(dir, "at-end", { attempt: "1.2", restored: one.state });
    const two = await checkpoint(second, "b");
    const last = await second.prepare();
    await second.close();
    const cleanUp = { applicationId: APP, keepAttempt: "1.2", isOver: (name: string) => name !== "1.1" };
    await sinkOf(dir, "at-end").cleanUp(cleanUp);
    expect(visible(dir)).toEqual(["out.txt"]);
    await commit(dir, "at-end", [...one.committables, ...two.committables, last]);
    const names = ["_SUCCESS", "part-00000-000000.txt", "part-00000-000001.txt"];
    expect(visible(dir)).toEqual(["out.txt", ...names.map((name) => `out.txt/${name}`)]);
    expect(read(dir, "part-00000-000000.txt") + read(dir, "part-00000-000001.txt")).toBe("a\nb\n");
  });

  test("an output without any record is committed, too, and replaces an earlier one", async () => {
    const dir = temporaryDir();
    const full = await open(dir, "at-end");
    const { committables } = await checkpoint(full, "old");
    await full.close();
    await sinkOf(dir, "at-end").commit(committables, { applicationId: "app-1-1", attempt: "1.1", parallelism: 1 });
    const empty = await open(dir, "at-end", { attempt: "2.1" });
    const last = await empty.prepare();
    await empty.close();
    await sinkOf(dir, "at-end").commit([last], { applicationId: APP, attempt: "2.1", parallelism: 1 });
    expect(visible(dir)).toEqual(["out.txt", "out.txt/_SUCCESS"]);
  });
});
