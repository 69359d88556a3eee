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
import { CodedError, hasCode } from "../../base/errors.js";
import { campaign, type Leadership } from "../../coordination/leadership.js";
import { untilAborted } from "../../coordination/until-aborted.js";
import { sleep, type Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import { randomId } from "../../env/random.js";
import type { MasterSettings } from "../../master/settings.js";
import { type Facts, MAX_FACT_CHARACTERS, NO_SECRET, UNRECORDED_CLUSTER_ID } from "../../wire/handshake.js";
import { leaderToStandby } from "../../wire/master-messages.js";
import type { OperationInput, OperationOutput } from "../../wire/operations.js";
import type { MasterState } from "../../wire/views.js";
import type { Link, LinkMessage } from "../link/link.js";
import { dialLink } from "../link/link-handshake.js";
import { clusterBinding, keysOfCluster } from "../link/link-keys.js";
import { type LinkListener, listenLinks } from "../link/link-listener.js";
import { createElectionPace, type ElectionPace, type LeadershipEnd } from "./election-pace.js";
import { createHoldBack } from "./hold-back.js";
import { createLeaderSuspicion, type LeaderSuspicion } from "./leader-suspicion.js";
import { createMasterArtifacts } from "./master-artifacts.js";
import { createMasterDesk, type MasterDesk } from "./master-desk.js";
import { hearHandover, LEAVE_TO_OTHERS_MS, prepareHandover, type Successor } from "./master-handover.js";
import { type Leading, lead } from "./master-leading.js";
import { buildFact, MASTER_ACCEPTS, messagesFrom, requestsFrom, standbysAmong } from "./master-links.js";
import { DEFAULT_SESSION_TTL_MS, type MasterHost, type MasterHostOptions, settingsOf } from "./master-options.js";
import { type LeaderSeen, type Standby, watchLeader } from "./master-standby.js";

export type { MasterHost, MasterHostOptions } from "./master-options.js";

const DIAL_TIMEOUT_MS = 2_000;
const RESIGN_TIMEOUT_MS = 2_000;
const FINISH_TIMEOUT_MS = 2_000;
/** Changes of the list of masters are told to everybody at most this often. */
const ANNOUNCE_AFTER_MS = 1_000;
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
  readonly #desk: MasterDesk;
  readonly #links = new Map<number, Link>();
  /** Those of them that are of masters. */
  readonly #masterLinks = new Set<Link>();
  readonly #stop = new AbortController();
  #listener: LinkListener | null = null;
  #standby: Standby | null = null;
  #state: MasterState = "STANDBY";
  #leadership: Leadership | null = null;
  #leading: Leading | null = null;
  #leader: LeaderSeen | null = null;
  #leaderLink: Link | null = null;
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
  #announcing: Timer | null = null;
  #running: Promise<void> = Promise.resolve();
  #settle: (reason: CodedError | null) => void = () => {};

  constructor(options: MasterHostOptions) {
    this.#options = options;
    this.#env = options.env;
    this.#settings = settingsOf(options);
    const { masterId, pid, build } = options;
    this.#pace = options.pace ?? createElectionPace(() => options.env.random.fraction());
    this.#holdBack = createHoldBack(options.env.clock);
    this.#suspicion = createLeaderSuspicion({
      clock: options.env.clock,
      signal: this.#stop.signal,
      pauseMs: () => this.#pace.suspicionPauseMs(options.env.clock.now()),
      holds: () => this.#leaderLink === null && this.#leadership === null,
    });
    this.#desk = createMasterDesk({
      artifacts: createMasterArtifacts(options.blobs, options.env.digest),
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
      leader: () => this.#leader,
      leaderLink: () => this.#leaderLink,
      handOver: (input) => this.#handOverAsAsked(input),
      signal: this.#stop.signal,
    });
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  state(): MasterState {
    return this.#state;
  }

  epoch(): number {
    return this.#leadership?.epoch ?? this.#leader?.epoch ?? 0;
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
      onLink: (link) => this.#onLink(link),
      onRefused: (remote, reason) =>
        this.#env.log.debug("A connection was refused.", { remote, code: reason.code, error: reason.message }),
    });
    this.address = publicAddress ?? this.#listener.address;
    this.#standby = watchLeader({
      dial: (address, signal) => this.#dialMaster(address, signal),
      onLeader: (leader, link) => {
        this.#leader = leader ?? this.#leader;
        this.#leaderLink = link;
        if (leader !== null && leader.address !== this.address) this.#holdBack.end();
        if (link === null) this.#options.store.nudge();
        else this.#suspicion.withdraw();
      },
      onDead: (address) => this.#onLeaderDead(address),
      now: () => this.#env.clock.now(),
      sleep: (durationMs, signal) => sleep(this.#env.clock, durationMs, signal),
    });
    this.#env.log.info(`Master ${masterId} listens at ${this.address}.`, { address: this.address });
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort(new CodedError("CLOSED", "the master is closed"));
    this.#announcing?.cancel();
    await this.#listener?.close();
    await this.#running;
    await this.#standby?.close();
    this.#holdBack.end();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#settle(null);
  }

  #linkSettings() {
    const { heartbeatMs, workerDeadlineMs, driverDeadlineMs } = this.#settings;
    return {
      env: this.#env,
      epoch: () => this.epoch(),
      incoming: messagesFrom,
      requests: requestsFrom,
      heartbeatMs,
      silenceMs: Math.max(3 * heartbeatMs, Math.min(workerDeadlineMs, driverDeadlineMs)),
    };
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
      ...buildFact(this.#options),
    };
  }

  /** A leader in doubt tells nobody that it leads. */
  #certainState(): MasterState {
    return this.#leading?.active() === false ? "STANDBY" : this.#state;
  }

  /** Whoever follows this master finds the next one among these, also when it can't ask ZooKeeper. */
  #mastersText(): string {
    const leader = this.#leaderAddress();
    const standbys = [...this.#masterLinks].map(({ peer }) => String(peer.facts.address ?? ""));
    const addresses = new Set([...(leader === null ? [] : [leader]), this.address, ...standbys]);
    addresses.delete("");
    return joinWithin([...addresses], MAX_FACT_CHARACTERS);
  }

  #leaderAddress(): string | null {
    return this.#certainState() === "STANDBY" ? (this.#leader?.address ?? null) : this.address;
  }

  async #dialMaster(address: string, signal: AbortSignal): Promise<Link> {
    const { masterId, secret, pid } = this.#options;
    const identity = {
      role: "master",
      id: masterId,
      scope: "cluster",
      key: secret ?? NO_SECRET,
      clusterId: this.#clusterId,
    } as const;
    const facts = { address: this.address, pid, state: "STANDBY", ...buildFact(this.#options) };
    const settings = { ...this.#linkSettings(), incoming: {}, requests: leaderToStandby };
    const link = await dialLink(address, { ...settings, ...identity, facts, connectTimeoutMs: DIAL_TIMEOUT_MS, signal });
    link.onMessage((message) => this.#onLeaderSays(link, message));
    return link;
  }

  #onLeaderSays(link: Link, message: LinkMessage): void {
    const standsBy = this.#state === "STANDBY" && !this.#stop.signal.aborted;
    const { masterId } = this.#options;
    const hint = (address: string) => this.#standby?.hint(address);
    hearHandover({ link, message, masterId, standsBy, holdBack: this.#holdBack, hint });
  }

  async #handOverAsAsked(input: OperationInput<"handover">): Promise<OperationOutput<"handover">> {
    const leadership = this.#leadership;
    const self = { masterId: this.#options.masterId, address: this.address, leadership };
    const { successor, answer } = await prepareHandover({ ...self, input, links: this.#links.values(), signal: this.#stop.signal });
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
        if (!this.#usable || hasCode(error, "STORE_FORMAT") || hasCode(error, "NO_STORE")) {
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

  #onWaiting({ owner, reason }: { readonly owner: string | undefined; readonly reason: string }): void {
    const text = `Standing by${owner === undefined ? "" : ` behind the master at ${owner}`}: ${reason}.`;
    if (text !== this.#waitingFor) this.#env.log.info(text, { leader: owner ?? null });
    this.#waitingFor = text;
    this.#usable = true;
    if (owner !== undefined && owner !== this.address) this.#standby?.hint(owner);
  }

  /** Until leadership is over, for whatever reason. */
  async #lead(leadership: Leadership): Promise<CodedError> {
    const { masterId, pid, build, mode, secret } = this.#options;
    let tooLow: CodedError | null = null;
    this.#leadership = leadership;
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
      link: (linkId) => this.#links.get(linkId),
      onPhase: (phase) => this.#setState(phase),
      onEpochTooLow: (seen) => {
        this.#minimumEpoch = Math.max(this.#minimumEpoch, seen + 1);
        tooLow ??= new CodedError("STALE_EPOCH", `epoch ${seen} was seen elsewhere, above this leader's epoch ${leadership.epoch}`);
        void leadership.resign();
      },
    });
    this.#leading = leading;
    for (const link of this.#links.values()) this.#leadOn(leading, link);
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
    this.#leadership = null;
    this.#leader = null;
    this.#setState("STANDBY");
    if (successor !== null) {
      this.#holdBack.begin(LEAVE_TO_OTHERS_MS);
      this.#standby?.hint(successor.address);
    }
    const text = `${planned ? "Resigned" : "Deposed"} from epoch ${leadership.epoch}: ${reason.message}.`;
    this.#env.log[planned ? "info" : reason.code === "DISK_FAILED" || reason.code === "INTERNAL" ? "error" : "warn"](text, {
      epoch: leadership.epoch,
      code: reason.code,
    });
    await leading.close();
    // A planned end frees the epoch first, so that whoever notices the end of its link finds the next leader sooner.
    if (planned) await this.#resign(leadership);
    // Whoever waits for an answer of the discarded core learns by the end of its link that the outcome is unknown.
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
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

  #onLink(link: Link): void {
    this.#links.set(link.id, link);
    if (link.peer.role === "master") this.#masterLinks.add(link);
    if (this.#leading !== null) this.#introduce(this.#leading, link);
    link.onMessage((message) => this.#desk.take(link, message));
    void link.ended.then(() => {
      this.#masterLinks.delete(link);
      if (!this.#links.delete(link.id)) return;
      this.#leading?.post({ kind: "closed", linkId: link.id, heardAt: link.lastHeardAt() });
      if (link.peer.role === "master") this.#tellStandbys();
    });
  }

  /** A link from the time of standing by: whoever waits at its other end learns at once that this master leads now. */
  #leadOn(leading: Leading, link: Link): void {
    const { clusterId } = link.peer;
    // While it stood by it may not have known its cluster, and could not refuse strangers to it.
    if (clusterId !== null && clusterId !== this.#clusterId) {
      link.close();
      return;
    }
    this.#introduce(leading, link);
    link.announce(this.#facts());
  }

  #introduce(leading: Leading, link: Link): void {
    const { role, id, scope } = link.peer;
    leading.post({ kind: "opened", linkId: link.id, role, peerId: id, scope });
    if (role === "master") this.#tellStandbys();
  }

  #tellStandbys(): void {
    this.#announceMasters();
    const masters = standbysAmong(this.#masterLinks);
    this.#leading?.post({ kind: "standbys", masters });
  }

  /** Once for all changes of ANNOUNCE_AFTER_MS: a standby that comes and goes costs each link one small frame a second. */
  #announceMasters(): void {
    const { clock } = this.#env;
    if (this.#leading === null || this.#stop.signal.aborted) return;
    this.#announcing ??= clock.at(clock.now() + ANNOUNCE_AFTER_MS, () => {
      this.#announcing = null;
      if (this.#leading === null || this.#stop.signal.aborted) return;
      const facts = this.#facts();
      for (const link of this.#links.values()) link.announce(facts);
    });
  }
}

function joinWithin(texts: readonly string[], maxCharacters: number): string {
  let joined = "";
  for (const text of texts) {
    const longer = joined === "" ? text : `${joined},${text}`;
    if (longer.length > maxCharacters) break;
    joined = longer;
  }
  return joined;
}

/** A code of its own would be an error that nobody ever sees: a hand-over and the close of the host are ends that were asked for. */
const handedOverTo = ({ id, address }: Successor): CodedError =>
  new CodedError("CLOSED", `handed over to ${id} at ${address}, as its operator asked`);

function endOf({ code }: CodedError): LeadershipEnd {
  if (code === "STALE_EPOCH" || code === "CLOSED") return "planned";
  return code === "FENCED" ? "deposed" : "failed";
}
