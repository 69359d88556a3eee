/** `holdfast doctor`: checks of this machine and, where one answers, of the cluster; each line says what it looked at and what to do. */
import { execFile } from "node:child_process";
import { mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { programPath } from "../../node/programs.js";
import { openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatBytes, formatDuration, harmless, styleFor } from "../terminal.js";
import { removalsText } from "./removals.js";

type Verdict = "ok" | "warn" | "fail";

interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly message: string;
  readonly hint: string | null;
}

const FSYNC_RUNS = 50;
const SLOW_FSYNC_MS = 20;
const LEAST_FREE_BYTES = 1024 ** 3;

export function command(): Command {
  const base = newCommand(
    "doctor",
    "Check this machine, and the cluster if a master answers: Node, disk, programs, listeners, secret.",
    ["holdfast doctor", "holdfast doctor --dir /var/lib/holdfast --master 10.0.0.1:7077 --secret-file secret"],
  );
  return withCluster(base)
    .option("--dir <path>", "where records and logs will be kept", ".")
    .action(async (options: ClusterOptions & { readonly dir: string }) => {
      const interrupt = onInterrupt();
      const checks = [
        nodeVersion(),
        await programs(),
        await disk(options.dir),
        await freeSpace(options.dir),
        fileLimit(await limits()),
        ...(await secret(options.secretFile)),
        ...(await cluster({ ...options, json: true, timeout: "2s" }, interrupt.signal)),
      ];
      process.exitCode = checks.some((check) => check.verdict === "fail") ? 1 : 0;
      if (options.json === true) return printJson({ checks });
      const style = styleFor(process.stdout);
      const paint = { ok: style.green, warn: style.yellow, fail: style.red };
      for (const { name, verdict, message, hint } of checks) {
        print(`${paint[verdict](verdict.padEnd(4))} ${style.bold(name.padEnd(10))} ${harmless(message)}`);
        if (hint !== null) print(`     ${" ".repeat(10)} ${hint}`);
      }
    });
}

const check = (name: string, verdict: Verdict, message: string, hint: string | null = null): Check => ({
  name,
  verdict,
  message,
  hint,
});

function nodeVersion(): Check {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const good = major > 20 || (major === 20 && minor >= 19);
  return check("node", good ? "ok" : "fail", `Node ${process.versions.node}`, good ? null : "Holdfast needs Node 20.19 or newer.");
}

async function programs(): Promise<Check> {
  try {
    await promisify(execFile)("/bin/sh", ["-c", "exit 0"]);
    return check("programs", "ok", `the runner is ${programPath("runner")}`);
  } catch (thrown) {
    return check("programs", "fail", CodedError.from(thrown).message, "Install the package again; workers also need /bin/sh.");
  }
}

/** How long a durable write takes here: every acknowledged submission waits for at least one. */
async function disk(directory: string): Promise<Check> {
  let folder: string | null = null;
  try {
    folder = await mkdtemp(path.join(path.resolve(directory), ".holdfast-doctor-"));
    const file = await open(path.join(folder, "probe"), "w");
    const times: number[] = [];
    try {
      for (let run = 0; run < FSYNC_RUNS; run += 1) {
        const startedAt = performance.now();
        await file.write(new Uint8Array(1024));
        await file.datasync();
        times.push(performance.now() - startedAt);
      }
    } finally {
      await file.close();
    }
    times.sort((left, right) => left - right);
    const median = times[Math.floor(FSYNC_RUNS / 2)] ?? 0;
    const text = `a durable write of 1 KiB takes ${median.toFixed(2)} ms (median), ${(times.at(-1) ?? 0).toFixed(2)} ms at most`;
    return check(
      "disk",
      median > SLOW_FSYNC_MS ? "warn" : "ok",
      text,
      median > SLOW_FSYNC_MS ? "Submissions wait for this; use a faster disk for --recovery." : null,
    );
  } catch (thrown) {
    return check(
      "disk",
      "fail",
      `${directory} cannot be written: ${CodedError.from(thrown).message}`,
      "Choose another directory with --dir.",
    );
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

async function freeSpace(directory: string): Promise<Check> {
  const { statfs } = await import("node:fs/promises");
  const facts = await statfs(path.resolve(directory)).catch(() => null);
  if (facts === null) return check("space", "warn", `the free space of ${directory} is unknown`);
  const free = facts.bavail * facts.bsize;
  const good = free >= LEAST_FREE_BYTES;
  return check(
    "space",
    good ? "ok" : "warn",
    `${formatBytes(free)} free, ${formatBytes(os.totalmem())} of memory, ${os.availableParallelism()} cores`,
    good ? null : "Logs and records need room.",
  );
}

const limits = (): Promise<string> => readFile("/proc/self/limits", "utf8").catch(() => "");

function fileLimit(text: string): Check {
  const soft = Number(/Max open files\s+(\d+)/.exec(text)?.[1] ?? Number.NaN);
  const good = !(soft < 4096);
  return check(
    "files",
    good ? "ok" : "warn",
    `at most ${Number.isNaN(soft) ? "unknown" : soft} open files`,
    good ? null : "A master needs one for each worker and driver: raise it with ulimit -n.",
  );
}

async function secret(file: string | undefined): Promise<readonly Check[]> {
  if (file === undefined) return [check("secret", "ok", "none: only this machine may be listened on", null)];
  const facts = await stat(file).catch(() => null);
  if (facts === null) return [check("secret", "fail", `${file} does not exist`, `holdfast secret ${file}`)];
  const open = (facts.mode & 0o077) !== 0;
  return [
    check(
      "secret",
      open ? "fail" : "ok",
      `${file} has mode 0${(facts.mode & 0o777).toString(8)}`,
      open ? `chmod 600 ${file}` : null,
    ),
  ];
}

async function cluster(options: ClusterOptions, signal: AbortSignal): Promise<readonly Check[]> {
  try {
    await using client = await openClient(options, signal);
    const view = await client.call("cluster", {});
    const masters = view.masters.map((master) => `${master.address} ${master.state}`).join(", ");
    const found = [
      check(
        "masters",
        view.masters.length > 1 ? "ok" : "warn",
        `epoch ${view.epoch}: ${masters}`,
        view.masters.length > 1 ? null : "With one master nobody takes over: start a standby.",
      ),
    ];
    const { recovery, workers, quarantined, removals } = view;
    if (recovery?.durationMs != null)
      found.push(check("recovery", "ok", `the last one took ${formatDuration(recovery.durationMs)}`));
    found.push(
      check(
        "workers",
        workers.alive > 0 ? "ok" : "warn",
        `${workers.alive} alive, ${workers.suspect} suspect, ${workers.lost} lost`,
        workers.alive > 0 ? null : "Start one with: holdfast worker",
      ),
    );
    if (removals !== null && (removals.waiting > 0 || removals.held))
      found.push(
        check(
          "removals",
          "warn",
          removalsText(removals),
          "Look at the network between masters and workers. Then: holdfast removals --continue, or --hold.",
        ),
      );
    for (const record of quarantined)
      found.push(check("records", "warn", `${record.key}: ${record.reason}`, "See docs/errors/RECORD_QUARANTINED.md."));
    return found;
  } catch (thrown) {
    const error = CodedError.from(thrown);
    return [check("masters", error.code === "NO_MASTER" ? "warn" : "fail", error.message, error.hint)];
  }
}
