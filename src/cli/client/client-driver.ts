/**
 * The driver of a job in the caller's process tree (`--deploy-mode client`): a child process that runs user code, registers with the master
 * by itself, and goes with its parent. Ctrl-C cancels the job; the child tells the master, cleans up, and ends.
 */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { CodedError } from "../../base/errors.js";
import { canonicalJson, type JsonValue } from "../../base/json.js";
import { applicationKeyHex } from "../../host/link/link-keys.js";
import { createNodeDigest } from "../../node/env.js";
import { replaceFile } from "../../node/files/replace-file.js";
import { readSecretFile } from "../../node/files/secret-file.js";
import { makeTemporaryDirectory } from "../../node/files/temporary-directory.js";
import { withoutUrls } from "../../node/processes/process-environment.js";
import { programPath } from "../../node/programs.js";
import { type ApplicationRecord, type ApplicationSpec, submittedApplication } from "../../wire/application.js";
import { driverProcessId } from "../../wire/ids.js";
import type { RunnerStart } from "../../wire/runner-start.js";
import { type ClusterOptions, remark } from "../command.js";
import { harmless } from "../terminal.js";

export interface ClientDriverOptions {
  readonly applicationId: string;
  readonly submissionKey: string;
  readonly spec: ApplicationSpec;
  readonly bundle: Uint8Array;
  /** A host of this machine that the executors reach. */
  readonly driverHost: string;
  readonly cluster: ClusterOptions;
  /** Addresses of masters as the command knows them, and what tells of changes until it is called. */
  readonly masters: KnownMasters;
  /** Aborts: the job is cancelled. */
  readonly signal: AbortSignal;
}

/** What the command has heard of masters: its URL may hold credentials, and user code is not to see them. */
export interface KnownMasters {
  addresses: readonly string[];
  onChange: (addresses: readonly string[]) => void;
}

const ATTEMPT = 1;

/** Resolves with the driver's exit code: 0 finished, 1 failed or cancelled. */
export async function runClientDriver(options: ClientDriverOptions): Promise<number> {
  const { path: folder, remove } = makeTemporaryDirectory("driver");
  try {
    const artifactPath = path.join(folder, "job.mjs");
    await writeFile(artifactPath, options.bundle, { mode: 0o600 });
    const mastersFile = path.join(folder, "masters");
    let writing = Promise.resolve();
    const write = (addresses: readonly string[]) => {
      const text = [...addresses].reverse().join("\n");
      writing = writing.then(() => replaceFile(mastersFile, text)).catch(() => {});
    };
    options.masters.onChange = write;
    write(options.masters.addresses);
    try {
      return await runChild(await startOf(options, artifactPath, mastersFile), options.signal);
    } finally {
      options.masters.onChange = () => {};
      await writing;
    }
  } finally {
    await remove();
  }
}

async function startOf(options: ClientDriverOptions, artifactPath: string, mastersFile: string): Promise<RunnerStart> {
  const { cluster, applicationId } = options;
  const secret = cluster.secretFile === undefined ? null : await readSecretFile(cluster.secretFile);
  return {
    role: "driver",
    processId: driverProcessId(applicationId, ATTEMPT),
    application: recordOf(options),
    applicationKey: applicationKeyHex(createNodeDigest(), secret, applicationId),
    driverAddress: null,
    masterUrl: `file://${encodeURI(mastersFile)}`,
    artifactPath,
    listenHost: options.driverHost,
    workerId: "client",
    epoch: 0,
  };
}

/** The master has its own record; this one is what the driver knows until it has registered. */
function recordOf({ applicationId, submissionKey, spec }: ClientDriverOptions): ApplicationRecord {
  const contentHash = createNodeDigest().sha256Hex(new TextEncoder().encode(canonicalJson(spec as unknown as JsonValue)));
  const record = submittedApplication({
    id: applicationId,
    submissionKey,
    contentHash,
    spec,
    submittedAt: Date.now(),
    order: 0,
  });
  return { ...record, state: "running", attempt: ATTEMPT };
}

function runChild(start: RunnerStart, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    // In a process group of its own, so that a terminal's Ctrl-C reaches only this process, which then asks the driver to cancel.
    const child = spawn(process.execPath, [programPath("runner"), "client-driver"], {
      stdio: ["pipe", "inherit", "pipe"],
      detached: true,
      env: withoutUrls(process.env),
    });
    if (child.stderr !== null) tellProblems(child.stderr);
    const cancel = () => void child.kill("SIGTERM");
    const settle = (act: () => void) => {
      signal.removeEventListener("abort", cancel);
      act();
    };
    child.once("error", (cause) =>
      settle(() => reject(new CodedError("LAUNCH_FAILED", `The driver could not be started: ${cause.message}.`, { cause }))),
    );
    child.once("exit", (exitCode) => settle(() => resolve(exitCode ?? 1)));
    child.stdin.on("error", () => {});
    // Standard input stays open: its end tells the driver that this process is gone.
    child.stdin.write(`${JSON.stringify(start)}\n`);
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
  });
}

/** The driver's log is JSON lines; here only what a person has to know of it is shown, and user code's own output as it is. */
function tellProblems(stream: NodeJS.ReadableStream): void {
  createInterface({ input: stream }).on("line", (line) => {
    const entry = logEntry(line);
    if (entry === null) remark(line);
    else if (entry.level >= WARN_LEVEL) remark(`driver: ${entry.msg}`);
  });
}

const WARN_LEVEL = 40;

function logEntry(line: string): { readonly level: number; readonly msg: string } | null {
  if (!line.startsWith('{"level":')) return null;
  try {
    const { level, msg } = JSON.parse(line) as { readonly level: number; readonly msg?: string };
    return { level, msg: harmless(msg ?? line) };
  } catch {
    return null;
  }
}
