/**
 * Links to the masters that stand by, made while another one leads, so that a failover is one message on a link that stands.
 *
 *   wanted (a master that is known and does not lead) --a moment of its own--> dialled --> stands --it leads, of a higher epoch--> the leader's link
 *                                       ^--------------- later, and later again ------------------- ended, refused
 *
 * Boundary: keeps links and looks at their facts; says nothing on them, and hears nothing. Whose link is the leader's is master-finder.ts's to say.
 * Rules:
 *   1. At most MAX_STANDING_LINKS, to as many masters as are known beside the leader. They beat slowly (STANDING_PACE) until one of them leads.
 *   2. A dial waits for a random moment of STANDING_SPREAD_MS, so that a standby that starts is not stormed by all workers at once; one that fails waits
 *      twice as long as the one before, up to MAX_STANDING_PAUSE_MS. Nothing is dialled while no leader is known: then master-finder.ts dials.
 *   3. A link on which a master orders something before it has said that it leads is ended: nothing of it is ever obeyed.
 *   4. A master that says that it leads with an epoch that is not above the leader's is none: its link is ended.
 */
import { CodedError } from "../../base/errors.js";
import type { Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { Link } from "../link/link.js";

/** Masters beyond these are found as by whoever has no such links. */
export const MAX_STANDING_LINKS = 4;
export const STANDING_SPREAD_MS = 10_000;
export const MAX_STANDING_PAUSE_MS = 120_000;

export interface StandingOptions {
  readonly env: Env;
  /** As of a search; bounded in time by itself. The link says in its facts that it is a standing one. */
  dial(address: string, signal: AbortSignal): Promise<Link>;
  /** Where masters may be, the likeliest first. */
  known(): readonly string[];
  readonly signal: AbortSignal;
}

export interface StandingLinks {
  /** The leader's link: others are kept beside it until its end. Called again when there may be other masters. */
  beside(leader: Link): void;
  /** Links to masters that stand by, or have just said that they lead. */
  links(): ReadonlyMap<string, Link>;
  /** Called for each that says that it leads while there is no leader; null: nobody looks. */
  onLeads(listener: ((address: string, link: Link) => void) | null): void;
  /** It is the leader's link now: it is not ended with the others. */
  take(address: string): void;
  close(): void;
}

interface Place {
  link: Link | null;
  dialling: AbortController | null;
  timer: Timer | null;
  failures: number;
}

export const leadsNow = (link: Link): boolean => link.peer.facts.state !== "STANDBY";

export function createStandingLinks(options: StandingOptions): StandingLinks {
  return new Standing(options);
}

class Standing implements StandingLinks {
  readonly #options: StandingOptions;
  readonly #places = new Map<string, Place>();
  #leader: Link | null = null;
  /** Of the last leader. */
  #epoch = 0;
  #onLeads: ((address: string, link: Link) => void) | null = null;

  constructor(options: StandingOptions) {
    this.#options = options;
  }

  beside(leader: Link): void {
    if (this.#options.signal.aborted) return;
    if (this.#leader !== leader) {
      this.#leader = leader;
      void leader.ended.then(() => {
        if (this.#leader === leader) this.#leader = null;
      });
    }
    this.#epoch = Math.max(this.#epoch, leader.peer.epoch);
    const wanted = this.#wanted(leader);
    for (const [address, place] of this.#places) if (!wanted.includes(address)) this.#forget(address, place);
    for (const address of wanted) {
      const place = this.#places.get(address) ?? { link: null, dialling: null, timer: null, failures: 0 };
      this.#places.set(address, place);
      this.#dialLater(address, place);
    }
  }

  links(): ReadonlyMap<string, Link> {
    const links = new Map<string, Link>();
    for (const [address, { link }] of this.#places) if (link !== null) links.set(address, link);
    return links;
  }

  onLeads(listener: ((address: string, link: Link) => void) | null): void {
    this.#onLeads = listener;
  }

  take(address: string): void {
    const place = this.#places.get(address);
    if (place === undefined) return;
    place.link = null;
    this.#forget(address, place);
  }

  close(): void {
    this.#leader = null;
    for (const [address, place] of this.#places) this.#forget(address, place);
  }

  #wanted(leader: Link): readonly string[] {
    const own = new Set([leader.remote, leader.peer.facts.address]);
    return this.#options
      .known()
      .filter((address) => !own.has(address))
      .slice(0, MAX_STANDING_LINKS);
  }

  #forget(address: string, place: Place): void {
    if (this.#places.get(address) === place) this.#places.delete(address);
    place.timer?.cancel();
    place.dialling?.abort(new CodedError("ABORTED", "nobody waits for that master to lead any more"));
    place.link?.close();
    place.link = null;
  }

  #dialLater(address: string, place: Place): void {
    if (place.link !== null || place.dialling !== null || place.timer !== null) return;
    const { clock, random } = this.#options.env;
    const spanMs = Math.min(MAX_STANDING_PAUSE_MS, STANDING_SPREAD_MS * 2 ** Math.min(place.failures, 20));
    // Who failed before waits for half of it at least.
    const waitMs = place.failures === 0 ? spanMs * random.fraction() : (spanMs * (1 + random.fraction())) / 2;
    place.timer = clock.at(clock.now() + waitMs, () => {
      place.timer = null;
      if (this.#leader !== null) this.#dial(address, place);
    });
  }

  #dial(address: string, place: Place): void {
    const control = new AbortController();
    place.dialling = control;
    this.#options.dial(address, control.signal).then(
      (link) => {
        place.dialling = null;
        if (control.signal.aborted) link.close();
        else this.#hold(address, place, link);
      },
      () => {
        place.dialling = null;
        if (!control.signal.aborted) this.#failed(address, place);
      },
    );
  }

  #failed(address: string, place: Place): void {
    place.failures += 1;
    if (this.#leader !== null && this.#places.get(address) === place) this.#dialLater(address, place);
  }

  #hold(address: string, place: Place, link: Link): void {
    const isTwice =
      link.peer.id === this.#leader?.peer.id || [...this.links().values()].some(({ peer }) => peer.id === link.peer.id);
    if (isTwice) {
      // The same master by another name: one link is enough.
      link.close();
      this.#failed(address, place);
      return;
    }
    place.link = link;
    link.onMessage(({ kind }) =>
      link.fail(new CodedError("PROTOCOL_VIOLATION", `${kind} came over a link to a master that has not said that it leads`)),
    );
    link.onAnnounced(() => this.#judge(address, place, link));
    void link.ended.then(() => {
      if (place.link !== link) return;
      place.link = null;
      this.#failed(address, place);
    });
    if (leadsNow(link)) this.#judge(address, place, link);
    else place.failures = 0;
  }

  #judge(address: string, place: Place, link: Link): void {
    if (place.link !== link || !leadsNow(link)) return;
    const leader = this.#leader;
    if (link.peer.epoch <= Math.max(this.#epoch, leader?.peer.epoch ?? 0)) {
      // A leader of before that has not noticed what it is, or the present one by another name.
      link.close();
      return;
    }
    if (leader !== null) {
      this.#options.env.log.debug(
        "Another master leads with a higher epoch: the leader of before, which says nothing of that, is left.",
        {
          leader: address,
          former: leader.remote,
        },
      );
      // Its follower looks for another one at once, and finds this one here.
      leader.close();
    }
    this.#onLeads?.(address, link);
  }
}
