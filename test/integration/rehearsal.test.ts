import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rehearseTakeOver } from "../../src/cli/rehearsal.js";
import { createNodeEnv } from "../../src/node/env.js";

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

test("a rehearsal ends as soon as this master leads, and leaves nothing behind", async () => {
  const { env, said } = listeningEnv();
  const leads = new AbortController();
  const rehearsal = rehearseTakeOver(env, leads.signal);
  leads.abort(new Error("this master leads"));
  await rehearsal;
  expect(said).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);
});
