/**
 * Checkpoints of a slice: which one is wanted, what each chain has answered, and the slice's part of it once all chains have.
 *
 * A chain takes part in one of three ways: its source puts the barrier between two batches; its inputs align; or it has ended, and only what its sinks hold is
 * to be staged. A barrier may come before the driver's order does (another executor was faster): the chain answers at once, sources wait for the order.
 *
 * Invariants:
 *   1. A chain answers a checkpoint once. Its answer holds exactly what it was given before the barrier: nothing is in work while it is begun.
 *   2. What fails while state is written fails the checkpoint, never the slice. What fails while the barrier passes is the chain's own failure.
 *   3. One checkpoint at a time: a later one makes the slice forget the one before it.
 */
import { CodedError } from "../../../base/errors.js";
import type { JsonValue } from "../../../base/json.js";
import { BarrierAlignment } from "../../../dataflow/alignment.js";
import { BEGINNING, END_OF_TIME } from "../../../dataflow/time/watermarks.js";
import type { CheckpointCounts, SliceSnapshot } from "../../../wire/checkpoint.js";
import type { Chain } from "../chain.js";
import type { BatchInput, ChannelId } from "../network.js";
import type { Pacer } from "../pacer.js";
import { chainCounts } from "../progress.js";
import type { CheckpointOrder, SliceCheckpointing } from "../slice.js";
import type { SourcePosition, SourceTask } from "../source-task.js";
import type { BarrierConsumer, GateInput } from "../subtask.js";
import { ChainStates, type StatesByOperator } from "./chain-states.js";
import type { StateAccess } from "./state-blobs.js";

export interface SliceCheckpointsOptions extends SliceCheckpointing {
  readonly applicationId: string;
  readonly attempt: string;
  readonly subtask: number;
  readonly maxParallelism: number;
  readonly pacer: Pacer;
}

/** One chain of the slice. */
export interface CheckpointMember {
  readonly vertex: string;
  readonly chain: Chain;
  readonly states: ChainStates;
  source: SourceTask | null;
  alignment: { readonly barriers: BarrierAlignment<ChannelId>; readonly gates: readonly BatchInput[] } | null;
  /** From the first barrier at its inputs to the last, at the newest checkpoint. */
  alignmentMs: number;
  /** The newest checkpoint that it has answered. */
  answered: number;
  ended: boolean;
}

/** What one chain gives. */
interface Answer {
  readonly vertex: string;
  readonly finished: boolean;
  readonly states: StatesByOperator;
  readonly writers: Readonly<Record<string, JsonValue>>;
  readonly committables: Readonly<Record<string, readonly JsonValue[]>>;
  readonly source: {
    readonly uid: string;
    readonly taken: number;
    readonly reading: SourcePosition["reading"];
  } | null;
  readonly counts: CheckpointCounts;
  /** Event time of the chain. */
  readonly watermarkMs: number;
  readonly alignmentMs: number;
}

interface Taking {
  readonly id: number;
  /** Sources wait for it. */
  ordered: boolean;
  readonly answers: Promise<Answer>[];
}

export class SliceCheckpoints {
  private readonly options: SliceCheckpointsOptions;
  private readonly access: StateAccess;
  private readonly members: CheckpointMember[] = [];
  private readonly finished: ReadonlySet<string> | "all";
  private taking: Taking | null = null;
  /** Checkpoints up to this one are over. */
  private off = 0;
  /** The newest completed one that the driver has told of. */
  private confirmed = 0;
  private closed = false;

  constructor(options: SliceCheckpointsOptions) {
    this.options = options;
    this.access = { blobs: options.blobs, text: options.text, pacer: options.pacer };
    const finished = options.restored?.finished ?? [];
    this.finished = finished === "all" ? "all" : new Set(finished);
  }

  join(vertex: string, chain: Chain): CheckpointMember {
    const { access } = this;
    const { maxParallelism, subtask } = this.options;
    const states = new ChainStates({ chain, access, maxParallelism, subtask });
    const member: CheckpointMember = {
      ...{ vertex, chain, states, source: null, alignment: null },
      ...{ alignmentMs: 0, answered: 0, ended: false },
    };
    this.members.push(member);
    return member;
  }

  /** Its end was emitted before the checkpoint that the slice goes on from. */
  hadFinished(vertex: string): boolean {
    return this.finished === "all" || this.finished.has(vertex);
  }

  restoredWriter(sink: string): JsonValue | undefined {
    return this.options.restored?.writers[sink] as JsonValue | undefined;
  }

