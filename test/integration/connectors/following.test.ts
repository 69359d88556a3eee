/** Sources that follow a directory: what appears is read once, in whole lines, also over restores at every position. */
import { appendFile, mkdir, mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { defineJob, sinks, sources } from "../../../src/api/index.js";
import type { JsonValue } from "../../../src/base/json.js";
import { createSource } from "../../../src/connectors/index.js";
import type { SourceDescriptor, SourceReader, Split } from "../../../src/dataflow/connector.js";
import { runJob } from "../../../src/testing/index.js";

let folder = "";
let count = 0;
let root = "";
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), "holdfast-following-"));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(async () => {
  folder = path.join(root, String(count++));
  await mkdir(folder);
});

const file = (name: string) => path.join(folder, name);
const lines = (...numbers: readonly number[]) => numbers.map((n) => `${n}\n`).join("");
const text = (more: object = {}): SourceDescriptor => ({ kind: "text", path: folder, followEveryMs: 10, ...more });
/** As a writer should: whole before it has its name. */
async function appears(name: string, content: string): Promise<void> {
  await writeFile(file(`.${name}`), content);
  await rename(file(`.${name}`), file(name));
}

interface Opened {
  readonly reader: SourceReader<unknown>;
  /** The next so many records; waits for them. */
  take(wanted: number): Promise<unknown[]>;
  /** Nothing more comes while the directory is looked at a few times. */
  quiet(): Promise<void>;
}

async function open(descriptor: SourceDescriptor, position: JsonValue | null = null, parallelism = 1, part = 0): Promise<Opened> {
  const source = createSource(descriptor);
  const controller = new AbortController();
  const { splits } = await source.enumerate({ parallelism, signal: controller.signal });
  const reader = await source.open(splits[part] as Split, position, { signal: controller.signal, onBadRecord: () => undefined });
  let pending: Promise<number> | null = null;
  const out: unknown[] = [];
  const pull = () => {
    pending ??= Promise.resolve(reader.next(out, 2));
    return pending;
  };
  return {
    reader,
    take: async (wanted) => {
      const taken: unknown[] = [];
      while (taken.length < wanted) {
        const got = await pull();
        pending = null;
        taken.push(...out.slice(0, got));
      }
      return taken;
    },
    quiet: async () => {
      const pulled = pull();
      let came = false;
      pulled.then(
        () => {
          came = true;
        },
        () => undefined,
      );
      await new Promise((resolve) => setTimeout(resolve, 60));
      expect(came).toBe(false);
    },
  };
}

describe("whole files", () => {
  test("are read once each, in the order of their names, when they have them", async () => {
    await appears("b", lines(3, 4));
    await appears("a", lines(1, 2));
    const { take, quiet, reader } = await open(text());
    expect(await take(4)).toEqual(["1", "2", "3", "4"]);
    await writeFile(file(".c"), lines(5));
    await writeFile(file("_d"), lines(6));
    await quiet();
    await rename(file(".c"), file("c"));
    expect(await take(1)).toEqual(["5"]);
    await quiet();
    await reader.close();
  });

  test("a restore at any position gives exactly the rest", async () => {
    for (const name of ["a", "b", "c"])
      await appears(name, lines(...Array.from({ length: 5 }, (_, i) => "abc".indexOf(name) * 5 + i)));
    const all = Array.from({ length: 15 }, (_, n) => String(n));
    for (let stop = 0; stop <= 15; stop++) {
      const first = await open(text());
      const before = stop === 0 ? [] : await first.take(stop);
      const position = JSON.parse(JSON.stringify(first.reader.position())) as JsonValue;
      await first.reader.close();
      const second = await open(text(), position);
      const after = before.length < 15 ? await second.take(15 - before.length) : [];
      await second.quiet();
      expect([...before, ...after]).toEqual(all);
      await second.reader.close();
    }
  });

  test("each file belongs to one of the subtasks", async () => {
    for (let n = 0; n < 20; n++) await appears(`f${n}`, lines(n));
    const readers = await Promise.all([0, 1, 2].map((part) => open(text(), null, 3, part)));
    const found: unknown[] = [];
    const done = Promise.all(
      readers.map(async ({ take }) => {
        while (found.length < 20) found.push(...(await take(1)));
      }),
    );
    done.catch(() => undefined);
    while (found.length < 20) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const { reader } of readers) await reader.close();
    expect(found.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });

  test("files that are taken away are forgotten, so a position stays small", async () => {
    await appears("a", lines(1));
    const { take, quiet, reader } = await open(text());
    await take(1);
    await quiet();
    expect(Object.keys((reader.position() as { files: object }).files)).toEqual([file("a")]);
    await rm(file("a"));
    await appears("b", lines(2));
    await take(1);
    await quiet();
    expect(Object.keys((reader.position() as { files: object }).files)).toEqual([file("b")]);
    await reader.close();
  });

  test("a pattern may match nothing yet, a directory has to be there", async () => {
    const { take, reader } = await open(text({ path: `${folder}/*.log` }));
    await appears("x.log", lines(1));
    expect(await take(1)).toEqual(["1"]);
    await reader.close();
    await expect(open(text({ path: `${folder}/nowhere` }))).rejects.toMatchObject({ code: "SOURCE_FAILED" });
  });
});

