/**
 * What launched processes do: programs, and the drivers and executors of jobs on their product hosts (as cli/runner-*.ts does it for real ones).
 */
import { hexToBytes } from "../base/bytes.js";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import { type FailoverRegions, failoverRegions } from "../dataflow/failover-regions.js";
import { sleep } from "../env/clock.js";
import type { Env } from "../env/env.js";
import type { LaunchCommand } from "../env/launcher.js";
import type { SliceOrder } from "../executor/core/executor-events.js";
import { followLeader } from "../host/finding/master-finder.js";
import { type DriverHostOptions, startDriver } from "../host/job/driver-host.js";
import { removeLeftovers } from "../host/job/driver-inputs.js";
import { type SliceCalls, type StartedSlice, startExecutor } from "../host/job/executor-host.js";
import type { Link, LinkPace } from "../host/link/link.js";
import { dialLink } from "../host/link/link-handshake.js";
import { attemptName, type Ending } from "../job/driver-events.js";
import { restartRules } from "../job/restart-strategy.js";
import { isFinal } from "../wire/application.js";
import { applicationScope, type Facts, STANDING, STANDING_PACE } from "../wire/handshake.js";
import { parseProcessId } from "../wire/ids.js";
import type { DriverPlace, RunnerStart } from "../wire/runner-start.js";
import { planCounting } from "./jobs/counting-job.js";
import { type CountingWorld, progressOf } from "./jobs/counting-world.js";
import type { Mutant } from "./mutants/mutant.js";
import type { Heartbeats } from "./options.js";
import type { SeededRandom } from "./seed.js";
import { type JobPlan, SINK, type SinkWorld, SOURCE } from "./sinks.js";
import type { Running } from "./work-directory.js";
import type { SimProcess } from "./world.js";

export interface RunnerWorld {
  readonly process: SimProcess;
  readonly env: Env;
  readonly random: SeededRandom;
  readonly sinks: SinkWorld;
  readonly heartbeats: Heartbeats;
  readonly counting: CountingWorld;
  readonly mutant: Mutant;
  exit(exitCode: number): void;
  /** What its worker has noted beside the process. */
  successor(): DriverPlace | null;
  readFile(path: string): Promise<string>;
}

const CONNECT_TIMEOUT_MS = 3_000;
const TERMINATED = 143;
const MAX_FAILING_MS = 5_000;

// --------------------------------------------------------------------------------------------------------------- programs

/** What a simulated program does; its only argument, as JSON. */
export interface ProgramPlan {
  readonly durationMs: number;
  /** Exit code of attempt 1, 2, ...; the last one counts for all later attempts. */
  readonly exitCodes: readonly number[];
  /** What a polite signal does: it exits at once, exits a little later, or nothing. */
  readonly onSignal: "exit" | "slow" | "ignore";
}

export const programArguments = (plan: ProgramPlan): string[] => ["sim-program", JSON.stringify(plan)];
export const planOfProgram = (argv: readonly string[]): ProgramPlan => JSON.parse(argv[1] ?? "{}") as ProgramPlan;

export function startProgram(world: RunnerWorld, command: Extract<LaunchCommand, { kind: "program" }>): Running {
  const plan = planOfProgram(command.argv);
  const attempt = Number(command.env.HOLDFAST_ATTEMPT ?? "1");
  const { clock } = world.env;
  const exitCode = plan.exitCodes[Math.min(attempt, plan.exitCodes.length) - 1] ?? 0;
  // What fails does so early: otherwise a chain of long attempts would have no end that can be waited for.
  const durationMs = exitCode === 0 ? plan.durationMs : Math.min(plan.durationMs, MAX_FAILING_MS);
  clock.at(clock.now() + durationMs, () => world.exit(exitCode));
  return {
    terminate: () => {
      if (plan.onSignal === "exit") world.exit(TERMINATED);
      else if (plan.onSignal === "slow") clock.at(clock.now() + world.random.between(50, 1_500), () => world.exit(TERMINATED));
    },
  };
}

