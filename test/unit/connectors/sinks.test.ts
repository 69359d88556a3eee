import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test, vi } from "vitest";
import type { JsonValue } from "../../../src/base/json.js";
import { createSink } from "../../../src/connectors/index.js";
import { causeOf } from "../../../src/connectors/io-errors.js";
import type { SinkConnector, SinkDescriptor } from "../../../src/dataflow/connector.js";
import { readDescriptor, signal, temporaryDir, writeFile } from "./reading.js";
import { APP, names, records, run, stage, visible } from "./writing.js";

describe("a file sink of one subtask", () => {
  test("writes the one file of that name, and nothing is seen before the commit", async () => {
    const dir = temporaryDir();
    const file = path.join(dir, "out/deep/result.ndjson");
    const sink = createSink({ kind: "ndjson", path: "out/deep/result.ndjson" }, { baseDir: dir });
    const committables = await stage(sink, "1", [records]);
    expect(visible(dir)).toEqual(["out", "out/deep"]);
    await sink.commit(committables, { applicationId: APP, attempt: "1", parallelism: 1 });
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(dir)).toEqual(["out", "out/deep", "out/deep/result.ndjson"]);
    expect((await readDescriptor({ kind: "ndjson", path: file })).records).toEqual(records);
  });

  test("replaces the file of an earlier run at the commit, not before", async () => {
    const dir = temporaryDir();
    const file = writeFile(dir, "result.ndjson", '"old"\n');
    const sink = createSink({ kind: "ndjson", path: file });
    const committables = await stage(sink, "1", [["new"]]);
    expect(readFileSync(file, "utf8")).toBe('"old"\n');
    await sink.commit(committables, { applicationId: APP, attempt: "1", parallelism: 1 });
    expect(readFileSync(file, "utf8")).toBe('"new"\n');
  });

  test("writes an empty file when there are no records", async () => {
    const dir = temporaryDir();
    await run(createSink({ kind: "text", path: path.join(dir, "empty.txt") }), "1", [[]]);
    expect(readFileSync(path.join(dir, "empty.txt"), "utf8")).toBe("");
  });
});

