/**
 * Each thing a user can ask of the cluster, defined once: name, input and output. RPC and the command line are derived from this table;
 * an HTTP API with OpenAPI will be. `leader: false` may be answered by any master (or, where said, by a worker).
 *
 * On the wire an operation is a request whose kind is the operation's name.
 */
import { z } from "zod";
import { applicationSpec, resumeChoice } from "./application.js";
import { checkpointRequest } from "./checkpoint.js";
import { idText, submissionKey } from "./ids.js";
import { removalsView } from "./registrar.js";
import {
  applicationSummary,
  applicationView,
  checkpointsView,
  clusterView,
  eventView,
  WORKER_STATES,
  workerView,
} from "./views.js";

export const MAX_CHUNK_BYTES = 1024 * 1024;
export const MAX_ARTIFACT_BYTES = 64 * 1024 * 1024;
export const MAX_WAIT_MS = 30_000;
export const MAX_EVENTS_PAGE = 1000;
export const MAX_DRAIN_MS = 30 * 24 * 3_600_000;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** An application's id, or the submission key it was submitted with. */
const applicationRef = z.object({ application: submissionKey });
const waitMs = z.number().int().min(0).max(MAX_WAIT_MS);

export interface Operation<I extends z.ZodType, O extends z.ZodType> {
  readonly input: I;
  readonly output: O;
  /** One line for help texts and OpenAPI. */
  readonly summary: string;
  /** Who answers: the leading master only, any master, or a worker. */
  readonly answeredBy: "leader" | "master" | "worker";
  /** Whether it changes state (audit, retries by id). */
  readonly changes: boolean;
}

const operation = <I extends z.ZodType, O extends z.ZodType>(definition: Operation<I, O>): Operation<I, O> => definition;