// ---------------------------------------------------------------------------------------------------------------- drivers

export function startJobProcess(world: RunnerWorld, start: RunnerStart): Running {
  return start.role === "driver" ? startJobDriver(world, start) : startJobExecutor(world, start);
}

export function startJobDriver(world: RunnerWorld, start: RunnerStart, stopMode: "quit" | "cancel" = "quit"): Running {
  const { process, heartbeats } = world;
  const env = world.mutant.runner(world.env, "driver", process);
  const { application, processId } = start;
  const { job } = application.spec;
  const plan = job?.params as JobPlan;
  let stop: ((reason: string) => void) | null = null;
  let isToldToGo = false;
  const run = async (): Promise<void> => {
    // Loading the job takes a while.
    const { signal } = new AbortController();
    await sleep(env.clock, world.random.between(20, 200), signal);
    if (isFinal(application.state)) {
      const { job: inputs } = inputsOf(world, application.id, job?.parallelism ?? 1, plan);
      const attempt = parseProcessId(processId)?.attempt ?? 0;
      const isClean = await removeLeftovers({ job: inputs, applicationId: application.id, attempt, log: env.log, signal }, null);
      world.exit(isClean ? 0 : 1);
      return;
    }
    const failover = await failoverOf(world, plan, job?.parallelism ?? 1);
    const driver = await startDriver({
      env,
      application,
      attempt: parseProcessId(processId)?.attempt ?? application.attempt,
      processId,
      pid: 1,
      applicationKey: hexToBytes(start.applicationKey),
      listenAddress: `${start.listenHost}:0`,
      graphHash: job?.graphHash ?? "",
      highestEpoch: start.epoch,
      restart: restartRules(null),
      failover,
      ...inputsOf(world, application.id, job?.parallelism ?? 1, plan),
      limits: { heartbeatMs: heartbeats.heartbeatMs },
      followMaster: ({ epoch, incoming, onLink }) => {
        const closing = new AbortController();
        const dial = (address: string, signal: AbortSignal, pace: LinkPace, facts: Facts = {}): Promise<Link> =>
          dialLink(address, {
            env,
            role: "driver",
            id: processId,
            scope: applicationScope(application.id),
            key: hexToBytes(start.applicationKey),
            clusterId: null,
            epoch,
            facts,
            incoming,
            ...pace,
            connectTimeoutMs: CONNECT_TIMEOUT_MS,
            signal,
          });
        void followLeader({
          env,
          masterUrl: start.masterUrl,
          readFile: world.readFile,
          signal: closing.signal,
          dial: (address, signal) => dial(address, signal, heartbeats),
          dialStanding: (address, signal) => dial(address, signal, STANDING_PACE, { [STANDING]: 1 }),
          onLink: (link) => {
            link.pace(heartbeats);
            onLink(world.mutant.driverLink(link, process));
          },
        });
        return { close: () => closing.abort(new CodedError("CLOSED", "the driver has ended")) };
      },
    });
    stop = (reason) => driver.stop(stopMode, reason);
    if (isToldToGo) stop("its driver got SIGTERM");
    const ending = await driver.ended;
    env.log.info(`the job is ${ending.outcome}`, { code: ending.reason?.code });
    world.exit(exitCodeOf(ending));
  };
  run().catch((thrown) => {
    env.log.error(`the driver cannot run: ${CodedError.from(thrown).message}`);
    world.exit(1);
  });
  return {
    terminate: () => {
      isToldToGo = true;
      stop?.("its driver got SIGTERM");
    },
  };
}

async function failoverOf(
  { mutant }: RunnerWorld,
  { counting }: JobPlan,
  parallelism: number,
): Promise<FailoverRegions["restarts"]> {
  if (counting === undefined) return "job";
  const { graph } = await planCounting(counting);
  return mutant.failover(failoverRegions(graph, parallelism).restarts);
}

