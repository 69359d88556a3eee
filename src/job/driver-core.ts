/**
 * The driver of a job: one attempt of the application, from registration to its reported end. Pure; see base/core.ts.
 *
 *   gathering -> running -> deciding -> committing -> cleaning -> reporting -> ended
 *       ^           | a failure                          ^
 *       |           v                                    | gives up, cancelled, quits
 *   backing-off <- stopping -----------------------------+
 *
 *   gathering    sources are enumerated, sinks begun (`prepare`), executors come until there are enough of them
 *   deciding     the commit is asked of the master: when its answer comes the output is decided, whatever dies afterwards
 *   committing   the sinks make it visible; may be repeated by a later attempt
 *
 * Invariants:
 *   1. No output is made visible before the master said that the commit of this attempt is durable.
 *   2. A new try is deployed only when every member of the one before has stopped or been given up for good.
 *   3. Only leftovers of this driver attempt and of earlier ones are removed: a driver may be superseded without knowing it, and must not
 *      touch what its successor has staged.
 *   4. Superseded means: end at once, touch no output.
 */

import { assert, unreachable } from "../base/assert.js";
import type { Core, Now, Turn } from "../base/core.js";
import type { ErrorShape } from "../base/errors.js";
import type { ApplicationRecord, CommitManifest } from "../wire/application.js";
import { parseProcessId } from "../wire/ids.js";
import type { Progress } from "../wire/progress.js";
import { attemptName, type DriverConfig, type DriverEffect, type DriverEvent, type Ending } from "./driver-events.js";
import { cause, executorGone, type Failure, failureOf } from "./failures.js";
import { jobProgress } from "./job-progress.js";
import { JobTry } from "./job-try.js";
import { MasterLine } from "./master-line.js";
import { decideRestart, NO_FAILURES, type RestartHistory } from "./restart-strategy.js";
import { type Executor, Roster } from "./roster.js";
import { SplitAssignment } from "./splits.js";

type Phase =
  | { readonly kind: "gathering" }
  | { readonly kind: "running" }
  /** `ending` null: another try follows when the strategy allows it. */
  | { readonly kind: "stopping"; readonly until: number; readonly ending: Ending | null }
  | { readonly kind: "backing-off"; readonly until: number }
  | { readonly kind: "deciding"; readonly manifest: CommitManifest }
  | { readonly kind: "committing"; readonly manifest: CommitManifest; readonly repeats: number; readonly repeatAt: number | null }
  | { readonly kind: "cleaning"; readonly until: number; readonly ending: Ending }
  /** `giveUpAt`: this process was told to go; it does not wait for a master for ever. */
  | { readonly kind: "reporting"; readonly giveUpAt: number | null; readonly ending: Ending }
  | { readonly kind: "ended" };

type Of<K extends DriverEvent["kind"]> = Extract<DriverEvent, { kind: K }>;

/** For tests and logs. */
export interface DriverView {
  readonly phase: Phase["kind"];
  readonly try: number;
  readonly executors: readonly string[];
  readonly registered: boolean;
  readonly progress: Progress;
}

export interface DriverCore extends Core<DriverEvent, DriverEffect> {
  view(): DriverView;
}

export function createDriverCore(config: DriverConfig): DriverCore {
  return new Driver(config);
}

class Driver implements DriverCore {
  private readonly config: DriverConfig;
  /** As the last master to be registered with knew it. */
  private application: ApplicationRecord;
  private readonly roster = new Roster();
  private readonly master: MasterLine;
  private phase: Phase = { kind: "gathering" };
  private current = new JobTry(1);
  private preparing = false;
  private readonly histories: { lost: RestartHistory; user: RestartHistory } = { lost: NO_FAILURES, user: NO_FAILURES };
  private lastFailure: Failure | null = null;
  private startFailures = 0;
  private toldToGo = false;
  private cancelReason: string | null = null;
  /** Of the step that is under way. */
  private out: DriverEffect[] = [];
  private now = 0;

  constructor(config: DriverConfig) {
    this.config = config;
    this.application = config.application;
    this.master = new MasterLine(config.limits, config.highestEpoch);
  }

