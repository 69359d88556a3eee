/** Runs a TypeScript fixture as a process of its own: bundled by esbuild into a temporary file, so that no build has to be there. */
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

export interface Program {
  /** Starts the program; resolves with its first line of output. */
  start(args?: readonly string[]): Promise<{ readonly child: ChildProcessWithoutNullStreams; readonly firstLine: string }>;
  /** Kills what still runs and removes the bundle. */
  close(): Promise<void>;
}

export async function bundleProgram(fixture: string): Promise<Program> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "holdfast-program-"));
  const outfile = path.join(folder, "program.mjs");
  await build({
    entryPoints: [path.join(root, fixture)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  const children: ChildProcessWithoutNullStreams[] = [];
  return {
    async start(args = []) {
      const child = spawn(process.execPath, [outfile, ...args], { stdio: ["pipe", "pipe", "pipe"] });
      children.push(child);
      let errors = "";
      child.stderr.on("data", (chunk) => {
        errors += chunk;
      });
      const lines = createInterface({ input: child.stdout });
      const first = await Promise.race([once(lines, "line").then(([line]) => String(line)), once(child, "exit").then(() => null)]);
      if (first === null) throw new Error(`${fixture} ended before it said anything: ${errors}`);
      return { child, firstLine: first };
    },
    async close() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const gone = once(child, "exit");
        child.kill("SIGKILL");
        await gone;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}
