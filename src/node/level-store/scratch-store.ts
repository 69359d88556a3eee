/**
 * Scratch stores in LevelDB: `DIR/1/`, `DIR/2/` and so on, one an operator. DIR is made with the first of them, and goes with all of them.
 *
 * Keys are written as UTF-16, which keeps every text what it is; values as V8 serialises them. Nothing is synced.
 */
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { deserialize, serialize } from "node:v8";
import type { AbstractBatchOperation, AbstractIterator, AbstractSnapshot } from "abstract-level";
import type { ClassicLevel } from "classic-level";
import { CodedError } from "../../base/errors.js";
import type { ScratchPicture, ScratchStore, ScratchStores } from "../../env/scratch-store.js";

type Database = ClassicLevel<Buffer, Buffer>;

const encoded = (key: string): Buffer => Buffer.from(key, "utf16le");
const decoded = (key: Buffer): string => key.toString("utf16le");

/** `directory` must not exist yet; nobody else may use it. */
export function createScratchStores(directory: string): ScratchStores {
  const opened: Promise<Database>[] = [];
  let closing: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    await Promise.allSettled(opened.map(async (database) => (await database).close()));
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  };
  return {
    open: async (owner) => {
      if (closing !== null) throw new CodedError("CLOSED", `the scratch store of operator '${owner}' is closed`);
      const place = path.join(directory, String(opened.length + 1));
      const opening = openDatabase(place);
      opened.push(opening);
      return new LevelScratch(await opening.catch((thrown) => fail(thrown, owner, place)), owner);
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function openDatabase(place: string): Promise<Database> {
  await mkdir(place, { recursive: true, mode: 0o700 });
  // Executors whose state is in memory load no native module.
  const level = await import("classic-level");
  const database: Database = new level.ClassicLevel(place, { keyEncoding: "buffer", valueEncoding: "buffer", errorIfExists: true });
  await database.open();
  return database;
}

class LevelScratch implements ScratchStore {
  private readonly database: Database;
  private readonly owner: string;

  constructor(database: Database, owner: string) {
    this.database = database;
    this.owner = owner;
  }

  get(key: string): unknown {
    let bytes: Buffer | undefined;
    try {
      bytes = this.database.getSync(encoded(key));
    } catch (thrown) {
      throw this.failure(thrown);
    }
    return bytes === undefined ? undefined : deserialize(bytes);
  }

  async write({ removed, rows }: Parameters<ScratchStore["write"]>[0]): Promise<number> {
    let bytes = 0;
    const batch: AbstractBatchOperation<Database, Buffer, Buffer>[] = removed.map((key) => ({ type: "del", key: encoded(key) }));
    for (const [key, one] of rows) {
      const value = this.serialized(one);
      bytes += value.length;
      batch.push({ type: "put", key: encoded(key), value });
    }
    await this.database.batch(batch).catch((thrown) => this.fail(thrown));
    return bytes;
  }

  async clear(from: string, to: string): Promise<void> {
    await this.database.clear({ gte: encoded(from), lt: encoded(to) }).catch((thrown) => this.fail(thrown));
  }

  picture(): ScratchPicture {
    return new LevelPicture(this.database, (thrown) => this.fail(thrown));
  }

  /** Functions, and what else can't be copied. */
  private serialized(value: unknown): Buffer {
    try {
      return serialize(value);
    } catch (thrown) {
      const { message } = CodedError.from(thrown);
      throw new CodedError("OPERATOR_FAILED", `Operator '${this.owner}' has state that can't be written: ${message}`, {
        hint: 'With state: "disk" state consists of plain data.',
        details: { operator: this.owner },
        cause: thrown,
      });
    }
  }

  private fail(thrown: unknown): never {
    throw this.failure(thrown);
  }

  private failure(thrown: unknown): CodedError {
    return failure(thrown, this.owner, this.database.location);
  }
}

class LevelPicture implements ScratchPicture {
  private readonly database: Database;
  private readonly snapshot: AbstractSnapshot;
  private readonly fail: (thrown: unknown) => never;
  private iterator: AbstractIterator<Database, Buffer, Buffer> | null = null;

  constructor(database: Database, fail: (thrown: unknown) => never) {
    this.database = database;
    this.fail = fail;
    this.snapshot = database.snapshot();
  }

  async next(from: string, to: string, limit: number): Promise<[string, unknown][]> {
    const { database, snapshot } = this;
    try {
      this.iterator ??= database.iterator({ gte: encoded(from), lt: encoded(to), snapshot });
      const rows = await this.iterator.nextv(limit);
      return rows.map(([key, value]) => [decoded(key), deserialize(value)]);
    } catch (thrown) {
      return this.fail(thrown);
    }
  }

  async getMany(keys: readonly string[]): Promise<unknown[]> {
    const { database, snapshot } = this;
    const values = await database.getMany(keys.map(encoded), { snapshot }).catch((thrown) => this.fail(thrown));
    return values.map((value) => (value === undefined ? undefined : deserialize(value)));
  }

  async close(): Promise<void> {
    await this.iterator?.close();
    await this.snapshot.close();
  }
}

function fail(thrown: unknown, owner: string, place: string): never {
  throw failure(thrown, owner, place);
}

/** abstract-level wraps what happened in LEVEL_DATABASE_NOT_OPEN. */
function failure(thrown: unknown, owner: string, place: string): CodedError {
  const reason = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const said = reason instanceof Error ? reason.message : String(reason);
  const isFull = /no space left|ENOSPC|quota/i.test(said);
  return new CodedError(
    "DISK_FAILED",
    `the scratch store of operator '${owner}' in ${place} failed${isFull ? " because the disk is full" : ""}: ${said}`,
    {
      hint: isFull
        ? "Make room where the worker has its --work-dir: jobs with state on disk need some there."
        : "Check the disk on which the worker has its --work-dir.",
      details: { operator: owner, directory: place },
      cause: thrown,
    },
  );
}
