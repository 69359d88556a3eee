/**
 * The host of the driver's core: links to the master and to executors in, messages and the work on sources and sinks out.
 *
 * Boundary: how the leader is found is handed in (`followMaster`), as are the connectors of the job.
 * Invariants:
 *   1. Everything that a link says is an event of the core; nothing is decided here.
 *   2. After `ended` nothing of the driver runs: listener, links, finder and connectors are closed.
 */
import { CodedError, type ErrorShape } from "../../base/errors.js";
import type { FailoverRegions } from "../../dataflow/failover-regions.js";
import type { StateStore } from "../../env/blob-store.js";
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { SavepointFiles } from "../../env/savepoint-files.js";
import { createDriverCore, type DriverView } from "../../job/driver-core.js";
import { DRIVER_LIMITS, type DriverEffect, type DriverEvent, type DriverLimits, type Ending } from "../../job/driver-events.js";
import { finalStateOf } from "../../job/endings.js";
import type { RestartRules } from "../../job/restart-strategy.js";
import type { ApplicationRecord } from "../../wire/application.js";
import { driverRegistered, masterToDriver } from "../../wire/driver-messages.js";
import type { MessageTable } from "../../wire/envelope.js";
import { executorToDriver } from "../../wire/executor-messages.js";
import { applicationScope } from "../../wire/handshake.js";
import { DEFAULT_SILENCE_MS, type Link, type LinkMessage } from "../link/link.js";
import { keyOfScope } from "../link/link-keys.js";
import { listenLinks } from "../link/link-listener.js";
import { runTurns } from "../turns/turns.js";
import { DriverCheckpoints } from "./driver-checkpoints.js";
import { commitSinks, type InputsOptions, type JobInputs, removeLeftovers } from "./driver-inputs.js";
import type { SavepointWork } from "./driver-savepoint-work.js";

const REQUEST_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 1_000;
/** A busy process takes the connections of all probes at once when it goes on; they grow rarer so that these are few. */
const MIN_PROBE_PAUSE_MS = 50;
const MAX_PROBE_PAUSE_MS = 2_000;
/** What was said last (that the job is done, that executors shall end) is given so long to leave. */
const FLUSH_MS = 1_000;

/** Looks for the leader for as long as it is not closed, and hands on each link to one; the next one after that link has ended. */
export type FollowMaster = (options: { epoch(): number; readonly incoming: MessageTable; onLink(link: Link): void }) => {
  close(): void;
};

export interface DriverHostOptions {
  readonly env: Env;
  readonly application: ApplicationRecord;
  readonly attempt: number;
  readonly processId: string;
  readonly pid: number;
  /** Of the connections of this application. */
  readonly applicationKey: Uint8Array;
  /** `host:port`, port 0 for any. */
  readonly listenAddress: string;
  readonly graphHash: string;
  /** Why the job can't run in this process; it then only reports that. */
  readonly broken?: ErrorShape;
  /** Of a master that whoever started this process has seen; absent: none. */
  readonly highestEpoch?: number;
  readonly restart: RestartRules;
  /** Absent: a failure restarts the whole job. */
  readonly failover?: FailoverRegions["restarts"];
  readonly job: JobInputs;
  /** The state of the application in that storage. Absent: checkpoints can't be taken. Rejects with CHECKPOINT_STORAGE. */
  readonly openState?: (storage: string) => Promise<StateStore>;
  /** Absent: savepoints can't be written or read. */
  readonly savepoints?: SavepointFiles;
  readonly followMaster: FollowMaster;
  readonly limits?: Partial<DriverLimits>;
}

export interface RunningDriver {
  /** Where executors connect to. */
  readonly address: string;
  readonly ended: Promise<Ending>;
  view(): DriverView;
  /** cancel: the application. quit: only this process; a supervised application goes on elsewhere. */
  stop(mode: "cancel" | "quit", reason: string): void;
  /** User code threw where nobody could catch it: the master is told, and this process ends. */
  crashed(error: CodedError): void;
}

/** Rejects when it can't listen (ADDRESS_IN_USE, INVALID_ARGUMENT). */
export async function startDriver(options: DriverHostOptions): Promise<RunningDriver> {
  const host = new DriverHost(options);
  await host.open();
  return {
    address: host.address,
    ended: host.ended,
    view: () => host.view(),
    stop: (mode, reason) => host.post({ kind: "stop", mode, reason }),
    crashed: (error) => host.post({ kind: "crashed", error: error.toShape() }),
  };
}

