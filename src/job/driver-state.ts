/** The state of a driver, what is read of it, and the few things that all its handlers say. */
import { assert } from "../base/assert.js";
import type { ApplicationRecord, CommitManifest } from "../wire/application.js";
import type { CompletedCheckpoint } from "../wire/checkpoint.js";
import { parseProcessId } from "../wire/ids.js";
import type { FailedTry, Progress } from "../wire/progress.js";
import type { JobCheckpoints } from "./driver-checkpoints.js";
import { attemptName, type DriverConfig, type DriverEffect, type Ending } from "./driver-events.js";
import type { Takeover } from "./driver-takeover.js";
import { type CountedFailures, noFailures } from "./failure-notes.js";
import type { Failure } from "./failures.js";
import { jobProgress, type RestoredTry } from "./job-progress.js";
import { JobTry } from "./job-try.js";
import { MasterLine } from "./master-line.js";
import { type Executor, Roster } from "./roster.js";

export type Phase =
  | { readonly kind: "gathering" }
  /** Executors of the attempt before may run its try on under this one (driver-takeover.ts). */
  | { readonly kind: "taking-over"; readonly until: number }
  | { readonly kind: "running" }
  /** `ending` null: another try follows when the strategy allows it. */
  | { readonly kind: "stopping"; readonly until: number; readonly ending: Ending | null }
  | { readonly kind: "backing-off"; readonly until: number }
  /** No try follows; why the last one failed is still to be heard. */
  | { readonly kind: "awaiting-reason"; readonly until: number; readonly failure: Failure }
  | { readonly kind: "deciding"; readonly manifest: CommitManifest }
  | { readonly kind: "committing"; readonly manifest: CommitManifest; readonly repeats: number; readonly repeatAt: number | null }
  | { readonly kind: "cleaning"; readonly until: number; readonly ending: Ending }
  /** `giveUpAt`: this process was told to go; it does not wait for a master for ever. */
  | { readonly kind: "reporting"; readonly giveUpAt: number | null; readonly ending: Ending }
  | { readonly kind: "ended" };

/** Everything that a driver knows. Handlers in the driver-*.ts files change it and append to `out`. */
export interface DriverState {
  readonly config: DriverConfig;
  /** As the last master to be registered with knew it. */
  application: ApplicationRecord;
  readonly roster: Roster;
  readonly master: MasterLine;
  phase: Phase;
  current: JobTry;
  preparing: boolean;
  /** What the restart strategies have counted, also in earlier attempts. Null: no master has told of those yet. */
  failures: CountedFailures | null;
  lastFailure: Failure | null;
  /** Newest last. */
  failedTries: readonly FailedTry[];
  startFailures: number;
  /** Executors on draining workers, as the master last said. */
  draining: ReadonlySet<string>;
  /** Executors that were ordered, connected or not, as the master last said. */
  ordered: readonly { readonly processId: string; readonly workerId: string }[];
  /** Null: the job takes none, or no master has said where. */
  checkpoints: JobCheckpoints | null;
  /** Null until a master has said what an earlier attempt has left. */
  takeover: Takeover | null;
  /** Tries of this driver of which some executor may run on, as far as it knows: another attempt might take them over. The newest. */
  unended: readonly string[];
  /** What the try that is being prepared goes on from. */
  restoring: CompletedCheckpoint | null;
  /** The try of which a master was told that it goes on from a checkpoint; empty: none. */
  restoredTold: string;
  /** Read in all, when the last try failed; null: none did. */
  recordsSeen: number | null;
  toldToGo: boolean;
  cancelReason: string | null;
  /** Of the step that is under way. */
  out: DriverEffect[];
  now: number;
  /** For people only. */
  wall: number;
}

export function createDriverState(config: DriverConfig): DriverState {
  return {
    config,
    application: config.application,
    roster: new Roster(),
    master: new MasterLine(config.limits, config.highestEpoch),
    phase: { kind: "gathering" },
    current: new JobTry(1, attemptName(config.attempt, 1), config.collectLimits),
    preparing: false,
    failures: null,
    lastFailure: null,
    failedTries: [],
    startFailures: 0,
    draining: new Set(),
    ordered: [],
    toldToGo: false,
    cancelReason: null,
    checkpoints: null,
    takeover: null,
    unended: [],
    restoring: null,
    restoredTold: "",
    recordsSeen: null,
    out: [],
    now: 0,
    wall: 0,
  };
}

export function release(driver: DriverState, processId: string): void {
  driver.roster.release(processId);
  driver.master.executors(wanted(driver), driver.roster.releasedIds(), driver.out);
}

export function dismiss(driver: DriverState, link: number, reason: string): void {
  driver.out.push({ kind: "tell-executor", link, message: "executor.finish", body: { reason } });
}

export function dismissAll(driver: DriverState, reason: string): void {
  for (const { link } of driver.roster.connected()) if (link !== null) dismiss(driver, link, reason);
  driver.master.executors(0, driver.roster.releasedIds(), driver.out);
}

