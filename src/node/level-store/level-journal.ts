/**
 * Records in LevelDB: opening, reading everything, and writing changes with a sync.
 *
 *   r/KEY   one record: 1 byte layout, 6 bytes version, 4 bytes CRC-32 of key, version and value, then the value.
 *   state   { revision, records, checksum }: put with every batch.
 *
 * LevelDB drops damaged parts of its log silently (`paranoid_checks` is off and cannot be set), and would so lose acknowledged
 * records. `state` travels in the same batch as what it counts: after reading everything, a lost or altered batch shows.
 */
import { crc32 } from "node:zlib";
import { ClassicLevel } from "classic-level";
import { CodedError } from "../../base/errors.js";
import type { Change } from "../../coordination/record-table.js";
import type { StoredRecord } from "../../env/coordination-store.js";

const STATE_KEY = "state";
const RECORD_PREFIX = "r/";
/** The first string that does not begin with RECORD_PREFIX. */
const RECORD_END = "r0";
const LAYOUT = 1;
const HEADER_BYTES = 11;
const READ_PAGE = 1_000;
const READ_AHEAD_BYTES = 4_194_304;

type Database = ClassicLevel<string, Uint8Array>;
type Operation =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: string };

interface State {
  readonly revision: number;
  readonly records: number;
  /** Sum of the records' CRCs modulo 2^32: independent of order, so one change moves it without reading the rest. */
  readonly checksum: number;
}

export interface Loaded {
  readonly records: readonly StoredRecord[];
  readonly revision: number;
  /** No state was there: a new database. */
  readonly empty: boolean;
}

export class LevelJournal {
  private readonly database: Database;
  private state: State = { revision: 0, records: 0, checksum: 0 };

  private constructor(database: Database) {
    this.database = database;
  }

  /** Rejects with LevelDB's own errors; LEVEL_LOCKED (as code of the cause) when another process has the lock. `create`: where none is yet. */
  static async open(location: string, { create }: { readonly create: boolean }): Promise<LevelJournal> {
    const options = { keyEncoding: "utf8", valueEncoding: "view", createIfMissing: create } as const;
    const database: Database = new ClassicLevel<string, Uint8Array>(location, options);
    try {
      await database.open();
    } catch (thrown) {
      await database.close().catch(() => {});
      throw thrown;
    }
    return new LevelJournal(database);
  }

  /** Reads and checks everything. Rejects STORE_UNUSABLE when what is there is not what was written. */
  async load(): Promise<Loaded> {
    const reading = this.database.get(STATE_KEY);
    // Told by the await below, after the pages.
    reading.catch(() => {});
    const records: StoredRecord[] = [];
    let checksum = 0;
    const range = { gte: RECORD_PREFIX, lt: RECORD_END, highWaterMarkBytes: READ_AHEAD_BYTES, fillCache: false };
    const iterator = this.database.iterator(range);
    try {
      for (;;) {
        const page = await iterator.nextv(READ_PAGE);
        if (page.length === 0) break;
        for (const [key, bytes] of page) {
          const record = decode(key.slice(RECORD_PREFIX.length), bytes);
          records.push(record);
          checksum = (checksum + checksumOf(record)) >>> 0;
        }
      }
    } finally {
      await iterator.close();
    }
    const stored = await reading;
    if (stored === undefined && records.length === 0) return { records, revision: 0, empty: true };
    const state = readState(stored);
    if (state.records !== records.length || state.checksum !== checksum) {
      throw damaged(`it holds ${records.length} records where ${state.records} were written last, or others than those`);
    }
    this.state = state;
    return { records, revision: state.revision, empty: false };
  }

  /** One batch, synced. After a rejection nothing more may be written: whether the batch is on the disk is not known. */
  async write(changes: readonly Change[], revision: number): Promise<void> {
    const operations: Operation[] = [];
    let { records, checksum } = this.state;
    for (const { key, record, previous, ephemeral } of changes) {
      // Ephemeral records end with their owner at the latest, and so are never on the disk.
      if (ephemeral) continue;
      if (previous !== undefined) {
        records--;
        checksum = (checksum - checksumOf(previous)) >>> 0;
      }
      if (record === undefined) {
        operations.push({ type: "del", key: RECORD_PREFIX + key });
        continue;
      }
      records++;
      const crc = checksumOf(record);
      checksum = (checksum + crc) >>> 0;
      operations.push({ type: "put", key: RECORD_PREFIX + key, value: encode(record, crc) });
    }
    const state: State = { revision, records, checksum };
    operations.push({ type: "put", key: STATE_KEY, value: new TextEncoder().encode(JSON.stringify(state)) });
    await this.database.batch(operations, { sync: true });
    this.state = state;
  }

  close(): Promise<void> {
    return this.database.close();
  }
}

function encode(record: StoredRecord, crc: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + record.value.length);
  bytes.writeUInt8(LAYOUT, 0);
  bytes.writeUIntBE(record.version, 1, 6);
  bytes.writeUInt32BE(crc, 7);
  bytes.set(record.value, HEADER_BYTES);
  return bytes;
}

function decode(key: string, stored: Uint8Array): StoredRecord {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (bytes.length < HEADER_BYTES || bytes.readUInt8(0) !== LAYOUT) throw damaged(`the record ${key} has no readable header`);
  // Copied, so that one record does not keep a whole page of LevelDB's alive.
  const record = { key, version: bytes.readUIntBE(1, 6), value: new Uint8Array(bytes.subarray(HEADER_BYTES)) };
  if (bytes.readUInt32BE(7) !== checksumOf(record))
    throw damaged(`the record ${key} does not have the checksum it was written with`);
  return record;
}

function checksumOf(record: StoredRecord): number {
  return crc32(record.value, crc32(`${record.key}\n${record.version}\n`));
}

function readState(bytes: Uint8Array | undefined): State {
  try {
    const state = JSON.parse(new TextDecoder().decode(bytes)) as Partial<State>;
    const { revision, records, checksum } = state;
    if (typeof revision === "number" && typeof records === "number" && typeof checksum === "number")
      return { revision, records, checksum };
  } catch {
    // Said below.
  }
  throw damaged("its own state is missing or unreadable");
}

export function damaged(what: string): CodedError {
  return new CodedError("STORE_UNUSABLE", `the coordination store is damaged: ${what}`, {
    hint: "Check the disk, then restore the directory from a copy, or move it away to start an empty cluster.",
  });
}