describe("a file sink of several subtasks", () => {
  test("writes a directory of parts and a list of them; empty parts are left out", async () => {
    const dir = temporaryDir();
    const out = path.join(dir, "out.ndjson");
    await run(createSink({ kind: "ndjson", path: out }), "1", [records.slice(0, 20), [], records.slice(20)]);
    expect(names(out)).toEqual(["_SUCCESS", "part-00000.ndjson", "part-00002.ndjson"]);
    expect((await readDescriptor({ kind: "ndjson", path: out })).records).toEqual(records);
    const list = JSON.parse(readFileSync(path.join(out, "_SUCCESS"), "utf8")) as {
      parts: { name: string; records: number; sha256: string }[];
    };
    expect(list.parts.map(({ name, records }) => [name, records])).toEqual([
      ["part-00000.ndjson", 20],
      ["part-00002.ndjson", 30],
    ]);
  });

  test("removes the parts that an earlier run listed, and no other file", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir });
    await run(sink, "1", [["a"], ["b"], ["c"]]);
    writeFile(dir, "notes.txt", "mine");
    writeFile(dir, "part-00009.txt", "of somebody else");
    await run(sink, "2", [["x"], ["y"]]);
    expect(names(dir)).toEqual(["_SUCCESS", "notes.txt", "part-00000.txt", "part-00001.txt", "part-00009.txt"]);
    expect(readFileSync(path.join(dir, "part-00000.txt"), "utf8")).toBe("x\n");
  });

  test("without any record replaces the parts of an earlier run by none", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir });
    await run(sink, "1", [["a"], ["b"]]);
    const committables = await stage(sink, "2", [[], []]);
    // Engines may leave out what has nothing to commit: this has.
    expect(committables).not.toContain(null);
    await sink.commit(committables, { applicationId: APP, attempt: "2", parallelism: 2 });
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(dir)).toEqual(["_SUCCESS"]);
  });

  test("is not led outside by a list that somebody wrote", async () => {
    const dir = temporaryDir();
    const precious = writeFile(dir, "precious.txt", "mine");
    const out = path.join(dir, "out");
    writeFile(
      dir,
      "out/_SUCCESS",
      JSON.stringify({ holdfast: 1, parts: [{ name: "../precious.txt" }, { name: "part-00000.txt/../../precious.txt" }] }),
    );
    await run(createSink({ kind: "text", path: out }), "1", [["x"]]);
    expect(readFileSync(precious, "utf8")).toBe("mine");
  });

  test("commits again after a crash at any step, and ends in the same state", async () => {
    const steps = ["nothing done", "one part renamed", "all renamed", "all done", "old list moved away"];
    for (const step of steps) {
      const dir = temporaryDir();
      const sink = createSink({ kind: "text", path: dir });
      await run(sink, "1", [["a"], ["b"], ["c"]]);
      const committables = await stage(sink, "2", [["x"], ["y"]]);
      const parts = committables as unknown as { temporary: string; final: string }[];
      const move = (part: { temporary: string; final: string } | undefined): void => {
        if (part === undefined) throw new Error("no part");
        writeFileSync(part.final, readFileSync(part.temporary));
        rmSync(part.temporary);
      };
      if (step === "one part renamed") move(parts[0]);
      if (step === "all renamed") parts.forEach(move);
      if (step === "old list moved away") {
        writeFileSync(path.join(dir, `.holdfast-${APP}/2/replaced-success`), readFileSync(path.join(dir, "_SUCCESS")));
        rmSync(path.join(dir, "_SUCCESS"));
        move(parts[1]);
      }
      if (step === "all done") await sink.commit(committables, { applicationId: APP, attempt: "2", parallelism: 2 });
      // Another process: a sink that knows nothing but the descriptor.
      const other = createSink({ kind: "text", path: dir });
      await other.commit(committables, { applicationId: APP, attempt: "2", parallelism: 2 });
      await other.commit(committables, { applicationId: APP, attempt: "2", parallelism: 2 });
      await other.cleanUp({ applicationId: APP, keepAttempt: null });
      expect([step, names(dir)]).toEqual([step, ["_SUCCESS", "part-00000.txt", "part-00001.txt"]]);
      expect(readFileSync(path.join(dir, "part-00001.txt"), "utf8")).toBe("y\n");
    }
  });

  test("does not take another file for its lost part", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir });
    const committables = await stage(sink, "1", [["x"], ["y"]]);
    const lost = (committables as unknown as { temporary: string; final: string }[])[0];
    if (lost === undefined) throw new Error("no part");
    rmSync(lost.temporary);
    writeFileSync(lost.final, "z\n");
    await expect(sink.commit(committables, { applicationId: APP, attempt: "1", parallelism: 2 })).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("part-00000.txt"),
    });
  });
});

