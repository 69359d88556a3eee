/** The program `sim` as CI and people use it. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const run = promisify(execFile);
const SIM = path.join(import.meta.dirname, "../../dist/bin/sim.mjs");

interface Replay {
  readonly traceHash: string;
  readonly deterministic: boolean;
  readonly violation: string | null;
}

const replay = async (...args: readonly string[]): Promise<Replay> => {
  const { stdout } = await run(process.execPath, [SIM, ...args, "--json"]).catch((thrown: { readonly stdout: string }) => thrown);
  return JSON.parse(stdout) as Replay;
};

describe("sim", () => {
  test("a seed gives the same trace in every process", async () => {
    const [first, second] = await Promise.all([replay("--seed", "3"), replay("--seed", "3")]);
    expect(first.deterministic).toBe(true);
    expect(first.violation).toBeNull();
    expect(second.traceHash).toBe(first.traceHash);
  });

  test("a broken invariant is exit code 1, named, and replayed", async () => {
    const broken = await run(process.execPath, [SIM, "--seeds", "5", "--mutant", "old-answers"]).catch((thrown: unknown) => thrown);
    const { code, stdout } = broken as { readonly code: number; readonly stdout: string };
    expect(code).toBe(1);
    expect(stdout).toMatch(/FAILED: I20/);
    expect(stdout).toMatch(/replay: node dist\/bin\/sim\.mjs --seed \d+ --mutant old-answers/);
  });
});
