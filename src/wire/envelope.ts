/**
 * What every control frame holds: UTF-8 JSON of an Envelope, after the handshake (`handshake.ts`).
 *
 * Invariants:
 *   1. `epoch` is the sender's view of the leader's epoch (0: knows none). A receiver that takes orders (worker, driver, executor)
 *      remembers the highest epoch seen from a master and refuses a lower one with STALE_EPOCH (I6).
 *   2. A request has `id`; its one reply has `re` with the same number and either `body` or `error`. Other messages have neither.
 *   3. Unknown fields are ignored, an unknown kind is refused with PROTOCOL_VIOLATION.
 */
import { z } from "zod";
import { isErrorCode } from "../base/errors.js";

export const PROTOCOL_VERSION = 1;
/** Frames before the handshake is complete may not be larger than this. */
export const MAX_HANDSHAKE_FRAME_BYTES = 16 * 1024;
export const MAX_CONTROL_FRAME_BYTES = 4 * 1024 * 1024;
/** Requests without an answer that one side may have open on one connection. */
export const MAX_OPEN_REQUESTS = 1024;

export const errorShape = z.object({
  code: z.string().refine(isErrorCode),
  message: z.string(),
  hint: z.string().nullable(),
  details: z.record(z.string(), z.unknown()).optional(),
});

export const envelope = z.object({
  kind: z.string().min(1).max(64),
  id: z.number().int().nonnegative().optional(),
  re: z.number().int().nonnegative().optional(),
  epoch: z.number().int().nonnegative(),
  body: z.unknown().optional(),
  error: errorShape.optional(),
});
export type Envelope = z.infer<typeof envelope>;

/** The kinds of one direction of a conversation, each with the schema of its body. */
export type MessageTable = Readonly<Record<string, z.ZodType>>;
export type MessageOf<T extends MessageTable> = {
  [K in keyof T & string]: { readonly kind: K; readonly body: z.infer<T[K]> };
}[keyof T & string];
export type BodyOf<T extends MessageTable, K extends keyof T> = z.infer<T[K]>;

export const ROLES = ["client", "worker", "driver", "executor", "master"] as const;
export type Role = (typeof ROLES)[number];
