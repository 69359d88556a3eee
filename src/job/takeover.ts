/**
 * Whether the try of an earlier driver attempt can go on under this one: from what its executors offer, the record's last checkpoint and its manifest. Pure.
 *
 * What has to be known again is what the lost driver knew: which splits remain, and who has which. It follows from the last complete checkpoint and what each
 * executor was given since. Whatever doesn't fit is a reason to start again from that checkpoint; nothing is guessed.
 *
 * Invariants:
 *   1. Every member of the try offers it, all were driven by the attempt just before this one, and all know the record's last checkpoint: as the one that the try
 *      began with, as one that they know complete, or as the one that they have all taken.
 *   2. A split is with one executor, or with none and still to be given: each that remained at the checkpoint, exactly once.
 */
import type { JsonValue } from "../base/json.js";
import { canonicalJson } from "../base/json.js";
import type { Split } from "../dataflow/connector.js";
import type { CompletedCheckpoint, SourceMark } from "../wire/checkpoint.js";
import type { OfferedSlice } from "../wire/executor-messages.js";
import { readerName } from "./job-try.js";
import type { EnumeratedSource, GivenSplits } from "./splits.js";

export interface Offer {
  readonly processId: string;
  readonly dataAddress: string;
  /** Null: it runs nothing that could be taken over. */
  readonly slice: OfferedSlice | null;
}

export interface TakeoverFacts {
  /** Of this driver. */
  readonly attempt: number;
  readonly parallelism: number;
  readonly storage: string;
  /** The last one of the record. */
  readonly pointer: CompletedCheckpoint;
}

type Order = OfferedSlice["order"];

export interface OfferedTry {
  readonly number: number;
  readonly name: string;
  /** By subtask. */
  readonly members: readonly { readonly processId: string; readonly slice: OfferedSlice }[];
  readonly restore: Order["restore"];
  /** The checkpoint is one of this try: its executors are told that it is complete. */
  readonly isOwnCheckpoint: boolean;
}

export type Judged =
  | { readonly kind: "waits"; readonly missing: readonly string[] }
  | { readonly kind: "fits"; readonly offered: OfferedTry }
  | { readonly kind: "refused"; readonly why: string };

const refused = (why: string): Judged => ({ kind: "refused", why });

export function judgeOffers(offers: ReadonlyMap<string, Offer>, facts: TakeoverFacts): Judged {
  const [first] = offers.values();
  if (first === undefined) return { kind: "waits", missing: [] };
  if (first.slice === null) return refused(`${first.processId} runs nothing that could be taken over`);
  const { order } = first.slice;
  const { name, peers, restore } = order;
  if (name === undefined) return refused(`${first.processId} does not know the name of its try`);
  if (order.parallelism !== facts.parallelism || peers.length !== facts.parallelism)
    return refused(`try ${name} has ${peers.length} executors, and the job ${facts.parallelism}`);
  if (order.storage !== facts.storage) return refused(`try ${name} keeps its checkpoints elsewhere`);
  if (restore !== undefined && restore.counts === undefined) return refused(`nobody knows what try ${name} began with`);
  for (const offer of offers.values()) {
    const why = problemOf(offer, order, facts);
    if (why !== null) return refused(why);
  }
  const missing = peers.map(({ processId }) => processId).filter((processId) => !offers.has(processId));
  if (missing.length > 0) return { kind: "waits", missing };
  const members = peers.flatMap(({ processId }) => {
    const slice = offers.get(processId)?.slice ?? null;
    return slice === null ? [] : [{ processId, slice }];
  });
  return {
    kind: "fits",
    offered: { number: order.try, name, members, restore, isOwnCheckpoint: restore?.id !== facts.pointer.id },
  };
}

/** The part of an order that is the same for all members of a try. */
const commonOf = ({ try: number, name, parallelism, peers, storage, restore }: Order): string =>
  canonicalJson({ number, name, parallelism, peers, storage, restore: restore ?? null } as unknown as JsonValue);

