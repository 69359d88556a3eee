/**
 * The host of a worker: follows the leading master, runs the worker's core, carries out what it decides through the launcher, serves logs.
 *
 * Boundary: no files and no processes of its own; the work directory and the launcher are handed in (`openWorkDirectory`, `createProcessLauncher`).
 * Invariants:
 *   1. What the core wrote is durable on the work directory before any of its effects (runTurns).
 *   2. A job's bundle is there and verified before its driver or executor is launched; a stop ends a launch that waits for it.
 *   3. After `close` nothing of it runs. What happens to the processes was said: they are stopped, or left to the next worker.
 */

import { unreachable } from "../../base/assert.js";
import { CodedError } from "../../base/errors.js";
import type { Env } from "../../env/env.js";
import type { LaunchCommand, Launcher } from "../../env/launcher.js";
import type { Resources } from "../../wire/application.js";
import { CLUSTER_SCOPE, type Facts, NO_SECRET, STANDING, STANDING_PACE } from "../../wire/handshake.js";
import { parseProcessId } from "../../wire/ids.js";
import type { RunnerStart } from "../../wire/runner-start.js";
import { KEEPS_RECORDS, type LaunchOrder, masterToWorker } from "../../wire/worker-messages.js";
import { createWorkerCore, type WorkerCore } from "../../worker/worker-core.js";
import type { FoundProcess, FromMaster, WorkerEffect, WorkerEvent, WorkerIdentity } from "../../worker/worker-events.js";
import { readNote } from "../../worker/worker-notes.js";
import { followLeader, type Looking } from "../finding/master-finder.js";
import { createPlaces, type OpenRegistry, type Places } from "../finding/master-places.js";
import type { ReadFile } from "../finding/master-url.js";
import { leaveForOther } from "../finding/other-leader.js";
import { DEFAULT_HEARTBEAT_MS, DEFAULT_SILENCE_MS, type Link, type LinkMessage, type LinkPace } from "../link/link.js";
import { dialLink } from "../link/link-handshake.js";
import { keysOfCluster } from "../link/link-keys.js";
import { type LinkListener, listenLinks } from "../link/link-listener.js";
import { runTurns, type Turns } from "../turns/turns.js";
import { type ArtifactFiles, type Artifacts, createArtifacts } from "./worker-artifacts.js";
import { createLeaderLinks, type LeaderLinks } from "./worker-leader.js";
import { serveLogs, WORKER_REQUESTS } from "./worker-logs.js";
import { createWorkerMasters, type MastersFile, type WorkerMasters } from "./worker-masters.js";

type EffectOf<K extends WorkerEffect["kind"]> = Extract<WorkerEffect, { readonly kind: K }>;

const DIAL_TIMEOUT_MS = 5_000;

/** What lies on the work directory beside processes; held by one worker at a time. */
export interface WorkerFiles extends ArtifactFiles, MastersFile {
  readonly identity: WorkerIdentity;
  /** JSON of a WorkerIdentity; durable when it resolves. */
  saveIdentity(json: Uint8Array): Promise<void>;
}

export interface WorkerHostOptions {
  readonly env: Env;
  readonly launcher: Launcher;
  readonly files: WorkerFiles;
  readonly masterUrl: string;
  readonly readFile: ReadFile;
  /** Asks ZooKeeper; absent: a `zk://` URL is refused. */
  readonly openRegistry?: OpenRegistry;
  /** `host:port` of the worker's own listener (logs). */
  readonly listenAddress: string;
  /** An address of this machine that others reach it at, when all are listened on (0.0.0.0). Runners listen on it. */
  readonly advertiseHost?: string;
  /** Of the cluster; null: none (loopback only). */
  readonly secret: Uint8Array | null;
  readonly resources: Resources;
  readonly pid: number;
  readonly heartbeatMs?: number;
  readonly silenceMs?: number;
  /** While no master is found: what is waited for, since when, last error. */
  onLooking?(looking: Looking): void;
}

export interface WorkerHost {
  readonly workerId: string;
  readonly address: string;
  /** Resolves with null after `close`, or with what made this worker end by itself (its processes run on). */
  readonly ended: Promise<CodedError | null>;
  /** `leave`: processes run on for the next worker on this directory; otherwise they are stopped, and the master is told of their ends. */
  close(options: { readonly leave: boolean }): Promise<void>;
}

/** Resolves when it listens and has read what lies on the work directory; the master may come later. Rejects as `Transport.listen`, INVALID_ARGUMENT. */
export async function runWorkerHost(options: WorkerHostOptions): Promise<WorkerHost> {
  const host = new RunningWorker(options);
  await host.start();
  return host;
}

