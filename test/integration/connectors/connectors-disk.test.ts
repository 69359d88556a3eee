/** Sinks on file systems that fail, and writers that are killed: nothing is visible but what was committed. */
import { execFileSync, fork } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createSink } from "../../../src/connectors/index.js";
import type { SinkConnector } from "../../../src/dataflow/connector.js";

const signal = new AbortController().signal;
const identity = { applicationId: "app-1-1", attempt: "1", parallelism: 2 };
const record = { text: "x".repeat(1000) };

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "holdfast-disk-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

function names(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[]).sort();
}

function mayMount(): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const at = mkdtempSync(path.join(tmpdir(), "holdfast-mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", at], { stdio: "ignore" });
    execFileSync("umount", [at], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
}

describe.runIf(mayMount())("a file system of 256 KiB", () => {
  beforeEach(() => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "none", dir]);
  });
  afterEach(() => {
    execFileSync("umount", [dir]);
  });

  const fill = async (sink: SinkConnector<unknown>, count: number): Promise<unknown> => {
    const writer = await sink.open({ ...identity, subtask: 0, signal });
    try {
      for (let i = 0; i < count; i++) await writer.write([record], 1);
      return await writer.prepare();
    } finally {
      await writer.close();
    }
  };

  test.for(["ndjson", "csv", "text", "parquet"] as const)(
    "that is full fails a %s sink naming path and cause, and keeps nothing of it",
    async (kind) => {
      const out = path.join(dir, "out");
      const sink = createSink({ kind, path: out });
      // Parquet packs equal texts: it needs other ones.
      const rows = kind === "parquet" ? 3_000_000 : 2_000;
      const unpackable = { text: "" };
      const writing = kind === "parquet" ? fillRandom(sink, rows, unpackable) : fill(sink, rows);
      await expect(writing).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringMatching(new RegExp(`^cannot write ${out}/part-00000.*no space left on the device \\(ENOSPC\\)$`)),
        hint: expect.stringContaining("Free space"),
      });
      await sink.cleanUp({ applicationId: identity.applicationId, keepAttempt: null });
      expect(names(dir)).toEqual([]);
    },
  );

  test("that is full at the start is refused then, and that is read-only too", async () => {
    writeFileSync(path.join(dir, "filler"), Buffer.alloc(256 * 1024));
    const sink = createSink({ kind: "text", path: path.join(dir, "out") });
    await expect(sink.begin?.({ ...identity, signal })).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining(`cannot write ${path.join(dir, "out")}: no space left on the device (ENOSPC)`),
    });
    execFileSync("mount", ["-o", "remount,ro", dir]);
    await expect(sink.begin?.({ ...identity, signal })).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("the file system is read-only (EROFS)"),
    });
  });
});

async function fillRandom(sink: SinkConnector<unknown>, count: number, row: { text: string }): Promise<unknown> {
  const writer = await sink.open({ ...identity, subtask: 0, signal });
  let seed = 1;
  try {
    for (let i = 0; i < count; i++) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      row.text = seed.toString(36) + (seed ^ i).toString(36);
      await writer.write([{ ...row }], 1);
    }
    return await writer.prepare();
  } finally {
    await writer.close();
  }
}

test("a writer killed at any moment leaves nothing visible, and a killed commit is completed by another process", async () => {
  const program = path.join(dir, "child.mjs");
  await build({
    stdin: { contents: CHILD, resolveDir: import.meta.dirname, loader: "ts" },
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["hyparquet", "hyparquet-writer", "hyparquet-compressors"],
    outfile: program,
  });
  const out = path.join(dir, "out");
  const expected = Array.from({ length: 20 }, (_, part) => `of part ${part}\n`);
  for (let killAfterMessages = 1; killAfterMessages <= 6; killAfterMessages++) {
    const staged = await killed(program, out, killAfterMessages);
    if (staged === null) {
      expect(names(dir).filter((name) => !/^child\.mjs$|^out$|\/?\.holdfast/.test(name))).toEqual([]);
    } else {
      const sink = createSink({ kind: "text", path: out });
      await sink.commit(staged, { ...identity, parallelism: 20 });
      await sink.commit(staged, { ...identity, parallelism: 20 });
      const parts = names(out).filter((name) => name.startsWith("part-"));
      expect(parts.map((part) => readFileSync(path.join(out, part), "utf8"))).toEqual(expected);
    }
    await createSink({ kind: "text", path: out }).cleanUp({ applicationId: identity.applicationId, keepAttempt: null });
    expect(names(dir).filter((name) => name.includes(".holdfast"))).toEqual([]);
    rmSync(out, { recursive: true, force: true });
  }
});

/** Stages 20 parts, telling of every fifth, then of all, then commits for ever. */
const CHILD = `
import { createSink } from "../../../src/connectors/index.js";
const sink = createSink({ kind: "text", path: process.argv[2] });
const identity = { applicationId: "app-1-1", attempt: "1", parallelism: 20 };
const signal = new AbortController().signal;
const staged = [];
for (let subtask = 0; subtask < 20; subtask++) {
  const writer = await sink.open({ ...identity, subtask, signal });
  await writer.write(["of part " + subtask], 1);
  staged.push(await writer.prepare());
  await writer.close();
  if (subtask % 5 === 4) process.send({ staged: null });
}
process.send({ staged });
sink.commit(staged, identity);
setTimeout(() => process.send({ staged }), 2);
setInterval(() => undefined, 1000);
`;

/** What had been staged, all of it or null, when the child was killed after so many messages. */
async function killed(program: string, out: string, messages: number): Promise<never[] | null> {
  const child = fork(program, [out], { execArgv: [], stdio: ["ignore", "inherit", "inherit", "ipc"] });
  let left = messages;
  let staged: never[] | null = null;
  child.on("message", (message: { staged: never[] | null }) => {
    staged = message.staged ?? staged;
    if (--left === 0) child.kill("SIGKILL");
  });
  await new Promise((resolve) => child.once("exit", resolve));
  return staged;
}