function inputsOf(
  { process, sinks, counting }: RunnerWorld,
  applicationId: string,
  parallelism: number,
  plan: JobPlan,
): Pick<DriverHostOptions, "job" | "openState"> {
  if (plan.counting === undefined) return { job: sinks.inputs(process, applicationId, parallelism, plan) };
  const of = { process, role: "driver" as const, applicationId, plan: plan.counting };
  const commits = { failShare: plan.commitFailShare, ms: plan.commitMs };
  return { job: counting.inputs(of, parallelism, commits), openState: counting.openState(of) };
}

function exitCodeOf({ outcome }: Ending): number {
  if (outcome === "finished") return 0;
  return outcome === "quit" ? TERMINATED : 1;
}

// -------------------------------------------------------------------------------------------------------------- executors

function startJobExecutor(world: RunnerWorld, start: RunnerStart): Running {
  const env = world.mutant.runner(world.env, "executor", world.process);
  const { application, processId, driverAddress } = start;
  let terminate: ((reason: string) => void) | null = null;
  let isToldToGo = false;
  const run = async (): Promise<void> => {
    await sleep(env.clock, world.random.between(20, 200), new AbortController().signal);
    if (driverAddress === null) throw new CodedError("INVALID_ARGUMENT", "an executor needs the address of its driver");
    // Neighbours would connect here; the driver only asks whether anybody listens.
    const exchanges = await env.transport.listen(`${start.listenHost}:0`, (connection) => connection.onFrame(() => {}));
    const executor = startExecutor({
      env,
      applicationId: application.id,
      applicationKey: hexToBytes(start.applicationKey),
      processId,
      pid: 1,
      driverAddress,
      dataAddress: exchanges.address,
      graphHash: application.spec.job?.graphHash ?? "",
      ...world.heartbeats,
      successor: async () => world.successor(),
      startSlice: (order, calls) => startSlice(world, start, order, calls),
    });
    terminate = (reason) => executor.terminate(reason);
    if (isToldToGo) terminate("it got SIGTERM");
    const { exitCode } = await executor.ended;
    await exchanges.close();
    world.exit(exitCode);
  };
  run().catch((thrown) => {
    env.log.error(`the executor cannot run: ${CodedError.from(thrown).message}`);
    world.exit(1);
  });
  return {
    terminate: () => {
      isToldToGo = true;
      terminate?.("it got SIGTERM");
    },
  };
}

/** Virtual work: each split takes its time, and in the tries that are to fail one of them does. */
function startSlice(world: RunnerWorld, start: RunnerStart, order: SliceOrder, calls: SliceCalls): StartedSlice {
  const { env, process, sinks, random } = world;
  const { application, processId } = start;
  const plan = application.spec.job?.params as JobPlan;
  const attempt = order.name ?? attemptName(parseProcessId(processId)?.attempt ?? application.attempt, order.try);
  if (plan.counting !== undefined) {
    const of = { process, role: "executor" as const, applicationId: application.id, plan: plan.counting };
    return world.counting.startSlice(of, env, attempt, order, calls);
  }
  const control = new AbortController();
  const read: string[] = [];
  const progress = () => progressOf({ recordsIn: read.length * 100, recordsOut: read.length * 100 });
  const work = async (): Promise<Record<string, JsonValue[]>> => {
    for (;;) {
      const next = await calls.nextSplit(SOURCE, control.signal);
      if (next === null) break;
      const { split } = next;
      await sleep(env.clock, plan.splitMs * random.between(0.5, 1.5), control.signal);
      if (plan.failingTries.includes(order.try) && random.chance(0.5))
        throw new CodedError("OPERATOR_FAILED", `the function of operator map threw at split ${split.id}`);
      read.push(split.id);
    }
    control.signal.throwIfAborted();
    const staged = await sinks.stage(process, application.id, attempt, { subtask: order.subtask, splits: [...read] });
    control.signal.throwIfAborted();
    return { [SINK]: [{ subtask: staged.subtask, splits: [...staged.splits] }] };
  };
  const done = work().then((committables) => ({ committables, progress: progress() }));
  return {
    done,
    progress,
    cancel: async (reason) => {
      control.abort(reason);
      await done.catch(() => {});
    },
  };
}