  /** Gives the units of all chains their state and their time back, and has changes noted from here on. Rejects with CHECKPOINT_UNREADABLE. */
  async restore(): Promise<void> {
    const { restored } = this.options;
    for (const { vertex, chain, states } of this.members) {
      await states.restore(restored);
      const watermarkMs = restored?.watermarks?.[vertex];
      if (watermarkMs !== undefined && watermarkMs !== null) chain.time.restore(watermarkMs);
    }
  }

  order({ id, order, completed }: CheckpointOrder): void {
    this.confirmed = Math.max(this.confirmed, completed);
    for (const { chain } of this.members) for (const sink of chain.sinks) sink.confirm(completed);
    this.over(order === "abort" ? id : id - 1);
    if (order === "abort" || id <= this.off || this.closed) return;
    const taking = this.begin(id);
    if (taking === null) return;
    taking.ordered = true;
    for (const member of this.members) {
      if (member.ended) this.answerEnded(member, taking);
      else member.chain.wakeup.notify();
    }
  }

  /** For a chain with a source, between two batches: takes the checkpoint that is wanted, if any. */
  attendTo(member: CheckpointMember): () => Promise<void> {
    return async () => {
      const { taking } = this;
      if (taking?.ordered !== true || member.answered >= taking.id || this.closed) return;
      await this.take(member, taking.id);
    };
  }

  /** For a chain with inputs. */
  consumerOf(member: CheckpointMember, inputs: readonly GateInput[]): BarrierConsumer {
    const barriers = new BarrierAlignment<ChannelId>(inputs.reduce((sum, { channels }) => sum + channels.length, 0));
    const gates = inputs.map(({ gate }) => gate);
    member.alignment = { barriers, gates };
    let since = 0;
    const act = async (outcome: ReturnType<typeof barriers.barrier>): Promise<void> => {
      release(gates, outcome.release);
      if (outcome.aligned === null) return;
      member.alignmentMs = Math.max(0, this.options.pacer.now() - since);
      await this.take(member, outcome.aligned);
      release(gates, barriers.done(outcome.aligned));
    };
    return {
      barrier: (channel, id) => {
        if (barriers.current !== id) since = this.options.pacer.now();
        return act(barriers.barrier(channel, id));
      },
      ended: () => act(barriers.ended()),
      isAligning: () => barriers.isWaiting,
      refuse: (reason) => this.refuse(barriers.current, reason),
    };
  }

  /** The chain's input has ended: what it does with its state now is in no snapshot that is still being written. */
  async ending(member: CheckpointMember): Promise<void> {
    await member.states.idle();
  }

  /** The chain has emitted its end. */
  ended(member: CheckpointMember): void {
    member.ended = true;
    const { taking } = this;
    if (taking !== null && !this.closed) this.answerEnded(member, taking);
  }

  /** The slice ends: nothing is answered any more. */
  close(): void {
    this.closed = true;
    this.taking = null;
  }

  // ------------------------------------------------------------------------------------------------ answers

  /** Null: it is over, or another one has begun since. */
  private begin(id: number): Taking | null {
    if (id <= this.off || this.closed) return null;
    if (this.taking !== null && this.taking.id >= id) return this.taking.id === id ? this.taking : null;
    this.taking = { id, ordered: false, answers: [] };
    for (const member of this.members) if (member.ended) this.answerEnded(member, this.taking);
    return this.taking;
  }

  /** This slice can't take part in it: the driver gives it up. */
  private refuse(id: number | null, reason: CodedError): void {
    if (id === null) return;
    this.begin(id);
    if (this.taking?.id === id) this.tell(this.taking, reason);
    this.over(id);
  }

  private over(id: number): void {
    this.off = Math.max(this.off, id);
    if (this.taking !== null && this.taking.id <= id) this.taking = null;
    for (const { alignment, chain } of this.members) {
      if (alignment === null) continue;
      release(alignment.gates, alignment.barriers.over(id));
      chain.wakeup.notify();
    }
  }

  /** The barrier passes the chain: whatever came before it is in the answer. */
  private async take(member: CheckpointMember, id: number): Promise<void> {
    const { chain, source } = member;
    const taking = this.begin(id);
    member.answered = Math.max(member.answered, id);
    await chain.quiesce();
    const position = source?.position() ?? null;
    const counts = chainCounts(chain, position?.badRecords ?? 0);
    const { watermarkMs } = chain.time;
    await chain.barrier(id);
    if (taking === null) return;
    const { encoded, parts } = this.snapshot(member, id);
    const answer = parts.then(
      (given): Answer => ({
        ...given,
        vertex: member.vertex,
        finished: false,
        source:
          position === null ? null : { uid: chain.nodes[0]?.spec.uid ?? "", taken: position.taken, reading: position.reading },
        counts,
        watermarkMs,
        alignmentMs: member.alignmentMs,
      }),
    );
    // The chain waits for its state to be encoded, not for what is then written.
    this.answer(taking, answer);
    await encoded;
    chain.signal.throwIfAborted();
  }

