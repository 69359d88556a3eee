/**
 * The keyed state of one operator's subtask as blobs, and back.
 *
 *   "HFS1" | u32 bytes of the header | header (JSON, padded to 8) | batch | batch ...       a batch: u32 bytes, u32 0, payload padded to 8
 *
 * A payload holds entries `{ g, k, v }` (key group, key, value; without `v`: the key is gone) in the batch codec of the exchanges: what may be in a record may be in
 * state. The handles of an operator are read in order, later entries count: first everything, then what has changed since. Each blob is
 * readable by itself, and its header names application, checkpoint and try, so that no two checkpoints share a blob by chance.
 *
 * Invariants: the event loop is never held for much longer than a loop of the engine (`Pacer`); at most MAX_WRITES blobs wait for the store.
 */
import { CodedError } from "../../../base/errors.js";
import { utf8Decode, utf8Encode } from "../../../base/utf8.js";
import type { KeyGroupRange } from "../../../dataflow/key-groups.js";
import type { StateHandle } from "../../../wire/checkpoint.js";
import { BatchDecoder, BatchEncoder, type TextCodec } from "../codec/index.js";
import { EVERY_SUBTASK, type KeyedState, type StateEntry, type StateLayout } from "../keyed-state.js";
import type { Pacer } from "../pacer.js";
import type { StateBlobs } from "../slice.js";
import type { OpenSnapshot, SnapshotState } from "../state/open-snapshot.js";

/** Hashing that many bytes takes a few milliseconds. */
export const STATE_BLOB_BYTES = 4 * 1024 * 1024;
/** Blobs that were encoded and are not durable yet; bounds the memory of a snapshot. */
const MAX_WRITES = 4;
const MAX_STEP_ENTRIES = 1_024;
const FIRST_STEP_ENTRIES = 64;
/** A step that took longer is made smaller. */
const STEP_BUDGET_MS = 1;
const MAGIC = [0x48, 0x46, 0x53, 0x31];
const FRAME_BYTES = 8;
const MAX_HEADER_BYTES = 64 * 1024;
/** Blobs that are read while the one before them is taken apart. */
const AHEAD_BLOBS = 2;
/** Room that is made for entries before they are there. */
const MAX_EXPECTED_ENTRIES = 16_777_216;

export interface StateHeader {
  readonly applicationId: string;
  readonly checkpoint: number;
  readonly attempt: string;
  readonly operator: string;
  readonly subtask: number;
  /** Of the values, when they consist of declared states. */
  readonly layout?: StateLayout;
}

export interface StateAccess {
  readonly blobs: StateBlobs;
  readonly text: TextCodec;
  readonly pacer: Pacer;
}

/** The encoder of one operator's state, kept from blob to blob: its code is compiled once, and text that never repeats is not looked for in dictionaries again. */
export class StateEncoder {
  private readonly text: TextCodec;
  private spare: BatchEncoder | null = null;

  constructor(text: TextCodec) {
    this.text = text;
  }

  /** For one blob, by one writer: while it has not been given back another one is made. */
  take(): BatchEncoder {
    const encoder = this.spare ?? new BatchEncoder({ text: this.text, headerBytes: FRAME_BYTES });
    this.spare = null;
    encoder.restart();
    return encoder;
  }

  giveBack(encoder: BatchEncoder): void {
    this.spare = encoder;
  }
}

/** One blob that is being filled. */
class BlobWriter {
  private readonly encoder: BatchEncoder;
  private readonly encoders: StateEncoder;
  private readonly parts: Uint8Array[];
  private size = 0;

  constructor(encoders: StateEncoder, header: StateHeader & { readonly part: number }) {
    this.encoders = encoders;
    this.encoder = encoders.take();
    const body = utf8Encode(JSON.stringify(header));
    const head = new Uint8Array(padded(FRAME_BYTES + body.length));
    head.set(MAGIC);
    new DataView(head.buffer).setUint32(4, body.length, true);
    head.set(body, FRAME_BYTES);
    this.parts = [head];
    this.size = head.length;
  }

