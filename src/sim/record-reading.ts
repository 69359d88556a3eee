/** The records in a transaction, for observers: plain JSON without checks, as the simulator trusts what the product has encoded. */
import { utf8Decode } from "../base/utf8.js";
import { RECORDS_PREFIX } from "../coordination/keys.js";
import type { Transaction } from "../env/coordination-store.js";
import type { ApplicationRecord, WorkerRecord } from "../wire/application.js";
import { APPLICATIONS_PREFIX, WORKERS_PREFIX } from "../wire/records.js";
import type { RecordSeen } from "./observe.js";

export function readRecords(transaction: Transaction): readonly RecordSeen[] {
  const seen: RecordSeen[] = [];
  for (const write of transaction.writes) {
    const key = "put" in write ? write.put : write.delete;
    if (!key.startsWith(RECORDS_PREFIX)) continue;
    const name = key.slice(RECORDS_PREFIX.length);
    const body = "put" in write ? bodyOf(write.value) : null;
    if (name.startsWith(APPLICATIONS_PREFIX))
      seen.push({ kind: "application", id: name.slice(APPLICATIONS_PREFIX.length), record: body as ApplicationRecord | null });
    else if (name.startsWith(WORKERS_PREFIX))
      seen.push({ kind: "worker", id: name.slice(WORKERS_PREFIX.length), record: body as WorkerRecord | null });
  }
  return seen;
}

function bodyOf(value: Uint8Array): unknown {
  const { body } = JSON.parse(utf8Decode(value) ?? "{}") as { readonly body?: unknown };
  return body ?? null;
}