  step(event: DriverEvent, now: Now, turn: Turn<DriverEffect>): void {
    if (this.phase.kind === "ended") return;
    this.out = turn.effects;
    this.now = now.instant;
    const phase = this.progressPhase();
    this.handle(event);
    const isNewPhase = this.progressPhase() !== phase;
    if (event.kind !== "wake-up" || isNewPhase) this.master.report(() => this.progress());
    if (isNewPhase) this.master.tellProgress(this.now, this.out);
    this.master.flush(this.now, this.out);
  }

  nextWakeAt(): number | null {
    if (this.phase.kind === "ended") return null;
    const at = Math.min(this.phaseDeadline(), this.roster.nextDeadline(), this.master.nextDeadline());
    return at === Number.POSITIVE_INFINITY ? null : at;
  }

  view(): DriverView {
    return {
      phase: this.phase.kind,
      try: this.current.number,
      executors: this.roster.connected().map((executor) => executor.processId),
      registered: this.master.isRegistered,
      progress: this.progress(),
    };
  }

  private handle(event: DriverEvent): void {
    switch (event.kind) {
      case "started":
        this.start();
        return;
      case "wake-up":
        this.wakeUp();
        return;
      case "stop":
        this.stop(event);
        return;
      case "master.found":
        this.masterFound(event);
        return;
      case "master.registered":
        this.masterRegistered(event);
        return;
      case "master.lost":
        this.master.lost(event.link);
        return;
      case "master.executors":
        this.masterExecutors(event);
        return;
      case "master.cancel":
        this.masterCancel(event);
        return;
      case "master.superseded":
        this.superseded(event.epoch, event.reason, event.finalState);
        return;
      case "request.answered":
        this.requestAnswered(event);
        return;
      case "executor.registered":
        this.executorRegistered(event);
        return;
      case "executor.unlinked":
        this.executorUnlinked(event.link);
        return;
      case "executor.reachable":
        this.executorReachable(event.processId);
        return;
      case "executor.unreachable":
        this.executorUnreachable(event.processId);
        return;
      case "executor.split":
        this.executorSplit(event);
        return;
      case "executor.collected":
        this.executorCollected(event);
        return;
      case "executor.progress":
        this.fromMember(event, (member) => this.current.report(member.processId, event.progress));
        return;
      case "executor.done":
        this.fromMember(event, (member) => this.executorDone(member, event));
        return;
      case "executor.failed":
        this.fromMember(event, (member) => this.executorFailed(member, event.error));
        return;
      case "executor.cancelled":
        this.fromMember(event, (member) => this.executorStopped(member));
        return;
      case "prepared":
        this.prepared(event);
        return;
      case "prepare.failed":
        this.prepareFailed(event);
        return;
      case "sinks.committed":
        this.sinksCommitted();
        return;
      case "sinks.commit-failed":
        this.sinksCommitFailed(event.error);
        return;
      case "cleaned":
        this.phase.kind === "cleaning" ? this.finishUp(this.phase.ending) : undefined;
        return;
      default:
        unreachable(event, "driver event");
        return;
    }
  }

  // ------------------------------------------------------------------------------------------------ start, time, stop

  private start(): void {
    const { application, broken } = this.config;
    // A damaged copy of the bundle, or an output that is decided, may fare better elsewhere; a job that can't be planned never does.
    const restart = application.commit !== null || broken?.code === "ARTIFACT_CORRUPT";
    if (broken !== null) this.beginEnding({ ...failed(broken), restart });
    else if (application.commit !== null) this.beginCommit(application.commit);
    else if (application.cancelRequested) this.beginEnding(cancelled("It was cancelled before its driver started."));
  }

  private wakeUp(): void {
    for (const executor of this.roster.overdue(this.now)) this.gone(executor, "its connection broke and it did not come back");
    const { phase } = this;
    if (this.phaseDeadline() > this.now) return;
    if (phase.kind === "stopping") this.giveUpUnsettled();
    else if (phase.kind === "backing-off") this.beginTry(this.current.number + 1);
    else if (phase.kind === "committing") this.beginCommit(phase.manifest, phase.repeats);
    else if (phase.kind === "cleaning") this.finishUp(phase.ending);
    else if (phase.kind === "reporting") this.end(phase.ending);
  }

  private phaseDeadline(): number {
    const { phase } = this;
    if (phase.kind === "stopping" || phase.kind === "backing-off" || phase.kind === "cleaning") return phase.until;
    if (phase.kind === "committing") return phase.repeatAt ?? Number.POSITIVE_INFINITY;
    if (phase.kind === "reporting") return phase.giveUpAt ?? Number.POSITIVE_INFINITY;
    return Number.POSITIVE_INFINITY;
  }