  get isFull(): boolean {
    return this.size >= STATE_BLOB_BYTES;
  }

  add(entries: readonly unknown[]): void {
    for (let at = 0; at < entries.length; ) {
      const { bytes, consumed } = this.encoder.encodeView(entries, at, entries.length - at);
      const frame = new Uint8Array(padded(bytes.length));
      frame.set(bytes);
      new DataView(frame.buffer).setUint32(0, bytes.length - FRAME_BYTES, true);
      this.parts.push(frame);
      this.size += frame.length;
      at += consumed;
    }
  }

  finish(): Uint8Array {
    this.encoders.giveBack(this.encoder);
    const blob = new Uint8Array(this.size);
    let at = 0;
    for (const part of this.parts) {
      blob.set(part, at);
      at += part.length;
    }
    return blob;
  }
}

/** Entries that are encoded without a pause: so many that it takes about STEP_BUDGET_MS. */
class Steps {
  size = FIRST_STEP_ENTRIES;

  took(ms: number): void {
    if (ms > STEP_BUDGET_MS) this.size = Math.max(1, this.size >> 1);
    else this.size = Math.min(MAX_STEP_ENTRIES, this.size * 2);
  }
}

/** Encodes entries into blobs, which are written while more are encoded. */
class StateWriter {
  private readonly header: StateHeader;
  private readonly access: StateAccess;
  private readonly encoders: StateEncoder;
  private readonly writes: Promise<StateHandle>[] = [];
  private readonly underWay = new Set<Promise<unknown>>();
  private blob: BlobWriter | null = null;

  constructor(header: StateHeader, access: StateAccess, encoders: StateEncoder) {
    this.header = header;
    this.access = access;
    this.encoders = encoders;
  }

  /** Done with the entries when it returns; a promise when a blob has to wait for the store. */
  add(entries: readonly StateEntry[]): Promise<void> | undefined {
    this.blob ??= new BlobWriter(this.encoders, { ...this.header, part: this.writes.length });
    this.blob.add(entries.map(({ keyGroup: g, key: k, value: v, removed }) => (removed === true ? { g, k } : { g, k, v })));
    return this.blob.isFull ? this.put() : undefined;
  }

  /** The handles, once all is durable. */
  async finish(): Promise<{ readonly handles: Promise<readonly StateHandle[]> }> {
    if (this.blob !== null) await this.put();
    const handles = Promise.all(this.writes);
    handles.catch(() => undefined);
    return { handles };
  }

  private async put(): Promise<void> {
    const blob = this.blob?.finish() ?? new Uint8Array();
    this.blob = null;
    while (this.underWay.size >= MAX_WRITES) await Promise.race(this.underWay);
    const write = this.access.blobs.put(blob);
    this.writes.push(write);
    const settled: Promise<void> = write.then(
      () => undefined,
      () => undefined,
    );
    this.underWay.add(settled);
    void settled.then(() => this.underWay.delete(settled));
  }
}

/**
 * Encodes the state; nothing may change it meanwhile. Resolves when that is done, with a promise for the handles: the blobs are written while the chain goes
 * on. Rejects with BAD_RECORD (a value that no record could hold) or LIMIT_EXCEEDED.
 */
export async function writeState(
  state: KeyedState,
  header: StateHeader,
  maxParallelism: number,
  access: StateAccess,
  encoders = new StateEncoder(access.text),
): Promise<{ readonly handles: Promise<readonly StateHandle[]> }> {
  const { pacer } = access;
  const writer = new StateWriter(header, access, encoders);
  const steps = new Steps();
  let batch: StateEntry[] = [];
  const encode = async (): Promise<void> => {
    if (batch.length === 0) return;
    const startedAt = pacer.now();
    const waiting = writer.add(batch);
    const now = pacer.now();
    steps.took(now - startedAt);
    batch = [];
    if (waiting !== undefined) await waiting;
    if (pacer.isDue(now)) await pacer.pause();
  };
  for (const entry of state.entries(maxParallelism)) {
    batch.push(entry);
    if (batch.length >= steps.size) await encode();
  }
  await encode();
  return writer.finish();
}