class RunningWorker implements WorkerHost {
  readonly workerId: string;
  readonly ended: Promise<CodedError | null>;
  address = "";
  readonly #options: WorkerHostOptions;
  readonly #leader: LeaderLinks = createLeaderLinks();
  readonly #artifacts: Artifacts;
  readonly #masters: WorkerMasters;
  readonly #places: Places;
  readonly #closing = new AbortController();
  /** Launches that wait for their bundle. */
  readonly #preparing = new Map<string, AbortController>();
  #core: WorkerCore | null = null;
  #turns: Turns<WorkerEvent> | null = null;
  #listener: LinkListener | null = null;
  #following: Promise<void> = Promise.resolve();
  /** Under way while the leader is silent: see #lookAround. */
  #lookingAround: AbortController | null = null;
  #around: Promise<void> = Promise.resolve();
  #clusterId: string | null = null;
  #closed: Promise<void> | null = null;
  /** The core has nothing left to do. */
  #done: () => void = () => {};
  #end: (reason: CodedError | null) => void = () => {};

  constructor(options: WorkerHostOptions) {
    this.#options = options;
    this.workerId = options.files.identity.workerId;
    this.#artifacts = createArtifacts(options.env, options.files, this.#leader);
    const { env, masterUrl, readFile, openRegistry } = options;
    this.#masters = createWorkerMasters(masterUrl, options.files, env.log);
    this.#places = createPlaces({
      env,
      masterUrl,
      readFile,
      ...(openRegistry === undefined ? {} : { openRegistry }),
      onKnown: (addresses) => this.#masters.known(addresses),
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async start(): Promise<void> {
    const { env, launcher, files, resources, pid } = this.#options;
    const processes = await launcher.inventory();
    await this.#sweepArtifacts(processes);
    this.#listener = await this.#listen();
    this.address = this.#advertised(this.#listener.address);
    const core = createWorkerCore({ identity: files.identity, pid, address: this.address, resources });
    const turns = runTurns<WorkerEvent, WorkerEffect>({
      core,
      clock: env.clock,
      commit: async (writes) => {
        const last = writes.at(-1)?.value;
        if (last !== undefined && last !== null) await files.saveIdentity(last);
      },
      act: (effect) => this.#act(effect),
      wakeUp: { kind: "wake-up" },
    });
    this.#core = core;
    this.#turns = turns;
    launcher.onEnd((processId, end) => turns.post({ kind: "ended", processId, end }));
    turns.post({ kind: "inventory", processes });
    turns.ended.then((reason) => {
      if (reason !== null) this.#fail(reason);
    });
    this.#following = this.#follow().catch((thrown) => this.#fail(CodedError.from(thrown)));
  }

  /** What an earlier worker on this directory fetched. A process whose note can't be read may run any of it. */
  async #sweepArtifacts(processes: readonly FoundProcess[]): Promise<void> {
    const used = new Set<string>();
    for (const { note, end } of processes) {
      const application = readNote(note)?.application;
      if (application === undefined && end === null) return;
      if (application?.spec.job != null) used.add(application.spec.job.artifact);
    }
    await this.#artifacts.sweep(used);
  }

  #listen(): Promise<LinkListener> {
    const { env, secret, listenAddress } = this.#options;
    const reader = {
      launcher: this.#options.launcher,
      clock: env.clock,
      isLive: (processId: string) => this.#core?.isLive(processId) ?? true,
    };
    return listenLinks({
      env,
      address: listenAddress,
      epoch: () => this.#epoch(),
      role: "worker",
      id: this.workerId,
      clusterId: () => this.#clusterId,
      keyFor: keysOfCluster(env.digest, secret),
      roles: ["client"],
      facts: () => ({}),
      incoming: {},
      requests: WORKER_REQUESTS,
      ...this.#heartbeats(),
      onLink: (link) => {
        serveLogs(link, reader, this.#closing.signal);
        const close = () => link.close();
        this.#closing.signal.addEventListener("abort", close, { once: true });
        link.ended.then(() => this.#closing.signal.removeEventListener("abort", close));
      },
    });
  }

  #follow(): Promise<void> {
    const { onLooking } = this.#options;
    return followLeader({
      ...this.#search(),
      onLink: (link) => this.#linked(link),
      needsProof: () => this.#core?.hasLeased() ?? false,
      dialStanding: (address, signal) => this.#dial(address, signal, STANDING_PACE, { [STANDING]: 1 }),
      ...(onLooking === undefined ? {} : { onLooking }),
      signal: this.#closing.signal,
    });
  }