describe("growing files", () => {
  const growing = { growing: true };

  test("are read in whole lines as they grow; half a line waits for its end", async () => {
    await writeFile(file("log"), "1\n2\n3");
    const { take, quiet, reader } = await open(text(growing));
    expect(await take(2)).toEqual(["1", "2"]);
    await quiet();
    await appendFile(file("log"), "4\n5\n");
    expect(await take(2)).toEqual(["34", "5"]);
    await writeFile(file("other"), "6\n");
    await appendFile(file("log"), "7\n");
    expect((await take(2)).sort()).toEqual(["6", "7"]);
    await reader.close();
  });

  test("a restore at any position gives exactly the rest, also of what came since", async () => {
    const all = Array.from({ length: 12 }, (_, n) => String(n));
    for (let stop = 0; stop <= 8; stop++) {
      await writeFile(file("log"), `${all.slice(0, 8).join("\n")}\n8`);
      const first = await open(text(growing));
      const before = stop === 0 ? [] : await first.take(stop);
      const position = JSON.parse(JSON.stringify(first.reader.position())) as JsonValue;
      await first.reader.close();
      await appendFile(file("log"), "\n9\n10\n11\n");
      const second = await open(text(growing), position);
      expect([...before, ...(await second.take(12 - before.length))]).toEqual(all);
      await second.quiet();
      await second.reader.close();
    }
  });

  test("CSV keeps the columns of its header", async () => {
    await writeFile(file("rows.csv"), "id,name\n1,ann\n");
    const { take, reader } = await open({
      kind: "csv",
      path: folder,
      followEveryMs: 10,
      growing: true,
      multiline: false,
      types: { id: "number" },
    });
    expect(await take(1)).toEqual([{ id: 1, name: "ann" }]);
    await appendFile(file("rows.csv"), "2,bob\n");
    expect(await take(1)).toEqual([{ id: 2, name: "bob" }]);
    await reader.close();
  });

  test("one that became shorter is told, not read anew", async () => {
    await writeFile(file("log"), "1\n2\n");
    const { take, reader } = await open(text(growing));
    await take(2);
    await truncate(file("log"), 2);
    await expect(take(1)).rejects.toMatchObject({ code: "SOURCE_FAILED", message: expect.stringContaining("log") });
    await reader.close();
  });

  test("what can't grow is refused when the source is made", () => {
    expect(() => createSource(text({ growing: true, path: "x.gz" }))).toThrow(/Packed/);
    expect(() => createSource({ kind: "csv", path: folder, followEveryMs: 10, growing: true })).toThrow(/line by line/);
    expect(() => createSource(text({ followEveryMs: 1 }))).toThrow(/followEveryMs/);
  });
});

test("a job over a followed directory never ends by itself, and ends when it is told to", async () => {
  await appears("a", lines(1, 2));
  const stop = new AbortController();
  let seen = 0;
  const job = defineJob({
    id: "follow",
    build: (builder) =>
      builder
        .from("lines", sources.text(folder, { followEveryMs: 10 }))
        .map((line) => {
          if (++seen === 2) void appears("b", lines(3));
          if (seen === 3) stop.abort();
          return Number(line);
        })
        .to("out", sinks.collect()),
  });
  const { collected, graph } = await runJob(job, {}, { signal: stop.signal });
  expect(collected.out).toEqual([1, 2, 3]);
  expect(graph.bounded).toBe(false);
});
