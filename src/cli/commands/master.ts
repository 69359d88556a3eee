/** `holdfast master`: a master of the cluster; the first to take the epoch leads, the others stand by. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { randomId } from "../../env/random.js";
import { runMasterHost } from "../../host/master-host.js";
import { DEFAULT_MASTER_SETTINGS } from "../../master/settings.js";
import { advertise } from "../../node/advertise-file.js";
import { createNodeRandom } from "../../node/env.js";
import { newCommand, onInterrupt } from "../command.js";
import { type DaemonOptions, prepareDaemon, withDaemon } from "../daemon.js";
import { parseChoice, parseCount, parseDurationMs } from "../parse.js";
import { openRecovery, readRecovery, secretsOfRecovery } from "../recovery.js";
import { rehearseOnStandby } from "../rehearsal.js";

interface MasterOptions extends DaemonOptions {
  readonly recovery: string;
  readonly storage?: string;
  readonly recoveryTimeout?: string;
  readonly advertiseFile?: string;
  readonly publicAddress?: string;
  readonly placement: string;
  readonly workerDeadline: string;
  readonly driverDeadline: string;
  readonly recoveryDeadline: string;
  readonly stopGrace: string;
  readonly maxFinished: string;
}

export function command(): Command {
  const settings = DEFAULT_MASTER_SETTINGS;
  const base = newCommand("master", "Run a master. Start several with the same --recovery: one leads, the others stand by.", [
    "holdfast master --recovery file:/var/lib/holdfast",
    "holdfast master --listen 127.0.0.1:0 --recovery file:state --advertise-file masters",
    "holdfast master --listen 10.0.0.1:7077 --secret-file secret --plaintext --recovery file:state",
    "holdfast master --listen 10.0.0.1:7077 --secret-file secret --plaintext --recovery zk://z1,z2,z3/holdfast --storage file:/shared",
  ]);
  return withDaemon(base, "127.0.0.1:7077")
    .option(
      "--recovery <mode>",
      "none: rebuilt from reports | file:DIR: kept in LevelDB | zk://[USER:PASSWORD@]HOSTS/PATH: in ZooKeeper",
      "none",
    )
    .option("--storage <url>", "file:DIR for job bundles, reachable by all masters; default: beside the records")
    .option("--recovery-timeout <duration>", "longest wait for ZooKeeper at the start; default: for ever")
    .option("--advertise-file <path>", "write the address there, for --master file:///path")
    .option("--public-address <host:port>", "what others are told instead of --listen")
    .option("--placement <policy>", "spread | pack", settings.placement)
    .option("--worker-deadline <duration>", "silence after which a worker is lost", `${settings.workerDeadlineMs}ms`)
    .option("--driver-deadline <duration>", "silence after which a driver is replaced", `${settings.driverDeadlineMs}ms`)
    .option("--recovery-deadline <duration>", "longest wait for workers after a take-over", `${settings.recoveryDeadlineMs}ms`)
    .option("--stop-grace <duration>", "between the polite signal and the kill", `${settings.stopGraceMs}ms`)
    .option("--max-finished <count>", "ended applications that are kept", String(settings.maxFinished))
    .action(master);
}

async function master(options: MasterOptions): Promise<void> {
  const interrupt = onInterrupt();
  const masterId = `master-${randomId(createNodeRandom(), 8)}`;
  const place = await readRecovery(options.recovery);
  const { env, secret } = await prepareDaemon("master", masterId, options, secretsOfRecovery(place));
  const settings = {
    placement: parseChoice("--placement", options.placement, ["spread", "pack"] as const),
    workerDeadlineMs: parseDurationMs("--worker-deadline", options.workerDeadline),
    driverDeadlineMs: parseDurationMs("--driver-deadline", options.driverDeadline),
    recoveryDeadlineMs: parseDurationMs("--recovery-deadline", options.recoveryDeadline),
    stopGraceMs: parseDurationMs("--stop-grace", options.stopGrace),
    maxFinished: parseCount("--max-finished", options.maxFinished, { min: 1, max: 1_000_000 }),
  };
  const { recoveryTimeout } = options;
  const timeoutMs = recoveryTimeout === undefined ? undefined : parseDurationMs("--recovery-timeout", recoveryTimeout);
  const recovery = await openRecovery(place, { storage: options.storage, timeoutMs, env });
  const rehearsal = recovery.mode === "store" ? rehearseOnStandby(env) : null;
  try {
    const host = await runMasterHost({
      env,
      masterId,
      pid: process.pid,
      listen: options.listen,
      ...(options.publicAddress === undefined ? {} : { publicAddress: options.publicAddress }),
      store: recovery.store,
      mode: recovery.mode,
      blobs: recovery.blobs,
      secret,
      settings,
      onState: () => rehearsal?.stop(),
    });
    env.log.info(`listening on ${host.address}`);
    const advertisement =
      options.advertiseFile === undefined
        ? null
        : await advertise({ file: options.advertiseFile, address: host.address, masterId });
    try {
      await untilInterrupted(host.ended, interrupt.signal);
      env.log.info(`stopping, asked by ${interrupt.name() ?? "its own end"}`);
    } finally {
      await advertisement?.close();
      await host.close();
    }
  } finally {
    rehearsal?.stop();
    await rehearsal?.ended;
    await recovery.close();
  }
}

/** Resolves at the interrupt; rejects when the role ends by itself. */
export async function untilInterrupted(ended: Promise<CodedError | null>, signal: AbortSignal): Promise<void> {
  const interrupted = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  // The process lives as long as its role does, whatever else keeps the event loop awake.
  const keepAlive = setInterval(() => {}, 60_000);
  try {
    const reason = await Promise.race([ended, interrupted]);
    if (reason !== null) throw CodedError.from(reason);
  } finally {
    clearInterval(keepAlive);
  }
}
