/**
 * Every master that a standby can know of while it hears no leader, each as it answers when it is asked: for people (`holdfast cluster`).
 *
 * Boundary: addresses come from what leaders told, from the store's list of candidates, and from the advertise file; each is a hint, and nothing
 * is decided by any of it. One handshake with each tells its id, state and epoch.
 * Bounds: MAX_ASKED masters, LIST_TIMEOUT_MS for their addresses and ASK_TIMEOUT_MS for their answers, one round at a time for all who want to know.
 */
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { SeenMasters } from "../../env/master-registry.js";
import { MASTER_STATES, type MasterView, type SilentMasterView } from "../../wire/views.js";
import type { LinkPeer } from "../link/link.js";
import { buildOf } from "./master-links.js";
import type { LeaderSeen } from "./master-standby.js";

export const MAX_ASKED = 16;
const LIST_TIMEOUT_MS = 500;
export const ASK_TIMEOUT_MS = 1_000;

export interface KnownMastersOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of this master. */
  readonly address: string;
  /** The leader that was heard last. */
  lastLeader(): LeaderSeen | null;
  /** What the store says; null: this master does not stand in line there. */
  inLine(signal: AbortSignal): Promise<SeenMasters> | null;
  /** What is written down elsewhere. */
  writtenDown(): Promise<readonly string[]>;
  /** A handshake and no more. */
  ask(address: string, signal: AbortSignal): Promise<LinkPeer>;
}

export interface MastersFound {
  readonly masters: readonly MasterView[];
  readonly silent: readonly SilentMasterView[];
}

export interface KnownMasters {
  /** Addresses that a leader has told. */
  told(addresses: readonly string[]): void;
  /** All but this one. Never rejects. */
  find(): Promise<MastersFound>;
}

export function createKnownMasters(options: KnownMastersOptions): KnownMasters {
  let told: readonly string[] = [];
  let round: Promise<MastersFound> | null = null;

  const inTime = async <T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>, otherwise: T): Promise<T> => {
    const { clock } = options;
    const over = new AbortController();
    const signal = AbortSignal.any([options.signal, over.signal]);
    const late = new Promise<T>((resolve) => signal.addEventListener("abort", () => resolve(otherwise), { once: true }));
    const reason = new CodedError("TIMEOUT", `no answer within ${timeoutMs} ms`);
    const timer = clock.at(clock.now() + timeoutMs, () => over.abort(reason));
    try {
      return signal.aborted ? otherwise : await Promise.race([work(signal).catch(() => otherwise), late]);
    } finally {
      timer.cancel();
    }
  };

  const addresses = async (): Promise<readonly string[]> => {
    const nothing: SeenMasters = { leader: null, candidates: [] };
    const [listed, written] = await Promise.all([
      inTime(LIST_TIMEOUT_MS, (signal) => options.inLine(signal) ?? Promise.resolve(nothing), nothing),
      inTime(LIST_TIMEOUT_MS, () => options.writtenDown(), []),
    ]);
    const known = new Set([
      options.lastLeader()?.address ?? "",
      ...told,
      listed.leader?.address ?? "",
      ...listed.candidates,
      ...written,
    ]);
    known.delete("");
    known.delete(options.address);
    return [...known].slice(0, MAX_ASKED);
  };

  const ask = (address: string) => inTime<LinkPeer | null>(ASK_TIMEOUT_MS, (signal) => options.ask(address, signal), null);

  const find = async (): Promise<MastersFound> => {
    const known = await addresses();
    const answers = await Promise.all(known.map(async (address) => ({ address, view: masterViewOf(address, await ask(address)) })));
    return {
      masters: answers.flatMap(({ view }) => (view === null ? [] : [view])),
      silent: answers.flatMap(({ address, view }) => (view === null ? [silentView(address, options.lastLeader())] : [])),
    };
  };

  return {
    told(addresses) {
      told = addresses.slice(0, MAX_ASKED);
    },
    find() {
      round ??= find().finally(() => {
        round = null;
      });
      return round;
    },
  };
}

/** Of one that led, what it was is still known. */
function silentView(address: string, last: LeaderSeen | null): SilentMasterView {
  const led = last?.address === address ? last : null;
  return { address, id: led?.id ?? null, pid: led?.pid ?? null, epoch: led?.epoch ?? null };
}

/** Null: it did not answer, or answers as no master does. */
function masterViewOf(address: string, peer: LinkPeer | null): MasterView | null {
  if (peer === null) return null;
  const { pid } = peer.facts;
  const state = MASTER_STATES.find((known) => known === peer.facts.state);
  if (peer.role !== "master" || state === undefined) return null;
  return { id: peer.id, address, pid: typeof pid === "number" ? pid : 0, state, epoch: peer.epoch, build: buildOf(peer.facts) };
}