function problemOf({ processId, dataAddress, slice }: Offer, order: Order, { attempt, pointer }: TakeoverFacts): string | null {
  if (slice === null) return `${processId} runs nothing that could be taken over`;
  if (slice.driver !== attempt - 1) return `${processId} was driven by attempt ${slice.driver} last, not by attempt ${attempt - 1}`;
  if (commonOf(slice.order) !== commonOf(order))
    return `${processId} runs try ${slice.order.name ?? slice.order.try}, others ${order.name}`;
  const peer = slice.order.peers[slice.order.subtask];
  if (peer?.processId !== processId || peer.dataAddress !== dataAddress)
    return `${processId} is not the executor that its try names`;
  if (slice.confirmed > pointer.id)
    return `${processId} knows checkpoint ${slice.confirmed}, and the record ${pointer.id} as the last one`;
  return pointMark(slice, pointer) === null ? `${processId} does not know checkpoint ${pointer.id}` : null;
}

const AT_THE_BEGINNING: SourceMark = { taken: 0, reading: [] };

/** Where its sources stood at the checkpoint; "ended": it had reported its end before. Null: it knows of none like that. */
function pointMark(slice: OfferedSlice, pointer: CompletedCheckpoint): ((source: string) => SourceMark) | "ended" | null {
  const { restore } = slice.order;
  if (restore?.id === pointer.id)
    return restore.manifest.sha256 === pointer.manifest.sha256 && slice.confirmed === 0 ? () => AT_THE_BEGINNING : null;
  const mark = slice.marks.find(({ id }) => id === pointer.id);
  if (mark !== undefined) return (source) => mark.sources[source] ?? AT_THE_BEGINNING;
  // It answers every checkpoint for as long as it runs, so one that is newer than all that it answered was taken when it had ended.
  return slice.isDone && slice.marks.every(({ id }) => id < pointer.id) ? "ended" : null;
}

/** `sources`: as the checkpoint has them, remaining splits in their order. A sentence: why not. */
export function splitsOfTry(
  { members, name }: OfferedTry,
  pointer: CompletedCheckpoint,
  sources: readonly EnumeratedSource[],
): readonly EnumeratedSource[] | string {
  const taken: EnumeratedSource[] = [];
  for (const source of sources) {
    const left = new Map(source.splits.map((split) => [split.id, split]));
    const given = new Map<string, GivenSplits>();
    for (const [subtask, { processId, slice }] of members.entries()) {
      const held = heldBy(slice, pointer, source.uid);
      if (held === null) return `${processId} does not remember all that it was given of source ${source.uid}`;
      for (const [index, split] of held.splits.entries()) {
        const isLeft = left.delete(split.id);
        // What an executor had read before the checkpoint is not in it; anything else was given twice, or by somebody else.
        if (isLeft !== held.isOpen(index))
          return `split ${split.id} of source ${source.uid} is not ${processId}'s alone in try ${name}`;
      }
      if (held.given !== null) given.set(readerName(subtask), held.given);
    }
    const isRead = members.some(({ slice }) => !slice.isDone && slice.sources[source.uid]?.isEnded !== true);
    if (left.size > 0 && !isRead) return `nobody reads the ${left.size} splits of source ${source.uid} that are left`;
    taken.push({ ...source, given });
  }
  return taken;
}

const allGiven = (slice: OfferedSlice, source: string): readonly Split[] =>
  (slice.sources[source]?.given ?? []) as readonly Split[];

interface Held {
  /** What it remembers of what it was given. */
  readonly splits: readonly Split[];
  /** Whether this one of them was not read to its end at the checkpoint. */
  readonly isOpen: (index: number) => boolean;
  /** Null: it had ended. */
  readonly given: GivenSplits | null;
}

function heldBy(slice: OfferedSlice, pointer: CompletedCheckpoint, source: string): Held | null {
  const point = pointMark(slice, pointer);
  const all = allGiven(slice, source);
  if (point === null) return null;
  if (point === "ended") return { splits: all, isOpen: () => false, given: null };
  const { taken, reading } = point(source);
  const { asks = 0, isEnded = false, before = 0 } = slice.sources[source] ?? {};
  const from = Math.min(taken, ...reading.map(({ nth }) => nth));
  if (before > from || before + all.length < taken) return null;
  const open = new Set(reading.map(({ nth }) => nth));
  const splits = all.slice(from - before);
  const isOpen = (index: number) => from + index >= taken || open.has(from + index);
  return { splits, isOpen, given: { before: from, splits, asks, isEnded } };
}
