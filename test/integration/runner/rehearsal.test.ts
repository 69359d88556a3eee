import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rehearseOnStandby, rehearseTakeOver } from "../../../src/cli/rehearsal.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { makeTemporaryDirectory } from "../../../src/node/files/temporary-directory.js";

let temporary: string;
const before = process.env.TMPDIR;
beforeEach(() => {
  temporary = mkdtempSync(path.join(os.tmpdir(), "rehearsal-test-"));
  process.env.TMPDIR = temporary;
});
afterEach(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(temporary, { recursive: true, force: true });
});

function listeningEnv() {
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  return { said, env: createNodeEnv({ log: { debug: say, info: say, warn: say, error: say } }) };
}

test("a standby rehearses take-overs, and leaves nothing behind", async () => {
  const { env, said } = listeningEnv();
  await rehearseTakeOver(env, new AbortController().signal);
  expect(said).toEqual([expect.stringMatching(/^rehearsed 3 take-overs in [0-9]+ ms$/)]);
  expect(readdirSync(temporary)).toEqual([]);
});

test("what a master that was killed has left of its rehearsal goes with the next one that ends; what a living one has stays", async () => {
  const { env } = listeningEnv();
  const left = [
    makeTemporaryDirectory("rehearsal").path,
    mkdtempSync(makeTemporaryDirectory("rehearsal").path.replace(/\.[0-9]+\.[0-9]+-.*$/, ".4194304.1-")),
  ];
  expect(left.map((directory) => readdirSync(directory))).toEqual([[], []]);
  await rehearseOnStandby(env).close();
  expect(readdirSync(temporary).map((name) => name.includes(`.${process.pid}.`))).toEqual([true, true]);
});

test("a rehearsal ends as soon as this master leads, and leaves nothing behind", async () => {
  const { env, said } = listeningEnv();
  const leads = new AbortController();
  const rehearsal = rehearseTakeOver(env, leads.signal);
  leads.abort(new Error("this master leads"));
  await rehearsal;
  expect(said).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);
});
