/**
 * The coordination store on ZooKeeper (docs/design/zookeeper-store.md). Each session is a ZooKeeper session with a connection and a mirror
 * of its own.
 *
 * Boundary: opening and closing. What it remembers of the store it has seen keeps it from taking an emptied ensemble for a new one.
 */
import { CodedError, hasCode } from "../base/errors.js";
import { DEFAULT_LIMITS } from "../coordination/limits.js";
import { checkCandidate } from "../coordination/local-store.js";
import { untilAborted } from "../coordination/until-aborted.js";
import type { Clock, Timer } from "../env/clock.js";
import type { CoordinationSession, CoordinationStore, OpenSession, StoreLimits } from "../env/coordination-store.js";
import type { Log } from "../env/log.js";
import { type Random, randomId } from "../env/random.js";
import type { Ensemble } from "./ensemble.js";
import { findStore } from "./format.js";
import { checkRoot, type Layout } from "./layout.js";
import { MERGE_ENTRIES } from "./limits.js";
import { readAll } from "./reading.js";
import { damaged } from "./sealed.js";
import { ZooKeeperSession } from "./session.js";

export interface ZooKeeperStoreOptions {
  /** Absolute, of this cluster alone. */
  readonly root: string;
  /** Whether sessions prove to be a user, whose alone everything there has to be. */
  readonly isProtected: boolean;
  /** As it may be shown. */
  readonly address: string;
  /** NO_STORE when no session could be opened for so long; later ones wait for ever. Default: the first one does, too. */
  readonly firstOpenTimeoutMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
  readonly limits?: StoreLimits;
  readonly maxStoreBytes?: number;
  /** Log entries from which they are merged into pages; tests take fewer. */
  readonly mergeEntries?: number;
  /** A new ZooKeeper session, not yet connected. */
  connect(options: { readonly timeoutMs: number }): Ensemble;
}

const STORE_ID_CHARACTERS = 12;
const NONCE_CHARACTERS = 20;
const MAX_SESSIONS = 64;
/** While nothing answers the reason is looked at so often. */
const TROUBLE_EVERY_MS = 500;

export function createCoordinationStore(options: ZooKeeperStoreOptions): CoordinationStore {
  checkRoot(options.root);
  return new ZooKeeperStore(options);
}

class ZooKeeperStore implements CoordinationStore {
  readonly limits: StoreLimits;
  private readonly options: ZooKeeperStoreOptions;
  private readonly closing = new AbortController();
  private readonly sessions = new Set<ZooKeeperSession>();
  private readonly opening = new Set<Promise<unknown>>();
  /** The store that was seen here, and how far its log had come. */
  private seen: { readonly storeId: string; index: number } | undefined;

  constructor(options: ZooKeeperStoreOptions) {
    this.options = options;
    this.limits = options.limits ?? DEFAULT_LIMITS;
  }

  async openSession(open: OpenSession): Promise<CoordinationSession> {
    checkCandidate(open.candidate);
    const signal = AbortSignal.any([open.signal, this.closing.signal]);
    signal.throwIfAborted();
    if (this.sessions.size + this.opening.size >= MAX_SESSIONS)
      throw new CodedError("LIMIT_EXCEEDED", `the store has ${MAX_SESSIONS} open sessions`);
    const opening = this.openUntilAborted(open, signal);
    this.opening.add(opening);
    return opening.finally(() => this.opening.delete(opening));
  }

  nudge(): void {}

  async close(): Promise<void> {
    this.closing.abort(new CodedError("CLOSED", "the coordination store was closed"));
    await Promise.allSettled([...this.opening]);
    await Promise.all([...this.sessions].map((session) => session.close()));
  }

  private async openUntilAborted(open: OpenSession, signal: AbortSignal): Promise<CoordinationSession> {
    const ensemble = this.options.connect({ timeoutMs: open.ttlMs });
    const attention = new Attention(ensemble);
    try {
      const told = this.tellTrouble(ensemble, open);
      const session = await this.withinFirstTimeout(
        untilAborted(this.begin(ensemble, attention, signal), signal),
        ensemble,
      ).finally(() => told.cancel());
      signal.throwIfAborted();
      this.sessions.add(session);
      return session;
    } catch (thrown) {
      await ensemble.close().catch(() => {});
      throw thrown;
    }
  }