  #search() {
    const { env, masterUrl, readFile } = this.#options;
    const onNobodyLeads = (since: number) => this.#post({ kind: "nobody-leads", since });
    const dial = (address: string, signal: AbortSignal) => this.#dial(address, signal, this.#heartbeats());
    return { env, masterUrl, readFile, places: this.#places, dial, onNobodyLeads };
  }

  #dial(address: string, signal: AbortSignal, pace: LinkPace, facts: Facts = {}): Promise<Link> {
    const { env, secret, pid, files } = this.#options;
    return dialLink(address, {
      env,
      epoch: () => this.#epoch(),
      role: "worker",
      id: this.workerId,
      scope: CLUSTER_SCOPE,
      key: secret ?? NO_SECRET,
      clusterId: (this.#core?.identity ?? files.identity).clusterId ?? null,
      facts: { address: this.address, pid, ...facts },
      connectTimeoutMs: DIAL_TIMEOUT_MS,
      signal,
      incoming: masterToWorker,
      ...pace,
    });
  }

  /** Asks all masters but the silent leader, until that one speaks or another one leads; then its link is given up. */
  #lookAround(linkId: number): void {
    const link = this.#leader.current();
    if (link?.id !== linkId || this.#lookingAround !== null) return;
    const control = new AbortController();
    this.#lookingAround = control;
    const signal = AbortSignal.any([control.signal, this.#closing.signal]);
    this.#around = leaveForOther(link, { ...this.#search(), signal }).finally(() => {
      if (this.#lookingAround === control) this.#lookingAround = null;
    });
  }

  #stopLookingAround(): void {
    this.#lookingAround?.abort(new CodedError("ABORTED", "the leader has answered, or its link has ended"));
  }

