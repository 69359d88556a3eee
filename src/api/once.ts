/**
 * Side effects that happen once: a ledger notes durably that an effect is intended before it begins, and what it gave after it ended. Whoever comes again
 * with the same key is given the note. What died in between has an outcome that nobody in Holdfast knows: the user's `reconcile` finds out.
 *
 *   claim ──▶ new ───────────────────────▶ effect ──▶ note the result
 *     ├─────▶ done: its result                ▲
 *     └─────▶ intended before ──▶ reconcile ──┤ not done: taken over
 *                                             └ done: note the result
 *
 * Boundary: `OnceStore` keeps the notes (src/postgres/ledger.ts); this decides what follows from them.
 * Invariants:
 *   1. The effect is begun only by the owner of a durable intent, and an intent has one owner at a time.
 *   2. An intent that somebody else left is never taken for "not done" without `reconcile`.
 *   3. The result that is returned is the one on record.
 */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { MaybePromise } from "./built.js";
import type { OperatorContext } from "./context.js";

export const MAX_ONCE_KEY_CHARS = 512;
/** Of a result as JSON. */
export const MAX_ONCE_RESULT_CHARS = 64 * 1024;

export interface OnceEffect {
  readonly key: string;
  /** Aborts when the job is cancelled or restarts, and when the ledger's hold on the key is lost. */
  readonly signal: AbortSignal;
  /** As `ctx.fence`: a service that refuses smaller ones than it has seen closes the last gap, see the job guide. */
  readonly fence: number;
}

/** What became of an effect whose note is missing. */
export type Reconciled<R> = { readonly done: true; readonly result: R } | { readonly done: false };

export interface OnceOptions<R> {
  /**
   * Asked when an earlier try has intended the effect and its outcome is not noted: it died in the middle, or its function threw. Has to find out from the
   * other system. Absent: ONCE_UNKNOWN, which names the key.
   */
  readonly reconcile?: (effect: OnceEffect) => MaybePromise<Reconciled<R>>;
}

/** What of a context the ledger needs; `ctx` of every user function has it. */
export type OnceContext = Pick<OperatorContext, "application" | "operator" | "subtask" | "fence" | "signal">;

export interface OnceLedger {
  /**
   * Runs `effect` once for the key, over retries, restarts and failovers, and returns its result, which is JSON; later calls return the one on record.
   * Rejects with what `effect` or `reconcile` threw (the outcome is unknown then, and the next call reconciles), ONCE_UNKNOWN, FENCED (a newer try of this
   * subtask is at work), TIMEOUT (another process holds the key), LIMIT_EXCEEDED, LEDGER_FAILED.
   */
  once<R extends JsonValue>(
    context: OnceContext,
    key: string,
    effect: (effect: OnceEffect) => MaybePromise<R>,
    options?: OnceOptions<R>,
  ): Promise<R>;
  close(): Promise<void>;
}

export type Claim =
  /** Intended now, by this call. */
  | { readonly kind: "new" }
  /** By somebody before, or by an earlier call of this process. */
  | { readonly kind: "intended" }
  | { readonly kind: "done"; readonly result: JsonValue };

/** A hold on one key: nobody else can have it while this one lives. */
export interface HeldKey {
  /** Aborts when the hold is lost. */
  readonly signal: AbortSignal;
  /** Durable when it resolves. Rejects with FENCED. */
  claim(): Promise<Claim>;
  /** An intent that was left becomes this call's. Rejects with FENCED. */
  takeOver(): Promise<void>;
  /** Durable when it resolves. Rejects with FENCED when the intent is no longer this call's. */
  note(result: JsonValue): Promise<void>;
  release(): Promise<void>;
}

export interface OnceStore {
  /** Waits while another process holds the key; rejects with TIMEOUT, FENCED, LEDGER_FAILED. */
  hold(context: OnceContext, key: string): Promise<HeldKey>;
  close(): Promise<void>;
}

export function createLedger(store: OnceStore): OnceLedger {
  return {
    once: (context, key, effect, options = {}) => runOnce(store, context, { key, effect, reconcile: options.reconcile ?? null }),
    close: () => store.close(),
  };
}

interface OnceCall<R> {
  readonly key: string;
  readonly effect: (effect: OnceEffect) => MaybePromise<R>;
  readonly reconcile: ((effect: OnceEffect) => MaybePromise<Reconciled<R>>) | null;
}

async function runOnce<R extends JsonValue>(store: OnceStore, context: OnceContext, call: OnceCall<R>): Promise<R> {
  const { key } = call;
  if (typeof key !== "string" || key.length === 0 || key.length > MAX_ONCE_KEY_CHARS)
    throw new CodedError("INVALID_ARGUMENT", `The key of once is not a text of 1 to ${MAX_ONCE_KEY_CHARS} characters.`, {
      hint: "Use what names the effect in the world outside, for example the id of the payment.",
    });
  const held = await store.hold(context, key);
  try {
    const claim = await held.claim();
    if (claim.kind === "done") return claim.result as R;
    const { fence } = context;
    const effect = { key, fence, signal: AbortSignal.any([context.signal, held.signal]) };
    if (claim.kind === "intended") {
      const found = await outcomeOf(call, effect);
      if (found.done) return await noted(held, key, found.result);
      await held.takeOver();
    }
    effect.signal.throwIfAborted();
    return await noted(held, key, await call.effect(effect));
  } finally {
    await held.release();
  }
}

async function outcomeOf<R>({ key, reconcile }: OnceCall<R>, effect: OnceEffect): Promise<Reconciled<R>> {
  if (reconcile !== null) return await reconcile(effect);
  throw new CodedError(
    "ONCE_UNKNOWN",
    `The outcome of '${key}' is not known: it was begun before, and its result was never noted.`,
    {
      hint: "Give once a `reconcile` that asks the other system, or find out by hand and write it into the ledger.",
      details: { key },
    },
  );
}

async function noted<R extends JsonValue>(held: HeldKey, key: string, result: R): Promise<R> {
  const text = JSON.stringify(result ?? null) ?? "null";
  if (text.length > MAX_ONCE_RESULT_CHARS)
    throw new CodedError(
      "LIMIT_EXCEEDED",
      `The result of '${key}' has ${text.length} characters as JSON, at most ${MAX_ONCE_RESULT_CHARS} are kept.`,
      {
        hint: "The effect has happened. Return only what names its outcome.",
      },
    );
  const kept = JSON.parse(text) as R;
  await held.note(kept);
  return kept;
}
