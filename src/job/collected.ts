/**
 * Records of `collect` sinks, gathered in the driver: the result of the job. Bounded by MAX_RESULT_BYTES of JSON text.
 * Invariant: a batch counts once, however often it arrives.
 */
import { MAX_RESULT_BYTES } from "../wire/application.js";

export class Collected {
  private readonly bySink = new Map<string, Map<string, { last: number; readonly records: unknown[] }>>();
  private bytes = 0;

  /** False: the result has become too large, and the batch was not added. */
  add(sink: string, processId: string, batch: number, records: readonly unknown[]): boolean {
    const perExecutor = this.bySink.get(sink) ?? new Map();
    this.bySink.set(sink, perExecutor);
    const state = perExecutor.get(processId) ?? { last: 0, records: [] };
    perExecutor.set(processId, state);
    if (batch <= state.last) return true;
    const size = JSON.stringify(records).length;
    if (this.bytes + size > MAX_RESULT_BYTES) return false;
    this.bytes += size;
    state.last = batch;
    state.records.push(...records);
    return true;
  }

  /** `{ sink uid: records }`, those of an executor together, executors in the given order; null when nothing was collected. */
  result(executors: readonly string[]): Readonly<Record<string, readonly unknown[]>> | null {
    if (this.bySink.size === 0) return null;
    const result: Record<string, unknown[]> = {};
    for (const sink of [...this.bySink.keys()].sort()) {
      result[sink] = executors.flatMap((processId) => this.bySink.get(sink)?.get(processId)?.records ?? []);
    }
    return result;
  }
}
