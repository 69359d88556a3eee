/**
 * A planned hand-over, up to the moment at which the leader resigns: choosing the successor, asking it, telling the others to let it go first, and
 * saying when the epoch is free; and what a standby does about it.
 *
 * Invariant: until a successor has said that it stands by, nothing has changed; without one the hand-over is refused.
 */
import { CodedError } from "../../base/errors.js";
import type { Leadership } from "../../coordination/leadership.js";
import { HANDOVER, type HandoverNotice, handoverReply, RESIGNED, type ResignedNotice } from "../../wire/master-messages.js";
import type { OperationInput, OperationOutput } from "../../wire/operations.js";
import type { Link, LinkMessage } from "../link/link.js";
import type { HoldBack } from "./hold-back.js";

/** How long a standby may take to answer before the next one is asked: one that is stopped or cut off would lead nobody. */
const ANSWER_TIMEOUT_MS = 1_000;
/** How long the standbys that are not the successor hold back, if they see no new leader before. */
export const HOLD_BACK_MS = 1_000;
/** How long the old leader leaves the epoch to others, if it sees no new leader before. Longer, so that every other candidate comes first. */
export const LEAVE_TO_OTHERS_MS = 3_000;

/** How long a leader that has said so leaves its session as it is, for a successor to take the epoch in one step; then it closes it. */
export const TAKEN_OVER_WITHIN_MS = 250;

export interface Successor {
  readonly id: string;
  readonly address: string;
}

/** What the leader answers to the operation, and for whom it is to resign (null: there is nothing to do). Rejects with NOT_LEADER too. */
export async function prepareHandover(options: {
  readonly masterId: string;
  readonly address: string;
  readonly leadership: Leadership | null;
  readonly input: OperationInput<"handover">;
  readonly links: Iterable<Link>;
  readonly signal: AbortSignal;
}): Promise<{ readonly successor: Successor | null; readonly answer: OperationOutput<"handover"> }> {
  const { leadership, masterId, address, links, signal } = options;
  const { epoch, to } = options.input;
  if (leadership === null || !leadership.active() || leadership.epoch < epoch)
    throw new CodedError("NOT_LEADER", `the master at ${address} does not lead (any more)`);
  // Asked again after an answer that was lost, or for what is so already: to hand over once more would undo it.
  if (leadership.epoch > epoch || to === masterId || to === address)
    return { successor: null, answer: { handedOver: false, epoch: leadership.epoch, to: masterId } };
  const successor = await chooseSuccessor({ links, epoch, to, signal });
  return { successor, answer: { handedOver: true, epoch, to: successor.id } };
}

/** At a standby: the leader is about to resign. Whoever it has not chosen lets that one go first. */
export function hearHandover(options: {
  readonly link: Link;
  readonly message: LinkMessage;
  readonly masterId: string;
  readonly standsBy: boolean;
  readonly holdBack: HoldBack;
  /** The next leader is to be looked for there. */
  readonly hint: (address: string) => void;
}): void {
  const { link, message, masterId, standsBy, holdBack, hint } = options;
  if (message.kind !== HANDOVER || message.requestId === null) return;
  const { to, address } = message.body as HandoverNotice;
  link.reply(message.requestId, { standsBy });
  if (to === masterId) holdBack.end();
  else if (standsBy) {
    holdBack.begin(HOLD_BACK_MS);
    hint(address);
  }
}

/** Says that the epoch is free: to the successor, or, when there is none that was chosen, to all that stand by. False: to nobody. */
export function tellResigned(links: Iterable<Link>, epoch: number, successor: Successor | null): boolean {
  let told = false;
  for (const link of links) {
    if (link.peer.role !== "master" || (successor !== null && link.peer.id !== successor.id)) continue;
    const notice: ResignedNotice = { epoch };
    link.send(RESIGNED, notice);
    told = true;
  }
  return told;
}

/** At a standby: whether the leader that it follows has just said that its epoch is free. */
export function hearsResigned(link: Link, message: LinkMessage): boolean {
  return message.kind === RESIGNED && (message.body as ResignedNotice).epoch === link.peer.epoch;
}

/** `to`: id or address of a master, or null for whichever answers first. Rejects with NO_STANDBY, NOT_FOUND. */
async function chooseSuccessor(options: {
  readonly links: Iterable<Link>;
  readonly epoch: number;
  readonly to: string | null;
  readonly signal: AbortSignal;
}): Promise<Successor> {
  const { to, epoch, signal } = options;
  const standbys = new Map<string, Link>();
  for (const link of options.links) if (link.peer.role === "master") standbys.set(link.peer.id, link);
  const wanted = [...standbys.values()].filter((link) => to === null || link.peer.id === to || link.peer.facts.address === to);
  if (standbys.size === 0) {
    throw new CodedError("NO_STANDBY", "no other master stands by, so nobody could take over; this one goes on leading", {
      hint: "Start another master with the same --recovery, wait until holdfast cluster shows it as STANDBY, and try again.",
    });
  }
  if (wanted.length === 0) {
    throw new CodedError("NOT_FOUND", `no master ${to} stands by; this one goes on leading`, {
      hint: `Those that do: ${[...standbys.values()].map(({ peer }) => `${peer.id} at ${String(peer.facts.address)}`).join(", ")}.`,
    });
  }
  for (const link of wanted.sort((a, b) => (a.peer.id < b.peer.id ? -1 : 1))) {
    const successor = { id: link.peer.id, address: String(link.peer.facts.address ?? "") };
    const notice: HandoverNotice = { epoch, to: successor.id, address: successor.address };
    const request = { signal, timeoutMs: ANSWER_TIMEOUT_MS, reply: handoverReply };
    const answer = await link.request(HANDOVER, notice, request).catch(() => null);
    if (answer?.standsBy !== true) continue;
    // Not waited for: whoever does not hear it may win instead, which is safe.
    for (const other of standbys.values()) if (other !== link) void other.request(HANDOVER, notice, request).catch(() => {});
    return successor;
  }
  throw new CodedError(
    "NO_STANDBY",
    `${wanted.map(({ peer }) => peer.id).join(", ")} did not say within ${ANSWER_TIMEOUT_MS} ms that it stands by; this master goes on leading`,
    { hint: "Look at the log of that master: it may be stopped, or cut off from the store." },
  );
}
