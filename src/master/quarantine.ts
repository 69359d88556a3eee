/**
 * Records that this release cannot read (damage, or a newer one wrote them): kept byte for byte, shown, never written. Only what they are
 * about is left alone; everything else goes on.
 *
 *   application   its processes are counted and left alone; its id and its submission key are answered with RECORD_QUARANTINED
 *   worker        awaited, judged and used like any other, in memory only
 */
import type { ErrorShape } from "../base/errors.js";
import type { ApplicationRecord, WorkerRecord } from "../wire/application.js";
import { idText, parseProcessId } from "../wire/ids.js";
import { APPLICATIONS_PREFIX, applicationKey, WORKERS_PREFIX } from "../wire/records.js";

export interface Quarantined {
  readonly key: string;
  readonly reason: string;
  /** Of an application, where that much could be read. */
  readonly submissionKey?: string | null;
}

export class Quarantine {
  readonly records: readonly Quarantined[];
  readonly #byKey: ReadonlyMap<string, Quarantined>;
  readonly #bySubmission: ReadonlyMap<string, Quarantined>;

  constructor(records: readonly Quarantined[]) {
    this.records = records;
    this.#byKey = new Map(records.map((record) => [record.key, record]));
    this.#bySubmission = new Map(
      records.flatMap((record) => (record.submissionKey == null ? [] : [[record.submissionKey, record] as const])),
    );
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  hasProcess(processId: string): boolean {
    const parsed = this.records.length === 0 ? null : parseProcessId(processId);
    return parsed !== null && this.has(applicationKey(parsed.application));
  }

  /** The answer to whoever means this application, by id or submission key; null when it is not quarantined. */
  refusal(ref: string): ErrorShape | null {
    const record = this.#byKey.get(applicationKey(ref)) ?? this.#bySubmission.get(ref);
    if (record === undefined) return null;
    const id = record.key.slice(APPLICATIONS_PREFIX.length);
    return {
      code: "RECORD_QUARANTINED",
      message: `the record of application ${id} could not be read (${record.reason}); it is kept as it is`,
      hint: "Run masters of the release that wrote it, or see holdfast cluster.",
    };
  }

  /** Workers of which only the id is known. Their incarnation is that of the drivers recorded on them: others were launched by earlier ones. */
  workers(applications: readonly ApplicationRecord[]): WorkerRecord[] {
    const ids = this.records
      .filter(({ key }) => key.startsWith(WORKERS_PREFIX))
      .map(({ key }) => key.slice(WORKERS_PREFIX.length))
      .filter((id) => idText.safeParse(id).success);
    return ids.map((workerId) => {
      const incarnations = applications.flatMap(({ driver }) => (driver?.workerId === workerId ? [driver.incarnation] : []));
      const incarnation = incarnations.reduce((highest, one) => Math.max(highest, one), 1);
      return { workerId, incarnation, address: "", resources: { cores: 0, memoryBytes: 1 }, state: "alive", changedAt: 0 };
    });
  }
}