export const OPERATIONS = {
  "artifact.put": operation({
    summary: "Uploads a part of a job bundle; complete when all bytes arrived and have the named sha-256.",
    input: z.object({
      sha256,
      offset: z.number().int().nonnegative(),
      totalBytes: z.number().int().positive().max(MAX_ARTIFACT_BYTES),
      base64: z.string(),
    }),
    output: z.object({ complete: z.boolean(), nextOffset: z.number() }),
    answeredBy: "leader",
    changes: true,
  }),
  "artifact.get": operation({
    summary: "Downloads a part of a job bundle.",
    /** `folder`: of the application's record (wire/bundles.ts); absent: wherever it is found. */
    input: z.object({ sha256, offset: z.number().int().nonnegative(), folder: idText.optional() }),
    output: z.object({ totalBytes: z.number(), base64: z.string() }),
    answeredBy: "master",
    changes: false,
  }),
  submit: operation({
    summary:
      "Submits an application. The same key again answers the first application; another content under it is refused (CONFLICT).",
    input: z.object({ key: submissionKey, spec: applicationSpec }),
    output: z.object({
      id: z.string(),
      name: z.string(),
      kind: z.enum(["job", "process"]),
      state: z.string(),
      created: z.boolean(),
    }),
    answeredBy: "leader",
    changes: true,
  }),
  status: operation({
    summary: "One application in full. With `after` it answers when the version differs from it, or after `waitMs`.",
    input: applicationRef.extend({ after: z.string().nullable(), waitMs }),
    output: z.object({ version: z.string(), application: applicationView }),
    answeredBy: "leader",
    changes: false,
  }),
  list: operation({
    summary: "All applications that are not forgotten, in the order of their submission.",
    input: z.object({}),
    output: z.object({ applications: z.array(applicationSummary) }),
    answeredBy: "leader",
    changes: false,
  }),
  cancel: operation({
    summary: "Cancels an application: polite signal, grace, then its process groups are killed. Harmless when it has ended.",
    input: applicationRef,
    output: z.object({ id: z.string(), state: z.string() }),
    answeredBy: "leader",
    changes: true,
  }),
  forget: operation({
    summary:
      "Removes the record of an application that has ended, and what was kept of it; one that has not ended is refused (CONFLICT). " +
      "Asked again until `forgotten`: what its sinks staged and its state go first.",
    input: applicationRef,
    /** `state` null: it was forgotten before. */
    output: z.object({ id: z.string(), state: z.string().nullable(), forgotten: z.boolean() }),
    answeredBy: "leader",
    changes: true,
  }),
  resume: operation({
    summary:
      "The operator's choice what a parked job goes on from: a completed checkpoint, a savepoint, or its input from the start.",
    input: applicationRef.extend({
      choice: z.discriminatedUnion("kind", [z.object({ kind: z.literal("latest") }), ...resumeChoice.options]),
    }),
    output: z.object({ id: z.string(), state: z.string() }),
    answeredBy: "leader",
    changes: true,
  }),
  checkpoints: operation({
    summary: "The checkpoints of an application: completed, given up, asked for.",
    input: applicationRef,
    output: checkpointsView,
    answeredBy: "leader",
    changes: false,
  }),
  checkpoint: operation({
    summary:
      "Asks for a checkpoint, or a savepoint, now. The same key again is the same request. `checkpoints` tells what became of it.",
    input: applicationRef.extend({ key: submissionKey, savepoint: checkpointRequest.shape.savepoint }),
    output: z.object({ id: z.string(), key: z.string() }),
    answeredBy: "leader",
    changes: true,
  }),
  cluster: operation({
    summary: "Masters, epoch, counts and the last recovery. A standby answers who leads.",
    input: z.object({}),
    output: clusterView,
    answeredBy: "master",
    changes: false,
  }),
  workers: operation({
    summary: "Workers with state and use: all, those in some states, or one.",
    input: z.object({ states: z.array(z.enum(WORKER_STATES)).optional(), worker: submissionKey.optional() }),
    output: z.object({ workers: z.array(workerView) }),
    answeredBy: "leader",
    changes: false,
  }),
  drain: operation({
    summary:
      "Places nothing more on a worker; what is supervised there moves elsewhere, what else runs may finish, at most until the deadline. " +
      "`cancel` takes it back.",
    input: z.object({
      worker: submissionKey,
      /** From now; null: no deadline. */
      deadlineMs: z.number().int().nonnegative().max(MAX_DRAIN_MS).nullable().optional(),
      cancel: z.boolean().optional(),
    }),
    output: z.object({ id: z.string(), state: z.string() }),
    answeredBy: "leader",
    changes: true,
  }),
  gone: operation({
    summary:
      "The operator's word that a worker never comes back: what it ran starts elsewhere at once, and its id is refused for ever.",
    input: z.object({ worker: submissionKey }),
    output: z.object({ id: z.string(), state: z.string() }),
    answeredBy: "leader",
    changes: true,
  }),
  removals: operation({
    summary:
      "Workers past their deadline that wait to be declared lost. `hold`: none becomes lost until `continue`; `continue`: those that wait now do, " +
      "whatever the limits say.",
    input: z.object({ decision: z.enum(["hold", "continue"]).nullable() }),
    output: removalsView,
    answeredBy: "leader",
    changes: true,
  }),
  handover: operation({
    summary:
      "The leader of `epoch` resigns in favour of a standby. Refused without one (NO_STANDBY). When another epoch has begun already it changes nothing.",
    /** `to`: id or address of a master. */
    input: z.object({ epoch: z.number().int().positive(), to: z.string().min(1).max(256).nullable() }),
    /** `handedOver` false: the leader of `epoch` leads no more, or `to` leads already. `epoch`: of the master that answers. */
    output: z.object({ handedOver: z.boolean(), epoch: z.number().int(), to: z.string().nullable() }),
    answeredBy: "leader",
    changes: true,
  }),
  events: operation({
    summary: "What happened, in order. `after` is the last event already seen.",
    input: z.object({
      after: z.object({ epoch: z.number().int(), seq: z.number().int() }).nullable(),
      limit: z.number().int().min(1).max(MAX_EVENTS_PAGE),
      waitMs,
    }),
    output: z.object({ events: z.array(eventView) }),
    answeredBy: "leader",
    changes: false,
  }),
  "logs.locate": operation({
    summary: "Which processes an application has or had, and the worker that holds their logs.",
    input: applicationRef,
    output: z.object({
      id: z.string(),
      processes: z.array(
        z.object({ processId: z.string(), worker: z.string().nullable(), address: z.string().nullable(), state: z.string() }),
      ),
      final: z.boolean(),
    }),
    answeredBy: "leader",
    changes: false,
  }),
  "logs.read": operation({
    summary: "A part of one log of one process; waits up to `waitMs` for more.",
    input: z.object({
      processId: submissionKey,
      stream: z.enum(["stdout", "stderr"]),
      offset: z.number().int().nonnegative(),
      limitBytes: z.number().int().min(1).max(MAX_CHUNK_BYTES),
      waitMs,
    }),
    /** Go on reading at (`offset` here, else the one asked for) + bytes; `offset` is set when what lay before it was removed. */
    output: z.object({ base64: z.string(), sizeBytes: z.number(), ended: z.boolean(), offset: z.number().optional() }),
    answeredBy: "worker",
    changes: false,
  }),
} as const;

export type OperationName = keyof typeof OPERATIONS;
export type OperationInput<N extends OperationName> = z.infer<(typeof OPERATIONS)[N]["input"]>;
export type OperationOutput<N extends OperationName> = z.infer<(typeof OPERATIONS)[N]["output"]>;