class DriverHost {
  address = "";
  readonly ended: Promise<Ending>;
  private readonly options: DriverHostOptions;
  private readonly limits: DriverLimits;
  private readonly inputs: InputsOptions;
  private readonly work = new AbortController();
  private readonly checkpoints: DriverCheckpoints;
  private readonly executors = new Map<number, Link>();
  private master: Link | null = null;
  private epoch: number;
  private core: ReturnType<typeof createDriverCore> | null = null;
  private turns: ReturnType<typeof runTurns<DriverEvent, DriverEffect>> | null = null;
  private finder: { close(): void } | null = null;
  private listener: { close(): Promise<void> } | null = null;
  private settle: (ending: Ending) => void = () => undefined;

  constructor(options: DriverHostOptions) {
    this.options = options;
    this.epoch = options.highestEpoch ?? 0;
    this.limits = { ...DRIVER_LIMITS, ...options.limits };
    this.inputs = {
      job: options.job,
      applicationId: options.application.id,
      attempt: options.attempt,
      log: options.env.log,
      signal: this.work.signal,
    };
    this.checkpoints = new DriverCheckpoints({
      inputs: this.inputs,
      openState: options.openState ?? null,
      savepoints: savepointWork(options),
      post: (event) => this.post(event),
    });
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  async open(): Promise<void> {
    const { env, application, applicationKey, processId } = this.options;
    const listener = await listenLinks({
      env,
      address: this.options.listenAddress,
      role: "driver",
      id: processId,
      roles: ["executor"],
      clusterId: () => null,
      keyFor: keyOfScope(applicationScope(application.id), applicationKey),
      facts: () => ({}),
      epoch: () => this.epoch,
      incoming: executorMessages,
      requests: executorRequests,
      heartbeatMs: this.limits.heartbeatMs,
      silenceMs: DEFAULT_SILENCE_MS,
      onLink: (link) => this.executorLink(link),
    });
    this.listener = listener;
    this.address = listener.address;
    this.start();
  }

  view(): DriverView {
    if (this.core === null) throw new CodedError("INTERNAL", "invariant broken: the driver is not open");
    return this.core.view();
  }

  post(event: DriverEvent): void {
    this.turns?.post(event);
  }

  private start(): void {
    const { env, application, attempt, pid, graphHash, restart, failover, job } = this.options;
    const broken = this.options.broken ?? null;
    const core = createDriverCore({
      broken,
      application,
      attempt,
      pid,
      address: this.address,
      graphHash,
      highestEpoch: this.epoch,
      restart,
      failover: failover ?? "job",
      ...(job.collectLimits === undefined ? {} : { collectLimits: job.collectLimits }),
      appears: new Map(
        [...job.sinks].flatMap(
          ([
            uid,
            {
              connector: { appears },
            },
          ]) => (appears === undefined ? [] : [[uid, appears]]),
        ),
      ),
      limits: this.limits,
    });
    this.core = core;
    this.turns = runTurns<DriverEvent, DriverEffect>({
      core,
      clock: env.clock,
      commit: null,
      act: (effect) => this.act(effect),
      wakeUp: { kind: "wake-up" },
    });
    this.turns.ended.then((broken) => {
      if (broken !== null) this.finish({ outcome: "failed", reason: broken.toShape(), result: null, restart: true });
    });
    this.post({ kind: "started" });
    this.finder = this.options.followMaster({
      epoch: () => this.epoch,
      incoming: masterToDriver,
      onLink: (link) => this.masterLink(link),
    });
  }

  // ------------------------------------------------------------------------------------------------ links

  private masterLink(link: Link): void {
    this.master = link;
    this.see(link.peer.epoch);
    this.post({ kind: "master.found", link: link.id, epoch: link.peer.epoch });
    link.onMessage((message) => this.fromMaster(link, message));
    link.ended.then((reason) => {
      if (this.master === link) this.master = null;
      this.options.env.log.info("the connection to the master ended", { app: this.options.application.id, reason: reason.message });
      this.post({ kind: "master.lost", link: link.id });
    });
  }

  private fromMaster(link: Link, { kind, body, epoch }: LinkMessage): void {
    if (this.master !== link) return;
    this.see(epoch);
    // The bodies were validated by the link against the same table.
    if (kind === "driver.executors") this.post({ kind: "master.executors", epoch, ...(body as Body<"driver.executors">) });
    else if (kind === "driver.cancel") this.post({ kind: "master.cancel", epoch, ...(body as Body<"driver.cancel">) });
    else if (kind === "driver.checkpoint-requests")
      this.post({ kind: "master.checkpoint-requests", epoch, ...(body as Body<"driver.checkpoint-requests">) });
    else if (kind === "driver.superseded")
      this.post({ kind: "master.superseded", epoch, finalState: null, ...(body as Body<"driver.superseded">) });
  }

  private see(epoch: number): void {
    this.epoch = Math.max(this.epoch, epoch);
  }

  private executorLink(link: Link): void {
    this.executors.set(link.id, link);
    link.onMessage(({ kind, body, requestId }) => {
      const said = body as object;
      const event = { ...said, kind: kind === "executor.register" ? "executor.registered" : kind, link: link.id, requestId };
      this.post(event as unknown as DriverEvent);
    });
    link.ended.then(() => {
      this.executors.delete(link.id);
      this.post({ kind: "executor.unlinked", link: link.id });
    });
  }

  // ------------------------------------------------------------------------------------------------ effects

  private act(effect: DriverEffect): void {
    switch (effect.kind) {
      case "register":
        this.register(effect);
        break;
      case "tell-master":
        this.master?.send(effect.message, effect.body);
        break;
      case "request":
        this.request(effect);
        break;
      case "leave-master":
        if (this.master?.id === effect.link) this.master.destroy();
        break;
      case "tell-executor":
        this.executors.get(effect.link)?.send(effect.message, effect.body);
        break;
      case "reply":
        this.executors.get(effect.link)?.reply(effect.requestId, effect.body);
        break;
      case "refuse":
        this.executors.get(effect.link)?.replyError(effect.requestId, effect.error);
        break;
      case "probe":
        void this.probe(effect);
        break;
      case "prepare":
        void this.prepare(effect);
        break;
      case "commit-sinks":
        void this.commit(effect);
        break;
      case "clean-up":
        void this.cleanUp(new Set(effect.keep)).then((isClean) =>
          this.post({ kind: "cleaned", ...(isClean ? {} : { leftovers: true }) }),
        );
        break;
      case "store-manifest":
        void this.checkpoints.store(effect);
        break;
      case "write-savepoint":
        void this.checkpoints.writeSavepoint(effect);
        break;
      case "restore-savepoint":
        void this.checkpoints.restoreSavepoint(effect);
        break;
      case "commit-checkpoint":
        void this.checkpoints.commit(effect);
        break;
      case "drop-checkpoints":
        void this.checkpoints.drop(effect);
        break;
      case "sweep-checkpoints":
        void this.checkpoints.sweep(effect);
        break;
      case "forget-checkpoints":
        void this.checkpoints.forget(effect);
        break;
      case "log":
        this.options.env.log[effect.level](effect.message, effect.fields);
        break;
      case "end":
        void this.finish(effect.ending);
        break;
    }
  }

  private async register(effect: Extract<DriverEffect, { kind: "register" }>): Promise<void> {
    const link = this.master;
    if (link === null || link.id !== effect.link) return;
    const { epoch } = link.peer;
    try {
      const answer = await link.request("driver.register", effect.body, {
        signal: this.work.signal,
        timeoutMs: REQUEST_TIMEOUT_MS,
        reply: driverRegistered,
      });
      const { application, former } = answer;
      this.post({
        ...{ kind: "master.registered", link: link.id, epoch, application },
        ...(former === undefined ? {} : { former }),
      });
    } catch (thrown) {
      const error = CodedError.from(thrown);
      if (error.code === "SUPERSEDED")
        this.post({ kind: "master.superseded", epoch, reason: error.message, finalState: finalStateOf(error) });
      else {
        this.options.env.log.warn("the master did not take the registration", { code: error.code, reason: error.message });
        link.destroy();
      }
    }
  }

  private async request(effect: Extract<DriverEffect, { kind: "request" }>): Promise<void> {
    const { message: request, number } = effect;
    const answered = (error: ErrorShape | null) => this.post({ kind: "request.answered", request, number, error });
    const link = this.master;
    // Without a link the core sends it again when it has registered with the next leader.
    if (link === null) return;
    try {
      await link.request(effect.message, effect.body, { signal: this.work.signal, timeoutMs: REQUEST_TIMEOUT_MS });
      answered(null);
    } catch (thrown) {
      answered(CodedError.from(thrown).toShape());
    }
  }

  /** A refused connection says at once that the process is gone; one that is taken, that it lives; silence says nothing. */
  private async probe({ processId, address, forMs }: Extract<DriverEffect, { kind: "probe" }>): Promise<void> {
    const { clock, transport } = this.options.env;
    const { signal } = this.work;
    const until = clock.now() + forMs;
    let pauseMs = MIN_PROBE_PAUSE_MS;
    while (!signal.aborted && clock.now() < until && !this.isConnected(processId)) {
      try {
        const connection = await transport.connect(address, { signal, timeoutMs: PROBE_TIMEOUT_MS });
        connection.destroy();
        this.post({ kind: "executor.reachable", processId });
      } catch (thrown) {
        if (signal.aborted) return;
        if (CodedError.from(thrown).code === "CONNECTION_REFUSED") {
          this.post({ kind: "executor.unreachable", processId });
          return;
        }
      }
      await sleep(clock, pauseMs, signal).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, MAX_PROBE_PAUSE_MS);
    }
  }

