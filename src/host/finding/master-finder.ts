/**
 * Finds the leading master and stays with it: used by workers, drivers and clients.
 *
 * Boundary: dials (by an injected function), reads the facts of the welcome, reports what it waits for. What is said over the link is its user's.
 * Rules:
 *   1. All addresses are dialled at once, and again after a growing, jittered, bounded pause; one that hangs delays no other.
 *   2. A standby's hint at the leader is followed at once. Both are only hints: the link's own epoch tells the truth.
 *      The link to a standby is held until the search is over: when that standby takes over it says so, and is found at that moment.
 *   3. It never gives up by itself; whoever waits decides by the signal. While it looks it says so: since when, tried what, last error.
 *   4. Whoever follows may keep links to the other masters meanwhile (standing-links.ts): the one that takes over says so on a link that stands. Their
 *      addresses are dialled only when nobody has said so for STANDING_PATIENCE_MS: a link may be dead, and nobody noticed. Or at once, where the proof
 *      is needed that nobody leads: only an answer to a dial is one (onNobodyLeads).
 *   5. A link that breaks soon after it was made does not reset the pause, so that a master that turns everybody away is not stormed.
 */
import { CodedError } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { Link } from "../link/link.js";
import { createPlaces, type OpenRegistry, type Places, type Search } from "./master-places.js";
import type { ReadFile } from "./master-url.js";
import { createStandingLinks, leadsNow, type StandingLinks } from "./standing-links.js";

export const MIN_LOOK_PAUSE_MS = 5;
export const MAX_LOOK_PAUSE_MS = 1_000;
/** A standby whose link is held will tell by itself; it is asked again no earlier than this. */
const HELD_LOOK_PAUSE_MS = 50;
/** From the loss of the leader; longer than a take-over takes, and much shorter than any lease. With jitter of as much again. */
const STANDING_PATIENCE_MS = 500;
/** A link that lived this long was a working one. */
const STABLE_LINK_MS = 1_000;
/** Without any outcome (every address hangs) it is called for the first time after this. */
const SILENT_LOOK_MS = 1_000;
/** `onLooking` is called at least this often while looking. */
const REPORT_EVERY_MS = 10_000;

/** What masters tell in their welcome; anything else counts as a leader without state. */
export interface MasterFacts {
  readonly state: "STANDBY" | "RECOVERING" | "ALIVE";
  /** The leader's address, where known. */
  readonly leader: string | null;
  /** Addresses of all masters that it knows, with commas in between. */
  readonly masters?: string;
}

export interface Looking {
  /** Instant (env clock) of the beginning. */
  readonly since: number;
  readonly forMs: number;
  /** Rounds so far. */
  readonly attempts: number;
  /** The last outcome at each address. */
  readonly tried: readonly { readonly address: string; readonly error: CodedError }[];
  readonly lastError: CodedError | null;
  /** What is wrong with the file or the ensemble that lists the masters, or what is waited for there. */
  readonly problem: CodedError | null;
  /** Set when every address refuses for a reason that waiting does not heal (wrong secret, other cluster, other version). */
  readonly permanent: CodedError | null;
}

export interface FindOptions {
  readonly env: Env;
  readonly masterUrl: string;
  readonly readFile: ReadFile;
  /** Asks ZooKeeper; absent: a `zk://` URL is refused. */
  readonly openRegistry?: OpenRegistry;
  /** Of that URL, made and closed by the caller. Absent: the finder has its own. */
  readonly places?: Places;
  /** Dials one address; bounded in time by itself. Its signal aborts when another address won. */
  dial(address: string, signal: AbortSignal): Promise<Link>;
  /**
   * Every master, of the URL and otherwise known, refused a connection, said that it does not lead, or is the one of which a standby beside it says that
   * its process is stopped, each when it was last dialled: whoever leads now was elected, or went on, after `since`, the instant at which the first of
   * those dials began. (A firewall that rejects looks like a dead master; one that drops does not.) Called after each such answer.
   */
  onNobodyLeads?(since: number): void;
  /** Called when a first round failed, when what is wrong changes, and every REPORT_EVERY_MS. */
  onLooking?(looking: Looking): void;
  readonly signal: AbortSignal;
}

export interface FollowOptions extends FindOptions {
  /** Called for each leader found; the finder closes the link only at its own end. To look again, close the link. */
  onLink(link: Link): void;
  /** Whether `onNobodyLeads` is waited for: then links that stand by spare nobody a dial. Absent: it is not. */
  needsProof?(): boolean;
  /** As `dial`, for links that stand by (facts STANDING, STANDING_PACE; `onLink` gives the one that leads its pace). Absent: none are kept. */
  readonly dialStanding?: FindOptions["dial"];
}

/** A link to the leading master. Rejects with INVALID_ARGUMENT (the URL) or the signal's reason only. */
export async function findLeader(options: FindOptions): Promise<Link> {
  options.signal.throwIfAborted();
  const places = options.places ?? createPlaces(options);
  try {
    return await createSearch(options, places, 0, null).run();
  } finally {
    if (options.places === undefined) await places.close();
  }
}

