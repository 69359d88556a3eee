/**
 * Transactions of one session on their way to the log: applied to the mirror one after another, as one log entry and the operations that
 * go with it. What ZooKeeper then refuses is taken back by `undo`. No I/O.
 *
 * What holds a staged group together when it is carried out: the head still stands where the mirror does (so every persistent record is
 * as it was, and no ephemeral one was created or changed), and each ephemeral record it relies on is there in its version.
 */
import { CodedError } from "../base/errors.js";
import { utf8Length } from "../coordination/limits.js";
import type { Change } from "../coordination/record-table.js";
import type { CommitResult, Transaction } from "../env/coordination-store.js";
import { encodeEntry, encodeEphemeral, encodeHead, type LogEntry, type RecordState } from "./codec.js";
import type { ZnodeOperation } from "./ensemble.js";
import { ephemeralName, type Layout } from "./layout.js";
import { MAX_REQUEST_BYTES, MAX_STORE_BYTES } from "./limits.js";
import { EPHEMERAL, type Mirror } from "./mirror.js";

/** Of an operation beside its path and bytes: headers, lengths, version or ACL. */
const OPERATION_OVERHEAD_BYTES = 64;
const REQUEST_OVERHEAD_BYTES = 64;

export interface StagingOptions {
  readonly mirror: Mirror;
  readonly layout: Layout;
  readonly sessionId: string;
  readonly nonce: string;
  readonly maxStoreBytes?: number;
}

/** A group that is ready to be sent. */
export interface StagedGroup {
  readonly entry: LogEntry;
  readonly entryBytes: number;
  readonly operations: readonly ZnodeOperation[];
}

export class Staging {
  readonly index: number;
  private readonly options: StagingOptions;
  private readonly revisionBefore: number;
  private readonly states = new Map<string, RecordState>();
  private readonly touched = new Set<string>();
  private readonly operations: ZnodeOperation[] = [];
  private readonly undoes: (() => void)[] = [];
  private readonly keys = new Set<string>();
  private created = 0;

  constructor(options: StagingOptions) {
    this.options = options;
    this.index = options.mirror.index + 1;
    this.revisionBefore = options.mirror.table.revision;
  }

  /** Keys that it writes. */
  get changedKeys(): ReadonlySet<string> {
    return this.keys;
  }

  get empty(): boolean {
    return this.options.mirror.table.revision === this.revisionBefore;
  }

  /** A refusal, and an error (LIMIT_EXCEEDED), leave nothing behind. */
  add(transaction: Transaction): CommitResult | CodedError {
    const { mirror, maxStoreBytes = MAX_STORE_BYTES } = this.options;
    const checks = this.checksOf(transaction);
    const { result, changes } = mirror.table.apply(transaction, EPHEMERAL);
    if (!result.ok) return result;
    const before = mirror.storedBytes;
    const persistent = changes.filter((change) => !change.ephemeral);
    for (const { previous, record } of persistent) mirror.account(previous, record);
    if (mirror.storedBytes > maxStoreBytes && mirror.storedBytes > before) {
      for (const { previous, record } of persistent) mirror.account(record, previous);
      takeBack(mirror, changes, result.revision - 1);
      return storeFull(mirror.storedBytes, maxStoreBytes);
    }
    this.undoes.push(() => {
      for (const { previous, record } of persistent) mirror.account(record, previous);
      takeBack(mirror, changes, result.revision - 1);
    });
    this.operations.push(...checks);
    for (const change of changes) this.stage(change);
    return result;
  }

  /** In the order in which ZooKeeper carries them out: the head first. Throws LIMIT_EXCEEDED: nothing could be sent. */
  group(): StagedGroup {
    const { mirror, layout, sessionId, nonce } = this.options;
    const { revision } = mirror.table;
    const states = [...this.states.values()];
    const entry: LogEntry = { index: this.index, revision, sessionId, nonce, states, touched: [...this.touched] };
    const encoded = encodeEntry(entry);
    const head = encodeHead({ index: this.index, revision });
    const operations: ZnodeOperation[] = [
      { op: "set", path: layout.head, data: head, version: mirror.headVersion },
      { op: "create", path: layout.entry(this.index), data: encoded },
      ...this.operations,
    ];
    const sizeBytes = requestBytes(operations);
    if (sizeBytes > MAX_REQUEST_BYTES) throw requestTooLarge(sizeBytes);
    return { entry, entryBytes: encoded.length, operations };
  }

  undo(): void {
    for (const undo of this.undoes.reverse()) undo();
    this.undoes.length = 0;
  }

  private checksOf(transaction: Transaction): ZnodeOperation[] {
    const { mirror, layout } = this.options;
    return transaction.guards.flatMap((guard): ZnodeOperation[] => {
      const name = mirror.ephemeralOf(guard.key);
      return name === undefined || "absent" in guard ? [] : [{ op: "check", path: layout.ephemeral(name), version: guard.version }];
    });
  }

  private stage(change: Change): void {
    this.keys.add(change.key);
    if (change.ephemeral) this.stageEphemeral(change);
    else this.states.set(change.key, { key: change.key, record: change.record });
  }

  private stageEphemeral({ key, record, previous }: Change): void {
    const { mirror, layout } = this.options;
    if (previous === undefined) {
      if (record === undefined) return;
      const name = ephemeralName(this.index, this.created++);
      this.operations.push({ op: "create", path: layout.ephemeral(name), data: encodeEphemeral(record), ephemeral: true });
      mirror.bindEphemeral(name, key);
      this.undoes.push(() => mirror.unbindEphemeral(name));
      return;
    }
    const name = mirror.ephemeralOf(key);
    if (name === undefined) throw new CodedError("INTERNAL", `invariant broken: the ephemeral record ${key} has no znode`);
    const path = layout.ephemeral(name);
    if (record === undefined) {
      this.operations.push({ op: "delete", path, version: previous.version });
      mirror.unbindEphemeral(name);
      this.undoes.push(() => mirror.bindEphemeral(name, key));
    } else {
      this.operations.push({ op: "set", path, data: encodeEphemeral(record), version: previous.version });
      this.touched.add(name);
    }
  }
}

export function requestBytes(operations: readonly ZnodeOperation[]): number {
  return operations.reduce(
    (sum, operation) =>
      sum + OPERATION_OVERHEAD_BYTES + utf8Length(operation.path) + ("data" in operation ? operation.data.length : 0),
    REQUEST_OVERHEAD_BYTES,
  );
}

function takeBack(mirror: Mirror, changes: readonly Change[], revision: number): void {
  const reversed = [...changes].reverse().map(({ key, previous, ephemeral }) => ({ key, record: previous, ephemeral }));
  mirror.table.adopt(reversed, revision, EPHEMERAL);
}

function storeFull(storedBytes: number, maxStoreBytes: number): CodedError {
  return new CodedError(
    "LIMIT_EXCEEDED",
    `the records in ZooKeeper would have more than ${maxStoreBytes} bytes (they have ${storedBytes})`,
    { hint: "Keep fewer ended applications (--max-finished).", details: { actual: storedBytes, limit: maxStoreBytes } },
  );
}

function requestTooLarge(sizeBytes: number): CodedError {
  return new CodedError("LIMIT_EXCEEDED", `a commit makes a request of ${sizeBytes} bytes, ZooKeeper takes ${MAX_REQUEST_BYTES}`, {
    details: { actual: sizeBytes, limit: MAX_REQUEST_BYTES },
  });
}