describe("what attempts leave", () => {
  test("is removed without a trace, directories that they made included", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "csv", path: path.join(dir, "a/b/out") });
    await stage(sink, "1", [records, records]);
    expect(visible(dir)).toEqual(["a", "a/b", "a/b/out"]);
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(dir)).toEqual([]);
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
  });

  test("is removed but for the attempt that runs, and directories that were there stay", async () => {
    const dir = temporaryDir();
    mkdirSync(path.join(dir, "out"));
    const sink = createSink({ kind: "csv", path: path.join(dir, "out") });
    await stage(sink, "1", [records, []]);
    const committables = await stage(sink, "2", [records, []]);
    await sink.cleanUp({ applicationId: APP, keepAttempt: "2" });
    expect(names(path.join(dir, "out")).filter((name) => name.includes("/1"))).toEqual([]);
    await sink.commit(committables, { applicationId: APP, attempt: "2", parallelism: 2 });
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(path.join(dir, "out"))).toEqual(["_SUCCESS", "part-00000.csv"]);
    await sink.cleanUp({ applicationId: "app-other", keepAttempt: null });
    rmSync(path.join(dir, "out"), { recursive: true });
    mkdirSync(path.join(dir, "out"));
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(existsSync(path.join(dir, "out"))).toBe(true);
  });

  test("of two sinks into one directory is kept apart", async () => {
    const dir = temporaryDir();
    const one = createSink({ kind: "text", path: path.join(dir, "one.txt") });
    const two = createSink({ kind: "text", path: path.join(dir, "two.txt") });
    const staged = await stage(two, "1", [["two"]]);
    await run(one, "1", [["one"]]);
    await two.commit(staged, { applicationId: APP, attempt: "1", parallelism: 1 });
    await two.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(dir)).toEqual(["one.txt", "two.txt"]);
  });

  test("is removed by abort, and by close without prepare", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir });
    for (const end of ["abort", "close"] as const) {
      const writer = await sink.open({ applicationId: APP, attempt: "1", subtask: 0, parallelism: 2, signal });
      await writer.write(["x"], 1);
      await writer[end]();
      expect(names(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    }
  });

  test("can't be reached by names that lead elsewhere", async () => {
    const sink = createSink({ kind: "text", path: temporaryDir() });
    await expect(sink.cleanUp({ applicationId: "../x", keepAttempt: null })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(sink.open({ applicationId: APP, attempt: "..", subtask: 0, parallelism: 2, signal })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("output that exists", () => {
  test('is refused at the start with ifExists "fail"', async () => {
    const dir = temporaryDir();
    const file = writeFile(dir, "out.txt", "old");
    writeFile(dir, "parts/part-00000.txt", "old");
    for (const descriptor of [
      { kind: "text", path: file, ifExists: "fail" },
      { kind: "text", path: path.join(dir, "parts"), ifExists: "fail" },
    ] as const) {
      await expect(
        createSink(descriptor).begin?.({ applicationId: APP, attempt: "1", parallelism: 1, signal }),
      ).rejects.toMatchObject({ code: "SINK_FAILED" });
    }
  });

  test('that came up meanwhile is refused at the commit with ifExists "fail", and a repeated commit is not', async () => {
    const dir = temporaryDir();
    const file = path.join(dir, "out.txt");
    const sink = createSink({ kind: "text", path: file, ifExists: "fail" });
    const committables = await stage(sink, "1", [["mine"]]);
    writeFileSync(file, "theirs");
    const identity = { applicationId: APP, attempt: "1", parallelism: 1 };
    await expect(sink.commit(committables, identity)).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: `cannot commit ${file}: it exists already`,
    });
    expect(readFileSync(file, "utf8")).toBe("theirs");
    rmSync(file);
    await sink.commit(committables, identity);
    await sink.commit(committables, identity);
    expect(readFileSync(file, "utf8")).toBe("mine\n");
  });

  test("of the wrong kind is refused at the start", async () => {
    const dir = temporaryDir();
    const file = writeFile(dir, "file.txt", "x");
    mkdirSync(path.join(dir, "dir.txt"));
    const refused = (descriptor: SinkDescriptor, parallelism: number): Promise<void> | undefined =>
      createSink(descriptor).begin?.({ applicationId: APP, attempt: "1", parallelism, signal });
    await expect(refused({ kind: "text", path: path.join(dir, "dir.txt") }, 1)).rejects.toThrow("it is a directory");
    await expect(refused({ kind: "text", path: file }, 2)).rejects.toThrow("several parts need a directory");
    await expect(refused({ kind: "text", path: path.join(file, "below.txt") }, 1)).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("not a directory"),
    });
    // Nothing can be made there, though the directory above is there.
    await expect(refused({ kind: "text", path: "/proc/no-such-place/out.txt" }, 1)).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("no such file or directory"),
    });
  });
});

test("errors of the disk are sentences", () => {
  expect(causeOf(Object.assign(new Error("x"), { code: "ENOSPC" }))).toBe("no space left on the device (ENOSPC)");
  expect(causeOf(Object.assign(new Error("x"), { code: "EACCES" }))).toBe("permission denied (EACCES)");
  expect(causeOf(new Error("other"))).toBe("other");
});

