/**
 * What may stand in a multi, and the modes of new nodes. Single calls are built of the same parts.
 *
 * Versions: a number is that version exactly, also 0; ANY_VERSION (-1) is any. There is no default, so that "any" is always written down.
 */
import type { Acl } from "./acl.js";
import type { ZooKeeperError } from "./errors.js";
import type { Stat } from "./stat.js";

export const ANY_VERSION = -1;

/** `ttl`: the server removes the node when it had no children and no change for so long (it has to allow extended types). */
export type CreateMode =
  | "persistent"
  | "ephemeral"
  | "persistent-sequential"
  | "ephemeral-sequential"
  | "container"
  | "persistent-ttl"
  | "persistent-sequential-ttl";

export interface CreateOperation {
  readonly op: "create";
  readonly path: string;
  /** Default: no bytes. */
  readonly data?: Uint8Array;
  /** Default: persistent. */
  readonly mode?: CreateMode;
  /** Default: CREATOR_ALL_ACL of a client that has credentials, OPEN_ACL of one that has none. */
  readonly acl?: readonly Acl[];
  /** For the modes with `ttl`: 1 ms to 12,725 days. */
  readonly ttlMs?: number;
}

export type WriteOperation =
  | CreateOperation
  | { readonly op: "delete"; readonly path: string; readonly version: number }
  | { readonly op: "setData"; readonly path: string; readonly data: Uint8Array; readonly version: number }
  /** Holds when the node exists and has this version. */
  | { readonly op: "check"; readonly path: string; readonly version: number };

export type WriteResult =
  /** `path`: as it was created, with the number of a sequential node. */
  | { readonly op: "create"; readonly path: string }
  | { readonly op: "delete" }
  | { readonly op: "setData"; readonly stat: Stat }
  | { readonly op: "check" };

export interface MultiResult {
  /** The transaction: its place in the order of all changes of the ensemble. */
  readonly zxid: bigint;
  readonly results: readonly WriteResult[];
}

export type ReadOperation =
  | { readonly op: "getData"; readonly path: string }
  | { readonly op: "getChildren"; readonly path: string };

/** Reads of a multiRead stand for themselves: one may fail and the others give what they read. */
export type ReadResult =
  | { readonly op: "getData"; readonly data: Uint8Array; readonly stat: Stat }
  | { readonly op: "getChildren"; readonly children: readonly string[] }
  | { readonly op: "failed"; readonly error: ZooKeeperError };

export const isSequential = (mode: CreateMode): boolean => mode.includes("sequential");