  private stop(event: Of<"stop">): void {
    this.toldToGo = true;
    if (event.mode === "cancel") this.cancelReason = event.reason;
    const { phase } = this;
    if (this.isUndecided()) this.beginEnding(event.mode === "cancel" ? cancelled(event.reason) : quit(event.reason));
    else if (phase.kind === "deciding" && event.mode === "quit") this.beginEnding(quit(event.reason));
    else if (phase.kind === "reporting") this.phase = { ...phase, giveUpAt: this.now + this.config.limits.cleanUpMs };
  }

  // ------------------------------------------------------------------------------------------------ the master

  private masterFound(event: Of<"master.found">): void {
    if (!this.master.accepts(event.epoch)) {
      this.out.push({
        kind: "leave-master",
        link: event.link,
        reason: `its epoch ${event.epoch} is over, epoch ${this.master.highestEpoch} leads`,
      });
      return;
    }
    const { config } = this;
    this.master.found(
      event.link,
      {
        applicationId: config.application.id,
        attempt: config.attempt,
        pid: config.pid,
        address: config.address,
        highestEpoch: this.master.highestEpoch,
        application: this.application,
        wanted: this.wanted(),
        executors: this.roster.connected().map((executor) => executor.processId),
        released: this.roster.releasedIds(),
      },
      this.out,
    );
  }

  private masterRegistered(event: Of<"master.registered">): void {
    if (!this.master.accepts(event.epoch) || !this.master.answered(event.link, this.out)) return;
    const { application } = event;
    this.application = application;
    if (application.commit !== null && this.isUndecided()) this.adoptCommit(application.commit);
    else if (application.cancelRequested) this.cancel("It was cancelled.");
    else if (this.phase.kind === "gathering") this.prepare();
  }

  private masterExecutors(event: Of<"master.executors">): void {
    if (!this.master.accepts(event.epoch)) return;
    for (const view of event.executors) {
      if ((view.state !== "ended" && view.state !== "lost") || !this.isOurs(view.processId)) continue;
      const executor = this.roster.get(view.processId);
      if (executor !== undefined) {
        // A worker that is lost to the master may still run an executor that answers us: this connection judges its life.
        if (view.state === "ended" || executor.link === null) this.gone(executor, view.reason ?? "its process ended");
      } else if (this.roster.isReleased(view.processId)) this.learnReason(view.processId, view.reason);
      else this.neverConnected(view.processId, view.state === "ended", view.reason);
    }
  }

  /** How a process ended is often known only after the connection's break was acted upon. */
  private learnReason(processId: string, reason: string | null): void {
    const known = this.lastFailure;
    if (known === null || known.processId !== processId || (this.phase.kind !== "backing-off" && this.phase.kind !== "gathering"))
      return;
    const better = executorGone(processId, reason);
    if (cause(known, better) === known) return;
    this.settleFailure(better);
  }

  private neverConnected(processId: string, ended: boolean, reason: string | null): void {
    this.release(processId);
    if (!ended || this.wanted() === 0) return;
    this.startFailures += 1;
    if (this.startFailures < this.config.limits.maxStartFailures || this.phase.kind !== "gathering") return;
    const failure = executorGone(processId, reason ?? "it ended before it connected to its driver");
    this.beginEnding(
      failed(exhausted(`${this.startFailures} executors in a row ended before they connected to the driver`, failure.error)),
    );
  }

  private masterCancel(event: Of<"master.cancel">): void {
    if (this.master.accepts(event.epoch)) this.cancel(event.reason);
  }

  private cancel(reason: string): void {
    this.cancelReason = reason;
    const { phase } = this;
    // Once the commit is asked for, the master decides which of the two came first.
    if (this.isUndecided()) this.beginEnding(cancelled(reason));
    // A worker that stops a cancelled driver may be faster than the master's own word.
    else if ((phase.kind === "stopping" || phase.kind === "cleaning") && phase.ending?.outcome === "quit") {
      this.phase = { ...phase, ending: cancelled(reason) };
    }
  }

