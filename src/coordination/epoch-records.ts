/** The few records that leadership itself writes (keys.ts): their bytes, and nothing else. A newer or damaged one is never guessed at. */
import { CodedError } from "../base/errors.js";
import type { StoredRecord } from "../env/coordination-store.js";
import { CLUSTER_KEY, EPOCH_KEY, LAST_COMMIT_KEY } from "./keys.js";

const VERSION = 1;

export interface EpochRecord {
  readonly epoch: number;
  /** The session that took it: tells its owner that an unknown outcome was a success. */
  readonly session: string;
  readonly candidate: string;
  /** A mark of its cluster's secret, empty without one; undefined where a version wrote it that did not know of this. */
  readonly binding: string | undefined;
}

export interface LastCommit {
  readonly epoch: number;
  /** 0: the epoch was taken and nothing committed in it. */
  readonly sequence: number;
}

export function encodeEpoch(record: EpochRecord): Uint8Array {
  const { epoch, session, candidate, binding } = record;
  return encode({ epoch, session, candidate, ...(binding === undefined ? {} : { binding }) });
}

export function decodeEpoch(record: StoredRecord): EpochRecord {
  const { epoch, session, candidate, binding } = decode(record);
  if (!isCount(epoch) || typeof session !== "string" || typeof candidate !== "string") throw unreadable(EPOCH_KEY);
  if (binding !== undefined && typeof binding !== "string") throw unreadable(EPOCH_KEY);
  return { epoch, session, candidate, binding };
}

export function encodeLastCommit(last: LastCommit): Uint8Array {
  return encode({ epoch: last.epoch, sequence: last.sequence });
}

export function decodeLastCommit(record: StoredRecord): LastCommit {
  const { epoch, sequence } = decode(record);
  if (!isCount(epoch) || !isCount(sequence)) throw unreadable(LAST_COMMIT_KEY);
  return { epoch, sequence };
}

export function encodeClusterId(id: string): Uint8Array {
  return encode({ id });
}

export function decodeClusterId(record: StoredRecord): string {
  const { id } = decode(record);
  if (typeof id !== "string" || id === "") throw unreadable(CLUSTER_KEY);
  return id;
}

export function encodeCandidate(session: string, candidate: string): Uint8Array {
  return encode({ session, candidate });
}

function encode(fields: Readonly<Record<string, string | number>>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: VERSION, ...fields }));
}

function decode(record: StoredRecord): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(record.value));
  } catch {
    throw unreadable(record.key);
  }
  if (typeof parsed !== "object" || parsed === null) throw unreadable(record.key);
  const fields = parsed as { readonly v?: unknown; readonly [field: string]: unknown };
  if (fields.v !== VERSION) throw unreadable(record.key);
  return fields;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function unreadable(key: string): CodedError {
  return new CodedError("STORE_FORMAT", `the coordination store's record "${key}" is damaged or was written by a newer Holdfast`, {
    hint: "Start the version of Holdfast that wrote this store, or restore the store from a copy.",
    details: { key },
  });
}