test.runIf(existsSync("/dev/full"))("a full disk fails the sink, naming the final path", async () => {
  const { StagedFile } = await import("../../../src/connectors/staged-file.js");
  const link = path.join(temporaryDir(), "full");
  symlinkSync("/dev/full", link);
  const file = await StagedFile.create(link, "/data/out.txt");
  const write = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) await file.appendText("x".repeat(300_000));
    await file.finish(10);
  };
  await expect(write()).rejects.toMatchObject({
    code: "SINK_FAILED",
    message: "cannot write /data/out.txt: no space left on the device (ENOSPC)",
  });
  await file.discard();
  expect(existsSync(link)).toBe(false);
});

describe("rolling parts", () => {
  const open = async (sink: SinkConnector<unknown>, onRolled?: (one: JsonValue) => void) =>
    sink.open({
      applicationId: APP,
      attempt: "1",
      subtask: 3,
      parallelism: 4,
      signal,
      ...(onRolled === undefined ? {} : { onRolled }),
    });

  test("appear whole after so many records, and numbers go on over restarts", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir, rollRecords: 3 });
    const first = await open(sink);
    await first.write(["a", "b", "c", "d", "e", "f", "g"], 7);
    expect(visible(dir)).toEqual(["part-00003-000000.txt", "part-00003-000001.txt"]);
    await first.abort();
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    const second = await open(sink);
    await second.write(["h"], 1);
    const last = await second.prepare();
    await second.close();
    await sink.commit([last], { applicationId: APP, attempt: "1", parallelism: 4 });
    await sink.cleanUp({ applicationId: APP, keepAttempt: null });
    expect(names(dir)).toEqual(["part-00003-000000.txt", "part-00003-000001.txt", "part-00003-000002.txt"]);
    expect((await readDescriptor({ kind: "text", path: dir })).records).toEqual(["a", "b", "c", "d", "e", "f", "h"]);
  });

  test("of an executor that was thought dead are not replaced, nor do they replace others", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir, rollRecords: 1 });
    const lost = await open(sink);
    const restarted = await sink.open({ applicationId: APP, attempt: "2", subtask: 3, parallelism: 4, signal });
    await lost.write(["old 0"], 1);
    await restarted.write(["new 0", "new 1"], 2);
    await lost.write(["old 1"], 1);
    await Promise.all([lost.close(), restarted.close()]);
    expect((await readDescriptor({ kind: "text", path: dir })).records).toEqual(["old 0", "new 0", "new 1", "old 1"]);
    expect(visible(dir).length).toBe(4);
  });

  test("are left to the caller to commit when it asks", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir, rollRecords: 2 });
    const rolled: JsonValue[] = [];
    const writer = await open(sink, (one) => rolled.push(one));
    await writer.write(["a", "b", "c"], 3);
    expect([visible(dir), rolled.length]).toEqual([[], 1]);
    await sink.commit(rolled, { applicationId: APP, attempt: "1", parallelism: 4 });
    expect(visible(dir)).toEqual(["part-00003-000000.txt"]);
    await writer.close();
  });

  test("appear after a time also when no more records come", async () => {
    const dir = temporaryDir();
    const sink = createSink({ kind: "text", path: dir, rollEveryMs: 5 });
    const writer = await open(sink);
    await writer.write(["a"], 1);
    await vi.waitFor(() => expect(visible(dir)).toEqual(["part-00003-000000.txt"]), { timeout: 5000, interval: 5 });
    await writer.close();
    expect(readFileSync(path.join(dir, "part-00003-000000.txt"), "utf8")).toBe("a\n");
  });

  test("do not go together with refusing existing ones", () => {
    expect(() => createSink({ kind: "text", path: "x", rollRecords: 1, ifExists: "fail" })).toThrow("can't both roll");
  });
});