  private isConnected(processId: string): boolean {
    return [...this.executors.values()].some((link) => link.peer.id === processId);
  }

  private async prepare(effect: Extract<DriverEffect, { kind: "prepare" }>): Promise<void> {
    const of = { try: effect.try, ...(effect.runs === true ? { runs: true } : {}) };
    try {
      this.post({ kind: "prepared", ...of, ...(await this.checkpoints.prepare(effect)) });
    } catch (thrown) {
      this.post({ kind: "prepare.failed", ...of, error: CodedError.from(thrown, "SOURCE_FAILED").toShape() });
    }
  }

  private async commit(effect: Extract<DriverEffect, { kind: "commit-sinks" }>): Promise<void> {
    try {
      await commitSinks(this.inputs, await this.checkpoints.withCarried(effect.manifest, effect.checkpoint), effect.attempt);
      this.post({ kind: "sinks.committed" });
    } catch (thrown) {
      this.post({ kind: "sinks.commit-failed", error: CodedError.from(thrown, "SINK_FAILED").toShape() });
    }
  }

  /** After the commit of a checkpoint that is under way: what that needs must not be removed. */
  private async cleanUp(keep: ReadonlySet<string>): Promise<boolean> {
    await this.checkpoints.idle();
    return removeLeftovers(this.inputs, null, keep);
  }