/** The same for state that goes on changing: after each step everything else has its turn. Rejects with ABORTED when `isWanted` says no. */
export async function writeSnapshot(
  snapshot: OpenSnapshot,
  header: StateHeader,
  access: StateAccess,
  isWanted: () => boolean,
  encoders = new StateEncoder(access.text),
): Promise<{ readonly handles: Promise<readonly StateHandle[]> }> {
  const { pacer } = access;
  const writer = new StateWriter(header, access, encoders);
  const steps = new Steps();
  let turnMs = 0;
  try {
    for (;;) {
      if (!isWanted()) throw new CodedError("ABORTED", `Checkpoint ${header.checkpoint} is over.`);
      if (snapshot.ready !== undefined) await snapshot.ready();
      const startedAt = pacer.now();
      const entries = snapshot.take(steps.size);
      if (entries.length === 0) return await writer.finish();
      const waiting = writer.add(entries);
      const now = pacer.now();
      steps.took(now - startedAt);
      turnMs += now - startedAt;
      if (waiting !== undefined) await waiting;
      else if (turnMs < STEP_BUDGET_MS) continue;
      await pacer.pause();
      turnMs = 0;
    }
  } finally {
    snapshot.close();
  }
}

/** Whose state is to be read. */
export interface StateOwner {
  /** Absent: that of any; a job that began from a savepoint reads what another application wrote. */
  readonly applicationId?: string;
  readonly operator: string;
  /** Only entries of these key groups, and of what every subtask has those of one. Absent: all. */
  readonly own?: KeyGroupRange;
}

/** Restores state from its blobs. Rejects with CHECKPOINT_UNREADABLE. */
export async function readState(
  state: Pick<KeyedState, "restore"> & Pick<SnapshotState, "makeRoom" | "expect">,
  handles: readonly StateHandle[],
  expected: StateOwner,
  { blobs, text, pacer }: StateAccess,
): Promise<void> {
  let every: number | null = null;
  const entries = new EntryCursor();
  const ahead = readAhead(blobs, handles);
  for (const [number, handle] of handles.entries()) {
    const blob = await ahead(number);
    const unreadable = (why: string): CodedError =>
      new CodedError("CHECKPOINT_UNREADABLE", `The state ${handle.sha256} of operator '${expected.operator}' ${why}.`, {
        details: { sha256: handle.sha256, operator: expected.operator },
      });
    const decoder = new BatchDecoder({ text });
    const { end, header } = headerOfBlob(blob, expected, unreadable);
    const { layout = null, subtask = 0 } = header;
    every ??= subtask;
    const isOwn = ownership(expected.own, subtask === every);
    for (let at = end; at < blob.length; ) {
      const length = at + FRAME_BYTES <= blob.length ? viewOf(blob).getUint32(at, true) : Number.POSITIVE_INFINITY;
      if (at + FRAME_BYTES + length > blob.length) throw unreadable("ends in the middle of a batch");
      const count = decoder.decodeInto(blob.subarray(at + FRAME_BYTES, at + FRAME_BYTES + length), entries.records);
      if (number === 0 && at === end) state.expect?.(estimateOf(count, length, handles));
      state.restore(entries.over(count, isOwn), layout);
      at += padded(FRAME_BYTES + length);
      if (state.makeRoom !== undefined) await state.makeRoom();
      if (pacer.isDue(pacer.now())) await pacer.pause();
    }
  }
}