/** Finds, hands on, and finds again when the link ends, until the signal. Resolves at the abort, when its links are closed. */
export async function followLeader(options: FollowOptions): Promise<void> {
  const places = options.places ?? createPlaces(options);
  try {
    await followFrom(options, places);
  } finally {
    if (options.places === undefined) await places.close();
  }
}

async function followFrom(options: FollowOptions, places: Places): Promise<void> {
  const { env, signal, dialStanding } = options;
  const known = () => places.known();
  const standing = dialStanding === undefined ? null : createStandingLinks({ env, dial: dialStanding, known, signal });
  const onStop = () => standing?.close();
  signal.addEventListener("abort", onStop, { once: true });
  let failures = 0;
  while (!signal.aborted) {
    try {
      if (failures > 0) await sleep(env.clock, pauseMs(env, failures), signal);
      const link = await createSearch(options, places, failures, standing).run();
      link.onAnnounced(() => {
        hear(places, link);
        standing?.beside(link);
      });
      standing?.beside(link);
      const madeAt = env.clock.now();
      const onAbort = () => link.close();
      signal.addEventListener("abort", onAbort, { once: true });
      options.onLink(link);
      await link.ended;
      signal.removeEventListener("abort", onAbort);
      failures = env.clock.now() - madeAt >= STABLE_LINK_MS ? 0 : failures + 1;
    } catch (thrown) {
      if (signal.aborted) return;
      signal.removeEventListener("abort", onStop);
      standing?.close();
      throw thrown;
    }
  }
}

/** A leader knows all masters that are connected to it; a standby may know an old list. */
function hear(places: Places, link: Link): void {
  const { masters } = link.peer.facts;
  if (typeof masters === "string" && masters !== "") places.told(masters.split(","));
}

function pauseMs(env: Env, failures: number): number {
  const full = Math.min(MAX_LOOK_PAUSE_MS, MIN_LOOK_PAUSE_MS * 2 ** Math.min(failures, 20));
  return full * (0.5 + env.random.fraction() / 2);
}

