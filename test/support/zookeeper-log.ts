/**
 * ZooKeeper's own transaction logs (`version-2/log.*`), read as it wrote them: the ground truth of what was applied, and in which order.
 *
 * Format (server/persistence/FileTxnLog.java and zookeeper.jute of ZooKeeper 3.8): a header "ZKLG", version 2, database id; then for each
 * transaction its Adler-32, its length, the jute record (header, body, and since 3.6 a digest, not read here), and the byte "B". Zeros, and a record that is
 * cut off or fails its checksum, end the log: a server that runs, or died, has not finished it.
 * Boundary: bytes to operations. What a transaction means to a cluster is ground-truth.ts.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";

export type LoggedOperation =
  | { readonly op: "create"; readonly path: string; readonly data: Buffer; readonly ephemeral: boolean }
  | { readonly op: "delete"; readonly path: string }
  /** `version`: after it. */
  | { readonly op: "set"; readonly path: string; readonly data: Buffer; readonly version: number }
  | { readonly op: "check"; readonly path: string }
  /** ACLs, containers, reconfiguration. */
  | { readonly op: "other"; readonly type: number };

export interface LoggedTransaction {
  readonly zxid: bigint;
  readonly session: bigint;
  /** Wall clock of the leading server, ms. */
  readonly at: number;
  /** None for the begin and the end of a session, and for a transaction that was refused. */
  readonly operations: readonly LoggedOperation[];
}

const MAGIC = 0x5a4b4c47;
const FILE_HEADER_BYTES = 16;
const RECORD_HEADER_BYTES = 12;
const RECORD_END = 0x42;
/** The least that any transaction takes: its own header. */
const MIN_RECORD_BYTES = 32;
const TYPE = { create: 1, delete: 2, set: 5, check: 13, multi: 14, create2: 15, container: 19, ttl: 21, error: -1 } as const;

/** All transactions in the logs of one server, in order. `dataDirectory` holds `version-2`. */
export function readServerLog(dataDirectory: string): readonly LoggedTransaction[] {
  const directory = path.join(dataDirectory, "version-2");
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory)
    .filter((name) => /^log\.[0-9a-f]+$/.test(name))
    .sort((a, b) => Number(BigInt(`0x${a.slice(4)}`) - BigInt(`0x${b.slice(4)}`)));
  return files.flatMap((name) => readLogFile(readFileSync(path.join(directory, name))));
}

export function readLogFile(bytes: Buffer): readonly LoggedTransaction[] {
  if (bytes.length < FILE_HEADER_BYTES) return [];
  if (bytes.readInt32BE(0) !== MAGIC || bytes.readInt32BE(4) !== 2) throw new Error("this is not a transaction log of ZooKeeper");
  const transactions: LoggedTransaction[] = [];
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES + MIN_RECORD_BYTES < bytes.length; ) {
    const checksum = Number(bytes.readBigInt64BE(at));
    const length = bytes.readInt32BE(at + 8);
    const start = at + RECORD_HEADER_BYTES;
    const end = start + length;
    if (length < MIN_RECORD_BYTES || end >= bytes.length || bytes[end] !== RECORD_END) break;
    const record = bytes.subarray(start, end);
    if (adler32(record) !== checksum) break;
    transactions.push(readTransaction(record));
    at = end + 1;
  }
  return transactions;
}

/**
 * What the ensemble committed, from the logs of all its servers. What two servers logged was committed. What one alone has may have been too: a server
 * that is brought up to date by a snapshot does not log what that holds. Or it was given up: a server that was cut off keeps in its log what nobody else ever
 * heard of, below the snapshot that it got later. Then a later transaction sets a znode to a version that it should have had already.
 */
export function committedOrder(logs: readonly (readonly LoggedTransaction[])[]): readonly LoggedTransaction[] {
  const seen = new Map<bigint, { readonly transaction: LoggedTransaction; servers: number }>();
  for (const log of logs) {
    // A server may have a transaction twice in its files.
    for (const transaction of new Map(log.map((one) => [one.zxid, one])).values()) {
      const entry = seen.get(transaction.zxid) ?? { transaction, servers: 0 };
      entry.servers += 1;
      seen.set(transaction.zxid, entry);
    }
  }
  const quorum = Math.floor(logs.length / 2) + 1;
  const versions = new Map<string, number>();
  const order: LoggedTransaction[] = [];
  for (const { transaction, servers } of [...seen.values()].sort((a, b) => (a.transaction.zxid < b.transaction.zxid ? 1 : -1))) {
    const sets = transaction.operations.filter((operation) => operation.op === "set");
    if (servers < quorum && sets.some(({ path, version }) => version >= (versions.get(path) ?? Number.POSITIVE_INFINITY))) continue;
    for (const { path, version } of sets) versions.set(path, version);
    order.push(transaction);
  }
  return order.reverse();
}

function readTransaction(record: Buffer): LoggedTransaction {
  const reader = new JuteReader(record);
  const session = reader.long();
  reader.int();
  const zxid = reader.long();
  const at = Number(reader.long());
  const type = reader.int();
  return { zxid, session, at, operations: type === TYPE.multi ? readMulti(reader) : readOperation(type, reader) };
}

/** One refused part: nothing of it was applied. */
function readMulti(reader: JuteReader): readonly LoggedOperation[] {
  const parts = Array.from({ length: Math.max(0, reader.int()) }, () => ({ type: reader.int(), data: reader.buffer() }));
  if (parts.some(({ type }) => type === TYPE.error)) return [];
  return parts.flatMap(({ type, data }) => readOperation(type, new JuteReader(data)));
}

function readOperation(type: number, reader: JuteReader): readonly LoggedOperation[] {
  switch (type) {
    case TYPE.create:
    case TYPE.create2: {
      const [path, data] = [reader.text(), reader.buffer()];
      reader.acls();
      return [{ op: "create", path, data, ephemeral: reader.bool() }];
    }
    case TYPE.container:
    case TYPE.ttl:
      return [{ op: "create", path: reader.text(), data: reader.buffer(), ephemeral: false }];
    case TYPE.delete:
      return [{ op: "delete", path: reader.text() }];
    case TYPE.set:
      return [{ op: "set", path: reader.text(), data: reader.buffer(), version: reader.int() }];
    case TYPE.check:
      return [{ op: "check", path: reader.text() }];
    case TYPE.error:
      return [];
    default:
      // Sessions have negative types.
      return type < 0 ? [] : [{ op: "other", type }];
  }
}

class JuteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  int(): number {
    this.#at += 4;
    return this.#bytes.readInt32BE(this.#at - 4);
  }

  long(): bigint {
    this.#at += 8;
    return this.#bytes.readBigInt64BE(this.#at - 8);
  }

  bool(): boolean {
    return this.#bytes[this.#at++] === 1;
  }

  /** A length of -1 stands for none. */
  buffer(): Buffer {
    const length = Math.max(0, this.int());
    if (this.#at + length > this.#bytes.length) throw new RangeError("a buffer goes past the end of its record");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(): string {
    return this.buffer().toString("utf8");
  }

  acls(): void {
    for (let left = this.int(); left > 0; left--) {
      this.int();
      this.buffer();
      this.buffer();
    }
  }
}

function adler32(bytes: Uint8Array): number {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  return high * 65_536 + low;
}
