/**
 * The master: a listener, a place in line for the epoch, and while it leads the core.
 *
 *   STANDBY --epoch won--> RECOVERING --core--> ALIVE --fenced, session over, disk failed, resigned--> STANDBY
 *
 * The process does not exit when it is deposed: the core is discarded, the links of workers, drivers and clients are closed (they find the next
 * leader by themselves), and it stands in line again. After a planned hand-over it lets the others go first (hold-back.ts).
 *
 * Invariants:
 *   1. A standby is never silent: it answers `cluster` with what the leader says, and everything else with NOT_LEADER and the leader's address.
 *   2. Nothing is answered, sent or launched before it is durable (host/master-leading.ts).
 *   3. After `close` nothing of it runs; the store and the blob store belong to the caller.
 */
import { CodedError } from "../../base/errors.js";
import { campaign, type Leadership } from "../../coordination/leadership.js";
import { isPassing } from "../../coordination/patience.js";
import { untilAborted } from "../../coordination/until-aborted.js";
import { sleep } from "../../env/clock.js";
import type { Waiting } from "../../env/coordination-store.js";
import type { Env } from "../../env/env.js";
import type { SeenMasters } from "../../env/master-registry.js";
import { randomId } from "../../env/random.js";
import type { MasterSettings } from "../../master/settings.js";
import { bundleFolder } from "../../wire/bundles.js";
import { type Facts, UNRECORDED_CLUSTER_ID } from "../../wire/handshake.js";
import type { OperationInput, OperationOutput } from "../../wire/operations.js";
import type { MasterState } from "../../wire/views.js";
import { KEEPS_RECORDS } from "../../wire/worker-messages.js";
import type { Link, LinkMessage, LinkPace } from "../link/link.js";
import { clusterBinding, keysOfCluster } from "../link/link-keys.js";
import { type LinkListener, listenLinks } from "../link/link-listener.js";
import { createElectionPace, type ElectionPace, type LeadershipEnd } from "./election-pace.js";
import { createHoldBack } from "./hold-back.js";
import { createLeaderSuspicion, type LeaderSuspicion } from "./leader-suspicion.js";
import { createMasterArtifacts, type MasterArtifacts } from "./master-artifacts.js";
import { createMasterDesk, type MasterDesk } from "./master-desk.js";
import { createFollowing, type Following } from "./master-following.js";
import {
  hearHandover,
  hearsResigned,
  LEAVE_TO_OTHERS_MS,
  prepareHandover,
  type Successor,
  TAKEN_OVER_WITHIN_MS,
  tellResigned,
} from "./master-handover.js";
import { type Leading, lead } from "./master-leading.js";
import { buildFact, MASTER_ACCEPTS, messagesFrom, requestsFrom } from "./master-links.js";
import { DEFAULT_SESSION_TTL_MS, type MasterHost, type MasterHostOptions, settingsOf } from "./master-options.js";
import { createRoster, joinAddresses, type Roster } from "./master-roster.js";

export type { MasterHost, MasterHostOptions } from "./master-options.js";

const RESIGN_TIMEOUT_MS = 2_000;
const FINISH_TIMEOUT_MS = 2_000;
/** Epochs of mode `none` begin at the tenths of a second since this moment, so that they grow over restarts that leave nothing behind. */
const NONE_EPOCH_START_WALL_MS = 1_767_225_600_000; // 2026-01-01T00:00:00Z

/** Rejects as `Transport.listen`; everything later shows in `ended`. */
export async function runMasterHost(options: MasterHostOptions): Promise<MasterHost> {
  const host = new Master(options);
  await host.open();
  return host;
}

