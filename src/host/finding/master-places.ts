/**
 * Where masters may be right now: what a master URL names, what ZooKeeper lists, and what masters have told of each other.
 *
 * Boundary: addresses, which are hints; dialling is master-finder.ts.
 * Rules of asking ZooKeeper (docs/design/finding.md has the figures):
 *   1. Only while somebody searches: whoever has a leader has no session.
 *   2. Whoever knows addresses already tries these first, and asks after ASK_AFTER_MS at a moment of its own; much later when one of them
 *      answers as a standby, because that one will tell. So a take-over makes no storm. Whoever knows nothing asks at once.
 *   3. The credentials of a URL stay in here: whoever is started by this process gets `addresses`, and never the URL.
 */
import { CodedError } from "../../base/errors.js";
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import type { Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { MasterRegistry } from "../../env/master-registry.js";
import { createDetector, type Detector, type DetectorEvent } from "./master-detector.js";
import { MAX_MASTER_ADDRESSES, type MasterUrl, parseMasterUrl, type ReadFile, readMasterFile } from "./master-url.js";

export const ASK_AFTER_MS = 1_000;
/** With a link to a standby, which says by itself when it leads. */
export const ASK_AFTER_HELD_MS = 10_000;

export type OpenRegistry = (url: ZooKeeperUrl) => MasterRegistry;

export interface PlacesOptions {
  readonly env: Env;
  readonly masterUrl: string;
  readonly readFile: ReadFile;
  /** Absent: a `zk://` URL is refused. */
  readonly openRegistry?: OpenRegistry;
  /** The list of known addresses has changed. */
  onKnown?(addresses: readonly string[]): void;
  onDetector?(event: DetectorEvent): void;
}

export interface Places {
  look(): Promise<Look>;
  /** A search begins; `changed` is called when there may be other addresses. */
  search(changed: () => void): Search;
  /** What a master has told of itself and the others. */
  told(addresses: readonly string[]): void;
  /** Every address that is known now, the likeliest first. */
  known(): readonly string[];
  /** Whether the URL (or the file that it names, when it was read last) may hold credentials. */
  isPrivate(): boolean;
  close(): Promise<void>;
}

export interface Look {
  /** To dial, those that are likely to lead first. */
  readonly addresses: readonly string[];
  /** What is wrong with where they come from. */
  readonly problem: CodedError | null;
  /** All that the URL names now is among them. (A file in which no master stands counts as read: all took theirs out when they ended.) */
  readonly isComplete: boolean;
}

export interface Search {
  /** A standby answers: it will say when it leads. */
  held(isHeld: boolean): void;
  end(): void;
}

/** Throws INVALID_ARGUMENT. */
export function createPlaces(options: PlacesOptions): Places {
  const url = parseMasterUrl(options.masterUrl);
  if (url.kind === "zookeeper" && options.openRegistry === undefined) throw noRegistry(url.url);
  return new MasterPlaces(options, url);
}

function noRegistry({ address }: ZooKeeperUrl): CodedError {
  return new CodedError("INVALID_ARGUMENT", `masters cannot be looked for in ${address} from here`, {
    hint: "Give host:port of the masters, or a file of them.",
  });
}

class MasterPlaces implements Places {
  readonly #options: PlacesOptions;
  readonly #url: MasterUrl;
  #listed: readonly string[] = [];
  #told: readonly string[] = [];
  #known: readonly string[] = [];
  /** The ensemble to ask, and what it is asked for. */
  #asked: ZooKeeperUrl | null;
  #detector: Detector | null = null;
  #askTimer: Timer | null = null;
  #askAt = 0;
  #searchedSince = 0;
  #searching = false;
  #changed: () => void = () => {};
  readonly #closing = new Set<Promise<void>>();

  constructor(options: PlacesOptions, url: MasterUrl) {
    this.#options = options;
    this.#url = url;
    this.#asked = url.kind === "zookeeper" ? url.url : null;
    if (url.kind === "list") this.#listed = url.addresses;
    this.#note();
  }

  async look(): Promise<Look> {
    let problem: CodedError | null = null;
    if (this.#url.kind === "file") problem = await this.#readFile(this.#url.path);
    let isComplete = problem === null || problem.code === "NO_MASTER";
    if (this.#asked !== null) {
      isComplete = this.#detector?.view().isFresh === true;
      const view = this.#detector?.view();
      if (view !== undefined) {
        // An empty list says no more than that nobody is there now: what was known before is still tried.
        const found = [...(view.leader === null ? [] : [view.leader.address]), ...view.candidates];
        if (found.length > 0) this.#listed = found;
        problem = view.problem;
      }
    }
    this.#note();
    return { addresses: this.#known, problem, isComplete };
  }

  search(changed: () => void): Search {
    this.#changed = changed;
    this.#searching = true;
    this.#searchedSince = this.#options.env.clock.now();
    this.#askAfter(ASK_AFTER_MS);
    let held = false;
    const isCurrent = () => this.#changed === changed;
    return {
      held: (isHeld) => {
        if (isHeld === held || !this.#searching || !isCurrent()) return;
        held = isHeld;
        this.#askAfter(held ? ASK_AFTER_HELD_MS : ASK_AFTER_MS);
      },
      end: () => {
        if (!isCurrent()) return;
        this.#searching = false;
        this.#changed = () => {};
        this.#stopAsking();
      },
    };
  }

  told(addresses: readonly string[]): void {
    this.#told = addresses.slice(0, MAX_MASTER_ADDRESSES);
    this.#note();
  }

  known(): readonly string[] {
    return this.#known;
  }

  isPrivate(): boolean {
    return this.#asked !== null;
  }

  async close(): Promise<void> {
    this.#searching = false;
    this.#stopAsking();
    await Promise.all(this.#closing);
  }

  async #readFile(path: string): Promise<CodedError | null> {
    const { readFile, openRegistry } = this.#options;
    try {
      const found = await readMasterFile(path, readFile);
      const asked = found.kind === "zookeeper" ? found.url : null;
      if (asked !== null && openRegistry === undefined) throw noRegistry(asked);
      this.#askOf(asked);
      if (found.kind === "list") this.#listed = found.addresses;
      return null;
    } catch (thrown) {
      return CodedError.from(thrown);
    }
  }

  /** The file may name another ensemble than before. */
  #askOf(asked: ZooKeeperUrl | null): void {
    const before = this.#asked;
    if (asked !== null && before !== null && isSame(asked, before)) return;
    this.#asked = asked;
    this.#stopAsking();
    if (asked !== null && this.#searching) this.#askAfter(ASK_AFTER_MS);
  }

  /** From the beginning of the search, at a moment of this process's own; at once when nothing else is known. */
  #askAfter(delayMs: number): void {
    const { clock, random } = this.#options.env;
    if (this.#asked === null || this.#detector !== null || !this.#searching) return;
    this.#askTimer?.cancel();
    const waitMs = this.#known.length === 0 ? 0 : delayMs * (0.5 + random.fraction());
    this.#askAt = Math.max(clock.now(), this.#searchedSince + waitMs);
    if (waitMs === 0) this.#ask();
    else this.#askTimer = clock.at(this.#askAt, () => this.#ask());
  }

  #ask(): void {
    this.#askTimer = null;
    const { env, openRegistry, onDetector } = this.#options;
    if (this.#asked === null || openRegistry === undefined) return;
    this.#detector = createDetector({
      env,
      registry: openRegistry(this.#asked),
      onEvent: (event) => {
        env.log.debug("ZooKeeper about the masters", { event: event.kind });
        onDetector?.(event);
      },
      onChange: () => this.#changed(),
    });
  }

  #stopAsking(): void {
    this.#askTimer?.cancel();
    this.#askTimer = null;
    const closing = this.#detector?.close();
    this.#detector = null;
    if (closing === undefined) return;
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  #note(): void {
    const known = [...new Set([...this.#listed, ...this.#told])].slice(0, MAX_MASTER_ADDRESSES);
    if (known.join() === this.#known.join()) return;
    this.#known = known;
    this.#options.onKnown?.(known);
  }
}

const isSame = (a: ZooKeeperUrl, b: ZooKeeperUrl): boolean =>
  a.address === b.address && a.credentials?.user === b.credentials?.user && a.credentials?.password === b.credentials?.password;