/** Gives blobs in their order, and reads the next ones while one is taken apart. */
function readAhead(blobs: StateBlobs, handles: readonly StateHandle[]): (number: number) => Promise<Uint8Array> {
  const reading = new Map<number, Promise<Uint8Array>>();
  return (number) => {
    for (let next = number; next <= number + AHEAD_BLOBS; next++) {
      const handle = handles[next];
      if (handle === undefined || reading.has(next)) continue;
      const blob = blobs.get(handle);
      // One that can't be read is told when it is its turn.
      blob.catch(() => undefined);
      reading.set(next, blob);
    }
    const blob = reading.get(number) ?? Promise.reject(new CodedError("INTERNAL", `invariant broken: there is no blob ${number}`));
    reading.delete(number);
    return blob;
  };
}

/** Entries that all blobs hold, by the first batch; never so many that a blob of lies takes memory. */
function estimateOf(count: number, bytes: number, handles: readonly StateHandle[]): number {
  const sum = handles.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  return Math.min(MAX_EXPECTED_ENTRIES, Math.round((sum * count) / Math.max(1, bytes)));
}

/** `holdsEvery`: what every subtask has is taken from these blobs. */
function ownership(own: KeyGroupRange | undefined, holdsEvery: boolean): ((keyGroup: number) => boolean) | null {
  if (own === undefined) return null;
  return (keyGroup) => (keyGroup === EVERY_SUBTASK ? holdsEvery : keyGroup >= own.first && keyGroup <= own.last);
}

type Mutable<T> = { -readonly [P in keyof T]: T[P] };

/** The entries of one batch after another. One object shows them all: each is to be taken apart before the next one is asked for. */
class EntryCursor implements Iterable<StateEntry> {
  /** Of the batch. */
  readonly records: unknown[] = [];
  private readonly there: Mutable<StateEntry> = { keyGroup: 0, key: null, value: null };
  private readonly gone: Mutable<StateEntry> = { keyGroup: 0, key: null, value: undefined, removed: true };
  private count = 0;
  private at = 0;
  private isOwn: ((keyGroup: number) => boolean) | null = null;

  over(count: number, isOwn: ((keyGroup: number) => boolean) | null): this {
    this.count = count;
    this.at = 0;
    this.isOwn = isOwn;
    return this;
  }

  [Symbol.iterator](): Iterator<StateEntry> {
    return this;
  }

  next(): IteratorResult<StateEntry> {
    while (this.at < this.count) {
      const record = this.records[this.at++] as object;
      const { g, k, v } = record as { readonly g: number; readonly k: unknown; readonly v?: unknown };
      if (this.isOwn !== null && !this.isOwn(g)) continue;
      const entry = v !== undefined || "v" in record ? this.there : this.gone;
      entry.keyGroup = g;
      entry.key = k;
      entry.value = v;
      return { done: false, value: entry };
    }
    this.records.length = 0;
    return { done: true, value: undefined };
  }
}

/** Where the batches begin, and what they hold. */
function headerOfBlob(
  blob: Uint8Array,
  { applicationId, operator }: StateOwner,
  unreadable: (why: string) => CodedError,
): { readonly end: number; readonly header: Partial<StateHeader> } {
  if (blob.length < FRAME_BYTES || MAGIC.some((byte, index) => blob[index] !== byte)) throw unreadable("is not state");
  const length = viewOf(blob).getUint32(4, true);
  if (length > MAX_HEADER_BYTES || FRAME_BYTES + length > blob.length) throw unreadable("has no header");
  const header = headerOf(blob.subarray(FRAME_BYTES, FRAME_BYTES + length));
  const isOther = applicationId !== undefined && header?.applicationId !== applicationId;
  if (isOther || header?.operator !== operator)
    throw unreadable(`belongs to operator '${header?.operator ?? "?"}' of ${header?.applicationId ?? "?"}`);
  return { end: padded(FRAME_BYTES + length), header };
}

function headerOf(bytes: Uint8Array): Partial<StateHeader> | null {
  try {
    return JSON.parse(utf8Decode(bytes) ?? "null") as Partial<StateHeader> | null;
  } catch {
    return null;
  }
}

const padded = (length: number): number => (length + 7) & ~7;
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