  private async withinFirstTimeout<T>(opening: Promise<T>, ensemble: Ensemble): Promise<T> {
    const { firstOpenTimeoutMs, clock, address } = this.options;
    if (firstOpenTimeoutMs === undefined || this.seen !== undefined) return opening;
    let timer: Timer | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = clock.at(clock.now() + firstOpenTimeoutMs, () => reject(noStore(address, firstOpenTimeoutMs, ensemble.trouble())));
    });
    return Promise.race([opening, late]).finally(() => timer?.cancel());
  }

  /** Again as often as the connection breaks; a ZooKeeper session that ends meanwhile is the caller's to replace. */
  private async begin(ensemble: Ensemble, attention: Attention, signal: AbortSignal): Promise<ZooKeeperSession> {
    for (;;) {
      await ensemble.connected(signal);
      try {
        const layout = await this.findStore(ensemble);
        // The watches stand before anything is read, so that nothing is missed in between.
        for (const path of [layout.head, layout.ephemerals]) await attention.watch(path);
        return await this.beginSession(ensemble, attention, layout);
      } catch (thrown) {
        signal.throwIfAborted();
        if (!hasCode(thrown, "CONNECTION_LOST") && !hasCode(thrown, "OUTCOME_UNKNOWN")) throw thrown;
      }
    }
  }

  private findStore(ensemble: Ensemble): Promise<Layout> {
    const { root, isProtected, random } = this.options;
    const newStoreId = () => randomId(random, STORE_ID_CHARACTERS);
    return findStore({ ensemble, root, isProtected, expected: this.seen?.storeId, newStoreId });
  }

  private async beginSession(ensemble: Ensemble, attention: Attention, layout: Layout): Promise<ZooKeeperSession> {
    const startedAt = this.options.clock.now();
    const { mergeEntries = MERGE_ENTRIES } = this.options;
    const mirror = await readAll({ ensemble, layout, mergeEntries });
    const { storeId } = layout;
    if (this.seen !== undefined && mirror.index < this.seen.index)
      throw damaged(layout.head, `its log ends at ${mirror.index}, and was seen at ${this.seen.index}`);
    this.seen ??= { storeId, index: mirror.index };
    const { clock, log, random, maxStoreBytes } = this.options;
    const { limits } = this;
    const nonce = () => randomId(random, NONCE_CHARACTERS);
    const onEnded = (ended: ZooKeeperSession) => this.forget(ended);
    const session = new ZooKeeperSession(
      { ensemble, layout, limits, clock, log, nonce, onEnded, maxStoreBytes, mergeEntries },
      mirror,
    );
    attention.pay(session);
    log?.debug("the coordination store is open", {
      path: layout.root,
      records: mirror.table.size,
      index: mirror.index,
      tookMs: Math.round(this.options.clock.now() - startedAt),
    });
    return session;
  }

  private forget(session: ZooKeeperSession): void {
    this.sessions.delete(session);
    if (this.seen !== undefined) this.seen.index = Math.max(this.seen.index, session.index);
  }

  private tellTrouble(ensemble: Ensemble, open: OpenSession): { cancel(): void } {
    const { clock } = this.options;
    let told = "";
    const tell = () => {
      const reason = ensemble.isConnected() ? "" : ensemble.trouble();
      if (reason !== "" && reason !== told) open.onWaiting?.({ owner: undefined, reason, isUnreached: true });
      told = reason;
      timer = clock.at(clock.now() + TROUBLE_EVERY_MS, tell);
    };
    let timer = clock.at(clock.now() + TROUBLE_EVERY_MS, tell);
    return { cancel: () => timer.cancel() };
  }
}

/** What the watches of a new session wake: nobody yet, while it is being opened, and possibly several times. */
class Attention {
  private readonly ensemble: Ensemble;
  private readonly watched = new Set<string>();
  private session: ZooKeeperSession | undefined;

  constructor(ensemble: Ensemble) {
    this.ensemble = ensemble;
  }

  async watch(path: string): Promise<void> {
    if (this.watched.has(path)) return;
    await this.ensemble.watch(path, () => this.session?.wake());
    this.watched.add(path);
  }

  /** What happened since the watches were set may not have been read. */
  pay(session: ZooKeeperSession): void {
    this.session = session;
    session.wake();
  }
}

function noStore(address: string, timeoutMs: number, trouble: string): CodedError {
  return new CodedError("NO_STORE", `the coordination store at ${address} gave no session within ${timeoutMs} ms: ${trouble}`, {
    hint: "Start the ZooKeeper servers, correct --recovery, or leave out --recovery-timeout to wait for as long as it takes.",
  });
}
