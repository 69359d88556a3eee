/**
 * How many workers the master may declare lost: the limits (settings of a master) and the operator's standing word (a record).
 *
 * A master that lost its network sees all workers silent at once, and must not start everything a second time for that. So removals beyond a number
 * a minute, or while too large a share of the workers is away, wait for the network or for the operator (master/removals.ts).
 */
import { z } from "zod";

/** Window of `RemovalLimit.perMinute`. */
export const REMOVAL_WINDOW_MS = 60_000;
/** So many workers may be away whatever share of a small cluster they are. */
export const FEW_WORKERS_AWAY = 2;

export interface RemovalLimit {
  /** Workers that may become lost within a minute; null: any number. */
  readonly perMinute: number | null;
  /** While more than this share of the workers is away (0 to 1), none becomes lost; 1: no such limit. Never for FEW_WORKERS_AWAY or less. */
  readonly share: number;
}

/** The operator's word that outlives a leader. `held`: no worker becomes lost until they say `continue`. */
export const removalsRecord = z.object({ held: z.boolean(), changedAt: z.number() });
export type RemovalsRecord = z.infer<typeof removalsRecord>;

/** Why removals wait: the number a minute, the share of workers that are away, or the operator. */
export const REMOVAL_REASONS = ["rate", "share", "held"] as const;

export const removalsView = z.object({
  /** The operator holds all removals. */
  held: z.boolean(),
  /** Workers past their deadline that are not declared lost yet. */
  waiting: z.number(),
  /** Since when some wait; null: none does. */
  since: z.string().nullable(),
  reason: z.enum(REMOVAL_REASONS).nullable(),
  perMinute: z.number().nullable(),
  share: z.number(),
});
export type RemovalsView = z.infer<typeof removalsView>;