  private superseded(epoch: number, reason: string, finalState: string | null): void {
    if (!this.master.accepts(epoch)) return;
    // The answer to the last report was lost with its master, the report was not.
    if (this.phase.kind === "reporting" && this.phase.ending.outcome === finalState) {
      this.end(this.phase.ending);
      return;
    }
    this.end({ outcome: "superseded", reason: shape("SUPERSEDED", reason), result: null, restart: false });
  }

  private requestAnswered(event: Of<"request.answered">): void {
    if (event.error?.code === "SUPERSEDED") {
      this.superseded(this.master.highestEpoch, event.error.message, finalStateOf(event.error));
      return;
    }
    const settled = this.master.settle(event.request, event.error, this.now);
    if (settled === "again") return;
    const { phase } = this;
    if (event.request === "driver.finished" && phase.kind === "reporting") {
      this.end(phase.ending);
      return;
    }
    if (event.request !== "driver.commit" || phase.kind !== "deciding") return;
    if (settled === "done") {
      this.application = { ...this.application, commit: phase.manifest };
      this.beginCommit(phase.manifest);
    } else if (this.cancelReason !== null) this.beginEnding(cancelled(this.cancelReason));
    else this.beginEnding(failed(event.error));
  }

  // ------------------------------------------------------------------------------------------------ executors

  private executorRegistered(event: Of<"executor.registered">): void {
    const { application, attempt, graphHash, limits } = this.config;
    if (!this.isOurs(event.processId)) {
      this.dismiss(event.link, `executor ${event.processId} does not belong to attempt ${attempt} of ${application.id}`);
      return;
    }
    if (this.roster.isReleased(event.processId)) {
      this.dismiss(event.link, "its place was given to another executor");
      return;
    }
    if (this.wanted() === 0) {
      this.dismiss(event.link, "the job needs no executors any more");
      return;
    }
    if (event.graphHash !== graphHash) {
      this.otherGraph(event);
      return;
    }
    this.startFailures = 0;
    this.roster.connect(event.processId, event.pid, event.dataAddress, event.link);
    this.out.push({
      kind: "tell-executor",
      link: event.link,
      message: "executor.registered",
      body: { driverDeadlineMs: limits.driverDeadlineMs, heartbeatMs: limits.heartbeatMs },
    });
    this.resume(event.processId, event.link);
    this.deployWhenReady();
  }

  private isOurs(processId: string): boolean {
    const id = parseProcessId(processId);
    return (
      id !== null && id.application === this.config.application.id && id.attempt === this.config.attempt && id.executor !== null
    );
  }

