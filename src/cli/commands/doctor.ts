/**
 * `holdfast doctor`: checks of this machine, of the place of the records, and where one answers of the cluster; each line says what it looked at,
 * and what to do if it is not good. Exit code 0: nothing fails; 1: something does.
 */
import type { Command } from "commander";
import { DEFAULT_SESSION_TTL_MS } from "../../host/master/master-options.js";
import { zooKeeperOfMaster } from "../client/master-option.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import type { Check } from "../doctor/check.js";
import { cluster } from "../doctor/cluster.js";
import { clockRate, disk, limits, nodeVersion, programs, recoveryDirectory, secret } from "../doctor/machine.js";
import { zooKeeper } from "../doctor/records.js";
import { readRecovery } from "../recovery.js";
import { harmless, styleFor } from "../terminal.js";

interface DoctorOptions extends ClusterOptions {
  readonly dir: string;
  readonly recovery?: string;
}

export function command(): Command {
  const base = newCommand(
    "doctor",
    "Check this machine, the place of the records, and the cluster if a master answers. Exit code 1: something fails.",
    [
      "holdfast doctor",
      "holdfast doctor --dir /var/lib/holdfast --master 10.0.0.1:7077 --secret-file secret",
      "holdfast doctor --recovery file:///etc/holdfast/recovery",
    ],
  );
  return withCluster(base)
    .option("--dir <path>", "where logs and work will be kept", ".")
    .option("--recovery <mode>", "as the masters have it: file:DIR | zk://[USER:PASSWORD@]HOSTS/PATH")
    .action(doctor);
}

async function doctor(options: DoctorOptions): Promise<void> {
  const interrupt = onInterrupt();
  const checks = [
    nodeVersion(),
    await programs(),
    ...(await disk(options.dir)),
    ...(await limits()),
    await clockRate(),
    ...(await secret(options.secretFile)),
    ...(await records(options, interrupt.signal)),
    ...(await cluster({ ...options, json: true, timeout: "3s" }, interrupt.signal)),
  ];
  // Interrupted, it knows nothing of what it did not come to.
  interrupt.signal.throwIfAborted();
  process.exitCode = checks.some((check) => check.verdict === "fail") ? 1 : 0;
  if (options.json === true) return printJson({ checks });
  show(checks);
}

/** Where masters have them; without --recovery the ensemble that --master names, if it names one. */
async function records(options: DoctorOptions, signal: AbortSignal): Promise<readonly Check[]> {
  if (options.recovery === undefined) {
    const url = await zooKeeperOfMaster(options.master);
    return url === null ? [] : zooKeeper(url, DEFAULT_SESSION_TTL_MS, signal);
  }
  const place = await readRecovery(options.recovery);
  switch (place.kind) {
    case "none":
      return [];
    case "directory":
      return recoveryDirectory(place.directory);
    case "zookeeper":
      return zooKeeper(place.url, DEFAULT_SESSION_TTL_MS, signal);
  }
}

function show(checks: readonly Check[]): void {
  const style = styleFor(process.stdout);
  const paint = { ok: style.green, warn: style.yellow, fail: style.red };
  for (const { name, verdict, message, hint } of checks) {
    print(`${paint[verdict](verdict.padEnd(4))} ${style.bold(name.padEnd(10))} ${harmless(message)}`);
    if (hint !== null) print(`     ${" ".repeat(10)} ${hint}`);
  }
}
