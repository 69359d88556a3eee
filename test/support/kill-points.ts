/**
 * An installation of the built program whose processes can be killed exactly before a call: a rename, a removal, something that is sent or heard. The product
 * has no switch for that; a module is loaded before it that wraps Node's own functions (kill-points.mjs).
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ROOT, until } from "./holdfast.js";

/** The k-th step counts when this process has passed those before it. `matches` is a regular expression. */
export interface KillStep {
  /** write and read: bytes of a connection. rename: `TO HEAD-OF-THE-FILE`; link: TO. */
  readonly on: "rename" | "link" | "rm" | "write" | "read";
  readonly matches: string;
}

export interface KillPoints {
  readonly program: string;
  /** The first process that passes all steps, in this order, dies before the last of them. */
  plan(name: string, ...steps: readonly KillStep[]): void;
  /** Resolves with the pid of the process that has died there. */
  died(name: string): Promise<number>;
}

/** `directory` is made. */
export function killPoints(directory: string): KillPoints {
  const programs = path.join(directory, "dist/bin");
  mkdirSync(programs, { recursive: true });
  // The program reads its own package, and loads what was not bundled from beside it.
  cpSync(path.join(ROOT, "package.json"), path.join(directory, "package.json"));
  symlinkSync(path.join(ROOT, "node_modules"), path.join(directory, "node_modules"));
  for (const name of readdirSync(path.join(ROOT, "dist/bin"))) {
    const from = path.join(ROOT, "dist/bin", name);
    const to = path.join(programs, name);
    if (name === "holdfast.mjs" || name === "runner.mjs")
      writeFileSync(to, `import "./kill-points.mjs";\n${readFileSync(from, "utf8").replace(/^#!.*/, "")}`, { mode: 0o755 });
    else if (!name.endsWith(".map")) cpSync(from, to);
  }
  cpSync(path.join(import.meta.dirname, "kill-points.mjs"), path.join(programs, "kill-points.mjs"));
  const plan = path.join(programs, "kill-plan.json");
  return {
    program: path.join(programs, "holdfast.mjs"),
    plan: (name, ...steps) => {
      writeFileSync(`${plan}.new`, JSON.stringify({ name, steps }));
      renameSync(`${plan}.new`, plan);
    },
    died: async (name) => {
      const told = `${plan}.${name}`;
      const pid = () => (existsSync(told) ? Number(readFileSync(told, "utf8").split("\n")[1] ?? 0) : 0);
      await until(`a process to die at "${name}"`, async () => pid() > 0);
      return pid();
    },
  };
}
