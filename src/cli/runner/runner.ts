/**
 * The program that runs user code on a worker (`dist/bin/runner.mjs`), see wire/runner-start.ts:
 *
 *   runner driver|executor START_FILE
 *   runner spare                          everything is loaded; one line on standard input says which driver or executor it becomes
 *   runner client-driver                  a driver in the process tree of a command: its start is the first line of standard input, and it
 *                                         cancels the job when its input ends (its parent is gone)
 *
 * Exit codes: 0 the job (or the executor's part) is finished, 1 failed, 143 told to go.
 * Standard output is user code's own; what the runner has to say goes to standard error as JSON lines.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { CodedError, type ErrorCode } from "../../base/errors.js";
import { thrownAt } from "../../executor/run/user-errors.js";
import type { RunningDriver } from "../../host/job/driver-host.js";
import type { RunningExecutor } from "../../host/job/executor-host.js";
import { createNodeEnv } from "../../node/env.js";
import { createLog } from "../../node/log.js";
import {
  DRIVER_FILE_NAME,
  type DriverPlace,
  driverPlace,
  type RunnerStart,
  runnerStart,
  spareAssignment,
} from "../../wire/runner-start.js";
import { runDriver, type StopRequest } from "./runner-driver.js";
import { MAX_EXCHANGE_FRAME_BYTES } from "./runner-exchange.js";
import { runExecutor } from "./runner-executor.js";
import { isInputsThread, serveInputs } from "./runner-inputs-thread.js";

type Mode = "driver" | "executor" | "spare" | "client-driver";
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

async function main(mode: Mode, startFile: string | undefined): Promise<number> {
  // Stack traces of user code name the lines of the job file, not of the bundle.
  process.setSourceMapsEnabled(true);
  if (mode === "driver" || mode === "executor") return runFrom(startFile ?? "");
  const line = await firstLine(mode === "spare");
  if (line === null) return 0;
  if (mode === "spare") return runFrom(spareAssignment.parse(JSON.parse(line)).startFile);
  return run(read(line), null);
}

function runFrom(startFile: string): Promise<number> {
  return run(read(readFileSync(startFile, "utf8")), startFile);
}

/** Null: its driver is where it was. */
async function successor(startFile: string): Promise<DriverPlace | null> {
  const text = await readFile(path.join(path.dirname(startFile), DRIVER_FILE_NAME), "utf8").catch(() => null);
  return text === null ? null : driverPlace.parse(JSON.parse(text));
}

/** The first line of standard input; null when it ends without one. */
function firstLine(letGo: boolean): Promise<string | null> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin });
    lines.once("line", (line) => {
      // First: closing says "close" at once, which means "no line".
      resolve(line);
      lines.close();
      if (letGo) process.stdin.destroy();
    });
    lines.once("close", () => resolve(null));
  });
}

function read(text: string): RunnerStart {
  const parsed = runnerStart.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new CodedError("INVALID_ARGUMENT", `the start file of the runner is not valid: ${parsed.error.message}`);
  return parsed.data;
}

/** `startFile` null: the driver of a command. */
async function run(start: RunnerStart, startFile: string | null): Promise<number> {
  const { role, processId, applicationKey } = start;
  const log = createLog({ format: "json", stream: process.stderr, role, id: processId, secrets: [applicationKey] });
  forbidExit();
  const env = createNodeEnv({ log, transport: { maxFrameBytes: MAX_EXCHANGE_FRAME_BYTES } });
  if (role === "executor") {
    const userLog = createLog({
      format: "json",
      stream: process.stdout,
      role,
      id: processId,
      level: "debug",
      secrets: [applicationKey],
    });
    const found = startFile === null ? {} : { successor: () => successor(startFile) };
    return runExecutor(start, env, { userLog, ...found, onStarted: watchExecutor });
  }
  return runDriver(start, env, stopRequest(startFile === null), watchDriver);
}

/** Uncaught errors of user code: whoever has the other end of the exchanges must not wait for this process. */
function watchExecutor(executor: RunningExecutor): void {
  watchUserCode("executor", "OPERATOR_FAILED", (error) => executor.crashed(error));
  for (const signal of SIGNALS) process.on(signal, () => executor.terminate(`it got ${signal}`));
}

/** A driver that user code broke can't be trusted with the commit: it says so and ends, and the master starts another attempt. */
function watchDriver(driver: RunningDriver): void {
  watchUserCode("driver", "APPLICATION_FAILED", (error) => driver.crashed(error));
}

function watchUserCode(where: string, code: ErrorCode, crashed: (error: CodedError) => void): void {
  const report = (what: string) => (thrown: unknown) => {
    const stack = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    process.stderr.write(`${stack}\n`);
    const { message } = CodedError.from(thrown);
    crashed(
      new CodedError(code, `${what} in the ${where}: ${message}`, { ...thrownAt(thrown), details: { stack }, cause: thrown }),
    );
  };
  process.on("uncaughtException", report("Uncaught exception"));
  process.on("unhandledRejection", report("Unhandled rejection"));
}

/** A job can't end the processes that run it: the call is an error of the function that made it, which is told by name and line. */
function forbidExit(): void {
  process.exit = (exitCode) => {
    throw new Error(`process.exit(${exitCode ?? ""}) was called by the job`);
  };
}

function stopRequest(isClient: boolean): Promise<StopRequest> {
  const mode = isClient ? "cancel" : "quit";
  return new Promise((resolve) => {
    for (const signal of SIGNALS) process.on(signal, () => resolve({ mode, reason: `its driver got ${signal}` }));
    if (!isClient) return;
    process.stdin.on("end", () => resolve({ mode, reason: "the command that submitted it has ended" }));
    process.stdin.on("error", () => resolve({ mode, reason: "the command that submitted it has ended" }));
    process.stdin.resume();
  });
}

const endProcess = process.exit.bind(process);

function runProgram(): void {
  const [mode, startFile] = process.argv.slice(2);
  main(mode as Mode, startFile).then(
    (exitCode) => endProcess(exitCode),
    (thrown: unknown) => {
      const error = CodedError.from(thrown);
      process.stderr.write(
        `${JSON.stringify({ level: 50, error: error.toShape(), stack: error.code === "INTERNAL" ? error.stack : undefined })}\n`,
      );
      endProcess(1);
    },
  );
}

// Whoever read what this process prints may be gone, and the disk of its log may be full: neither ends the job. (An error that is not listened
// to would be an uncaught one, whose report is written to the same stream, and so on for ever.)
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

if (isInputsThread()) {
  forbidExit();
  serveInputs();
} else runProgram();
