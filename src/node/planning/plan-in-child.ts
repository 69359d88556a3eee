/**
 * Plans a job in a child process: user code runs there, under limits of time and memory, and only JSON comes back.
 *
 * Boundary: starts `planner.mjs` (cli/planner.ts) and talks to it: one JSON line on its input, one on its descriptor 3.
 * A planner takes as long to start as esbuild to bundle a job, so `openPlanner` may be called before there is a bundle.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import { CodedError, type ErrorShape } from "../../base/errors.js";
import type { JobGraph } from "../../dataflow/graph.js";
import { makeTemporaryDirectory } from "../files/temporary-directory.js";
import { withoutUrls } from "../processes/process-environment.js";
import { programPath } from "../programs.js";

export const PLAN_TIMEOUT_MS = 30_000;
const PLAN_MEMORY_MEGABYTES = 512;
/** A graph of 1,024 operators with large collections in it; more is refused. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** As api/settings.ts has it, JSON. */
export interface PlannedSettings {
  readonly parallelism: number | null;
  readonly restart: unknown;
  readonly cores: number | null;
  readonly memoryBytes: number | null;
  readonly checkpoint: unknown;
  readonly state: "memory" | "disk";
}

export interface Plan {
  readonly graph: JobGraph;
  /** As they were given, when they are valid: what belongs into a submission. */
  readonly params: unknown;
  readonly settings: PlannedSettings;
}

export interface PlanRequest {
  readonly bundle: Uint8Array;
  /** Of the job file, for messages. */
  readonly fileName?: string;
  /** JSON. */
  readonly params: unknown;
  readonly signal: AbortSignal;
  /** Default PLAN_TIMEOUT_MS. */
  readonly timeoutMs?: number;
}

export interface Planner {
  /** Once. Rejects with INVALID_JOB, INVALID_PARAMS, PLAN_FAILED, TIMEOUT or the signal's reason. */
  plan(request: PlanRequest): Promise<Plan>;
  /** Ends the child; nothing of it is left. */
  close(): void;
}

const NEWLINE = 10;

type Answer = { readonly plan: Plan } | { readonly error: ErrorShape };

/** Starts the child; it waits. */
export function openPlanner(): Planner {
  // What user code prints while it is planned is no answer of a command: it goes to standard error.
  const child = spawn(process.execPath, [`--max-old-space-size=${PLAN_MEMORY_MEGABYTES}`, programPath("planner")], {
    stdio: ["pipe", 2, 2, "pipe"],
    env: withoutUrls(process.env),
  });
  child.stdin?.on("error", () => undefined);
  const answer = answerOf(child);
  answer.catch(() => undefined);
  return {
    plan: (request) => planWith(child, answer, request),
    close: () => void child.kill("SIGKILL"),
  };
}

/** One job, one child. */
export async function planInChild(request: PlanRequest): Promise<Plan> {
  const planner = openPlanner();
  try {
    return await planner.plan(request);
  } finally {
    planner.close();
  }
}

async function planWith(child: ChildProcess, answer: Promise<Answer>, request: PlanRequest): Promise<Plan> {
  const { signal, timeoutMs = PLAN_TIMEOUT_MS } = request;
  signal.throwIfAborted();
  const folder = makeTemporaryDirectory("plan");
  let stop: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    const onAbort = () => reject(signal.reason);
    const timer = setTimeout(() => reject(tooLong(timeoutMs)), timeoutMs);
    signal.addEventListener("abort", onAbort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    };
  });
  try {
    const file = path.join(folder.path, "job.mjs");
    writeFileSync(file, request.bundle);
    const fileName = request.fileName ?? "the job file";
    child.stdin?.end(`${JSON.stringify({ file, fileName, params: request.params })}\n`);
    const answered = await Promise.race([answer, stopped]);
    if ("error" in answered) throw CodedError.fromShape(answered.error);
    return answered.plan;
  } finally {
    stop();
    child.kill("SIGKILL");
    await folder.remove();
  }
}

function answerOf(child: ChildProcess): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const output = child.stdio[3] as Readable;
    output.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_ANSWER_BYTES) chunks.push(chunk);
      // One line is all that comes; the child's end is not waited for.
      if (size <= MAX_ANSWER_BYTES && chunk.at(-1) === NEWLINE) settle();
    });
    const settle = () => {
      try {
        resolve(JSON.parse(Buffer.concat(chunks).toString("utf8")) as Answer);
      } catch (cause) {
        reject(new CodedError("PLAN_FAILED", "the planner's answer can't be read", { cause }));
      }
    };
    child.on("error", (cause) =>
      reject(new CodedError("PLAN_FAILED", `the planner could not be started: ${cause.message}`, { cause })),
    );
    child.on("close", (exitCode, killedBy) => {
      const text = Buffer.concat(chunks).toString("utf8");
      if (size > MAX_ANSWER_BYTES)
        reject(new CodedError("LIMIT_EXCEEDED", `the job graph has more than ${MAX_ANSWER_BYTES} bytes`));
      else if (text.endsWith("\n")) settle();
      else reject(died(exitCode, killedBy));
    });
  });
}

function died(exitCode: number | null, killedBy: string | null): CodedError {
  // V8 aborts when its heap is full.
  if (killedBy === "SIGABRT" || exitCode === 134) {
    return new CodedError("PLAN_FAILED", `planning the job needed more than ${PLAN_MEMORY_MEGABYTES} MiB of memory`, {
      hint: "Build the graph only; load data in sources and operators.",
    });
  }
  const how = killedBy === null ? `exit code ${exitCode}` : `signal ${killedBy}`;
  return new CodedError("PLAN_FAILED", `the process that planned the job ended with ${how}`, {
    hint: "A job file may not call process.exit; what it printed stands above.",
  });
}

function tooLong(timeoutMs: number): CodedError {
  return new CodedError("PLAN_FAILED", `planning the job took longer than ${timeoutMs} ms`, {
    hint: "Building a graph opens and reads nothing; move slow work into sources and operators.",
  });
}
