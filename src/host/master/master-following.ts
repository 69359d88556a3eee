/**
 * A master while another one leads: whom it follows, over which link, whom it followed last, and whom else it can name while it hears nobody.
 *
 * Boundary: watching one address is master-standby.ts; leading is master-leading.ts.
 * Invariant: `link` is set only between the moment at which the other end said that it leads and the end of that link.
 */
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { SeenMasters } from "../../env/master-registry.js";
import { CLUSTER_SCOPE, type Facts, NO_SECRET } from "../../wire/handshake.js";
import { leaderNotices, leaderToStandby } from "../../wire/master-messages.js";
import type { Link, LinkMessage, LinkPeer, LinkSettings } from "../link/link.js";
import { dialLink, dialPeer } from "../link/link-handshake.js";
import { createKnownMasters, type MastersFound } from "./known-masters.js";
import { buildFact } from "./master-links.js";
import type { MasterHostOptions } from "./master-options.js";
import { type LeaderSeen, watchLeader } from "./master-standby.js";

const DIAL_TIMEOUT_MS = 2_000;

export interface FollowingOptions {
  readonly env: Env;
  readonly master: Pick<MasterHostOptions, "masterId" | "pid" | "build" | "secret" | "otherMasters">;
  /** What others are told. */
  readonly address: string;
  readonly signal: AbortSignal;
  linkSettings(): Omit<LinkSettings, "incoming">;
  clusterId(): string | null;
  /** While this master stands in line in the store; null: it does not. */
  inLine(signal: AbortSignal): Promise<SeenMasters> | null;
  onLeader(leader: LeaderSeen | null): void;
  /** Nobody listens at the leader's address any more. */
  onDead(address: string): void;
  onLeaderSays(link: Link, message: LinkMessage): void;
}

export interface Following {
  /** Null: none was seen since this master led itself. */
  leader(): LeaderSeen | null;
  /** Also when it was this master itself, and when it is gone. */
  lastLeader(): LeaderSeen | null;
  link(): Link | null;
  /** When (calendar time) a leader was last heard; of the start while there was none. */
  heardAt(): number;
  /** Every other master that it can know of, each as it answers. */
  others(): Promise<MastersFound>;
  /** Who the store says leads. */
  hint(address: string): void;
  /** This master leads with the epoch, or (null) no more. */
  leads(epoch: number | null): void;
  close(): Promise<void>;
}

export function createFollowing(options: FollowingOptions): Following {
  const { env, address, signal } = options;
  const { masterId, pid, secret } = options.master;
  const { clock } = env;
  const key = secret ?? NO_SECRET;
  let leader: LeaderSeen | null = null;
  let lastLeader: LeaderSeen | null = null;
  let present: Link | null = null;
  let isLeading = false;
  let leaderlessAt = clock.wallNow();

  const heardAt = () => {
    if (isLeading) return clock.wallNow();
    return present === null ? leaderlessAt : clock.wallNow() - (clock.now() - present.lastHeardAt());
  };

  const dial = async (target: string, within: AbortSignal): Promise<Link> => {
    const facts = { address, pid, state: "STANDBY", ...buildFact(options.master) };
    const identity = { role: "master", id: masterId, scope: CLUSTER_SCOPE, key, clusterId: options.clusterId() } as const;
    const settings = {
      ...options.linkSettings(),
      incoming: leaderNotices,
      requests: leaderToStandby,
      connectTimeoutMs: DIAL_TIMEOUT_MS,
    };
    const link = await dialLink(target, { ...settings, ...identity, facts, signal: within });
    link.onMessage((message) => options.onLeaderSays(link, message));
    return link;
  };

  /** As a client, so that it is not taken for a standby of the one that is asked. */
  const ask = async (target: string, within: AbortSignal): Promise<LinkPeer> => {
    const identity = { role: "client", id: masterId, scope: CLUSTER_SCOPE, key, clusterId: options.clusterId() } as const;
    const { epoch } = options.linkSettings();
    const { peer, channel } = await dialPeer(target, {
      env,
      epoch,
      ...identity,
      connectTimeoutMs: DIAL_TIMEOUT_MS,
      signal: within,
    });
    channel.connection.destroy();
    return peer;
  };

  const known = createKnownMasters({
    clock,
    signal,
    address,
    lastLeader: () => lastLeader,
    inLine: options.inLine,
    writtenDown: options.master.otherMasters ?? (async () => []),
    ask,
  });

  const standby = watchLeader({
    dial,
    onLeader: (seen, link) => {
      if (link === null) leaderlessAt = heardAt();
      else known.told(addressesIn(link.peer.facts));
      leader = seen ?? leader;
      lastLeader = seen ?? lastLeader;
      present = link;
      options.onLeader(seen);
    },
    onDead: options.onDead,
    now: () => clock.now(),
    sleep: (durationMs, within) => sleep(clock, durationMs, within),
  });

  return {
    leader: () => leader,
    lastLeader: () => lastLeader,
    link: () => present,
    heardAt,
    others: known.find,
    hint: standby.hint,
    leads(epoch) {
      isLeading = epoch !== null;
      if (epoch !== null) {
        lastLeader = { id: masterId, address, pid, epoch };
        return;
      }
      leader = null;
      leaderlessAt = clock.wallNow();
    },
    close: standby.close,
  };
}

function addressesIn({ masters }: Facts): readonly string[] {
  return typeof masters === "string" && masters !== "" ? masters.split(",") : [];
}
