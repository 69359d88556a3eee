/**
 * The course of checkpoints of one driver attempt: when one is due, who has answered, what is complete, and which ids are used. Pure.
 *
 *   unreserved -> reserving -> idle -> taking -> storing -> publishing -> committing -> idle
 *                               ^________|__________|____________|(refused)
 *
 *   taking       the members of the try were told, their acknowledgements come
 *   storing      all have come; the manifest is being made durable
 *   publishing   the pointer is asked for; its outcome has to be known before anything else may follow
 *   committing   the checkpoint is complete; sinks make visible what belongs to it
 *
 * Boundary: knows nothing of what an acknowledgement holds, nor of messages; the driver's core asks and tells.
 *
 * Invariants:
 *   1. One checkpoint at a time. Ids are safe integers (53 bits of a record's 64; one a millisecond for 285,000 years) that only grow, and only reserved ones are used; an id that was given up is never used again.
 *   2. A checkpoint is complete only when every member of its try has acknowledged it (or had finished before), its manifest was stored and its
 *      pointer is known to be durable.
 *   3. What has been asked of the master (publishing) is given up by nobody but the master's refusal.
 */
import { assert } from "../base/assert.js";
import type { CheckpointTrigger } from "../wire/checkpoint.js";

export interface CourseSettings {
  readonly intervalMs: number;
  readonly minPauseMs: number;
  readonly timeoutMs: number;
  readonly toleratedFailures: number | null;
}

/** Ids that are reserved beyond the next one. A new driver attempt skips those that were not used. */
export const RESERVED_IDS = 16;

interface Begun {
  readonly id: number;
  readonly trigger: CheckpointTrigger;
  readonly beganAt: number;
  /** By member. */
  readonly answeredAt: Map<string, number>;
}

/** What is to be recorded of a checkpoint whose manifest is durable. */
export interface Stored extends Omit<Begun, "id" | "answeredAt"> {
  readonly nextId: number;
  readonly answeredAt: ReadonlyMap<string, number>;
}

type Stage<A> =
  | { readonly kind: "unreserved" }
  | { readonly kind: "reserving"; readonly upTo: number }
  | { readonly kind: "idle" }
  | ({ readonly kind: "taking"; readonly answers: Map<string, A | null> } & Begun)
  | ({ readonly kind: "storing" | "publishing" } & Begun)
  | { readonly kind: "committing"; readonly id: number };

export interface Failed {
  readonly isTolerated: boolean;
  readonly durationMs: number;
  readonly trigger: CheckpointTrigger;
}

export type Acknowledged = "stale" | "more" | "complete";

export class CheckpointCourse<A> {
  private readonly settings: CourseSettings;
  private stage: Stage<A> = { kind: "unreserved" };
  private nextId: number;
  /** Ids below it may be used. */
  private reserved: number;
  /** When the next one is due; null: no try runs. */
  private dueAt: number | null = null;
  private pausedUntil = Number.NEGATIVE_INFINITY;
  private failuresInRow = 0;

  constructor(settings: CourseSettings, nextId: number) {
    this.settings = settings;
    this.nextId = nextId;
    this.reserved = nextId;
  }

  get kind(): Stage<A>["kind"] {
    return this.stage.kind;
  }

  /** Of the checkpoint under way; null: there is none. */
  get id(): number | null {
    return "id" in this.stage ? this.stage.id : null;
  }

  /** `nextId` of the record, as far as it is known: no later driver attempt uses an id below it. */
  get reservedUpTo(): number {
    return this.reserved;
  }

  /** Nothing is under way whose outcome has to be known before a try begins or the output is decided. */
  get isSettled(): boolean {
    return this.stage.kind !== "publishing" && this.stage.kind !== "committing";
  }

  // ------------------------------------------------------------------------------------------------ ids

  /** What `nextId` of the record is to become so that there are ids to use; null: there are, or it has been asked for. */
  reserve(): number | null {
    if (this.stage.kind !== "unreserved") return null;
    const upTo = this.nextId + RESERVED_IDS;
    assert(Number.isSafeInteger(upTo), "checkpoint ids stay below 2 ** 53");
    this.stage = { kind: "reserving", upTo };
    return upTo;
  }

  reservedNow(): void {
    if (this.stage.kind !== "reserving") return;
    this.reserved = this.stage.upTo;
    this.stage = { kind: "idle" };
  }

  // ------------------------------------------------------------------------------------------------ the try

  /** A try runs from now on. */
  tryBegan(now: number): void {
    this.dueAt = now + this.settings.intervalMs;
  }

  /** The try is over. Returns the id that is given up with it, if any. That is nobody's failure. */
  tryEnded(): number | null {
    this.dueAt = null;
    if (this.stage.kind !== "taking" && this.stage.kind !== "storing") return null;
    const { id } = this.stage;
    this.idle();
    return id;
  }

  /** One of its slices restarts. Returns the id that is given up with it, if any: that of a checkpoint that not all have answered. Nobody's failure either. */
  interrupted(): number | null {
    if (this.stage.kind !== "taking") return null;
    const { id } = this.stage;
    this.idle();
    return id;
  }

  nextDeadline(): number {
    if (this.dueAt === null) return Number.POSITIVE_INFINITY;
    if (this.stage.kind === "idle") return Math.max(this.dueAt, this.pausedUntil);
    if (this.stage.kind === "taking" || this.stage.kind === "storing") return this.stage.beganAt + this.settings.timeoutMs;
    return Number.POSITIVE_INFINITY;
  }

