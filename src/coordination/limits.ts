/** What the stores of this repository accept, and the one place where a transaction is checked against limits. Pure. */
import { CodedError } from "../base/errors.js";
import type { StoreLimits, Transaction, Write } from "../env/coordination-store.js";

/** Chosen so that ZooKeeper (a request below 1 MiB) and etcd (128 operations in a transaction) can keep them with default settings. */
export const DEFAULT_LIMITS: StoreLimits = {
  maxKeyBytes: 512,
  maxValueBytes: 1_000_000,
  maxCommitOperations: 128,
  maxCommitBytes: 1_040_000,
  maxPageRecords: 1_000,
};

/** A page ends early at this size, so that reading everything never holds much of it twice. */
export const MAX_PAGE_BYTES = 4_000_000;

/** Bytes of text in UTF-8, without encoding it. */
export function utf8Length(text: string): number {
  let length = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // A surrogate pair is 4 bytes, so each of its halves counts 2.
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 2 : 3;
  }
  return length;
}

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is its purpose.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;

export function checkKey(key: string, limits: StoreLimits): void {
  if (key.length === 0) throw new CodedError("INVALID_ARGUMENT", "a record's key is empty");
  if (CONTROL_CHARACTER.test(key)) {
    throw new CodedError("INVALID_ARGUMENT", `the record key ${JSON.stringify(key)} has a control character`);
  }
  if (LONE_SURROGATE.test(key))
    throw new CodedError("INVALID_ARGUMENT", `the record key ${JSON.stringify(key)} is not well-formed text`);
  const bytes = utf8Length(key);
  if (bytes > limits.maxKeyBytes) throw tooLarge(`the record key ${key.slice(0, 60)}...`, bytes, limits.maxKeyBytes, "bytes");
}

export function keyOf(write: Write): string {
  return "put" in write ? write.put : write.delete;
}

export function checkTransaction(transaction: Transaction, limits: StoreLimits): void {
  const operations = transaction.guards.length + transaction.writes.length;
  if (operations > limits.maxCommitOperations) throw tooLarge("a commit", operations, limits.maxCommitOperations, "operations");
  let commitBytes = 0;
  for (const guard of transaction.guards) {
    checkKey(guard.key, limits);
    commitBytes += utf8Length(guard.key);
  }
  const keys = new Set<string>();
  for (const write of transaction.writes) {
    const key = keyOf(write);
    checkKey(key, limits);
    if (keys.has(key)) throw new CodedError("INVALID_ARGUMENT", `a commit writes the record ${key} twice`);
    keys.add(key);
    commitBytes += utf8Length(key);
    if ("delete" in write) continue;
    const valueBytes = write.value.length;
    if (valueBytes > limits.maxValueBytes) throw tooLarge(`the record ${key}`, valueBytes, limits.maxValueBytes, "bytes");
    commitBytes += valueBytes;
  }
  if (commitBytes > limits.maxCommitBytes) throw tooLarge("a commit", commitBytes, limits.maxCommitBytes, "bytes");
}

export function checkPageLimit(limit: number, limits: StoreLimits): void {
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new CodedError("INVALID_ARGUMENT", `a page of ${limit} records was asked for`);
  if (limit > limits.maxPageRecords) throw tooLarge("a page", limit, limits.maxPageRecords, "records");
}

function tooLarge(what: string, actual: number, limit: number, unit: string): CodedError {
  return new CodedError("LIMIT_EXCEEDED", `${what} has ${actual} ${unit}, the coordination store takes ${limit}`, {
    details: { actual, limit, unit },
  });
}
