/**
 * Client mode: the driver of a job as a child of the command that submitted it. It lives no longer than the command: a broken pipe to it
 * cancels the job, as does the signal.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { CodedError } from "../base/errors.js";
import { programPath } from "../node/programs.js";
import type { ApplicationRecord, ApplicationSpec } from "../wire/application.js";
import { driverProcessId } from "../wire/ids.js";
import type { RunnerStart } from "../wire/runner-start.js";

/** A driver that was told to go has its executors to stop and its end to report. */
const CANCEL_GRACE_MS = 15_000;

export interface ClientDriverOptions {
  /** Of the answer to `submit`. */
  readonly applicationId: string;
  readonly submissionKey: string;
  readonly spec: ApplicationSpec;
  /** Hex, of scope `application/<id>` (host/link-keys.ts `applicationKeyHex`). */
  readonly applicationKey: string;
  readonly masterUrl: string;
  readonly bundle: Uint8Array;
  /** Where executors reach the driver: an address of this machine that workers can connect to. */
  readonly listenHost: string;
  /** Cancels the job. */
  readonly signal: AbortSignal;
  /** JSON lines of the driver's log. */
  readonly onLog?: (line: string) => void;
}

export interface ClientDriverEnd {
  /** 0 the job is finished; 1 it failed or was cancelled; null: the driver's process was killed. */
  readonly exitCode: number | null;
  readonly killedBy: string | null;
}

/** Rejects with LAUNCH_FAILED only. */
export async function runClientDriver(options: ClientDriverOptions): Promise<ClientDriverEnd> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-client-"));
  try {
    const artifactPath = path.join(folder, "job.mjs");
    writeFileSync(artifactPath, options.bundle);
    return await runChild(options, startOf(options, artifactPath));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runChild({ spec, signal, onLog }: ClientDriverOptions, start: RunnerStart): Promise<ClientDriverEnd> {
  const heapMegabytes = Math.max(64, Math.floor((spec.driver.memoryBytes / 1024 / 1024) * 0.75));
  const child = spawn(process.execPath, [`--max-old-space-size=${heapMegabytes}`, programPath("runner"), "client-driver"], {
    // What connectors of the user print in the driver is no answer of the command.
    stdio: ["pipe", 2, "pipe"],
  });
  child.stdin?.on("error", () => undefined);
  child.stdin?.write(`${JSON.stringify(start)}\n`);
  if (child.stderr !== null) createInterface({ input: child.stderr }).on("line", (line) => onLog?.(line));
  let killer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => {
    child.kill("SIGTERM");
    killer = setTimeout(() => child.kill("SIGKILL"), CANCEL_GRACE_MS);
  };
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return new Promise<ClientDriverEnd>((resolve, reject) => {
    child.on("error", (cause) =>
      reject(new CodedError("LAUNCH_FAILED", `the driver could not be started: ${cause.message}`, { cause })),
    );
    child.on("close", (exitCode, killedBy) => resolve({ exitCode, killedBy }));
  }).finally(() => {
    clearTimeout(killer);
    signal.removeEventListener("abort", onAbort);
  });
}

function startOf(options: ClientDriverOptions, artifactPath: string): RunnerStart {
  const { applicationId, applicationKey, masterUrl, listenHost } = options;
  return {
    role: "driver",
    processId: driverProcessId(applicationId, 1),
    application: recordOf(options),
    applicationKey,
    driverAddress: null,
    masterUrl,
    artifactPath,
    listenHost,
    workerId: "client",
    epoch: 0,
  };
}

/** As a master that has just taken the submission has it; its own word replaces this at the registration. */
function recordOf({ applicationId, submissionKey, spec }: ClientDriverOptions): ApplicationRecord {
  return {
    id: applicationId,
    submissionKey,
    contentHash: "",
    spec,
    state: "running",
    reason: null,
    attempt: 1,
    restarts: 0,
    restartedAt: [],
    notBefore: null,
    cancelRequested: false,
    commit: null,
    exitCode: null,
    result: null,
    submittedAt: Date.now(),
    startedAt: null,
    endedAt: null,
    driver: null,
    order: 0,
    attempts: [],
  };
}