  isDue(now: number): boolean {
    return this.stage.kind === "idle" && this.dueAt !== null && now >= Math.max(this.dueAt, this.pausedUntil);
  }

  isOverdue(now: number): boolean {
    return (this.stage.kind === "taking" || this.stage.kind === "storing") && now >= this.stage.beganAt + this.settings.timeoutMs;
  }

  // ------------------------------------------------------------------------------------------------ one checkpoint

  /** `members`: those whose acknowledgement is needed. Their order is that of `answers`. */
  begin(now: number, members: readonly string[], trigger: CheckpointTrigger = "periodic"): number {
    assert(
      this.stage.kind === "idle" && this.nextId < this.reserved,
      "a checkpoint begins when another is over, with a reserved id",
    );
    const id = this.nextId++;
    this.dueAt = now + this.settings.intervalMs;
    this.stage = {
      kind: "taking",
      id,
      trigger,
      beganAt: now,
      answers: new Map(members.map((member) => [member, null])),
      answeredAt: new Map(),
    };
    return id;
  }

  /** What the job begins with is made from a savepoint: nobody has to acknowledge it. */
  beginRestored(now: number): number {
    assert(this.canBegin, "a checkpoint begins when another is over, with a reserved id");
    const id = this.nextId++;
    this.stage = { kind: "storing", id, trigger: "restored", beganAt: now, answeredAt: new Map() };
    return id;
  }

  /** No other is under way, and there is an id for it. */
  get canBegin(): boolean {
    return this.stage.kind === "idle" && this.nextId < this.reserved;
  }

  /** Of the one under way; null: there is none, or it is complete. */
  get trigger(): CheckpointTrigger | null {
    return "trigger" in this.stage ? this.stage.trigger : null;
  }

  /** How many have answered, of how many; null: none is being taken. */
  get answered(): { readonly answered: number; readonly of: number } | null {
    if (this.stage.kind !== "taking") return null;
    return { answered: this.stage.answeredAt.size, of: this.stage.answers.size };
  }

  /** Whether this member still has to acknowledge the checkpoint under way. */
  isAwaited(member: string): boolean {
    return this.stage.kind === "taking" && this.stage.answers.get(member) === null;
  }

  /** The first answer counts. */
  acknowledge(id: number, member: string, answer: A, now: number): Acknowledged {
    if (this.stage.kind !== "taking" || this.stage.id !== id || this.stage.answers.get(member) !== null) return "stale";
    this.stage.answers.set(member, answer);
    this.stage.answeredAt.set(member, now);
    return [...this.stage.answers.values()].every((one) => one !== null) ? "complete" : "more";
  }

  /** Of all members, once it is complete: from here on the manifest is stored. */
  collect(): ReadonlyMap<string, A> {
    assert(this.stage.kind === "taking", "answers are collected of a checkpoint that is being taken");
    const answers = new Map<string, A>();
    for (const [member, answer] of this.stage.answers) {
      assert(answer !== null, `a checkpoint is complete when ${member} has acknowledged it`);
      answers.set(member, answer);
    }
    const { id, trigger, beganAt, answeredAt } = this.stage;
    this.stage = { kind: "storing", id, trigger, beganAt, answeredAt };
    return answers;
  }

  /** The manifest is durable. Returns what `nextId` of the record is to become with the pointer, or null when it was given up meanwhile. */
  stored(id: number): Stored | null {
    if (this.stage.kind !== "storing" || this.stage.id !== id) return null;
    const { beganAt, trigger, answeredAt } = this.stage;
    this.stage = { kind: "publishing", id, trigger, beganAt, answeredAt };
    return { nextId: id + 1 + RESERVED_IDS, beganAt, trigger, answeredAt };
  }

  /** Its pointer is durable. */
  published(): void {
    assert(this.stage.kind === "publishing", "a pointer is durable that was asked for");
    const { id } = this.stage;
    this.reserved = id + 1 + RESERVED_IDS;
    this.failuresInRow = 0;
    this.stage = { kind: "committing", id };
  }

  committed(now: number): void {
    if (this.stage.kind !== "committing") return;
    this.pausedUntil = now + this.settings.minPauseMs;
    this.idle();
  }

  /** The sinks could not commit it: that is left to the next try. */
  commitGivenUp(): void {
    if (this.stage.kind === "committing") this.idle();
  }

  /** It failed, took too long, or its pointer was refused. `isTolerated` false: that was one too many in a row. */
  failed(now: number): Failed {
    assert(this.stage.kind !== "committing", "a complete checkpoint does not fail");
    if (!("id" in this.stage)) return { isTolerated: true, durationMs: 0, trigger: "periodic" };
    const { trigger, beganAt } = this.stage;
    this.failuresInRow += 1;
    this.pausedUntil = now + this.settings.minPauseMs;
    this.idle();
    const { toleratedFailures } = this.settings;
    const isTolerated = toleratedFailures === null || this.failuresInRow <= toleratedFailures;
    return { isTolerated, durationMs: Math.max(0, now - beganAt), trigger };
  }

  private idle(): void {
    this.stage = this.nextId < this.reserved ? { kind: "idle" } : { kind: "unreserved" };
  }
}
