/**
 * A sink's subtask: batches records for its writer, one write at a time, and prepares it at the end. A writer that waits stops the chain.
 *
 * Invariant: what the writer has staged is told with each checkpoint, and at the end, until a checkpoint that held it is known to be complete.
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import { refuseCommittable } from "../../dataflow/committables.js";
import type { SinkWriter, WriterCheckpoint } from "../../dataflow/connector.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Unit } from "./chain-nodes.js";
import type { Blockable } from "./edge-output.js";
import { BATCH_RECORDS } from "./network.js";
import { sinkFailed } from "./user-errors.js";

/** Pieces of output of checkpoints that failed one after the other. More fail the try: the next one has none of them. */
export const MAX_UNCONFIRMED = 10_000;

export interface SinkState {
  readonly committables: readonly JsonValue[];
  /** What the next writer has to know to go on. */
  readonly state: JsonValue;
}

export class SinkUnit implements Unit, Blockable {
  written = 0;
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly writer: SinkWriter<unknown>;
  private records: unknown[] = [];
  private pending: Promise<void> | null = null;
  private old = false;
  /** Staged at the barrier of that checkpoint, and in no complete one as far as is known. */
  private staged: { readonly id: number; readonly committables: readonly JsonValue[] }[] = [];
  private checkpointing: Promise<unknown> = Promise.resolve();

  constructor(chain: Chain, node: ChainNode, writer: SinkWriter<unknown>) {
    this.chain = chain;
    this.node = node;
    this.writer = writer;
  }

  take(record: unknown): void {
    this.records.push(record);
    if (this.records.length >= BATCH_RECORDS && this.pending === null) this.write();
  }

  get held(): boolean {
    return this.records.length > 0;
  }

  flush(all = true): void {
    if (this.held && this.pending === null && (all || this.old)) this.write();
    this.old = this.held;
  }

  async unblocked(): Promise<void> {
    while (this.pending !== null) {
      await this.pending;
      this.pending = null;
      if (this.records.length >= BATCH_RECORDS) this.write();
    }
  }

  /** Everything is handed to the writer. */
  async finish(): Promise<void> {
    await this.unblocked();
    if (this.held) this.write();
    await this.unblocked();
  }

  async prepare(): Promise<{ readonly uid: string; readonly committables: readonly JsonValue[] }> {
    try {
      await this.checkpointing;
      const rest = await this.writer.checkpoint?.();
      if (rest !== undefined) this.staged.push({ id: Number.POSITIVE_INFINITY, committables: rest.committables });
      const last = await this.writer.prepare();
      const committables = [...this.unconfirmed(), ...(last === null ? [] : [last])];
      this.refuseLarge(committables);
      return { uid: this.uid, committables };
    } catch (thrown) {
      throw this.failed(thrown);
    }
  }

  get uid(): string {
    return this.node.spec.uid;
  }

  /** Everything that was written so far is staged; `finish` has handed it over. Writes that follow need not wait for the answer. */
  async checkpoint(id: number): Promise<SinkState> {
    const { writer } = this;
    if (writer.checkpoint === undefined)
      throw new CodedError("CHECKPOINT_UNSUPPORTED", `Sink '${this.uid}' can't take part in checkpoints.`);
    const count = this.unconfirmed().length;
    if (count > MAX_UNCONFIRMED)
      throw new CodedError(
        "CHECKPOINT_FAILED",
        `Sink '${this.uid}' holds ${count} pieces of output that no checkpoint has taken.`,
        {
          hint: "Checkpoints of this job have failed for long: holdfast checkpoints APP shows why.",
          details: { operator: this.uid, newTry: true },
        },
      );
    // What an earlier checkpoint, given up meanwhile, is still staging belongs to this one: it is told with it, and not confirmed without having been told.
    const staging = this.staging(id, this.checkpointing, writer.checkpoint());
    this.checkpointing = staging.catch(() => undefined);
    try {
      const state = await staging;
      return { committables: this.unconfirmed(), state };
    } catch (thrown) {
      throw this.failed(thrown);
    }
  }

  private async staging(id: number, before: Promise<unknown>, staged: Promise<WriterCheckpoint>): Promise<JsonValue> {
    const [, { committables, state }] = await Promise.all([before, staged]);
    this.refuseLarge(committables);
    this.staged.push({ id, committables });
    return state;
  }

  /** Those of the job's own sinks; what the built-in ones stage they name in a few hundred characters. */
  private refuseLarge(committables: readonly JsonValue[]): void {
    const { functions } = this.node;
    if (functions.kind !== "sink" || functions.custom === null) return;
    for (const committable of committables) refuseCommittable(this.uid, committable);
  }

  /** The checkpoint is complete: what it held is not told again. */
  confirm(completed: number): void {
    this.staged = this.staged.filter(({ id }) => id > completed);
  }

  private unconfirmed(): readonly JsonValue[] {
    return this.staged.flatMap(({ committables }) => committables);
  }

  async resume(): Promise<void> {}

  private write(): void {
    const { records } = this;
    let writing: void | Promise<void>;
    try {
      writing = this.writer.write(records, records.length);
    } catch (thrown) {
      throw this.failed(thrown);
    }
    this.written += records.length;
    this.old = false;
    if (writing === undefined) {
      records.length = 0;
      return;
    }
    // The array is the writer's until its promise settles.
    this.records = [];
    this.pending = Promise.resolve(writing).catch((thrown) => {
      throw this.failed(thrown);
    });
    this.pending.catch(() => undefined);
    this.chain.blocked(this);
  }

  private failed(thrown: unknown): CodedError {
    return sinkFailed(this.node.spec.uid, thrown);
  }
}
