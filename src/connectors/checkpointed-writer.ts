/**
 * The writer of a job with checkpoints: the parts of a rolling one, which are told with the next checkpoint and never committed here.
 *
 * Invariants:
 *   1. A part that was told is durable: its bytes, its name, and the folders above it.
 *   2. Numbers of parts go on where the checkpoint that the try was restored from left them.
 */
import path from "node:path";
import type { JsonValue } from "../base/json.js";
import type { SinkWriter, WriterCheckpoint } from "../dataflow/connector.js";
import { NO_PART, syncDir } from "./output-commit.js";
import { type RollingParts, RollingWriter } from "./rolling-writer.js";

export interface CheckpointedParts extends Pick<RollingParts, "openPart" | "next" | "options"> {
  /** The try's own folder of staged files; it lies in that of the application, which lies in that of the output. */
  readonly staging: string;
  /** What `prepare` gives: at the end of the job also an output without any part is committed. */
  readonly appears: "at-checkpoint" | "at-end";
}

export class CheckpointedWriter extends RollingWriter implements SinkWriter<unknown> {
  private readonly staging: string;
  private readonly appears: CheckpointedParts["appears"];
  private readonly rolled: JsonValue[];
  private parentsSynced = false;

  constructor({ staging, appears, ...parts }: CheckpointedParts) {
    const rolled: JsonValue[] = [];
    super({ ...parts, onRolled: (part) => void rolled.push(part), commit: () => Promise.resolve() });
    this.staging = staging;
    this.appears = appears;
    this.rolled = rolled;
  }

  async checkpoint(): Promise<WriterCheckpoint> {
    const { committables, next } = await this.closeNow((last, number) => ({
      committables: [...this.rolled.splice(0), ...(last === null ? [] : [last])],
      next: number,
    }));
    if (committables.length > 0) await this.sync();
    return { committables, state: { next } };
  }

  override async prepare(): Promise<JsonValue> {
    const last = await super.prepare();
    return last ?? (this.appears === "at-end" ? NO_PART : null);
  }

  private async sync(): Promise<void> {
    await syncDir(this.staging);
    if (this.parentsSynced) return;
    for (const dir of [path.dirname(this.staging), path.dirname(path.dirname(this.staging))]) await syncDir(dir);
    this.parentsSynced = true;
  }
}

/** What an earlier writer's `checkpoint` gave as its state. */
export function restoredNumber(restored: JsonValue | undefined): number | null {
  const next = (restored as { readonly next?: unknown } | null | undefined)?.next;
  return typeof next === "number" && Number.isSafeInteger(next) ? next : null;
}
