/**
 * The master: a listener, a place in line for the epoch, and while it leads the core.
 *
 *   STANDBY --epoch won--> RECOVERING --core--> ALIVE --fenced, session over, disk failed, resigned--> STANDBY
 *
 * The process does not exit when it is deposed: the core is discarded, the links of workers, drivers and clients are closed (they find the next
 * leader by themselves), and it stands in line again.
 *
 * Invariants:
 *   1. A standby is never silent: it answers `cluster` with what the leader says, and everything else with NOT_LEADER and the leader's address.
 *   2. Nothing is answered, sent or launched before it is durable (host/master-leading.ts).
 *   3. After `close` nothing of it runs; the store and the blob store belong to the caller.
 */
import { CodedError, hasCode } from "../base/errors.js";
import { campaign, type Leadership } from "../coordination/leadership.js";
import type { BlobStore } from "../env/blob-store.js";
import { sleep } from "../env/clock.js";
import type { CoordinationStore } from "../env/coordination-store.js";
import type { Env } from "../env/env.js";
import { randomId } from "../env/random.js";
import { DEFAULT_MASTER_SETTINGS, type MasterSettings, PROGRAM_ENDS_WITHIN_MS } from "../master/settings.js";
import { type Facts, NO_SECRET, UNRECORDED_CLUSTER_ID } from "../wire/handshake.js";
import type { MasterState } from "../wire/views.js";
import type { Link } from "./link.js";
import { dialLink } from "./link-handshake.js";
import { clusterBinding, keysOfCluster } from "./link-keys.js";
import { type LinkListener, listenLinks } from "./link-listener.js";
import { createMasterArtifacts } from "./master-artifacts.js";
import { createMasterDesk, type MasterDesk } from "./master-desk.js";
import { type Leading, lead } from "./master-leading.js";
import { MASTER_ACCEPTS, messagesFrom, requestsFrom } from "./master-links.js";
import { type LeaderSeen, type Standby, watchLeader } from "./master-standby.js";

export interface MasterHostOptions {
  readonly env: Env;
  /** `[A-Za-z0-9._-]{1,128}`, unique among the cluster's masters. */
  readonly masterId: string;
  readonly pid: number;
  /** `host:port`; port 0 chooses one. */
  readonly listen: string;
  /** What others are told instead of the address listened on. */
  readonly publicAddress?: string;
  readonly store: CoordinationStore;
  /** none: the store forgets with this process, and what runs is rebuilt from reports. */
  readonly mode: "none" | "store";
  readonly blobs: BlobStore;
  readonly secret: Uint8Array | null;
  readonly settings?: Partial<MasterSettings>;
  /** For a store that has no id yet. Default: a random one; with mode `none` a fixed one, so that workers know a restarted master again. */
  readonly clusterId?: string;
  readonly sessionTtlMs?: number;
  readonly onState?: (state: MasterState, epoch: number) => void;
}

export interface MasterHost {
  state(): MasterState;
  epoch(): number;
  /** What others are told. */
  readonly address: string;
  /** Resolves with null after `close`, or with why it can never lead (the store cannot be used). */
  readonly ended: Promise<CodedError | null>;
  /** Resigns first, so that a standby takes over at once. */
  close(): Promise<void>;
}

