/** What stands in the znodes of a store: the head, log entries, pages, the manifest, ephemeral records. Pure but for the checksum. */
import { utf8Length } from "../coordination/limits.js";
import type { StoredRecord } from "../env/coordination-store.js";
import { BinaryReader, BinaryWriter } from "./binary.js";
import { damaged, type Kind, seal, unseal } from "./sealed.js";

/** The newest state of a persistent record; `record` undefined: deleted. */
export interface RecordState {
  readonly key: string;
  readonly record: StoredRecord | undefined;
}

export interface Head {
  /** Of the last log entry; 0: nothing was committed yet. */
  readonly index: number;
  readonly revision: number;
}

/** One applied group of transactions of one session: the changes they come to, never what they asked for. */
export interface LogEntry {
  readonly index: number;
  /** After it: transactions since the store was made. */
  readonly revision: number;
  readonly sessionId: string;
  /** Tells the author of an entry whose outcome is unknown. */
  readonly nonce: string;
  readonly states: readonly RecordState[];
  /** Names of ephemeral records whose values it changed. */
  readonly touched: readonly string[];
}

/** A part of a run. */
export interface RunPage {
  readonly name: string;
  readonly sizeBytes: number;
}

/** The newest states, as of `to`, of all keys that the log changed after `from`. */
export interface Run {
  readonly from: number;
  readonly to: number;
  readonly pages: readonly RunPage[];
}

/** Which pages hold everything up to `to`. Runs follow one another, the oldest first; a later one overrides an earlier one. */
export interface Manifest {
  readonly to: number;
  readonly revision: number;
  readonly runs: readonly Run[];
}

export const EMPTY_MANIFEST: Manifest = { to: 0, revision: 0, runs: [] };

export interface EphemeralRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

const DELETED = 0;
const PUT = 1;
/** Of a state beside its key and value: kind, two lengths, version. */
const STATE_OVERHEAD_BYTES = 20;
const ENTRY_OVERHEAD_BYTES = 160;

export const stateBytes = ({ key, record }: RecordState): number =>
  STATE_OVERHEAD_BYTES + utf8Length(key) + (record?.value.length ?? 0);

export function encodeHead(head: Head): Uint8Array {
  return seal("head", new BinaryWriter(16).number(head.index).number(head.revision).finish());
}

export function decodeHead(bytes: Uint8Array, path: string): Head {
  return read("head", bytes, path, (reader) => ({ index: reader.number(), revision: reader.number() }));
}

export function encodeEntry(entry: LogEntry): Uint8Array {
  const capacity = entry.states.reduce((sum, state) => sum + stateBytes(state), ENTRY_OVERHEAD_BYTES);
  const writer = new BinaryWriter(capacity).number(entry.index).number(entry.revision).text(entry.sessionId).text(entry.nonce);
  writeStates(writer, entry.states);
  writer.number(entry.touched.length);
  for (const name of entry.touched) writer.text(name);
  return seal("entry", writer.finish());
}

export function decodeEntry(bytes: Uint8Array, path: string): LogEntry {
  return read("entry", bytes, path, (reader) => ({
    index: reader.number(),
    revision: reader.number(),
    sessionId: reader.text(),
    nonce: reader.text(),
    states: readStates(reader),
    touched: Array.from({ length: reader.number() }, () => reader.text()),
  }));
}

export function encodePage(states: readonly RecordState[]): Uint8Array {
  const writer = new BinaryWriter(states.reduce((sum, state) => sum + stateBytes(state), 8));
  writeStates(writer, states);
  return seal("page", writer.finish());
}

export function decodePage(bytes: Uint8Array, path: string): readonly RecordState[] {
  return read("page", bytes, path, readStates);
}

export function encodeManifest(manifest: Manifest): Uint8Array {
  const writer = new BinaryWriter(256).number(manifest.to).number(manifest.revision).number(manifest.runs.length);
  for (const { from, to, pages } of manifest.runs) {
    writer.number(from).number(to).number(pages.length);
    for (const { name, sizeBytes } of pages) writer.text(name).number(sizeBytes);
  }
  return seal("manifest", writer.finish());
}

export function decodeManifest(bytes: Uint8Array, path: string): Manifest {
  return read("manifest", bytes, path, (reader) => ({
    to: reader.number(),
    revision: reader.number(),
    runs: Array.from({ length: reader.number() }, () => ({
      from: reader.number(),
      to: reader.number(),
      pages: Array.from({ length: reader.number() }, () => ({ name: reader.text(), sizeBytes: reader.number() })),
    })),
  }));
}

export function encodeEphemeral({ key, value }: EphemeralRecord): Uint8Array {
  return seal("ephemeral", new BinaryWriter(value.length + utf8Length(key) + 16).text(key).blob(value).finish());
}

export function decodeEphemeral(bytes: Uint8Array, path: string): EphemeralRecord {
  return read("ephemeral", bytes, path, (reader) => ({ key: reader.text(), value: reader.blob() }));
}

function writeStates(writer: BinaryWriter, states: readonly RecordState[]): void {
  writer.number(states.length);
  for (const { key, record } of states) {
    writer.number(record === undefined ? DELETED : PUT).text(key);
    if (record !== undefined) writer.number(record.version).blob(record.value);
  }
}

function readStates(reader: BinaryReader): readonly RecordState[] {
  return Array.from({ length: reader.number() }, () => {
    const kind = reader.number();
    const key = reader.text();
    if (kind === DELETED) return { key, record: undefined };
    if (kind !== PUT) throw new RangeError(`a state of kind ${kind}`);
    return { key, record: { key, version: reader.number(), value: reader.blob() } };
  });
}

function read<T>(kind: Kind, bytes: Uint8Array, path: string, body: (reader: BinaryReader) => T): T {
  const reader = new BinaryReader(unseal(kind, bytes, path));
  try {
    const value = body(reader);
    if (reader.atEnd) return value;
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
  }
  throw damaged(path, `its ${kind} cannot be read`);
}
