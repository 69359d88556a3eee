/**
 * Batches of events as records: what happened in one turn of a leader, kept so that the next leader continues the history.
 *
 * Keys: `events/<number>`, numbered from 1 over the life of the store; the oldest are deleted.
 */
import { z } from "zod";
import { type Decoded, decode, encode, type RecordFormat } from "./records.js";
import { type EventView, eventView } from "./views.js";

export const EVENTS_PREFIX = "events/";
const NUMBER_DIGITS = 12;

const EVENTS: RecordFormat<readonly EventView[]> = { kind: "events", version: 1, schema: z.array(eventView), upgrades: {} };

/** Sorts by number. */
export const eventsKey = (batch: number): string => `${EVENTS_PREFIX}${String(batch).padStart(NUMBER_DIGITS, "0")}`;

/** Null for a key that no leader has written. */
export function batchOf(key: string): number | null {
  const batch = Number(key.slice(EVENTS_PREFIX.length));
  return Number.isSafeInteger(batch) && batch > 0 && eventsKey(batch) === key ? batch : null;
}

export const encodeEvents = (events: readonly EventView[]): Uint8Array => encode(EVENTS, events);
export const decodeEvents = (bytes: Uint8Array): Decoded<readonly EventView[]> => decode(EVENTS, bytes);
