/** What the executor core is told (events) and what it wants done (effects). Data only. */
import type { ErrorShape } from "../../base/errors.js";
import type { SliceSnapshot } from "../../wire/checkpoint.js";
import type { BodyOf } from "../../wire/envelope.js";
import type { driverToExecutor, executorToDriver } from "../../wire/executor-messages.js";
import type { Progress } from "../../wire/progress.js";

export interface ExecutorConfig {
  readonly processId: string;
  readonly pid: number;
  /** Where the exchanges of other executors connect to. */
  readonly dataAddress: string;
  readonly graphHash: string;
  readonly limits: ExecutorLimits;
}

export interface ExecutorLimits {
  /** Without a driver for so long it ends itself; the driver may say otherwise when it registers. */
  readonly driverDeadlineMs: number;
  /**
   * A refused connection means that the driver's process is gone; this long it may still be wrong (a full backlog, a late listener). A slice that takes
   * checkpoints goes on until the deadline: the next driver attempt may take it over.
   */
  readonly refusedGraceMs: number;
  readonly redialMs: number;
}

export const EXECUTOR_LIMITS: ExecutorLimits = { driverDeadlineMs: 10_000, refusedGraceMs: 1_000, redialMs: 100 };

type FromDriver<K extends keyof typeof driverToExecutor> = BodyOf<typeof driverToExecutor, K>;
export type SliceOrder = FromDriver<"executor.deploy">;

/** `link` names the connection (Link.id). */
export type ExecutorEvent =
  | { readonly kind: "started" }
  | { readonly kind: "wake-up" }
  /** `attempt`: of the driver at its other end. */
  | { readonly kind: "driver.connected"; readonly link: number; readonly attempt: number }
  /** The driver of this attempt is where this executor belongs from now on. */
  | { readonly kind: "driver.successor"; readonly attempt: number }
  | { readonly kind: "driver.dial-failed"; readonly error: ErrorShape }
  | { readonly kind: "driver.lost"; readonly link: number }
  | ({ readonly kind: "driver.registered"; readonly link: number } & FromDriver<"executor.registered">)
  | ({ readonly kind: "driver.deploy"; readonly link: number } & SliceOrder)
  | ({ readonly kind: "driver.cancel"; readonly link: number } & FromDriver<"executor.cancel">)
  | ({ readonly kind: "driver.checkpoint"; readonly link: number } & FromDriver<"executor.checkpoint">)
  | ({ readonly kind: "driver.finish"; readonly link: number } & FromDriver<"executor.finish">)
  | { readonly kind: "slice.progress"; readonly try: number; readonly progress: Progress }
  | {
      readonly kind: "slice.done";
      readonly try: number;
      readonly committables: Record<string, unknown[]>;
      readonly progress: Progress;
    }
  /** The answer to its ask for a split of the source is about to reach the slice; null: there are no more. */
  | {
      readonly kind: "slice.given";
      readonly try: number;
      readonly source: string;
      readonly ask: number;
      readonly split: unknown;
    }
  /** Its part of a checkpoint is durable (`snapshot`), or can't be made so (`error`). */
  | {
      readonly kind: "slice.checkpointed";
      readonly try: number;
      readonly id: number;
      readonly snapshot: SliceSnapshot | null;
      readonly error: ErrorShape | null;
    }
  /** It ended with an error, also when it was told to stop; nothing of it is open any more. */
  | { readonly kind: "slice.failed"; readonly try: number; readonly error: ErrorShape }
  /** User code threw where nobody could catch it: this process can not be trusted any more. */
  | { readonly kind: "crashed"; readonly error: ErrorShape }
  | { readonly kind: "terminate"; readonly reason: string };

type ToDriver = {
  [K in Exclude<keyof typeof executorToDriver, "executor.split" | "executor.collected">]: {
    readonly message: K;
    readonly body: BodyOf<typeof executorToDriver, K>;
  };
}[Exclude<keyof typeof executorToDriver, "executor.split" | "executor.collected">];

export type ExecutorEffect =
  | { readonly kind: "dial" }
  /** The driver at its end is superseded: nothing that comes from there counts any more. */
  | { readonly kind: "leave-driver"; readonly link: number }
  | ({ readonly kind: "tell-driver"; readonly link: number } & ToDriver)
  | { readonly kind: "start-slice"; readonly order: SliceOrder }
  | { readonly kind: "checkpoint-slice"; readonly order: FromDriver<"executor.checkpoint"> }
  | { readonly kind: "cancel-slice"; readonly try: number; readonly reason: string }
  /** The last effect. What was said to the driver is flushed before the process exits. */
  | { readonly kind: "end"; readonly exitCode: 0 | 1; readonly reason: string };
