/** Named bounds of the ZooKeeper backend, beside those of every store (coordination/limits.ts). */

/** Of a request: ZooKeeper's default `jute.maxbuffer` (1,048,575) with room for the digest of an ACL and what a server adds. */
export const MAX_REQUEST_BYTES = 1_046_000;
/** Transactions of one log entry. */
export const MAX_GROUP_TRANSACTIONS = 512;
/** Calls of one session that wait. */
export const MAX_WAITING_CALLS = 8_192;
/** Keys and values of all persistent records: ZooKeeper holds everything in memory, and a master as well. */
export const MAX_STORE_BYTES = 128_000_000;
/** A page ends at this size; a single large record may be more. */
export const PAGE_BYTES = 700_000;
/** Log entries or bytes beyond the pages, from which they are merged into pages. */
export const MERGE_ENTRIES = 256;
export const MERGE_BYTES = 1_000_000;
/** So far the log may run ahead of its pages; then commits wait until it is merged. */
export const MAX_TAIL_ENTRIES = 8_192;
export const MAX_TAIL_BYTES = 64_000_000;
/** Requests of one kind that are under way together while reading. */
export const READ_WINDOW = 32;
/** Deletions in one request. */
export const DELETE_BATCH = 100;
