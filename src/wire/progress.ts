/** Counters of a running job, observed and never persisted: executor -> driver -> master -> client. */
import { z } from "zod";

export const operatorProgress = z.object({ uid: z.string(), kind: z.string(), in: z.number(), out: z.number() });
export const MAX_FAILED_TRIES = 16;
export const failedTry = z.object({ try: z.number().int().positive(), code: z.string(), message: z.string() });
export type FailedTry = z.infer<typeof failedTry>;
export const progress = z.object({
  recordsIn: z.number(),
  recordsOut: z.number(),
  badRecords: z.number(),
  /** Records of all sources together where that is known (a bar can be drawn). */
  totalRecords: z.number().nullable(),
  operators: z.array(operatorProgress).max(1024),
  /** First bad records, at most 10: file, line, reason. */
  firstBadRecords: z
    .array(
      z.object({
        uid: z.string(),
        file: z.string(),
        line: z.number().nullable(),
        offset: z.number().nullable(),
        reason: z.string(),
      }),
    )
    .max(10),
  /** Restarts of the job's subtasks within this driver attempt, and why the last one happened. */
  jobRestarts: z.number(),
  lastRestartReason: z.string().nullable(),
  /** Why each try of this driver attempt failed, newest last; absent from executors. */
  failedTries: z.array(failedTry).max(MAX_FAILED_TRIES).optional(),
  /** The checkpoint that the try of that name goes on from, and how many records that were read before are read again (null: not known). */
  restored: z
    .object({
      try: z.string(),
      checkpoint: z.number(),
      recordsBack: z.number().nullable(),
      /** The only slice that goes on from there; absent: the whole job does. */
      slice: z.number().int().nonnegative().optional(),
    })
    .optional(),
  /** The checkpoint that is being taken: how many executors have answered, of how many. Absent: none is. */
  checkpoint: z.object({ id: z.number(), trigger: z.string(), answered: z.number(), of: z.number(), stage: z.string() }).optional(),
  /** What the job is doing: planning, waiting for executors, running, committing. */
  phase: z.enum(["planning", "waiting", "running", "restarting", "committing", "done"]),
});
export type Progress = z.infer<typeof progress>;
