/**
 * The contract between a core (pure, synchronous) and the host that runs it (design.md 1.1, 1.2).
 *
 * A host drains its inbox: for every event it calls `step`, which changes the core's state and appends to the turn. Then it writes all
 * `writes` of the turn as one fenced transaction, and only when that is durable carries out the `effects`, in order. A fenced or failed
 * commit discards the core, so nothing that was not durable has been seen outside.
 *
 * Invariants: a core has no clock, no chance, no await, no I/O. Deadlines are data in its state. `step` never throws for what came from
 * outside (a bad request is answered with an error effect); an exception is a broken invariant and ends the role.
 */
export interface Now {
  /** Monotonic milliseconds of this process. */
  readonly instant: number;
  /** Calendar milliseconds, for records and display only. */
  readonly wall: number;
}

export interface RecordChange {
  readonly key: string;
  /** Null deletes. */
  readonly value: Uint8Array | null;
}

/** What a turn gathered. One turn may span many events. */
export interface Turn<Effect> {
  readonly writes: RecordChange[];
  readonly effects: Effect[];
}

export interface Core<Event, Effect> {
  step(event: Event, now: Now, turn: Turn<Effect>): void;
  /** The instant of the earliest deadline; the host then sends the core its wake-up event. Null: nothing to wait for. */
  nextWakeAt(): number | null;
}
