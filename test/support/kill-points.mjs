// Loaded before a program of the product by the tests (kill-points.ts): the process ends itself, or others, exactly before a call that the plan names. The
// product knows nothing of it: what is watched are Node's own functions.
import { appendFileSync, readFileSync, renameSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";
import path from "node:path";

const PLAN = path.join(import.meta.dirname, "kill-plan.json");

/** Steps that this process has passed, of the plan of that name. */
let passed = { name: "", count: 0 };

function planned() {
  try {
    return JSON.parse(readFileSync(PLAN, "utf8"));
  } catch {
    return null;
  }
}

/** `seen` is asked for only when a step waits for this kind of call. */
function pass(on, seen) {
  const plan = planned();
  if (plan === null) return;
  if (passed.name !== plan.name) passed = { name: plan.name, count: 0 };
  const step = plan.steps[passed.count];
  if (step?.on !== on || !new RegExp(step.matches, "s").test(seen())) return;
  passed.count += 1;
  if (passed.count < plan.steps.length) return;
  try {
    // Whoever moves it is the only one that acts on it.
    renameSync(PLAN, `${PLAN}.${plan.name}`);
  } catch {
    return;
  }
  appendFileSync(`${PLAN}.${plan.name}`, `\n${process.pid}`);
  process.kill(process.pid, "SIGKILL");
  // A signal to oneself takes effect at once, but not within the same instruction.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);
}

/** The beginning of a file, to tell a manifest from state. */
function headOf(file) {
  try {
    return readFileSync(file, "latin1").slice(0, 64);
  } catch {
    return "";
  }
}

const real = { rename: fs.rename, link: fs.link, rm: fs.rm };
fs.rename = async (from, to) => {
  pass("rename", () => `${to} ${headOf(from)}`);
  return real.rename(from, to);
};
fs.link = async (from, to) => {
  pass("link", () => String(to));
  return real.link(from, to);
};
fs.rm = async (file, options) => {
  pass("rm", () => String(file));
  return real.rm(file, options);
};
syncBuiltinESMExports();

const { write, push } = Socket.prototype;
const textOf = (chunk) => (typeof chunk === "string" ? chunk : chunk === null ? "" : Buffer.from(chunk).toString("latin1"));
Socket.prototype.write = function (chunk, ...rest) {
  pass("write", () => textOf(chunk));
  return write.call(this, chunk, ...rest);
};
Socket.prototype.push = function (chunk, ...rest) {
  pass("read", () => textOf(chunk));
  return push.call(this, chunk, ...rest);
};
