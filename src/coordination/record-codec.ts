/**
 * The envelope of every durable record: `{ "v": version, "kind": kind, "body": body }` as JSON bytes.
 *
 * A record that cannot be read (damaged, of an unknown kind, of a newer version) is a result and not an exception, so that the reader can
 * quarantine it: show it with its reason, keep its bytes, and recover the rest. Nothing here ever deletes anything.
 */
import type { JsonValue } from "../base/json.js";

/** How one kind of record is read. */
export interface RecordSchema<T> {
  readonly kind: string;
  /** The version that is written now. */
  readonly version: number;
  /** From version n to n + 1, by n. A version without an upgrade path is not readable. */
  readonly upgrades?: ReadonlyMap<number, (body: JsonValue) => JsonValue>;
  /** Throws when the body does not fit; the message becomes part of the reason. */
  parse(body: JsonValue): T;
}

/** By kind. */
export type RecordRegistry<T> = ReadonlyMap<string, RecordSchema<T>>;

export type DecodedRecord<T> =
  | {
      readonly ok: true;
      readonly kind: string /** As stored, before upgrades. */;
      readonly storedVersion: number;
      readonly body: T;
    }
  | {
      readonly ok: false;
      readonly problem: "damaged" | "unknown-kind" | "newer-version" | "invalid-body";
      /** A sentence for people. */
      readonly reason: string;
      /** What the envelope said, as far as it could be read. */
      readonly kind: string | null;
      readonly storedVersion: number | null;
    };

export function recordRegistry<T>(schemas: readonly RecordSchema<T>[]): RecordRegistry<T> {
  return new Map(schemas.map((schema) => [schema.kind, schema]));
}

export function encodeRecord(kind: string, version: number, body: JsonValue): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: version, kind, body }));
}

export function decodeRecord<T>(bytes: Uint8Array, registry: RecordRegistry<T>): DecodedRecord<T> {
  const envelope = readEnvelope(bytes);
  if (envelope === undefined) {
    return {
      ok: false,
      problem: "damaged",
      reason: "it is not a record of Holdfast (no JSON envelope)",
      kind: null,
      storedVersion: null,
    };
  }
  const { kind, v: storedVersion } = envelope;
  const schema = registry.get(kind);
  if (schema === undefined) {
    return {
      ok: false,
      problem: "unknown-kind",
      reason: `its kind "${kind}" is not known to this version of Holdfast`,
      kind,
      storedVersion,
    };
  }
  if (storedVersion > schema.version) {
    const reason = `it is version ${storedVersion} of "${kind}", this Holdfast reads up to ${schema.version}`;
    return { ok: false, problem: "newer-version", reason, kind, storedVersion };
  }
  try {
    return { ok: true, kind, storedVersion, body: schema.parse(upgrade(schema, storedVersion, envelope.body)) };
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return { ok: false, problem: "invalid-body", reason: `its body does not fit "${kind}": ${why}`, kind, storedVersion };
  }
}

interface Envelope {
  readonly v: number;
  readonly kind: string;
  readonly body: JsonValue;
}

function readEnvelope(bytes: Uint8Array): Envelope | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const { v, kind, body } = parsed as { readonly v?: unknown; readonly kind?: unknown; readonly body?: JsonValue };
  if (typeof v !== "number" || !Number.isSafeInteger(v) || v < 1 || typeof kind !== "string" || body === undefined)
    return undefined;
  return { v, kind, body };
}

function upgrade<T>(schema: RecordSchema<T>, storedVersion: number, stored: JsonValue): JsonValue {
  let body = stored;
  for (let version = storedVersion; version < schema.version; version++) {
    const step = schema.upgrades?.get(version);
    if (step === undefined) throw new Error(`there is no upgrade from version ${version} to ${version + 1}`);
    body = step(body);
  }
  return body;
}