  private async finish(ending: Ending): Promise<void> {
    this.finder?.close();
    void this.turns?.close();
    const links = [...this.executors.values(), ...(this.master === null ? [] : [this.master])];
    for (const link of links) link.close();
    const closed = Promise.all(links.map((link) => link.ended));
    const { clock } = this.options.env;
    await Promise.race([closed, sleep(clock, FLUSH_MS, this.work.signal)]);
    await Promise.race([this.checkpoints.idle(), sleep(clock, this.limits.cleanUpMs, this.work.signal)]);
    this.work.abort(new CodedError("CLOSED", "the driver has ended"));
    for (const link of links) link.destroy();
    await this.listener?.close();
    this.settle(ending);
  }
}

function savepointWork({ savepoints, job, application, graphHash, env }: DriverHostOptions): SavepointWork | null {
  if (savepoints === undefined || job.target === undefined) return null;
  const parallelism = application.spec.job?.parallelism ?? 1;
  return { files: savepoints, digest: env.digest, job: job.target, parallelism, graphHash };
}

type Body<K extends keyof typeof masterToDriver> = (typeof masterToDriver)[K] extends { readonly _output: infer T } ? T : never;

const { "executor.split": split, "executor.collected": collected, ...executorMessages } = executorToDriver;
const executorRequests = { "executor.split": split, "executor.collected": collected };
