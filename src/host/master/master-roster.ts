/**
 * The roster of a master: every link that others have made to it, what its core hears of them, and what they hear of the other masters.
 *
 * Boundary: links that stand; making them is link-listener.ts, what is said over them goes to master-desk.ts.
 * Invariants:
 *   1. The core of a leader hears of each link once: when it is made, or when the leadership begins; and of its end.
 *   2. Links that stand by (fact STANDING) beat slowly while this master does, and as all others while it leads.
 *   3. Whoever waits at the other end of a link from the time of standing by learns at once that this master leads now.
 */
import type { Clock, Timer } from "../../env/clock.js";
import type { Role } from "../../wire/envelope.js";
import { type Facts, MAX_FACT_CHARACTERS, STANDING, STANDING_PACE } from "../../wire/handshake.js";
import type { Link, LinkMessage, LinkPace } from "../link/link.js";
import { prepareAnnouncement } from "../link/link-session.js";
import type { Leading } from "./master-leading.js";
import { standbysAmong } from "./master-links.js";

/** Links that are told of a new leader in one go; between two goes it does what else is due, the first submissions for instance. */
const TOLD_AT_ONCE = 500;
/** Who waits for an answer comes before who has something to tell. */
const TOLD_IN_ORDER: readonly Role[] = ["client", "master", "driver", "worker"];
/** Changes of the list of masters are told to everybody at most this often. */
const ANNOUNCE_AFTER_MS = 1_000;

export interface RosterOptions {
  readonly clock: Clock;
  /** The end of this master. */
  readonly signal: AbortSignal;
  /** Null on a standby. */
  leading(): Leading | null;
  epoch(): number;
  clusterId(): string | null;
  facts(): Facts;
  /** Of links to a leader. */
  readonly linkPace: LinkPace;
  take(link: Link, message: LinkMessage): void;
}

export interface Roster {
  add(link: Link): void;
  get(linkId: number): Link | undefined;
  links(): Iterable<Link>;
  /** Of the masters that are linked to this one. */
  masterAddresses(): readonly string[];
  /** A leadership begins. */
  introduceAll(leading: Leading): void;
  /** Each of them finds the next leader by itself. */
  closeAll(): void;
  /** Nothing is announced any more. */
  close(): void;
}

export function createRoster(options: RosterOptions): Roster {
  const links = new Map<number, Link>();
  /** Those of them that are of masters. */
  const masters = new Set<Link>();
  let announcing: Timer | null = null;

  /** Once for all changes of ANNOUNCE_AFTER_MS: a standby that comes and goes costs each link one small frame a second. */
  const announceSoon = () => {
    const { clock, signal } = options;
    const isOver = () => options.leading() === null || signal.aborted;
    if (isOver()) return;
    announcing ??= clock.at(clock.now() + ANNOUNCE_AFTER_MS, () => {
      announcing = null;
      if (isOver()) return;
      const said = prepareAnnouncement(options.facts(), options.epoch());
      for (const link of links.values()) link.announce(said);
    });
  };

  /** To those that are there now; whoever comes later has heard it in the handshake. */
  const tellAll = (leading: Leading) => {
    const told = TOLD_IN_ORDER.flatMap((role) => [...links.values()].filter(({ peer }) => peer.role === role));
    const tellNext = () => {
      if (options.leading() !== leading || options.signal.aborted) return;
      const said = prepareAnnouncement(options.facts(), options.epoch());
      for (const link of told.splice(0, TOLD_AT_ONCE)) if (links.has(link.id)) link.announce(said);
      if (told.length > 0) options.clock.at(options.clock.now(), tellNext);
    };
    tellNext();
  };

  const tellOfStandbys = () => {
    announceSoon();
    options.leading()?.post({ kind: "standbys", masters: standbysAmong(masters, options.epoch()) });
  };

  const introduce = (leading: Leading, link: Link) => {
    const { role, id, scope } = link.peer;
    leading.post({ kind: "opened", linkId: link.id, role, peerId: id, scope });
    if (role === "master") tellOfStandbys();
  };

  return {
    add(link) {
      links.set(link.id, link);
      if (link.peer.role === "master") masters.add(link);
      const leading = options.leading();
      if (leading !== null) introduce(leading, link);
      else if (link.peer.facts[STANDING] === 1) link.pace(STANDING_PACE);
      link.onMessage((message) => options.take(link, message));
      void link.ended.then(() => {
        masters.delete(link);
        if (!links.delete(link.id)) return;
        options.leading()?.post({ kind: "closed", linkId: link.id, heardAt: link.lastHeardAt() });
        if (link.peer.role === "master") tellOfStandbys();
      });
    },
    get: (linkId) => links.get(linkId),
    links: () => links.values(),
    masterAddresses: () => [...masters].map(({ peer }) => String(peer.facts.address ?? "")),
    introduceAll(leading) {
      for (const link of links.values()) {
        const { clusterId } = link.peer;
        // While this master stood by it may not have known its cluster, and could not refuse strangers to it.
        if (clusterId !== null && clusterId !== options.clusterId()) {
          link.close();
          continue;
        }
        introduce(leading, link);
        if (link.peer.facts[STANDING] === 1) link.pace(options.linkPace);
      }
      tellAll(leading);
    },
    closeAll() {
      for (const link of links.values()) link.close();
      links.clear();
    },
    close: () => announcing?.cancel(),
  };
}

/** Addresses with commas in between, as the fact `masters` holds them: as many as fit. */
export function joinAddresses(addresses: Iterable<string>): string {
  let joined = "";
  for (const address of addresses) {
    const longer = joined === "" ? address : `${joined},${address}`;
    if (longer.length > MAX_FACT_CHARACTERS) break;
    joined = longer;
  }
  return joined;
}