  /** `encoded` never rejects: what could not be encoded is told by `parts`. */
  private snapshot(
    member: CheckpointMember,
    id: number,
  ): { readonly encoded: Promise<void>; readonly parts: Promise<Pick<Answer, "states" | "writers" | "committables">> } {
    const { applicationId, attempt, subtask } = this.options;
    const header = { applicationId, checkpoint: id, attempt, subtask };
    const { encoded, states } = member.states.snapshot(header, this.confirmed, () => !this.closed && this.taking?.id === id);
    const parts = Promise.all([this.stage(member, id), states]).then(([staged, written]) => ({ ...staged, states: written }));
    return { encoded, parts };
  }

  /** What the chain's sinks were given is made durable. */
  private async stage(member: CheckpointMember, id: number): Promise<Pick<Answer, "writers" | "committables">> {
    const staged = await Promise.all(member.chain.sinks.map(async (sink) => ({ uid: sink.uid, ...(await sink.checkpoint(id)) })));
    return {
      writers: Object.fromEntries(staged.map(({ uid, state }) => [uid, state])),
      committables: Object.fromEntries(staged.map(({ uid, committables }) => [uid, committables])),
    };
  }

  private answerEnded(member: CheckpointMember, taking: Taking): void {
    if (member.answered >= taking.id) return;
    member.answered = taking.id;
    const { chain, source } = member;
    const position = source?.position() ?? null;
    const counts = chainCounts(chain, position?.badRecords ?? 0);
    const answer = this.stage(member, taking.id).then(
      ({ writers, committables }): Answer => ({
        vertex: member.vertex,
        finished: true,
        states: {},
        writers,
        committables,
        source:
          position === null ? null : { uid: chain.nodes[0]?.spec.uid ?? "", taken: position.taken, reading: position.reading },
        counts,
        watermarkMs: END_OF_TIME,
        alignmentMs: member.alignmentMs,
      }),
    );
    this.answer(taking, answer);
  }

  private answer(taking: Taking, answer: Promise<Answer>): void {
    answer.catch(() => undefined);
    taking.answers.push(answer);
    if (taking.answers.length < this.members.length) return;
    Promise.all(taking.answers).then(
      (answers) => this.tell(taking, snapshotOf(answers, this.confirmed)),
      (thrown: unknown) => this.tell(taking, CodedError.from(thrown, "CHECKPOINT_FAILED")),
    );
  }

  private tell(taking: Taking, outcome: SliceSnapshot | CodedError): void {
    if (this.taking === taking) this.options.onCheckpointed(taking.id, outcome);
  }
}

function release(gates: readonly BatchInput[], channels: readonly ChannelId[]): void {
  if (channels.length > 0) for (const gate of gates) gate.release(channels);
}

function snapshotOf(answers: readonly Answer[], confirmed: number): SliceSnapshot {
  const watermarks: Record<string, number | null> = {};
  const snapshot: SliceSnapshot = {
    finished: answers.filter(({ finished }) => finished).map(({ vertex }) => vertex),
    states: {},
    writers: {},
    sources: {},
    committables: {},
    confirmed,
    watermarks,
    counts: { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] },
    alignmentMs: Math.max(0, ...answers.map(({ alignmentMs }) => alignmentMs)),
  };
  for (const { vertex, states, writers, committables, source, counts, watermarkMs } of answers) {
    if (watermarkMs !== END_OF_TIME) watermarks[vertex] = watermarkMs === BEGINNING ? null : watermarkMs;
    for (const [uid, handles] of Object.entries(states)) snapshot.states[uid] = [...handles];
    for (const [uid, state] of Object.entries(writers)) snapshot.writers[uid] = state;
    for (const [uid, staged] of Object.entries(committables)) snapshot.committables[uid] = [...staged];
    if (source !== null) snapshot.sources[source.uid] = { taken: source.taken, reading: [...source.reading] };
    snapshot.counts.recordsIn += counts.recordsIn;
    snapshot.counts.recordsOut += counts.recordsOut;
    snapshot.counts.badRecords += counts.badRecords;
    snapshot.counts.operators.push(...counts.operators);
  }
  return snapshot;
}
