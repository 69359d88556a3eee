/**
 * The durable records of the master and their bytes: versioned JSON `{ v, kind, body }`.
 *
 * Invariants:
 *   1. A record of an older version is upgraded step by step when it is read (I25); it is written in the new version at its next change.
 *   2. What cannot be decoded (damage, a newer version, another kind) is a value, not an exception: the reader quarantines the record,
 *      keeps its bytes in the store, shows it, and goes on with the rest.
 *   3. Keys: `applications/<id>`, `workers/<id>`, and `registrar/removals` (one record); events are in event-records.ts.
 */
import type { z } from "zod";
import { utf8Decode, utf8Encode } from "../base/utf8.js";
import { type ApplicationRecord, applicationRecord, type WorkerRecord, workerRecord } from "./application.js";
import { type RemovalsRecord, removalsRecord } from "./registrar.js";

export const APPLICATIONS_PREFIX = "applications/";
export const WORKERS_PREFIX = "workers/";
export const applicationKey = (id: string): string => `${APPLICATIONS_PREFIX}${id}`;
export const workerKey = (id: string): string => `${WORKERS_PREFIX}${id}`;
export const REGISTRAR_PREFIX = "registrar/";
export const REMOVALS_KEY = `${REGISTRAR_PREFIX}removals`;

export interface RecordFormat<T> {
  readonly kind: string;
  readonly version: number;
  readonly schema: z.ZodType<T>;
  /** `upgrades[n]` turns a body of version n into one of version n + 1. */
  readonly upgrades: Readonly<Record<number, (body: unknown) => unknown>>;
}

const APPLICATION: RecordFormat<ApplicationRecord> = { kind: "application", version: 1, schema: applicationRecord, upgrades: {} };
const WORKER: RecordFormat<WorkerRecord> = { kind: "worker", version: 1, schema: workerRecord, upgrades: {} };
const REMOVALS: RecordFormat<RemovalsRecord> = { kind: "removals", version: 1, schema: removalsRecord, upgrades: {} };

/** `body`: what of a record that cannot be read could be read nevertheless; undefined where not even that. */
export type Decoded<T> =
  | { readonly ok: true; readonly record: T }
  | { readonly ok: false; readonly reason: string; readonly body?: unknown };

export function encode<T>(format: RecordFormat<T>, record: T): Uint8Array {
  return utf8Encode(JSON.stringify({ v: format.version, kind: format.kind, body: record }));
}

export function decode<T>(format: RecordFormat<T>, bytes: Uint8Array): Decoded<T> {
  const text = utf8Decode(bytes);
  if (text === null) return { ok: false, reason: "not UTF-8" };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { ok: false, reason: "not JSON" };
  }
  if (typeof parsed !== "object" || parsed === null) return { ok: false, reason: "not a record" };
  const { v, kind, body } = parsed as { v?: unknown; kind?: unknown; body?: unknown };
  if (kind !== format.kind)
    return { ok: false, reason: `of kind ${JSON.stringify(kind)?.slice(0, 100)} instead of ${format.kind}` };
  if (typeof v !== "number" || !Number.isInteger(v) || v < 1) return { ok: false, reason: "without a version", body };
  if (v > format.version)
    return { ok: false, reason: `of version ${v}, this program knows versions up to ${format.version}`, body };
  let current = body;
  for (let version = v; version < format.version; version++) {
    const upgrade = format.upgrades[version];
    if (upgrade === undefined) return { ok: false, reason: `of version ${v}, from which there is no upgrade`, body };
    try {
      current = upgrade(current);
    } catch {
      return { ok: false, reason: `of version ${v}, and not what that version was`, body };
    }
  }
  const checked = format.schema.safeParse(current);
  if (checked.success) return { ok: true, record: checked.data };
  const issue = checked.error.issues[0];
  return {
    ok: false,
    reason: `not valid at ${issue === undefined ? "?" : issue.path.join(".") || "the top"}: ${issue?.message ?? "unknown"}`,
    body,
  };
}

export const encodeApplicationRecord = (record: ApplicationRecord): Uint8Array => encode(APPLICATION, record);
export const decodeApplicationRecord = (bytes: Uint8Array): Decoded<ApplicationRecord> => decode(APPLICATION, bytes);
export const encodeWorkerRecord = (record: WorkerRecord): Uint8Array => encode(WORKER, record);
export const decodeWorkerRecord = (bytes: Uint8Array): Decoded<WorkerRecord> => decode(WORKER, bytes);
export const encodeRemovalsRecord = (record: RemovalsRecord): Uint8Array => encode(REMOVALS, record);
export const decodeRemovalsRecord = (bytes: Uint8Array): Decoded<RemovalsRecord> => decode(REMOVALS, bytes);

/** The key that an application's record, unreadable otherwise, was submitted with: it must not be taken for a new one. */
export function submissionKeyIn(body: unknown): string | null {
  const key = typeof body === "object" && body !== null ? (body as { submissionKey?: unknown }).submissionKey : undefined;
  return typeof key === "string" ? key : null;
}
