/**
 * The program that plans a job (`dist/bin/planner.mjs`): started by node/plan-in-child.ts, runs user code, answers JSON on descriptor 3.
 * Small on purpose: how fast it starts is part of how fast a job starts.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { planJob } from "../api/plan.js";
import { CodedError, type ErrorShape } from "../base/errors.js";
import { thrownAt } from "../executor/run/user-errors.js";
import { withDisturbedWorld } from "../testing/disturbed-world.js";

const ANSWER = 3;

interface Request {
  readonly file: string;
  readonly fileName: string;
  readonly params: unknown;
}

const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function plan({ file, fileName, params }: Request): Promise<unknown> {
  const module = await load(file, fileName);
  if (!Object.hasOwn(module, "default")) {
    throw new CodedError("INVALID_JOB", `${fileName} has no default export`, {
      hint: "Write `export default defineJob({ id, params, build })`.",
    });
  }
  try {
    const { graph, settings } = await planJob(module.default, params, { sha256Hex, disturb: withDisturbedWorld });
    return { graph, params: params ?? {}, settings };
  } catch (thrown) {
    throw withPlace(CodedError.from(thrown, "PLAN_FAILED"));
  }
}

async function load(file: string, fileName: string): Promise<{ readonly default?: unknown }> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (thrown) {
    const stack = thrown instanceof Error ? (thrown.stack ?? null) : null;
    const { message } = CodedError.from(thrown);
    throw new CodedError("PLAN_FAILED", `${fileName} could not be loaded: ${message}`, {
      ...thrownAt(thrown),
      cause: thrown,
      details: { stack },
    });
  }
}

/** With the line of the job file that threw, when the error says nothing else of what to do. */
function withPlace(error: CodedError): CodedError {
  if (error.hint !== null || !(error.cause instanceof Error)) return error;
  const { code, message, details, cause } = error;
  return new CodedError(code, message, { ...thrownAt(cause), ...(details === undefined ? {} : { details }), cause });
}

function answer(value: { readonly plan: unknown } | { readonly error: ErrorShape }): void {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(ANSWER, bytes, at);
}

process.setSourceMapsEnabled(true);
try {
  answer({ plan: await plan(JSON.parse(readFileSync(0, "utf8")) as Request) });
} catch (thrown) {
  answer({ error: CodedError.from(thrown, "PLAN_FAILED").toShape() });
}
process.exit(0);