  /** An executor that came back gets the present order again; it knows whether it already follows it. */
  private resume(processId: string, link: number): void {
    const order = this.current.orderFor(processId);
    if (order === null) return;
    if (this.phase.kind === "running") this.out.push({ kind: "tell-executor", link, message: "executor.deploy", body: order });
    else if (this.phase.kind === "stopping")
      this.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: order.try } });
  }

  private otherGraph(event: Of<"executor.registered">): void {
    const message = `Executor ${event.processId} built the job graph ${event.graphHash}, the driver ${this.config.graphHash}.`;
    this.dismiss(event.link, message);
    this.release(event.processId);
    const hint = "The graph depends on the clock, on chance or on the machine: let `build` depend on its params only.";
    this.fail({ kind: "fatal", error: { code: "GRAPH_MISMATCH", message, hint }, processId: event.processId, symptom: false });
  }

  private executorUnlinked(link: number): void {
    const executor = this.roster.byLink(link);
    if (executor === undefined) return;
    const { reconnectMs, unresponsiveMs } = this.config.limits;
    if (this.wanted() === 0) {
      this.gone(executor, null);
      return;
    }
    this.roster.disconnect(executor, this.now, reconnectMs);
    this.out.push({ kind: "probe", processId: executor.processId, address: executor.dataAddress, forMs: unresponsiveMs });
  }

  /** It lives, and is busy or slow: it gets more time, but not for ever. */
  private executorReachable(processId: string): void {
    const executor = this.roster.get(processId);
    if (executor === undefined || executor.link !== null) return;
    const { reconnectMs, unresponsiveMs } = this.config.limits;
    executor.reconnectUntil = Math.min(this.now + reconnectMs, executor.disconnectedAt + unresponsiveMs);
  }

  private executorUnreachable(processId: string): void {
    const executor = this.roster.get(processId);
    if (executor !== undefined && executor.link === null)
      this.gone(executor, "its connection broke and it can not be reached any more");
  }

  private executorSplit(event: Of<"executor.split">): void {
    const member = this.memberOf(event);
    const split = member === null ? undefined : this.current.splits?.answer(event.source, member.processId, event.ask);
    if (split === undefined) {
      const error = shape("ABORTED", `Try ${event.try} of the job has no such source any more: ${event.source}.`);
      this.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
    } else this.out.push({ kind: "reply", link: event.link, requestId: event.requestId, body: { split } });
  }

  private executorCollected(event: Of<"executor.collected">): void {
    const member = this.memberOf(event);
    if (member === null) {
      const error = shape("ABORTED", `Try ${event.try} of the job is over.`);
      this.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
      return;
    }
    if (this.current.collected.add(event.sink, member.processId, event.batch, event.records)) {
      this.out.push({ kind: "reply", link: event.link, requestId: event.requestId, body: {} });
      return;
    }
    const error: ErrorShape = {
      code: "LIMIT_EXCEEDED",
      message: `The sink ${event.sink} collected more than the 256 KiB that a result may have.`,
      hint: "Write large outputs to files (sinks.ndjson, sinks.parquet), collect only a summary.",
    };
    this.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
    this.fail({ kind: "fatal", error, processId: member.processId, symptom: false });
  }

  private executorDone(member: Executor, event: Of<"executor.done">): void {
    this.current.report(member.processId, event.progress);
    this.current.done(member.processId, event.committables);
    if (this.phase.kind === "running" && this.current.isComplete()) this.decide();
  }

  private executorFailed(member: Executor, error: ErrorShape): void {
    this.current.stopped(member.processId);
    this.fail(failureOf(error, member.processId));
  }

  private executorStopped(member: Executor): void {
    if (this.phase.kind !== "stopping") return;
    this.current.stopped(member.processId);
    this.stoppedWhenSettled();
  }

  /** The executor is lost for good; the master may use its place for another one. */
  private gone(executor: Executor, reason: string | null): void {
    const wasRunning = this.current.state(executor.processId) === "running";
    if (executor.link !== null) this.dismiss(executor.link, "it was given up");
    this.release(executor.processId);
    this.current.gone(executor.processId);
    if (wasRunning && this.tryMayFail()) this.fail(executorGone(executor.processId, reason));
    else if (this.phase.kind === "stopping") this.stoppedWhenSettled();
  }

  private release(processId: string): void {
    this.roster.release(processId);
    this.master.executors(this.wanted(), this.roster.releasedIds(), this.out);
  }

  private dismiss(link: number, reason: string): void {
    this.out.push({ kind: "tell-executor", link, message: "executor.finish", body: { reason } });
  }

  private memberOf(event: { readonly link: number; readonly try: number }): Executor | null {
    const executor = this.roster.byLink(event.link);
    const isMember = executor !== undefined && event.try === this.current.number && this.current.state(executor.processId) !== null;
    return isMember ? executor : null;
  }

  private fromMember(event: { readonly link: number; readonly try: number }, then: (member: Executor) => void): void {
    const member = this.memberOf(event);
    if (member !== null) then(member);
  }

  // ------------------------------------------------------------------------------------------------ tries

  private beginTry(number: number): void {
    this.current = new JobTry(number);
    this.preparing = false;
    this.phase = { kind: "gathering" };
    this.prepare();
  }

  private prepare(): void {
    // The first try waits for the master's word that this attempt is the current one: no output is begun for nothing.
    if (this.preparing || (this.current.number === 1 && !this.master.isRegistered)) return;
    this.preparing = true;
    const attempt = attemptName(this.config.attempt, this.current.number);
    this.out.push({ kind: "prepare", try: this.current.number, attempt });
  }

  private prepared(event: Of<"prepared">): void {
    if (this.phase.kind !== "gathering" || event.try !== this.current.number) return;
    this.current.splits = new SplitAssignment(event.sources);
    this.deployWhenReady();
  }

  private prepareFailed(event: Of<"prepare.failed">): void {
    if (this.phase.kind === "gathering" && event.try === this.current.number) this.fail(failureOf(event.error, null));
  }

  private deployWhenReady(): void {
    if (this.phase.kind !== "gathering" || this.current.splits === null) return;
    const { parallelism } = this.jobSpec();
    const executors = this.roster.connected().slice(0, parallelism);
    if (executors.length < parallelism) return;
    this.current.deploy(executors);
    this.phase = { kind: "running" };
    for (const { processId, link } of executors) if (link !== null) this.resume(processId, link);
    this.log("info", `Try ${this.current.number} runs on ${parallelism} executors.`);
  }

  /** The present try has failed: stop what is left of it. */
  private fail(failure: Failure): void {
    if (!this.tryMayFail()) return;
    this.current.fail(failure);
    if (this.phase.kind === "stopping") {
      this.stoppedWhenSettled();
      return;
    }
    if (this.phase.kind === "backing-off") {
      if (failure.kind === "fatal") this.beginEnding(failed(failure.error));
      return;
    }
    this.phase = { kind: "stopping", until: this.now + this.config.limits.cancelMs, ending: null };
    for (const processId of this.current.unsettled()) {
      const link = this.roster.get(processId)?.link ?? null;
      if (link !== null)
        this.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: this.current.number } });
    }
    this.stoppedWhenSettled();
  }

  private stoppedWhenSettled(): void {
    if (this.phase.kind !== "stopping" || this.current.unsettled().length > 0) return;
    const { ending } = this.phase;
    if (ending !== null) {
      this.cleanUp(ending);
      return;
    }
    const { failure } = this.current;
    assert(failure !== null, "a try that is followed by another one has failed");
    this.settleFailure(failure);
  }

  private giveUpUnsettled(): void {
    for (const processId of this.current.unsettled()) {
      const executor = this.roster.get(processId);
      if (executor === undefined) this.current.gone(processId);
      else this.gone(executor, `it did not stop within ${this.config.limits.cancelMs} ms`);
    }
    this.stoppedWhenSettled();
  }

  private settleFailure(failure: Failure): void {
    this.lastFailure = failure;
    this.log("warn", `Try ${this.current.number} failed: ${failure.error.message}`, { code: failure.error.code });
    if (failure.kind === "fatal") {
      this.beginEnding(failed(failure.error));
      return;
    }
    const history = this.histories[failure.kind];
    const decision = decideRestart(this.config.restart[failure.kind], history, this.now);
    this.histories[failure.kind] = decision.history;
    if (decision.delayMs !== null) {
      // A reason that was learned late changes the account, not the try that already waits.
      if (this.phase.kind === "gathering" && this.current.failure === null) return;
      this.phase = { kind: "backing-off", until: this.now + decision.delayMs };
      return;
    }
    const restarts = this.current.number - 1;
    const error = restarts === 0 ? failure.error : exhausted(`The job failed ${this.current.number} times`, failure.error);
    this.beginEnding(failed(error));
  }

  // ------------------------------------------------------------------------------------------------ the end

  private decide(): void {
    const manifest: CommitManifest = {
      attempt: this.config.attempt,
      try: this.current.number,
      sinks: this.current.committables(),
      result: this.current.collected.result(this.current.memberIds()),
    };
    this.phase = { kind: "deciding", manifest };
    this.master.ask({ kind: "request", message: "driver.commit", body: manifest }, this.out);
  }

  /** Another driver attempt had decided before this one came to know of it. */
  private adoptCommit(manifest: CommitManifest): void {
    this.log("info", `Attempt ${manifest.attempt} had decided its commit; only that is left to do.`);
    this.beginCommit(manifest);
  }

  private beginCommit(manifest: CommitManifest, repeats = 0): void {
    this.phase = { kind: "committing", manifest, repeats, repeatAt: null };
    if (repeats === 0) this.dismissAll("the job is done");
    this.out.push({ kind: "commit-sinks", manifest, attempt: attemptName(manifest.attempt, manifest.try ?? 1) });
  }

  private sinksCommitted(): void {
    if (this.phase.kind !== "committing") return;
    const { manifest } = this.phase;
    this.cleanUp({ outcome: "finished", reason: null, result: manifest.result ?? null, restart: false });
  }

  private sinksCommitFailed(error: ErrorShape): void {
    if (this.phase.kind !== "committing") return;
    const repeats = this.phase.repeats + 1;
    this.log("warn", `The sinks could not commit: ${error.message}`, { code: error.code, repeats });
    if (repeats <= this.config.limits.commitRepeats) {
      this.phase = { ...this.phase, repeats, repeatAt: this.now + repeats * this.config.limits.retryMs };
      return;
    }
    // The decision stands: whoever comes next has to finish it.
    this.finishUp({ outcome: "failed", reason: error, result: null, restart: true });
  }

  private beginEnding(ending: Ending): void {
    this.phase = { kind: "stopping", until: this.now + this.config.limits.cancelMs, ending };
    this.dismissAll(ending.reason?.message ?? "the job ended");
    // Those without a connection are not waited for: they end by themselves, fenced by the attempt.
    for (const executor of this.roster.all()) if (executor.link === null) this.current.gone(executor.processId);
    this.stoppedWhenSettled();
  }

  private dismissAll(reason: string): void {
    for (const { link } of this.roster.connected()) if (link !== null) this.dismiss(link, reason);
    this.master.executors(0, this.roster.releasedIds(), this.out);
  }

  private cleanUp(ending: Ending): void {
    this.phase = { kind: "cleaning", until: this.now + this.config.limits.cleanUpMs, ending };
    this.out.push({ kind: "clean-up" });
  }

  private finishUp(ending: Ending): void {
    if (ending.outcome === "quit") {
      this.end(ending);
      return;
    }
    const giveUpAt = this.toldToGo ? this.now + this.config.limits.cleanUpMs : null;
    this.phase = { kind: "reporting", giveUpAt, ending };
    const { outcome, result, reason, restart } = ending;
    assert(outcome === "finished" || outcome === "failed" || outcome === "cancelled", `${outcome} is not reported`);
    this.master.ask({ kind: "request", message: "driver.finished", body: { outcome, result, reason, restart } }, this.out);
  }

  private end(ending: Ending): void {
    if (ending.outcome === "superseded") this.dismissAll(ending.reason?.message ?? "superseded");
    this.phase = { kind: "ended" };
    this.out.push({ kind: "end", ending });
  }

  // ------------------------------------------------------------------------------------------------ views

  private isUndecided(): boolean {
    const { phase } = this;
    if (phase.kind === "stopping") return phase.ending === null;
    return phase.kind === "gathering" || phase.kind === "running" || phase.kind === "backing-off";
  }

  /** Whether a failure still makes a difference to the present try. */
  private tryMayFail(): boolean {
    return this.isUndecided();
  }

  private wanted(): number {
    return this.isUndecided() ? this.jobSpec().parallelism : 0;
  }

  private jobSpec() {
    const { job } = this.config.application.spec;
    assert(job !== null, `${this.config.application.id} is a job`);
    return job;
  }

  private progress(): Progress {
    return jobProgress(this.current.reports(), {
      phase: this.progressPhase(),
      totalRecords: this.current.splits?.totalRecords ?? null,
      jobRestarts: this.current.number - 1,
      lastRestartReason: this.lastFailure === null ? null : this.lastFailure.error.message,
    });
  }

  private progressPhase(): Progress["phase"] {
    const { phase } = this;
    if (phase.kind === "gathering") return this.current.number === 1 ? "waiting" : "restarting";
    if (phase.kind === "running") return "running";
    if (phase.kind === "backing-off" || (phase.kind === "stopping" && phase.ending === null)) return "restarting";
    if (phase.kind === "deciding" || phase.kind === "committing") return "committing";
    return "done";
  }

  private log(
    level: "info" | "warn",
    message: string,
    fields: Readonly<Record<string, string | number | boolean | null>> = {},
  ): void {
    const { application, attempt } = this.config;
    this.out.push({ kind: "log", level, message, fields: { app: application.id, attempt, ...fields } });
  }
}

/** Masters say with SUPERSEDED when it is because the application has ended. */
export function finalStateOf(error: ErrorShape): string | null {
  const state = error.details?.state;
  return typeof state === "string" ? state : null;
}

function shape(code: ErrorShape["code"], message: string): ErrorShape {
  return { code, message, hint: null };
}

function cancelled(reason: string): Ending {
  return { outcome: "cancelled", reason: shape("ABORTED", reason), result: null, restart: false };
}

function quit(reason: string): Ending {
  return { outcome: "quit", reason: shape("ABORTED", reason), result: null, restart: true };
}

function failed(reason: ErrorShape | null): Ending {
  return { outcome: "failed", reason, result: null, restart: false };
}

function exhausted(what: string, last: ErrorShape): ErrorShape {
  return {
    code: "RESTARTS_EXHAUSTED",
    message: `${what}; the last time: ${last.message}`,
    hint: last.hint,
    details: { cause: last },
  };
}
