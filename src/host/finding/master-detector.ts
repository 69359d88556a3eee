/**
 * The detector: which masters a registry (ZooKeeper) lists and which of them leads, as of now, and since when it can't say.
 *
 * Boundary: a registry of `env` in, events and a view out; it dials no master. Everything it says is a hint (env/master-registry.ts).
 * Invariants:
 *   1. Cut off from the registry it knows within its session that it has no leader, by its own clock: nobody has to tell it.
 *   2. It costs the registry one session. It reads after a change, at most once in READ_SPREAD_MS and then at a moment of its own, so that
 *      thousands of detectors do not all read at once; sessions and failed reads are tried again after a growing, jittered, bounded pause.
 *   3. After `close` nothing of it runs, and nothing is reported.
 */
import { CodedError } from "../../base/errors.js";
import type { Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { MasterRegistry, RegistrySession, SeenLeader, SeenMasters } from "../../env/master-registry.js";

/** A change is read at a random moment within this time. */
export const READ_SPREAD_MS = 250;
export const MIN_RETRY_MS = 250;
export const MAX_RETRY_MS = 10_000;

export type DetectorEvent =
  | { readonly kind: "connected" }
  /** The same session: nothing of it was lost. */
  | { readonly kind: "reconnected" }
  | { readonly kind: "disconnected"; readonly reason: CodedError }
  /** The session is over: the registry says so (`registry`), or it was cut off for so long (`deadline`). A new one is opened. */
  | { readonly kind: "expired"; readonly by: "registry" | "deadline" }
  | { readonly kind: "leader.created"; readonly leader: SeenLeader }
  | { readonly kind: "leader.changed"; readonly leader: SeenLeader }
  /** Its record is gone, or nothing is known of it any more. */
  | { readonly kind: "leader.deleted" }
  | { readonly kind: "masters"; readonly candidates: readonly string[] };

export interface DetectorView {
  readonly leader: SeenLeader | null;
  readonly candidates: readonly string[];
  /** What is wrong or waited for: also that the list is empty. */
  readonly problem: CodedError | null;
  /** The registry has been read since the last disturbance. */
  readonly isFresh: boolean;
}

export interface Detector {
  view(): DetectorView;
  close(): Promise<void>;
}

export interface DetectorOptions {
  readonly env: Env;
  readonly registry: MasterRegistry;
  onEvent(event: DetectorEvent): void;
  /** The view has changed, also by what is wrong. */
  onChange(): void;
}

const NOBODY: SeenMasters = { leader: null, candidates: [] };

export function createDetector(options: DetectorOptions): Detector {
  const detector = new MasterDetector(options);
  detector.open();
  return detector;
}

class MasterDetector implements Detector {
  readonly #options: DetectorOptions;
  #session: RegistrySession | null = null;
  /** Of the present session: what an earlier one still says is not heard. */
  #number = 0;
  #seen: SeenMasters = NOBODY;
  #isFresh = false;
  #problem: CodedError | null;
  #failures = 0;
  #connected = false;
  #readTimer: Timer | null = null;
  #reading = false;
  #readAgain = false;
  #deadlineTimer: Timer | null = null;
  #openTimer: Timer | null = null;
  #closed = false;
  readonly #closing = new Set<Promise<void>>();

  constructor(options: DetectorOptions) {
    this.#options = options;
    this.#problem = new CodedError("NO_MASTER", `${options.registry.address} has not answered yet`);
  }

  view(): DetectorView {
    return { ...this.#seen, problem: this.#problem, isFresh: this.#isFresh };
  }

  open(): void {
    this.#openTimer = null;
    if (this.#closed) return;
    const number = ++this.#number;
    const current = (act: () => void) => () => {
      if (!this.#closed && number === this.#number) act();
    };
    this.#session = this.#options.registry.open({
      connected: (again) => current(() => this.#onConnected(again))(),
      disconnected: (reason) => current(() => this.#onDisconnected(reason))(),
      changed: current(() => this.#readSoon(this.#options.env.random.fraction() * READ_SPREAD_MS)),
      ended: (reason) => current(() => this.#onEnded(reason))(),
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#openTimer?.cancel();
    this.#dropSession();
    await Promise.all(this.#closing);
  }

  #onConnected(again: boolean): void {
    this.#connected = true;
    this.#deadlineTimer?.cancel();
    this.#deadlineTimer = null;
    this.#tell({ kind: again ? "reconnected" : "connected" });
    this.#readSoon(again ? this.#options.env.random.fraction() * READ_SPREAD_MS : 0);
  }

  #onDisconnected(reason: CodedError): void {
    this.#say(reason);
    if (this.#connected) {
      this.#connected = false;
      this.#tell({ kind: "disconnected", reason });
    }
    this.#watchDeadline();
  }

  /** The registry can't say that the session is over while it can't be reached. */
  #watchDeadline(): void {
    const { clock } = this.#options.env;
    const deadline = this.#session?.deadline() ?? Number.NEGATIVE_INFINITY;
    if (deadline === Number.NEGATIVE_INFINITY || this.#deadlineTimer !== null) return;
    this.#deadlineTimer = clock.at(deadline, () => {
      this.#deadlineTimer = null;
      if (this.#connected || this.#closed) return;
      this.#expire("deadline");
    });
  }

  #onEnded(reason: CodedError): void {
    if (reason.code === "SESSION_ENDED") {
      this.#expire("registry");
      return;
    }
    this.#say(reason);
    this.#forget();
    this.#openLater();
  }

  #expire(by: "registry" | "deadline"): void {
    this.#tell({ kind: "expired", by });
    this.#forget();
    this.#openLater();
  }

  #openLater(): void {
    this.#dropSession();
    if (this.#closed) return;
    this.#openTimer = this.#options.env.clock.at(this.#options.env.clock.now() + this.#pauseMs(), () => this.open());
  }

  #dropSession(): void {
    this.#number += 1;
    this.#connected = false;
    this.#readTimer?.cancel();
    this.#readTimer = null;
    this.#deadlineTimer?.cancel();
    this.#deadlineTimer = null;
    const closing = this.#session?.close();
    this.#session = null;
    if (closing === undefined) return;
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  #readSoon(delayMs: number): void {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    if (this.#readTimer !== null || !this.#connected) return;
    const { clock } = this.#options.env;
    this.#readTimer = clock.at(clock.now() + delayMs, () => {
      this.#readTimer = null;
      void this.#read();
    });
  }

  async #read(): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    this.#reading = true;
    let delayMs: number | null = null;
    try {
      const seen = await session.read();
      if (session === this.#session) this.#take(seen);
    } catch (thrown) {
      if (session === this.#session) {
        const error = CodedError.from(thrown);
        this.#say(error);
        // What is not there yet, or is refused, has no watch that could tell of it.
        if (error.code !== "CONNECTION_LOST") delayMs = this.#pauseMs();
      }
    } finally {
      this.#reading = false;
    }
    if (this.#closed) return;
    if (this.#readAgain || session !== this.#session) delayMs ??= this.#options.env.random.fraction() * READ_SPREAD_MS;
    this.#readAgain = false;
    if (delayMs !== null) this.#readSoon(delayMs);
  }

  #take(seen: SeenMasters): void {
    this.#failures = 0;
    this.#isFresh = true;
    const { address } = this.#options.registry;
    this.#problem =
      seen.candidates.length > 0 || seen.leader !== null
        ? null
        : new CodedError("NO_MASTER", `no master of this cluster runs: ${address} lists none`);
    this.#replace(seen);
  }

  /** Nothing is known of the leader any more; the addresses of masters stay worth a try. */
  #forget(): void {
    this.#isFresh = false;
    this.#replace({ leader: null, candidates: this.#seen.candidates });
  }

  #replace(seen: SeenMasters): void {
    const before = this.#seen;
    this.#seen = seen;
    const { leader } = seen;
    if (leader === null && before.leader !== null) this.#tell({ kind: "leader.deleted" });
    else if (leader !== null && before.leader === null) this.#tell({ kind: "leader.created", leader });
    else if (leader !== null && (leader.epoch !== before.leader?.epoch || leader.address !== before.leader.address))
      this.#tell({ kind: "leader.changed", leader });
    if (seen.candidates.join() !== before.candidates.join()) this.#tell({ kind: "masters", candidates: seen.candidates });
    this.#changed();
  }

  #say(problem: CodedError): void {
    this.#isFresh = false;
    this.#problem = problem;
    this.#changed();
  }

  #tell(event: DetectorEvent): void {
    if (!this.#closed) this.#options.onEvent(event);
  }

  #changed(): void {
    if (!this.#closed) this.#options.onChange();
  }

  #pauseMs(): number {
    const full = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return full * (0.5 + this.#options.env.random.fraction() / 2);
  }
}