const DEFAULT_SESSION_TTL_MS = 10_000;
const DIAL_TIMEOUT_MS = 2_000;
const RESIGN_TIMEOUT_MS = 2_000;
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
/** A leadership that lasted this long was a working one: the next campaign begins without a pause. */
const STABLE_LEADERSHIP_MS = 30_000;
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
  #suspicion = new AbortController();
  #waitingFor = "";
  /** The store has been opened, or its owner's lock was met: what fails later may pass. */
  #usable = false;
  #running: Promise<void> = Promise.resolve();
  #settle: (reason: CodedError | null) => void = () => {};

  constructor(options: MasterHostOptions) {
    this.#options = options;
    this.#env = options.env;
    const settings = { ...DEFAULT_MASTER_SETTINGS, ...options.settings };
    // With short deadlines heartbeats come often enough for three of them to be missed.
    const heartbeatMs = Math.ceil(Math.min(settings.heartbeatMs, settings.workerDeadlineMs / 4, settings.driverDeadlineMs / 4));
    const programFenceMs = Math.max(settings.programFenceMs, PROGRAM_ENDS_WITHIN_MS - settings.workerDeadlineMs);
    this.#settings = { ...settings, heartbeatMs, programFenceMs };
    const { masterId, pid } = options;
    this.#desk = createMasterDesk({
      artifacts: createMasterArtifacts(options.blobs, options.env.digest),
      leading: () => this.#leading,
      self: () => ({
        id: masterId,
        address: this.address,
        pid,
        state: this.#state,
        clusterId: this.#clusterId,
        epoch: this.epoch(),
      }),
      leader: () => this.#leader,
      leaderLink: () => this.#leaderLink,
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
        if (link === null) this.#options.store.nudge();
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
    await this.#listener?.close();
    await this.#running;
    await this.#standby?.close();
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
    return { state: this.#state, leader: this.#leaderAddress(), address: this.address, pid: this.#options.pid };
  }

  #leaderAddress(): string | null {
    return this.#state === "STANDBY" ? (this.#leader?.address ?? null) : this.address;
  }

  #dialMaster(address: string, signal: AbortSignal): Promise<Link> {
    const { masterId, secret, pid } = this.#options;
    const identity = {
      role: "master",
      id: masterId,
      scope: "cluster",
      key: secret ?? NO_SECRET,
      clusterId: this.#clusterId,
    } as const;
    const facts = { address: this.address, pid, state: "STANDBY" };
    return dialLink(address, { ...this.#linkSettings(), ...identity, facts, connectTimeoutMs: DIAL_TIMEOUT_MS, signal });
  }

  #onLeaderDead(address: string): void {
    if (this.#leadership !== null || address === this.address) return;
    if (!this.#suspicion.signal.aborted)
      this.#env.log.warn(`Nobody listens at ${address}, where the leader was: this master tries to take over.`, {
        leader: address,
      });
    this.#suspicion.abort(new CodedError("CONNECTION_REFUSED", `the leader at ${address} is gone`));
    this.#options.store.nudge();
  }

  /** Stands in line, leads, and again, until the close or until the store turns out to be unusable. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (failures > 0)
          await sleep(this.#env.clock, Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(failures - 1, 20)), signal);
        const leadership = await this.#standInLine();
        this.#usable = true;
        const since = this.#env.clock.now();
        const reason = await this.#lead(leadership);
        const planned = reason.code === "STALE_EPOCH";
        failures = planned || this.#env.clock.now() - since >= STABLE_LEADERSHIP_MS ? 0 : failures + 1;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = CodedError.from(thrown);
        if (!this.#usable || hasCode(error, "STORE_FORMAT") || hasCode(error, "NO_STORE")) {
          this.#env.log.error(`This master cannot lead: ${error.message}`, { code: error.code });
          this.#settle(error);
          return;
        }
        this.#env.log.error(`The store cannot be used: ${error.message}. Trying again.`, { code: error.code });
        failures += 1;
      }
    }
  }

  async #standInLine(): Promise<Leadership> {
    const { store, mode } = this.#options;
    this.#suspicion = new AbortController();
    this.#waitingFor = "";
    const id = this.#options.clusterId ?? (mode === "none" ? UNRECORDED_CLUSTER_ID : randomId(this.#env.random, 12));
    const leadership = await campaign(store, {
      candidate: this.address,
      ttlMs: this.#options.sessionTtlMs ?? DEFAULT_SESSION_TTL_MS,
      clock: this.#env.clock,
      signal: this.#stop.signal,
      onWaiting: (waiting) => this.#onWaiting(waiting),
      minimumEpoch: this.#minimumEpoch,
      suspicion: this.#suspicion.signal,
      clusterId: id,
      ...(this.#options.secret === null ? {} : { binding: clusterBinding(this.#env.digest, this.#options.secret) }),
    });
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
    const { masterId, pid, mode, secret } = this.#options;
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
    const aborted = new Promise<CodedError>((resolve) => {
      const onAbort = () => resolve(CodedError.from(this.#stop.signal.reason));
      if (this.#stop.signal.aborted) onAbort();
      else this.#stop.signal.addEventListener("abort", onAbort, { once: true });
    });
    const first = await Promise.race([leading.ended, aborted]);
    const reason: CodedError = tooLow ?? first;
    await this.#stepDown(leading, leadership, reason);
    return reason;
  }

  async #stepDown(leading: Leading, leadership: Leadership, reason: CodedError): Promise<void> {
    this.#leading = null;
    this.#leadership = null;
    this.#leader = null;
    this.#setState("STANDBY");
    const planned = this.#stop.signal.aborted || reason.code === "STALE_EPOCH";
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
    const done = new AbortController();
    const patience = sleep(this.#env.clock, RESIGN_TIMEOUT_MS, done.signal).catch(() => {});
    await Promise.race([leadership.resign(), patience]);
    done.abort(new CodedError("ABORTED", "resigned"));
  }

  #setState(state: MasterState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState?.(state, this.epoch());
  }

  #onLink(link: Link): void {
    this.#links.set(link.id, link);
    if (this.#leading !== null) this.#introduce(this.#leading, link);
    link.onMessage((message) => this.#desk.take(link, message));
    void link.ended.then(() => {
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
    const masters = [...this.#links.values()]
      .filter((link) => link.peer.role === "master")
      .map(({ peer }) => ({
        id: peer.id,
        address: String(peer.facts.address ?? ""),
        pid: Number(peer.facts.pid ?? 0),
        state: "STANDBY" as const,
      }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#leading?.post({ kind: "standbys", masters });
  }
}