class Master implements MasterHost {
  readonly ended: Promise<CodedError | null>;
  address = "";
  readonly #options: MasterHostOptions;
  readonly #env: Env;
  readonly #settings: MasterSettings;
  readonly #artifacts: MasterArtifacts;
  readonly #desk: MasterDesk;
  readonly #roster: Roster;
  readonly #stop = new AbortController();
  #listener: LinkListener | null = null;
  #following: Following | null = null;
  #state: MasterState = "STANDBY";
  #leadership: Leadership | null = null;
  #leading: Leading | null = null;
  /** While this master stands in line. */
  #inLine: ((signal: AbortSignal) => Promise<SeenMasters>) | null = null;
  #clusterId: string | null = null;
  #minimumEpoch = 1;
  readonly #suspicion: LeaderSuspicion;
  readonly #pace: ElectionPace;
  readonly #holdBack;
  /** Set by a hand-over, while this master still leads. */
  #handOver: (successor: Successor) => void = () => {};
  #waitingFor = "";
  /** The store has been opened, or its owner's lock was met: what fails later may pass. */
  #usable = false;
  #running: Promise<void> = Promise.resolve();
  #settle: (reason: CodedError | null) => void = () => {};

  constructor(options: MasterHostOptions) {
    this.#options = options;
    this.#env = options.env;
    this.#settings = settingsOf(options);
    const { masterId, pid, build } = options;
    this.#pace = options.pace ?? createElectionPace(() => options.env.random.fraction());
    this.#holdBack = createHoldBack(options.env.clock);
    const { signal } = this.#stop;
    this.#roster = createRoster({
      clock: options.env.clock,
      signal,
      leading: () => this.#leading,
      epoch: () => this.epoch(),
      clusterId: () => this.#clusterId,
      facts: () => this.#facts(),
      linkPace: this.#linkPace(),
      take: (link, message) => this.#desk.take(link, message),
    });
    this.#suspicion = createLeaderSuspicion({
      clock: options.env.clock,
      signal: this.#stop.signal,
      pauseMs: () => this.#pace.suspicionPauseMs(options.env.clock.now()),
      holds: () => this.#following?.link() == null && this.#leadership === null,
    });
    const { bundles, env } = options;
    this.#artifacts = createMasterArtifacts({ bundles, digest: env.digest, clock: env.clock, log: env.log });
    this.#desk = createMasterDesk({
      artifacts: this.#artifacts,
      leading: () => this.#leading,
      self: () => ({
        id: masterId,
        address: this.address,
        pid,
        build: build ?? null,
        state: this.#certainState(),
        clusterId: this.#clusterId,
        epoch: this.epoch(),
      }),
      following: () => this.#following,
      handOver: (input) => this.#handOverAsAsked(input),
      signal,
    });
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  state(): MasterState {
    return this.#state;
  }

  epoch(): number {
    return this.#leadership?.epoch ?? this.#following?.lastLeader()?.epoch ?? 0;
  }

  async open(): Promise<void> {
    const { listen, publicAddress, masterId, mode } = this.#options;
    if (mode === "none") {
      this.#clusterId = this.#options.clusterId ?? UNRECORDED_CLUSTER_ID;
      this.#minimumEpoch = Math.max(1, Math.floor((this.#env.clock.wallNow() - NONE_EPOCH_START_WALL_MS) / 100));
    }
    this.#listener = await listenLinks({
      ...this.#linkSettings(),
      role: "master",
      id: masterId,
      clusterId: () => this.#clusterId,
      keyFor: keysOfCluster(this.#env.digest, this.#options.secret),
      roles: MASTER_ACCEPTS,
      facts: () => this.#facts(),
      address: listen,
      onLink: (link) => this.#roster.add(link),
      onRefused: (remote, reason) =>
        this.#env.log.debug("A connection was refused.", { remote, code: reason.code, error: reason.message }),
    });
    this.address = publicAddress ?? this.#listener.address;
    this.#following = createFollowing({
      env: this.#env,
      master: this.#options,
      address: this.address,
      signal: this.#stop.signal,
      linkSettings: () => this.#linkSettings(),
      clusterId: () => this.#clusterId,
      inLine: (signal) => this.#inLine?.(signal) ?? null,
      onLeader: (leader) => {
        if (leader === null) {
          this.#options.store.nudge();
          return;
        }
        this.#suspicion.withdraw();
        if (leader.address !== this.address) this.#holdBack.end();
      },
      onDead: (address) => this.#onLeaderDead(address),
      onLeaderSays: (link, message) => this.#onLeaderSays(link, message),
    });
    this.#env.log.info(`Master ${masterId} listens at ${this.address}.`, { address: this.address });
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort(new CodedError("CLOSED", "the master is closed"));
    this.#roster.close();
    await this.#listener?.close();
    await this.#running;
    await this.#following?.close();
    this.#holdBack.end();
    this.#roster.closeAll();
    this.#settle(null);
  }

  #linkSettings() {
    return {
      env: this.#env,
      epoch: () => this.epoch(),
      incoming: messagesFrom,
      requests: requestsFrom,
      ...this.#linkPace(),
    };
  }

  #linkPace(): LinkPace {
    const { heartbeatMs, workerDeadlineMs, driverDeadlineMs } = this.#settings;
    return { heartbeatMs, silenceMs: Math.max(3 * heartbeatMs, Math.min(workerDeadlineMs, driverDeadlineMs)) };
  }

  #facts(): Facts {
    return {
      state: this.#certainState(),
      leader: this.#leaderAddress(),
      address: this.address,
      pid: this.#options.pid,
      masters: this.#mastersText(),
      // Unlike the state it stays 1 while a leader is in doubt: it may go on.
      leads: this.#leadership === null ? 0 : 1,
      stopped: this.#leadership === null ? (this.#options.store.stoppedOwner?.() ?? null) : null,
      [KEEPS_RECORDS]: this.#options.mode === "store" ? 1 : 0,
      ...buildFact(this.#options),
    };
  }

  /** A leader in doubt tells nobody that it leads. */
  #certainState(): MasterState {
    return this.#leading?.active() === false ? "STANDBY" : this.#state;
  }

  /** Whoever follows this master finds the next one among these, also when it can't ask ZooKeeper. */
  #mastersText(): string {
    const addresses = new Set([this.#leaderAddress() ?? "", this.address, ...this.#roster.masterAddresses()]);
    addresses.delete("");
    return joinAddresses(addresses);
  }

  #leaderAddress(): string | null {
    return this.#certainState() === "STANDBY" ? (this.#following?.leader()?.address ?? null) : this.address;
  }

  #onLeaderSays(link: Link, message: LinkMessage): void {
    const standsBy = this.#state === "STANDBY" && !this.#stop.signal.aborted;
    const { masterId } = this.#options;
    const hint = (address: string) => this.#following?.hint(address);
    if (standsBy && hearsResigned(link, message)) this.#suspicion.resigned(String(link.peer.facts.address));
    hearHandover({ link, message, masterId, standsBy, holdBack: this.#holdBack, hint });
  }

  async #handOverAsAsked(input: OperationInput<"handover">): Promise<OperationOutput<"handover">> {
    const leadership = this.#leadership;
    const self = { masterId: this.#options.masterId, address: this.address, leadership };
    const { successor, answer } = await prepareHandover({ ...self, input, links: this.#roster.links(), signal: this.#stop.signal });
    // Lost meanwhile: the one who asked asks the next leader, which tells that this epoch is over.
    if (this.#leadership !== leadership) throw new CodedError("NOT_LEADER", `epoch ${input.epoch} ended meanwhile`);
    if (successor !== null) this.#handOver(successor);
    return answer;
  }

  #onLeaderDead(address: string): void {
    if (this.#leadership !== null || address === this.address) return;
    if (this.#suspicion.raise(address))
      this.#env.log.warn(`Nobody listens at ${address}, where the leader was: this master tries to take over.`, {
        leader: address,
      });
    // A store that is a lock knows better than any suspicion.
    this.#options.store.nudge();
  }

  /** Stands in line, leads, and again, until the close or until the store turns out to be unusable. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let pauseMs = 0;
    while (!signal.aborted) {
      const now = () => this.#env.clock.now();
      try {
        if (pauseMs > 0) await sleep(this.#env.clock, pauseMs, signal);
        await this.#holdBack.wait(signal);
        const leadership = await this.#standInLine();
        if (leadership === null) continue;
        this.#usable = true;
        const since = now();
        const end = endOf(await this.#lead(leadership));
        pauseMs = this.#pace.ended(end, now() - since, now());
      } catch (thrown) {
        if (signal.aborted) return;
        const error = CodedError.from(thrown);
        if (isForGood(error, this.#usable)) {
          this.#env.log.error(`This master cannot lead: ${error.message}`, { code: error.code });
          this.#settle(error);
          return;
        }
        this.#env.log.error(`The store cannot be used: ${error.message}. Trying again.`, { code: error.code });
        pauseMs = this.#pace.ended("failed", 0, now());
      }
    }
  }

  /** Null: held back meanwhile. */
  async #standInLine(): Promise<Leadership | null> {
    const { store, mode } = this.#options;
    this.#waitingFor = "";
    const id = this.#options.clusterId ?? (mode === "none" ? UNRECORDED_CLUSTER_ID : randomId(this.#env.random, 12));
    const held = this.#holdBack.campaign();
    const leadership = await campaign(store, {
      candidate: this.address,
      ttlMs: this.#options.sessionTtlMs ?? DEFAULT_SESSION_TTL_MS,
      clock: this.#env.clock,
      signal: AbortSignal.any([this.#stop.signal, held]),
      onWaiting: (waiting) => this.#onWaiting(waiting),
      onInLine: (list) => {
        this.#inLine = list;
      },
      minimumEpoch: this.#minimumEpoch,
      suspicion: this.#suspicion.forCampaign(),
      clusterId: id,
      ...(this.#options.secret === null ? {} : { binding: clusterBinding(this.#env.digest, this.#options.secret) }),
    }).catch((thrown) => {
      if (held.aborted && !this.#stop.signal.aborted) return null;
      throw thrown;
    });
    if (leadership === null) return null;
    this.#clusterId = leadership.clusterId ?? id;
    return leadership;
  }

  #onWaiting({ owner, reason, isUnreached }: Waiting): void {
    const text = `Standing by${owner === undefined ? "" : ` behind the master at ${owner}`}: ${reason}.`;
    if (text !== this.#waitingFor) this.#env.log.info(text, { leader: owner ?? null });
    this.#waitingFor = text;
    if (isUnreached !== true) this.#usable = true;
    if (owner !== undefined && owner !== this.address) this.#following?.hint(owner);
  }

  /** Until leadership is over, for whatever reason. */
  async #lead(leadership: Leadership): Promise<CodedError> {
    const { masterId, pid, build, mode, secret } = this.#options;
    let tooLow: CodedError | null = null;
    this.#leadership = leadership;
    this.#following?.leads(leadership.epoch);
    this.#setState("RECOVERING");
    const leading = lead({
      env: this.#env,
      leadership,
      masterId,
      clusterId: this.#clusterId ?? UNRECORDED_CLUSTER_ID,
      address: this.address,
      pid,
      build: build ?? null,
      mode,
      settings: this.#settings,
      secret,
      link: (linkId) => this.#roster.get(linkId),
      artifacts: this.#artifacts,
      removeState: this.#options.removeState,
      onPhase: (phase) => this.#setState(phase),
      onEpochTooLow: (seen) => {
        this.#minimumEpoch = Math.max(this.#minimumEpoch, seen + 1);
        tooLow ??= new CodedError("STALE_EPOCH", `epoch ${seen} was seen elsewhere, above this leader's epoch ${leadership.epoch}`);
        void leadership.resign();
      },
    });
    this.#leading = leading;
    const clusterId = this.#clusterId ?? UNRECORDED_CLUSTER_ID;
    this.#artifacts.lead({
      folder: bundleFolder(clusterId, leadership.epoch),
      clusterId,
      epoch: leadership.epoch,
      onIdle: (bundle) => void leading.post({ kind: "bundle-idle", bundle }),
    });
    this.#roster.introduceAll(leading);
    const over = new AbortController();
    const aborted = untilAborted(new Promise<never>(() => {}), AbortSignal.any([this.#stop.signal, over.signal])).catch((thrown) =>
      CodedError.from(thrown),
    );
    const handedOver = new Promise<Successor>((resolve) => {
      this.#handOver = resolve;
    });
    const first = await Promise.race([leading.ended, aborted, handedOver]);
    this.#handOver = () => {};
    over.abort(new CodedError("CLOSED", "this leadership is over"));
    const successor = first instanceof CodedError ? null : first;
    const reason: CodedError = tooLow ?? (first instanceof CodedError ? first : handedOverTo(first));
    await this.#stepDown(leading, leadership, reason, successor);
    return reason;
  }

  async #stepDown(leading: Leading, leadership: Leadership, reason: CodedError, successor: Successor | null): Promise<void> {
    const planned = endOf(reason) === "planned";
    if (planned) await this.#withinTime(leading.finish(), FINISH_TIMEOUT_MS);
    this.#leading = null;
    this.#artifacts.lead(null);
    this.#leadership = null;
    this.#following?.leads(null);
    this.#setState("STANDBY");
    if (successor !== null) {
      this.#holdBack.begin(LEAVE_TO_OTHERS_MS);
      this.#following?.hint(successor.address);
    }
    const text = `${planned ? "Resigned" : "Deposed"} from epoch ${leadership.epoch}: ${reason.message}.`;
    this.#env.log[planned ? "info" : reason.code === "DISK_FAILED" || reason.code === "INTERNAL" ? "error" : "warn"](text, {
      epoch: leadership.epoch,
      code: reason.code,
    });
    await leading.close();
    if (planned && leadership.canBeTaken && tellResigned(this.#roster.links(), leadership.epoch, successor))
      await this.#withinTime(
        leadership.ended.then(() => undefined),
        TAKEN_OVER_WITHIN_MS,
      );
    // A planned end frees the epoch first, so that whoever notices the end of its link finds the next leader sooner.
    if (planned) await this.#resign(leadership);
    // Whoever waits for an answer of the discarded core learns by the end of its link that the outcome is unknown.
    this.#roster.closeAll();
    if (!planned) await this.#resign(leadership);
  }

  /** A store that does not answer must not hold this process: then the session expires. */
  async #resign(leadership: Leadership): Promise<void> {
    await this.#withinTime(leadership.resign(), RESIGN_TIMEOUT_MS);
  }

  async #withinTime(work: Promise<void>, timeoutMs: number): Promise<void> {
    const done = new AbortController();
    const patience = sleep(this.#env.clock, timeoutMs, done.signal).catch(() => {});
    await Promise.race([work, patience]);
    done.abort(new CodedError("ABORTED", "done in time"));
  }

  #setState(state: MasterState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState?.(state, this.epoch());
  }
}

/** A code of its own would be an error that nobody ever sees: a hand-over and the close of the host are ends that were asked for. */
const handedOverTo = ({ id, address }: Successor): CodedError =>
  new CodedError("CLOSED", `handed over to ${id} at ${address}, as its operator asked`);

/** Of a store that has been used already a refusal may be a mistake that somebody puts right: then the others, or this one later, go on. */
function isForGood(error: CodedError, wasUsable: boolean): boolean {
  if (error.code === "STORE_FORMAT" || error.code === "NO_STORE") return true;
  return !wasUsable && error.code !== "SESSION_ENDED" && !isPassing(error);
}

function endOf({ code }: CodedError): LeadershipEnd {
  if (code === "STALE_EPOCH" || code === "CLOSED") return "planned";
  return code === "FENCED" ? "deposed" : "failed";
}