  #heartbeats() {
    return {
      heartbeatMs: this.#options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS,
      silenceMs: this.#options.silenceMs ?? DEFAULT_SILENCE_MS,
    };
  }

  #epoch(): number {
    return this.#core?.identity.highestEpoch ?? this.#options.files.identity.highestEpoch;
  }

  #linked(link: Link): void {
    this.#clusterId = link.peer.clusterId ?? this.#clusterId;
    link.pace(this.#heartbeats());
    this.#leader.set(link);
    const tellsApplications = link.peer.facts[KEEPS_RECORDS] !== 1;
    this.#post({ kind: "link-up", linkId: link.id, remote: link.remote, tellsApplications });
    link.onMessage((message: LinkMessage) => {
      // The link has validated the body by the schema of its kind.
      const { kind, body, epoch, sizeBytes } = message;
      if (kind === "worker.renewed") {
        this.#places.told((body as { readonly masters: readonly string[] }).masters);
        this.#stopLookingAround();
      }
      const event: WorkerEvent = { kind: "message", linkId: link.id, epoch, message: { kind, body } as FromMaster };
      if (this.#turns?.post(event, { linkId: link.id, sizeBytes }) === false)
        link.fail(new CodedError("LIMIT_EXCEEDED", "more orders wait for this worker than it keeps"));
    });
    link.ended.then((reason) => {
      this.#stopLookingAround();
      if (this.#leader.current() === link) this.#leader.set(null);
      this.#post({ kind: "link-down", linkId: link.id, reason: reason.message });
    });
  }

  #post(event: WorkerEvent): void {
    this.#turns?.post(event);
  }

  #act(effect: WorkerEffect): void {
    const { launcher, env } = this.#options;
    switch (effect.kind) {
      case "launch":
        void this.#launch(effect.order, effect.note, effect);
        break;
      case "stop":
        this.#preparing.get(effect.processId)?.abort(new CodedError("ABORTED", `stopped before it started: ${effect.reason}`));
        this.#watch(launcher.stop(effect.processId, effect.graceMs, effect.reason), `stop ${effect.processId}`);
        break;
      case "tell-driver":
        this.#watch(launcher.tell(effect.processId, JSON.stringify(effect.driver)), `tell ${effect.processId} of its driver`);
        break;
      case "forget":
        this.#watch(launcher.forget(effect.processId), `mark ${effect.processId} as reported`);
        break;
      case "bundle-unused":
        this.#artifacts.unused(effect.sha256);
        break;
      case "send": {
        const link = this.#leader.current();
        if (link?.id === effect.linkId) link.send(effect.message.kind, effect.message.body);
        break;
      }
      case "close-link": {
        const link = this.#leader.current();
        if (link?.id === effect.linkId) link.close();
        break;
      }
      case "look-around":
        this.#lookAround(effect.linkId);
        break;
      case "renew-lease":
        launcher.renewLease();
        break;
      case "renew-leader-lease":
        launcher.renewLeaderLease(effect.ageMs);
        break;
      case "gone":
        this.#fail(
          new CodedError("WORKER_GONE", effect.reason, {
            hint: "Its operator said so with holdfast gone. For this machine start a worker with a new --work-dir.",
          }),
        );
        break;
      case "log":
        env.log[effect.level](effect.message, effect.fields);
        break;
      case "closed":
        this.#done();
        break;
      default:
        unreachable(effect, "effect");
    }
  }

  #watch(promise: Promise<void>, what: string): void {
    promise.catch((thrown) =>
      this.#options.env.log.error(`Cannot ${what}: ${CodedError.from(thrown).message}`, { worker: this.workerId }),
    );
  }

  async #launch(
    order: LaunchOrder,
    note: string,
    { endsWithoutWorkerMs, endsWithoutLeaderMs }: Pick<EffectOf<"launch">, "endsWithoutWorkerMs" | "endsWithoutLeaderMs">,
  ): Promise<void> {
    const { processId } = order;
    const control = new AbortController();
    this.#preparing.set(processId, control);
    try {
      const command = await this.#command(order, control.signal);
      control.signal.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      const spec = { processId, command, memoryBytes: order.resources.memoryBytes, note };
      const pid = await this.#options.launcher.launch({
        ...spec,
        ...(endsWithoutWorkerMs === null ? {} : { endsWithoutWorkerMs }),
        ...(endsWithoutLeaderMs === null ? {} : { endsWithoutLeaderMs }),
      });
      this.#post({ kind: "launched", processId, pid });
    } catch (thrown) {
      this.#post({ kind: "launch-failed", processId, reason: CodedError.from(thrown).message });
    } finally {
      this.#preparing.delete(processId);
    }
  }

  async #command(order: LaunchOrder, signal: AbortSignal): Promise<LaunchCommand> {
    const { application, processId, role, applicationKey, driverAddress } = order;
    const { job, process } = application.spec;
    if (role === "program") {
      if (process === null) throw new CodedError("LAUNCH_FAILED", `application ${application.id} names no command to run`);
      const attempt = parseProcessId(processId)?.attempt ?? application.attempt;
      const env = { ...process.env, HOLDFAST_APPLICATION: application.id, HOLDFAST_ATTEMPT: String(attempt) };
      return { kind: "program", argv: process.argv, env, cwd: process.cwd };
    }
    if (job === null) throw new CodedError("LAUNCH_FAILED", `application ${application.id} is no job, so it has no ${role}`);
    const artifactPath = await this.#artifacts.path({ folder: application.bundleFolder ?? null, sha256: job.artifact }, signal);
    // An executor finds its driver by its address, and needs no master.
    const masterUrl = role === "driver" ? this.#masters.urlFor(this.#places) : "";
    const place = { workerId: this.workerId, epoch: this.#epoch(), listenHost: hostOf(this.address) };
    const start: RunnerStart = { role, processId, application, applicationKey, driverAddress, masterUrl, artifactPath, ...place };
    return { kind: "runner", role, start: JSON.stringify(start) };
  }

  #advertised(listening: string): string {
    const { advertiseHost } = this.#options;
    return advertiseHost === undefined ? listening : `${advertiseHost}${listening.slice(listening.lastIndexOf(":"))}`;
  }

  #fail(reason: CodedError): void {
    this.#options.env.log.error(`Worker ${this.workerId} ends by itself; its processes run on: ${reason.message}`, {
      code: reason.code,
    });
    this.#closed ??= this.#shutDown(true);
    this.#closed.finally(() => this.#end(reason));
  }

  close(options: { readonly leave: boolean }): Promise<void> {
    this.#closed ??= this.#closeGently(options.leave);
    return this.#closed;
  }

  async #closeGently(leave: boolean): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#done = resolve;
    });
    this.#post({ kind: "close", leave });
    await Promise.race([done, this.#turns?.ended]);
    await this.#shutDown(leave);
    this.#end(null);
  }

  async #shutDown(leave: boolean): Promise<void> {
    this.#closing.abort(new CodedError("CLOSED", "the worker is closed"));
    this.#artifacts.close();
    for (const control of this.#preparing.values()) control.abort(this.#closing.signal.reason);
    await Promise.allSettled([this.#listener?.close(), this.#following, this.#around]);
    await Promise.allSettled([this.#places.close(), this.#masters.settled()]);
    await this.#turns?.close();
    await this.#options.launcher.close({ leave });
  }
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":"));
}
