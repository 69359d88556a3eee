/** `holdfast worker`: offers this machine's cores and memory; starts, watches and adopts processes. */
import os from "node:os";
import path from "node:path";
import type { Command } from "commander";
import { runWorkerHost } from "../../host/worker/worker-host.js";
import { readUrlFile } from "../../node/files/url-file.js";
import { createProcessLauncher } from "../../node/processes/process-launcher.js";
import { openWorkDirectory } from "../../node/processes/process-work-directory.js";
import { programPath } from "../../node/programs.js";
import { openRegistry, secretsOfMaster } from "../client/master-option.js";
import { DEFAULT_MASTER, newCommand, onInterrupt } from "../command.js";
import { type DaemonOptions, logLooking, prepareDaemon, withDaemon } from "../daemon.js";
import { parseCores, parseCount, parseSizeBytes } from "../parse.js";
import { formatBytes } from "../terminal.js";
import { untilInterrupted } from "./master.js";

interface WorkerOptions extends DaemonOptions {
  readonly master: string;
  readonly cores?: string;
  readonly memory?: string;
  readonly workDir: string;
  readonly advertiseHost?: string;
  readonly spares: string;
  readonly leave?: boolean;
}

/** Left to the machine itself. */
const RESERVED_BYTES = 1024 ** 3;

export function command(): Command {
  const base = newCommand("worker", "Run a worker. Restarted on the same --work-dir it adopts what it had started.", [
    "holdfast worker --master 127.0.0.1:7077 --work-dir /var/lib/holdfast-worker",
    "holdfast worker --master file:///etc/holdfast/masters --cores 4 --memory 8g",
    "holdfast worker --master zk://z1,z2,z3/holdfast",
  ]);
  return withDaemon(base, "127.0.0.1:0")
    .option(
      "--master <url>",
      "h1:p1,h2:p2 | holdfast://... | zk://... | file:///path (or HOLDFAST_MASTER)",
      process.env.HOLDFAST_MASTER || DEFAULT_MASTER,
    )
    .option("--cores <n>", "cores to offer; default: all")
    .option("--memory <size>", "memory to offer; default: all but 1 GiB")
    .option("--work-dir <dir>", "logs, bundles and notes of processes", "holdfast-work")
    .option("--advertise-host <host>", "where others reach this machine when --listen is 0.0.0.0")
    .option("--spares <n>", "executors started in advance (56 MB each), and with any of them one driver", "1")
    .option("--leave", "when stopped, leave processes running for the next worker on this --work-dir")
    .action(worker);
}

async function worker(options: WorkerOptions): Promise<void> {
  const interrupt = onInterrupt();
  const resources = {
    cores: options.cores === undefined ? os.availableParallelism() : parseCores("--cores", options.cores),
    memoryBytes: options.memory === undefined ? defaultMemoryBytes() : parseSizeBytes("--memory", options.memory),
  };
  const spares = parseCount("--spares", options.spares, { min: 0, max: 64 });
  const secrets = await secretsOfMaster(options.master);
  const files = await openWorkDirectory(path.resolve(options.workDir));
  try {
    const { env, secret } = await prepareDaemon("worker", files.identity.workerId, options, secrets);
    const launcher = createProcessLauncher({
      workDirectory: files.path,
      runnerPath: programPath("runner"),
      clock: env.clock,
      log: env.log,
      spares: { count: spares, memoryBytes: 512 * 1024 ** 2 },
      // One is enough: an application has one driver, and the next spare is there a second later.
      driverSpares: { count: Math.min(spares, 1), memoryBytes: 256 * 1024 ** 2 },
    });
    try {
      const host = await runWorkerHost({
        env,
        launcher,
        files,
        masterUrl: options.master,
        readFile: readUrlFile,
        openRegistry: openRegistry(env.clock),
        listenAddress: options.listen,
        ...(options.advertiseHost === undefined ? {} : { advertiseHost: options.advertiseHost }),
        secret,
        resources,
        pid: process.pid,
        onLooking: logLooking(env),
      });
      env.log.info(
        `offering ${resources.cores} cores and ${formatBytes(resources.memoryBytes)} of memory, logs served on ${host.address}`,
      );
      try {
        await untilInterrupted(host.ended, interrupt.signal);
        env.log.info(
          `stopping, asked by ${interrupt.name() ?? "its own end"}; its processes are ${options.leave === true ? "left running" : "stopped"}`,
        );
      } finally {
        await host.close({ leave: options.leave === true });
      }
    } finally {
      await launcher.close({ leave: options.leave === true });
    }
  } finally {
    await files.close();
  }
}

const defaultMemoryBytes = (): number => Math.max(RESERVED_BYTES / 2, os.totalmem() - RESERVED_BYTES);