/** Of this attempt, or taken from an earlier one. */
export function isOurs(driver: DriverState, processId: string): boolean {
  const id = parseProcessId(processId);
  if (id === null || id.application !== driver.config.application.id || id.executor === null) return false;
  return id.attempt === driver.config.attempt || driver.takeover?.former.has(processId) === true;
}

/** An executor that an earlier attempt has started. */
export function isFormer(driver: DriverState, processId: string): boolean {
  const id = parseProcessId(processId);
  return id?.application === driver.config.application.id && id.executor !== null && id.attempt < driver.config.attempt;
}

export function memberOf(driver: DriverState, event: { readonly link: number; readonly try: number }): Executor | null {
  const executor = driver.roster.byLink(event.link);
  return executor !== undefined && driver.current.tryOf(executor.processId) === event.try ? executor : null;
}

export function isUndecided(driver: DriverState): boolean {
  const { phase } = driver;
  if (phase.kind === "stopping") return phase.ending === null;
  return ["gathering", "taking-over", "running", "backing-off", "awaiting-reason"].includes(phase.kind);
}

/** Whether a failure still makes a difference to the present try. */
export function tryMayFail(driver: DriverState): boolean {
  return isUndecided(driver);
}

export function wanted(driver: DriverState): number {
  return isUndecided(driver) && driver.phase.kind !== "awaiting-reason" ? jobSpec(driver).parallelism : 0;
}

export function jobSpec(driver: DriverState) {
  const { job } = driver.config.application.spec;
  assert(job !== null, `${driver.config.application.id} is a job`);
  return job;
}

export function progress(driver: DriverState): Progress {
  const counted = jobProgress(driver.current.reports(), {
    phase: progressPhase(driver),
    totalRecords: driver.current.splits?.totalRecords ?? null,
    jobRestarts: driver.current.number - 1,
    failedTries: driver.failedTries,
    lastRestartReason: driver.lastFailure === null ? null : driver.lastFailure.error.message,
    ...restoredFacts(driver),
    checkpoint: checkpointProgress(driver),
  });
  // Only the commit of an earlier driver is left to do: the records were its.
  const { commit } = driver.application;
  if (commit?.records === undefined || commit.attempt === driver.config.attempt) return counted;
  return { ...counted, recordsIn: commit.records.in, recordsOut: commit.records.out };
}

function checkpointProgress({ checkpoints }: DriverState): Progress["checkpoint"] {
  if (checkpoints === null) return undefined;
  const { course, writing } = checkpoints;
  if (writing !== null) return { id: writing.pointer.id, trigger: "savepoint", answered: 0, of: 0, stage: "writing" };
  const { id, trigger, answered } = course;
  if (id === null || trigger === null) return undefined;
  return { id, trigger, answered: answered?.answered ?? 0, of: answered?.of ?? 0, stage: course.kind };
}

function restoredFacts(driver: DriverState) {
  const { restored, goesOnFrom } = driver.current;
  const known = restored ?? (driver.phase.kind === "gathering" ? readingBack(driver) : null);
  return { restored: known, goesOnFrom: goesOnFrom ?? known };
}

/** What is known of the checkpoint while it is being read back: its counters don't fall to zero meanwhile. */
function readingBack({ checkpoints, application, current }: DriverState): RestoredTry | null {
  const checkpoint = checkpoints === null ? undefined : application.checkpoints?.completed.at(-1);
  if (checkpoint === undefined) return null;
  const { records } = checkpoint;
  return {
    name: current.name,
    checkpoint,
    counts: { recordsIn: records.in, recordsOut: records.out, badRecords: 0, operators: [] },
    recordsBack: null,
  };
}

export function progressPhase(driver: DriverState): Progress["phase"] {
  const { phase } = driver;
  if (phase.kind === "gathering") return driver.current.number === 1 ? "waiting" : "restarting";
  if (phase.kind === "running" || phase.kind === "taking-over") return "running";
  if (phase.kind === "backing-off" || phase.kind === "awaiting-reason" || (phase.kind === "stopping" && phase.ending === null))
    return "restarting";
  if (phase.kind === "deciding" || phase.kind === "committing") return "committing";
  return "done";
}

/** Before a master has said what earlier attempts counted there is nothing that could be counted. */
export function countedSoFar(driver: DriverState): CountedFailures {
  driver.failures ??= noFailures();
  return driver.failures;
}

export function log(
  driver: DriverState,
  level: "info" | "warn",
  message: string,
  fields: Readonly<Record<string, string | number | boolean | null>> = {},
): void {
  const { application, attempt } = driver.config;
  driver.out.push({ kind: "log", level, message, fields: { app: application.id, attempt, ...fields } });
}

export function phaseDeadline(driver: DriverState): number {
  const { phase } = driver;
  if (["stopping", "backing-off", "awaiting-reason", "cleaning", "taking-over"].includes(phase.kind) && "until" in phase)
    return phase.until;
  if (phase.kind === "committing") return phase.repeatAt ?? Number.POSITIVE_INFINITY;
  if (phase.kind === "reporting") return phase.giveUpAt ?? Number.POSITIVE_INFINITY;
  return Number.POSITIVE_INFINITY;
}