/** One search, from the loss of a leader to the next one. */
function createSearch(
  options: FindOptions & Pick<FollowOptions, "needsProof">,
  places: Places,
  failuresBefore: number,
  standing: StandingLinks | null,
) {
  const { env, signal } = options;
  const since = env.clock.now();
  const isPatient = standing !== null && options.needsProof?.() !== true;
  const patientUntil = isPatient ? since + STANDING_PATIENCE_MS * (1 + env.random.fraction()) : since;
  const inFlight = new Map<string, AbortController>();
  const outcomes = new Map<string, CodedError>();
  /** Of the addresses at which no leader was when they were last dialled: when that dial began. */
  const leaderlessSince = new Map<string, number>();
  /** Of the addresses whose process a standby said to be stopped: when that standby was dialled. */
  const stoppedSince = new Map<string, number>();
  let known: readonly string[] = [];
  /** What the URL names is known, as of now. */
  let isComplete = false;
  /** Links to standbys, by their address. */
  const held = new Map<string, { readonly link: Link; readonly since: number }>();
  let attempts = 0;
  let problem: CodedError | null = null;
  let found: Link | null = null;
  let lastError: CodedError | null = null;
  let reportedText = "";
  let reportedAt = since - REPORT_EVERY_MS + SILENT_LOOK_MS;
  /** Ends the pause of the present round early. */
  let wake: () => void = () => {};
  let search: Search | null = null;

  /** `leaderlessAt`: no leader was there at that instant or later. */
  const failed = (address: string, error: CodedError, leaderlessAt: number | null) => {
    outcomes.set(address, error);
    lastError = error;
    if (leaderlessAt === null) {
      leaderlessSince.delete(address);
      return;
    }
    leaderlessSince.set(address, leaderlessAt);
    const instants = known.map((one) => leaderlessSince.get(one) ?? stoppedSince.get(one));
    if (isComplete && instants.length > 0 && instants.every((instant) => instant !== undefined))
      options.onNobodyLeads?.(Math.min(...instants));
  };

  /** `dialledAt` null: it has told something new on a link that stands already. */
  const judge = (address: string, link: Link, dialledAt: number | null) => {
    const { state, leader, leads, stopped } = link.peer.facts;
    if (found !== null || signal.aborted) {
      link.close();
    } else if (state === "STANDBY") {
      hold(address, link);
      const where = typeof leader === "string" ? `the leader is said to be ${leader}` : "it knows no leader";
      // A leader in doubt says that it stands by, and may go on leading; so may a leader that only this standby knows.
      const isLeaderless = leads === 0 && (typeof leader !== "string" || known.includes(leader));
      if (typeof stopped === "string" && dialledAt !== null && known.includes(stopped)) stoppedSince.set(stopped, dialledAt);
      failed(address, new CodedError("NOT_LEADER", `${address} is a standby; ${where}`), isLeaderless ? dialledAt : null);
      if (typeof leader === "string" && leader !== address && !inFlight.has(leader) && !outcomes.has(leader)) {
        start(leader);
      }
    } else {
      // An earlier link to the same master, which stood by then, stays among the held: they are closed at the end.
      if (held.get(address)?.link === link) held.delete(address);
      take(link);
    }
  };

  const take = (link: Link) => {
    found = link;
    hear(places, link);
    wake();
  };

  /** A master that stood by leads now, on the link that was kept for it. */
  const leads = (address: string, link: Link) => {
    if (found !== null || signal.aborted) return;
    standing?.take(address);
    env.log.debug("A master that stood by leads now, on a link that stood already.", { leader: address });
    take(link);
  };

  const hold = (address: string, link: Link) => {
    const earlier = held.get(address);
    if (earlier?.link === link) return;
    held.set(address, { link, since: env.clock.now() });
    search?.held(true);
    earlier?.link.close();
    link.onAnnounced(() => {
      if (held.get(address)?.link === link) judge(address, link, null);
    });
    void link.ended.then(() => {
      if (held.get(address)?.link === link) held.delete(address);
      search?.held(held.size > 0 || (standing?.links().size ?? 0) > 0);
    });
  };

  const start = (address: string) => {
    if (inFlight.has(address) || found !== null) return;
    if (env.clock.now() - (held.get(address)?.since ?? Number.NEGATIVE_INFINITY) < HELD_LOOK_PAUSE_MS) return;
    if (env.clock.now() < patientUntil && standing?.links().has(address) === true) return;
    const control = new AbortController();
    const dialledAt = env.clock.now();
    inFlight.set(address, control);
    options
      .dial(address, control.signal)
      .then(
        (link) => judge(address, link, dialledAt),
        (reason) => {
          if (control.signal.aborted) return;
          const error = CodedError.from(reason, "CONNECTION_LOST");
          failed(address, error, error.code === "CONNECTION_REFUSED" ? dialledAt : null);
        },
      )
      .finally(() => {
        inFlight.delete(address);
      });
  };

  const report = () => {
    const tried = [...outcomes].map(([address, error]) => ({ address, error }));
    const text = [problem?.message ?? "", ...tried.map(({ error }) => error.message)].join("\n");
    const now = env.clock.now();
    if (text === reportedText && now - reportedAt < REPORT_EVERY_MS) return;
    reportedText = text;
    reportedAt = now;
    const refusals = [...(problem === null ? [] : [problem]), ...tried.map(({ error }) => error)];
    const isRefused = refusals.length > 0 && inFlight.size === 0 && refusals.every(isPermanent);
    options.onLooking?.({
      since,
      forMs: now - since,
      attempts,
      tried,
      lastError: problem ?? lastError,
      problem,
      permanent: isRefused ? (refusals[0] ?? null) : null,
    });
  };

  const round = async () => {
    const looked = await places.look();
    problem = looked.problem;
    known = looked.addresses;
    isComplete = looked.isComplete;
    // Outcomes of addresses that were only hinted at, or left the list, are forgotten: a new hint is followed again.
    for (const address of [...outcomes.keys()]) if (!known.includes(address) && !inFlight.has(address)) outcomes.delete(address);
    for (const address of known) start(address);
  };

  const begin = () => {
    search = places.search(() => wake());
    if (standing === null) return;
    standing.onLeads(leads);
    const links = standing.links();
    if (links.size > 0) search.held(true);
    for (const [address, link] of links) if (leadsNow(link)) leads(address, link);
  };

  const end = () => {
    standing?.onLeads(null);
    search?.end();
    for (const control of inFlight.values())
      control.abort(new CodedError("ABORTED", "another master was found, or nobody waits any more"));
    for (const { link } of held.values()) link.close();
    held.clear();
    if (found === null || !signal.aborted) return;
    found.close();
    found = null;
  };

  return {
    async run(): Promise<Link> {
      begin();
      try {
        for (;;) {
          if (found === null) await round();
          attempts += 1;
          if (found === null) await pause(env, pauseMs(env, failuresBefore + attempts - 1), signal, (end) => (wake = end));
          signal.throwIfAborted();
          if (found !== null) return found;
          report();
        }
      } finally {
        end();
      }
    },
  };
}

const PERMANENT = new Set<string>(["UNAUTHENTICATED", "FORBIDDEN", "WRONG_CLUSTER", "PROTOCOL_VERSION"]);
const isPermanent = (error: CodedError): boolean => PERMANENT.has(error.code);

/** Resolves after the time, at the abort, or when the function given to `onReady` is called. */
function pause(env: Env, durationMs: number, signal: AbortSignal, onReady: (end: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = env.clock.at(env.clock.now() + durationMs, end);
    signal.addEventListener("abort", end, { once: true });
    onReady(end);
    if (signal.aborted) end();
  });
}
