/** `holdfast master`: a master of the cluster; the first to take the epoch leads, the others stand by. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { randomId } from "../../env/random.js";
import { runMasterHost } from "../../host/master/master-host.js";
import { DEFAULT_MASTER_SETTINGS } from "../../master/settings.js";
import { buildId } from "../../node/build-id.js";
import { createNodeRandom } from "../../node/env.js";
import { advertise, readAdvertised } from "../../node/files/advertise-file.js";
import { removeState } from "../../node/storage.js";
import { type Interrupt, newCommand, onInterrupt } from "../command.js";
import { type DaemonOptions, prepareDaemon, withDaemon } from "../daemon.js";
import { parseChoice, parseCount, parseDurationMs, parsePerMinute, parseShare } from "../parse.js";
import { openRecovery, readRecovery, secretsOfRecovery } from "../recovery.js";
import { rehearseOnStandby } from "../rehearsal.js";
import { attachToSupervisor, type Supervised } from "../supervisor/supervised.js";
import { DEFAULT_HUNG_AFTER_MS, MAX_HUNG_AFTER_MS, MIN_HUNG_AFTER_MS } from "../supervisor/supervisor-line.js";

/** ZooKeeper allows two to twenty of its ticks. */
const MIN_SESSION_TIMEOUT_MS = 400;
const MAX_SESSION_TIMEOUT_MS = 120_000;

interface MasterOptions extends DaemonOptions {
  readonly recovery: string;
  readonly storage?: string;
  readonly recoveryTimeout?: string;
  readonly sessionTimeout: string;
  readonly advertiseFile?: string;
  readonly publicAddress?: string;
  readonly placement: string;
  readonly workerDeadline: string;
  readonly driverDeadline: string;
  readonly recoveryDeadline: string;
  readonly stopGrace: string;
  readonly maxFinished: string;
  readonly workerRemovalLimit: string;
  readonly workerRemovalShare: string;
  readonly maxLostWorkers: string;
  readonly lostWorkerAge: string;
  readonly hungAfter: string;
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
    .option(
      "--storage <url>",
      "file:DIR or s3://BUCKET/PREFIX, for job bundles and checkpoints, reachable by all; default: beside the records",
    )
    .option("--recovery-timeout <duration>", "longest wait for ZooKeeper at the start; default: for ever")
    .option(
      "--session-timeout <duration>",
      "of its session with ZooKeeper: after it a lost machine is followed by another leader",
      "10s",
    )
    .option("--advertise-file <path>", "write the address there, for --master file:///path")
    .option("--public-address <host:port>", "what others are told instead of --listen")
    .option("--placement <policy>", "spread | pack", settings.placement)
    .option("--worker-deadline <duration>", "silence after which a worker is lost", `${settings.workerDeadlineMs}ms`)
    .option("--driver-deadline <duration>", "silence after which a driver is replaced", `${settings.driverDeadlineMs}ms`)
    .option("--recovery-deadline <duration>", "longest wait for workers after a take-over", `${settings.recoveryDeadlineMs}ms`)
    .option("--stop-grace <duration>", "between the polite signal and the kill", `${settings.stopGraceMs}ms`)
    .option("--worker-removal-limit <n/min>", "workers that may become lost within a minute, or off", "10/min")
    .option("--worker-removal-share <share>", "while more than this share of the workers is away, none becomes lost; or off", "50%")
    .option("--max-finished <count>", "ended applications that are kept", String(settings.maxFinished))
    .option("--max-lost-workers <count>", "lost and gone workers that are remembered", String(settings.maxLostWorkers))
    .option("--lost-worker-age <duration>", "after this they are forgotten", "14d")
    .option("--hung-after <duration>", "silence of its event loop after which it is killed", `${DEFAULT_HUNG_AFTER_MS}ms`)
    .option("--no-supervisor", "run without the parent that restarts it and notices a hang")
    .action(supervised);
}

/** What its parent has to know of its end: an error of ours is worth another try, one of the user's is not. */
async function supervised(options: MasterOptions): Promise<void> {
  const interrupt = onInterrupt();
  const parent = attachToSupervisor((name) => interrupt.ask(name));
  try {
    await master(options, interrupt, parent);
    parent?.over();
  } catch (thrown) {
    if (CodedError.from(thrown).code !== "INTERNAL") parent?.over();
    throw thrown;
  }
}

async function master(options: MasterOptions, interrupt: Interrupt, parent: Supervised | null): Promise<void> {
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
    removalLimit: {
      perMinute: parsePerMinute("--worker-removal-limit", options.workerRemovalLimit),
      share: parseShare("--worker-removal-share", options.workerRemovalShare),
    },
    maxLostWorkers: parseCount("--max-lost-workers", options.maxLostWorkers, { min: 1, max: 1_000_000 }),
    lostWorkerAgeMs: parseDurationMs("--lost-worker-age", options.lostWorkerAge),
  };
  const hungAfterMs = parseHungAfter(options.hungAfter);
  const { recoveryTimeout } = options;
  const timeoutMs = recoveryTimeout === undefined ? undefined : parseDurationMs("--recovery-timeout", recoveryTimeout);
  parent?.up({ hungAfterMs, logFormat: options.logFormat === "json" ? "json" : "text" });
  const recovery = await openRecovery(place, { storage: options.storage, timeoutMs, env });
  const rehearsal = recovery.mode === "store" ? rehearseOnStandby(env) : null;
  try {
    const host = await runMasterHost({
      env,
      masterId,
      pid: process.pid,
      build: buildId(),
      listen: options.listen,
      ...(options.publicAddress === undefined ? {} : { publicAddress: options.publicAddress }),
      store: recovery.store,
      mode: recovery.mode,
      bundles: recovery.bundles,
      removeState,
      secret,
      settings: { ...settings, storage: recovery.storage },
      ...(options.advertiseFile === undefined ? {} : { otherMasters: advertisedIn(options.advertiseFile) }),
      ...(place.kind === "zookeeper" ? sessionOf(options.sessionTimeout) : {}),
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
    await rehearsal?.close();
    await recovery.close();
  }
}

const advertisedIn = (file: string) => () => readAdvertised(file);

/** ZooKeeper ends a session at the first tick after its time, and no tick is longer than half of a session. */
function sessionOf(text: string): { readonly sessionTtlMs: number; readonly silentFailoverMs: number } {
  const sessionTtlMs = parseDurationMs("--session-timeout", text);
  if (sessionTtlMs < MIN_SESSION_TIMEOUT_MS || sessionTtlMs > MAX_SESSION_TIMEOUT_MS) {
    throw new CodedError("INVALID_ARGUMENT", `--session-timeout is "${text}"; it has to be 0.4 s to 120 s.`);
  }
  return { sessionTtlMs, silentFailoverMs: sessionTtlMs * 1.5 };
}

function parseHungAfter(text: string): number {
  const hungAfterMs = parseDurationMs("--hung-after", text);
  if (hungAfterMs >= MIN_HUNG_AFTER_MS && hungAfterMs <= MAX_HUNG_AFTER_MS) return hungAfterMs;
  throw new CodedError("INVALID_ARGUMENT", `--hung-after is "${text}"; it has to be ${MIN_HUNG_AFTER_MS} ms to 60 s.`);
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
