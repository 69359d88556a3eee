/**
 * The writer of an unbounded job: parts are closed by time or by number of records, and each appears as soon as it is closed.
 *
 * Invariants:
 *   1. Writing and rolling take turns: a timer never closes a part in the middle of a batch.
 *   2. A failure of a roll that the timer began is told by the next call.
 *   3. Parts shown stay: after a failure, records of a part that was not closed are written again by the next attempt (at-least-once).
 */
import { present } from "../base/assert.js";
import type { JsonValue } from "../base/json.js";
import type { SinkWriter } from "../dataflow/connector.js";
import type { FilePart } from "./file-sink.js";
import { sinkFailed } from "./io-errors.js";
import type { StagedPart } from "./staged-file.js";

export interface RollingParts {
  readonly openPart: (number: number) => Promise<FilePart>;
  /** The number of the first part. */
  readonly next: number;
  readonly options: { readonly rollEveryMs?: number | undefined; readonly rollRecords?: number | undefined };
  readonly onRolled: ((committable: JsonValue) => void) | null;
  readonly commit: (part: StagedPart) => Promise<void>;
}

export class RollingWriter implements SinkWriter<unknown> {
  private readonly parts: RollingParts;
  private next: number;
  private part: FilePart | null = null;
  private records = 0;
  private timer: NodeJS.Timeout | null = null;
  private turn: Promise<void> = Promise.resolve();
  private failure: unknown = null;

  constructor(parts: RollingParts) {
    this.parts = parts;
    this.next = parts.next;
  }

  write(records: readonly unknown[], count: number): Promise<void> {
    return this.takeTurn(async () => {
      const room = this.parts.options.rollRecords ?? Number.POSITIVE_INFINITY;
      let done = 0;
      while (done < count) {
        const taken = Math.min(count - done, Math.max(1, room - this.records));
        const share = done === 0 && taken === count ? records : records.slice(done, done + taken);
        await this.append(share, taken);
        done += taken;
        if (this.records >= room) await this.roll();
      }
    });
  }

  async prepare(): Promise<JsonValue> {
    let part: StagedPart | null = null;
    await this.takeTurn(async () => {
      part = await this.closePart();
    });
    return part;
  }

  async abort(): Promise<void> {
    await this.turn.catch(() => undefined);
    this.stopTimer();
    await this.part?.file.discard();
    this.part = null;
  }

  close(): Promise<void> {
    return this.abort();
  }

  /** Closes the part that is open, and looks at it before another turn writes to the next one. */
  protected async closeNow<T>(look: (staged: StagedPart | null, next: number) => T): Promise<T> {
    const seen: T[] = [];
    await this.takeTurn(async () => {
      const staged = await this.closePart();
      seen.push(look(staged, this.next));
    });
    return present(seen[0], "what the turn has seen");
  }

  private async append(records: readonly unknown[], count: number): Promise<void> {
    if (this.part === null) {
      this.part = await this.parts.openPart(this.next++);
      this.startTimer();
    }
    try {
      await this.part.encoder.write(records, count);
      this.records += count;
    } catch (thrown) {
      throw sinkFailed(this.part.file.final, thrown);
    }
  }

  private startTimer(): void {
    const { rollEveryMs } = this.parts.options;
    if (rollEveryMs === undefined) return;
    this.timer = setTimeout(() => {
      // The failure is kept and told by the next call.
      this.takeTurn(() => this.roll()).catch(() => undefined);
    }, rollEveryMs);
  }

  private stopTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private async roll(): Promise<void> {
    const staged = await this.closePart();
    if (staged === null) return;
    if (this.parts.onRolled !== null) this.parts.onRolled(staged);
    else await this.parts.commit(staged);
  }

  private async closePart(): Promise<StagedPart | null> {
    this.stopTimer();
    const { part, records } = this;
    if (part === null) return null;
    this.part = null;
    this.records = 0;
    try {
      await part.encoder.finish();
      return await part.file.finish(records);
    } catch (thrown) {
      await part.file.discard();
      throw sinkFailed(part.file.final, thrown);
    }
  }

  private takeTurn(act: () => Promise<void>): Promise<void> {
    const turn = this.turn.then(async () => {
      if (this.failure !== null) throw this.failure;
      try {
        await act();
      } catch (thrown) {
        this.failure = thrown;
        throw thrown;
      }
    });
    this.turn = turn.catch(() => undefined);
    return turn;
  }
}
