/**
 * What a leader says to the masters that stand by, over the link that each of them has made to it.
 *
 * `master.handover` is a request; it may be repeated. Lost with its link it changes nothing: a standby that was told to hold back does so for a bounded
 * time. `master.resigned` is a hint that saves a standby the way over the store; lost, it changes nothing but the time.
 */
import { z } from "zod";
import { idText } from "./ids.js";

export const HANDOVER = "master.handover";

export const leaderToStandby = {
  /** This leader is about to resign from `epoch`. Whoever is `to` takes over as soon as it can; the others let it go first, and look at `address`. */
  [HANDOVER]: z.object({ epoch: z.number().int().positive(), to: idText, address: z.string().max(256) }),
} as const;
export type HandoverNotice = z.infer<(typeof leaderToStandby)[typeof HANDOVER]>;

export const RESIGNED = "master.resigned";

export const leaderNotices = {
  /** This leader has committed its last record of `epoch`, and obeys and tells nobody any more. */
  [RESIGNED]: z.object({ epoch: z.number().int().positive() }),
} as const;
export type ResignedNotice = z.infer<(typeof leaderNotices)[typeof RESIGNED]>;

/** `standsBy`: it is a candidate for the epoch at this moment. */
export const handoverReply = z.object({ standsBy: z.boolean() });
