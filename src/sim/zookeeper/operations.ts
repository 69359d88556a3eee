/**
 * ZooKeeper's operations, answers and errors as its clients see them: the same words as the project's own client, which lives in a ring that the
 * simulator does not reach. A test holds the two to each other by types, and by playing the same operations to the real server.
 */
export const ANY_VERSION = -1;

export type Permission = "read" | "write" | "create" | "delete" | "admin";

export interface Acl {
  readonly permissions: readonly Permission[];
  readonly scheme: string;
  readonly id: string;
}

export type CreateMode = "persistent" | "ephemeral" | "persistent-sequential" | "ephemeral-sequential";

export interface CreateOperation {
  readonly op: "create";
  readonly path: string;
  readonly data?: Uint8Array;
  readonly mode?: CreateMode;
  readonly acl?: readonly Acl[];
}

export type WriteOperation =
  | CreateOperation
  | { readonly op: "delete"; readonly path: string; readonly version: number }
  | { readonly op: "setData"; readonly path: string; readonly data: Uint8Array; readonly version: number }
  | { readonly op: "check"; readonly path: string; readonly version: number };

/** `setAcl` stands alone, never in a multi. */
export type AnyWrite =
  | WriteOperation
  | { readonly op: "setAcl"; readonly path: string; readonly acl: readonly Acl[]; readonly version: number };

export interface Stat {
  readonly czxid: bigint;
  readonly mzxid: bigint;
  readonly pzxid: bigint;
  readonly createdAt: number;
  readonly changedAt: number;
  readonly version: number;
  readonly childrenVersion: number;
  readonly aclVersion: number;
  readonly ephemeralOwner: string | null;
  readonly sizeBytes: number;
  readonly children: number;
}

export type WriteResult =
  | { readonly op: "create"; readonly path: string; readonly stat: Stat }
  | { readonly op: "delete" }
  | { readonly op: "setData"; readonly stat: Stat }
  | { readonly op: "setAcl"; readonly stat: Stat }
  | { readonly op: "check" };

export type FakeCode =
  | "CONNECTION_LOST"
  | "SESSION_EXPIRED"
  | "SESSION_MOVED"
  | "CLOSED"
  | "TOO_LARGE"
  | "INVALID_ARGUMENT"
  | "NO_NODE"
  | "NODE_EXISTS"
  | "BAD_VERSION"
  | "NOT_EMPTY"
  | "NO_CHILDREN_FOR_EPHEMERALS"
  | "NO_AUTH"
  | "INVALID_ACL";

/** The operation of a multi that failed. */
export interface Failure {
  readonly index: number;
  readonly code: FakeCode;
  readonly path: string;
}

export class FakeZooKeeperError extends Error {
  readonly code: FakeCode;
  readonly outcome: "none" | "unknown";
  readonly failed: Failure | undefined;

  constructor(code: FakeCode, message: string, options: { readonly outcome?: "none" | "unknown"; readonly failed?: Failure } = {}) {
    super(message);
    this.name = "FakeZooKeeperError";
    this.code = code;
    this.outcome = options.outcome ?? "none";
    this.failed = options.failed;
  }
}

export type ChangeType = "created" | "changed" | "deleted" | "children";

export interface Change {
  readonly type: ChangeType;
  readonly path: string;
  /** Of the node that changed: who may not read it does not hear of it (CVE-2024-23944). */
  readonly acl: readonly Acl[];
}
