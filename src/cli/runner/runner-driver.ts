/** The runner as the driver of a job: loads it, finds the master by the URL of the start file, and ends with the exit code of the job. */
import { readFile } from "node:fs/promises";
import { hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { failoverRegions } from "../../dataflow/failover-regions.js";
import type { Env } from "../../env/env.js";
import { followLeader } from "../../host/finding/master-finder.js";
import { type DriverHostOptions, type FollowMaster, type RunningDriver, startDriver } from "../../host/job/driver-host.js";
import { removeLeftovers } from "../../host/job/driver-inputs.js";
import { DEFAULT_HEARTBEAT_MS, DEFAULT_SILENCE_MS, type Link, type LinkPace } from "../../host/link/link.js";
import { dialLink } from "../../host/link/link-handshake.js";
import type { Ending } from "../../job/driver-events.js";
import { restartRules } from "../../job/restart-strategy.js";
import { createSavepointFiles } from "../../node/files/savepoint-files.js";
import { isFinal } from "../../wire/application.js";
import { applicationScope, type Facts, STANDING, STANDING_PACE, UNRECORDED_CLUSTER_ID } from "../../wire/handshake.js";
import { parseProcessId } from "../../wire/ids.js";
import type { RunnerStart } from "../../wire/runner-start.js";
import { createInputsThread } from "./runner-inputs-thread.js";
import { checkCheckpoints, checkGraph, inputsOf, loadJob, stateOpener } from "./runner-job.js";

const CONNECT_TIMEOUT_MS = 3_000;
const PACE: LinkPace = { heartbeatMs: DEFAULT_HEARTBEAT_MS, silenceMs: DEFAULT_SILENCE_MS };
/** As the shell says it of a process that a SIGTERM ended. */
const STOPPED = 143;

/** How this process was told to go. */
export interface StopRequest {
  readonly mode: "cancel" | "quit";
  readonly reason: string;
}

/** `stopped` resolves when the process is told to go. */
export async function runDriver(
  start: RunnerStart,
  env: Env,
  stopped: Promise<StopRequest>,
  onStarted: (driver: RunningDriver) => void,
): Promise<number> {
  const { application, processId } = start;
  if (isFinal(application.state)) return cleanUpAfter(start, env, stopped);
  const job = await driverJob(start);
  const driver = await startDriver({
    ...job,
    openState: stateOpener(application),
    savepoints: createSavepointFiles(),
    env,
    application,
    attempt: application.attempt,
    processId,
    pid: process.pid,
    applicationKey: hexToBytes(start.applicationKey),
    listenAddress: `${start.listenHost}:0`,
    highestEpoch: start.epoch,
    followMaster: followMaster(start, env),
  });
  onStarted(driver);
  env.log.info("the driver listens", { app: application.id, attempt: application.attempt, address: driver.address });
  void stopped.then(({ mode, reason }) => driver.stop(mode, reason));
  const ending = await driver.ended;
  report(env, ending, application.id);
  return exitCodeOf(ending);
}

/**
 * The application has ended without a driver that could remove what its sinks staged: this process does only that. Exit code 0: nothing of it is left. It runs
 * under the number of the attempt after the last one, so every try is over.
 */
async function cleanUpAfter(start: RunnerStart, env: Env, stopped: Promise<StopRequest>): Promise<number> {
  const { application, artifactPath, processId } = start;
  const attempt = parseProcessId(processId)?.attempt ?? application.attempt;
  const closing = new AbortController();
  const work = async (): Promise<number> => {
    const loaded = await loadJob(application, artifactPath);
    const job = inputsOf(loaded, createInputsThread(new URL(import.meta.url), start, attempt));
    const options = { job, applicationId: application.id, attempt, log: env.log, signal: closing.signal };
    const isClean = await removeLeftovers(options, null);
    if (isClean) env.log.info("what the sinks of the ended job had staged is removed", { app: application.id });
    return isClean ? 0 : 1;
  };
  try {
    return await Promise.race([work(), stopped.then(() => STOPPED)]);
  } finally {
    closing.abort(new CodedError("CLOSED", "the clean-up is over"));
  }
}

type DriverJob = Pick<DriverHostOptions, "graphHash" | "restart" | "failover" | "job" | "broken">;

/** A job that can't be loaded has a driver all the same: it tells the master why. */
async function driverJob(start: RunnerStart): Promise<DriverJob> {
  const { application, artifactPath } = start;
  const own = createInputsThread(new URL(import.meta.url), start, application.attempt);
  try {
    const loaded = await loadJob(application, artifactPath);
    checkGraph(loaded, application);
    checkCheckpoints(loaded);
    const { graph } = loaded.built;
    const { restarts: failover } = failoverRegions(graph, application.spec.job?.parallelism ?? 1);
    return { graphHash: graph.hash, restart: restartRules(loaded.restart), failover, job: inputsOf(loaded, own) };
  } catch (thrown) {
    const broken = CodedError.from(thrown, "PLAN_FAILED").toShape();
    return { graphHash: "", restart: restartRules(null), job: { sources: new Map(), sinks: new Map() }, broken };
  }
}

function exitCodeOf(ending: Ending): number {
  if (ending.outcome === "finished") return 0;
  // The application goes on elsewhere.
  return ending.outcome === "quit" ? STOPPED : 1;
}

function report(env: Env, { outcome, reason }: Ending, app: string): void {
  if (reason === null) env.log.info(`the job is ${outcome}`, { app });
  else env.log[outcome === "failed" ? "error" : "info"](`the job is ${outcome}: ${reason.message}`, { app, code: reason.code });
}

function followMaster(start: RunnerStart, env: Env): FollowMaster {
  return ({ epoch, incoming, onLink }) => {
    const closing = new AbortController();
    // The first master is that of this application's cluster; one without its records would take this driver for a strange one.
    let clusterId: string | null = null;
    const { application, processId } = start;
    const dial = (address: string, signal: AbortSignal, pace: LinkPace, facts: Facts = {}): Promise<Link> =>
      dialLink(address, {
        env,
        role: "driver",
        id: processId,
        scope: applicationScope(application.id),
        key: hexToBytes(start.applicationKey),
        clusterId,
        epoch,
        facts,
        incoming,
        ...pace,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        signal,
      });
    const following = followLeader({
      env,
      masterUrl: start.masterUrl,
      readFile: (file) => readFile(file, "utf8"),
      signal: closing.signal,
      dial: (address, signal) => dial(address, signal, PACE),
      dialStanding: (address, signal) => dial(address, signal, STANDING_PACE, { [STANDING]: 1 }),
      onLooking: ({ forMs, lastError }) =>
        env.log.warn("looking for a leading master; the job runs on meanwhile", {
          app: application.id,
          forMs: Math.round(forMs),
          lastError: lastError?.message,
        }),
      onLink: (link) => {
        link.pace(PACE);
        const { clusterId: found } = link.peer;
        if (found !== UNRECORDED_CLUSTER_ID) clusterId ??= found;
        onLink(link);
      },
    });
    following.catch((thrown: unknown) =>
      env.log.error("the master can't be looked for", { reason: CodedError.from(thrown).message }),
    );
    return { close: () => closing.abort(new CodedError("CLOSED", "the driver has ended")) };
  };
}
