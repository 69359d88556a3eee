/**
 * The one error class of the ZooKeeper client and the closed set of its codes.
 *
 * Boundary: every call rejects with a ZooKeeperError and nothing else. Texts never hold passwords or data.
 * Invariants:
 *   1. `outcome` says whether a change may have been made: "none" certainly not; "unknown" perhaps, so read back before trying again.
 *   2. `retryable` says that the same call, made again on the same client, may go through. With `outcome: "unknown"` it may apply twice.
 */

export type Outcome = "none" | "unknown";

interface CodeFacts {
  readonly retryable: boolean;
  /** What a reader is told when the server says no more than a number. */
  readonly meaning: string;
}

const facts = (retryable: boolean, meaning: string): CodeFacts => ({ retryable, meaning });

export const ZOOKEEPER_ERROR_CODES = {
  // The connection and the session
  CONNECTION_LOST: facts(true, "the connection to the server was lost"),
  SESSION_EXPIRED: facts(false, "the session has expired; its ephemeral nodes and watches are gone"),
  SESSION_MOVED: facts(true, "the session is attached to another server"),
  AUTH_FAILED: facts(false, "the server does not accept the credentials"),
  CLOSED: facts(false, "the client was closed"),
  PROTOCOL: facts(true, "the server sent bytes that are not ZooKeeper's protocol"),
  // The call itself
  ABORTED: facts(false, "the caller gave up"),
  LIMIT: facts(true, "too many calls wait"),
  TOO_LARGE: facts(false, "the request is larger than the server takes"),
  INVALID_ARGUMENT: facts(false, "the argument is not valid"),
  // Answers of the server
  NO_NODE: facts(false, "the node does not exist"),
  NODE_EXISTS: facts(false, "the node exists already"),
  BAD_VERSION: facts(false, "the node has another version"),
  NOT_EMPTY: facts(false, "the node has children"),
  NO_CHILDREN_FOR_EPHEMERALS: facts(false, "an ephemeral node may not have children"),
  NO_AUTH: facts(false, "the access control list of the node does not allow it"),
  INVALID_ACL: facts(false, "the access control list is not valid"),
  NO_WATCHER: facts(false, "there is no such watch"),
  QUOTA_EXCEEDED: facts(false, "the quota of the path is used up"),
  READ_ONLY: facts(true, "the server has no quorum and takes no changes"),
  UNIMPLEMENTED: facts(false, "the server does not know this operation, or it is switched off"),
  ROLLED_BACK: facts(false, "another operation of the same multi failed"),
  BUSY: facts(true, "the server could not do it in time"),
  SERVER_ERROR: facts(false, "the server failed"),
} as const satisfies Record<string, CodeFacts>;

export type ZooKeeperErrorCode = keyof typeof ZOOKEEPER_ERROR_CODES;

/** Numbers of ZooKeeper's KeeperException.Code. */
const CODE_OF_NUMBER: ReadonlyMap<number, ZooKeeperErrorCode> = new Map([
  [-2, "ROLLED_BACK"],
  [-4, "CONNECTION_LOST"],
  [-6, "UNIMPLEMENTED"],
  [-7, "BUSY"],
  [-8, "INVALID_ARGUMENT"],
  [-101, "NO_NODE"],
  [-102, "NO_AUTH"],
  [-103, "BAD_VERSION"],
  [-108, "NO_CHILDREN_FOR_EPHEMERALS"],
  [-110, "NODE_EXISTS"],
  [-111, "NOT_EMPTY"],
  [-112, "SESSION_EXPIRED"],
  [-114, "INVALID_ACL"],
  [-115, "AUTH_FAILED"],
  [-118, "SESSION_MOVED"],
  [-119, "READ_ONLY"],
  [-121, "NO_WATCHER"],
  [-122, "BUSY"],
  [-124, "AUTH_FAILED"],
  [-125, "QUOTA_EXCEEDED"],
  [-127, "BUSY"],
]);

/** After these the server has certainly changed nothing; what else it may say of a change leaves the outcome open. */
const CERTAIN: ReadonlySet<ZooKeeperErrorCode> = new Set([
  "SESSION_EXPIRED",
  "SESSION_MOVED",
  "AUTH_FAILED",
  "INVALID_ARGUMENT",
  "NO_NODE",
  "NODE_EXISTS",
  "BAD_VERSION",
  "NOT_EMPTY",
  "NO_CHILDREN_FOR_EPHEMERALS",
  "NO_AUTH",
  "INVALID_ACL",
  "NO_WATCHER",
  "QUOTA_EXCEEDED",
  "READ_ONLY",
  "UNIMPLEMENTED",
  "ROLLED_BACK",
]);

/** The operation of a multi that failed; the others were not applied either. */
export interface FailedOperation {
  /** From 0. */
  readonly index: number;
  readonly code: ZooKeeperErrorCode;
  readonly path: string;
}

export interface ZooKeeperErrorOptions {
  readonly outcome?: Outcome;
  readonly path?: string;
  readonly failed?: FailedOperation;
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The message names the call, its path and the cause; `hint` the next step, where there is one. */
export class ZooKeeperError extends Error {
  readonly code: ZooKeeperErrorCode;
  readonly outcome: Outcome;
  readonly path: string | undefined;
  /** Set by a multi that the server refused. */
  readonly failed: FailedOperation | undefined;
  readonly hint: string | undefined;

  constructor(code: ZooKeeperErrorCode, message: string, options: ZooKeeperErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ZooKeeperError";
    this.code = code;
    this.outcome = options.outcome ?? "none";
    this.path = options.path;
    this.failed = options.failed;
    this.hint = options.hint;
  }

  get retryable(): boolean {
    return ZOOKEEPER_ERROR_CODES[this.code].retryable;
  }
}

export const codeOf = (errorNumber: number): ZooKeeperErrorCode => CODE_OF_NUMBER.get(errorNumber) ?? "SERVER_ERROR";

export const meaningOf = (code: ZooKeeperErrorCode): string => ZOOKEEPER_ERROR_CODES[code].meaning;

/** What the server answered to one call. */
export function answeredError(
  errorNumber: number,
  call: { readonly name: string; readonly path: string; readonly changes: boolean },
) {
  const code = codeOf(errorNumber);
  const detail = code === "SERVER_ERROR" ? `${meaningOf(code)} (ZooKeeper's error ${errorNumber})` : meaningOf(code);
  const outcome = call.changes && !CERTAIN.has(code) ? "unknown" : "none";
  return new ZooKeeperError(code, `${call.name} ${call.path}: ${detail}`, { outcome, path: call.path });
}

export const hasZooKeeperCode = (thrown: unknown, code: ZooKeeperErrorCode): thrown is ZooKeeperError =>
  thrown instanceof ZooKeeperError && thrown.code === code;
