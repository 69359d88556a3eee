/**
 * What a user of the client sees: its options, its calls, its events. `client.ts` implements it.
 *
 * Rules for all calls: they reject with ZooKeeperError only. Calls of one client are sent, and by ZooKeeper applied, in the order they were
 * made. While there is no connection they wait for one, as long as their signal allows. When a connection breaks, all calls made
 * until then reject: those that were sent with `outcome: "unknown"` if they may have changed something, the others with `outcome: "none"`.
 */
import type { Acl } from "./acl.js";
import type { ZooKeeperClock, ZooKeeperRandom } from "./clock.js";
import type { ZooKeeperTlsOptions } from "./dial.js";
import type { ZooKeeperError } from "./errors.js";
import type { CreateOperation, MultiResult, ReadOperation, ReadResult, WriteOperation } from "./operations.js";
import type { ChangeType } from "./responses.js";
import type { SessionIdentity, SessionState } from "./session.js";
import type { Stat } from "./stat.js";
import type { WatchMode } from "./watches.js";

export interface DigestAuth {
  readonly scheme: "digest";
  /** `user:password`. Never shown in an error or a log. */
  readonly auth: string;
}

export interface ZooKeeperOptions {
  /** `host:port,host:port/chroot`; an IPv6 address stands in brackets; port 2181 where there is none. */
  readonly servers: string;
  /** What to ask for; the server grants 2 to 20 of its ticks by default. At least 100. */
  readonly sessionTimeoutMs: number;
  /** Sent on every connection before anything else. */
  readonly auth?: readonly DigestAuth[];
  /** TLS, for servers with a `secureClientPort`. */
  readonly tls?: ZooKeeperTlsOptions;
  /** Attach to a session that exists, also from another process. Its present connection ends. */
  readonly session?: { readonly id: string; readonly password: Uint8Array };
  /** Calls that may be sent before the oldest is answered. Default 1,000. */
  readonly maxInFlight?: number;
  /** Calls that may wait to be sent; more reject with LIMIT. Default 10,000 (and 64 MiB together). */
  readonly maxWaiting?: number;
  /** The server's `jute.maxbuffer`; a larger request rejects with TOO_LARGE and is not sent. Default 1,048,575. */
  readonly maxRequestBytes?: number;
  /** A larger answer ends the connection. Default 16 MiB: lists of children may be larger than requests. */
  readonly maxResponseBytes?: number;
  /**
   * For one try to connect, from the first packet to the session. Default: a share of the session's timeout, so that several servers can be tried
   * within it; it grows when all fail.
   */
  readonly connectTimeoutMs?: number;
  readonly clock?: ZooKeeperClock;
  readonly random?: ZooKeeperRandom;
}

export interface CallOptions {
  /** Rejects the call with ABORTED. One that was sent may still be done: `outcome` says so. */
  readonly signal?: AbortSignal;
}

/** `restored`: the connection was away and is back, so changes may have been missed; only persistent watches hear it. Read again. */
export interface WatchEvent {
  readonly type: ChangeType | "restored";
  readonly path: string;
}

export type WatchListener = (event: WatchEvent) => void;

export interface ReadOptions extends CallOptions {
  /** A one-shot watch, set when the call succeeds (of `exists` also when there is no node). Restored after a reconnection, gone with the session. */
  readonly watch?: WatchListener;
}

export interface Watch {
  /** The listener is not called after it. The server is told when the connection allows. */
  close(): void;
}

export type StateEvent =
  | { readonly state: "connected"; readonly server: string; readonly sessionId: string; readonly reattached: boolean }
  /** `reason`: why there is no connection, or why the last try failed. */
  | { readonly state: "connecting"; readonly reason: ZooKeeperError }
  | { readonly state: "ended"; readonly reason: ZooKeeperError };

export interface ZooKeeper {
  /** Resolves while the session has a connection, otherwise when it has one (again). Rejects with what ended the client, or ABORTED. */
  connected(signal?: AbortSignal): Promise<void>;
  /** Undefined until there is one. */
  session(): SessionIdentity | undefined;
  state(): SessionState;
  /**
   * The instant (of the client's clock, monotonic milliseconds) until which the session certainly lives: the send time of the last answered message plus two thirds
   * of the timeout. -Infinity without a session. Exact where the server that answers judges the session itself; one that follows
   * and has lost its leader may answer for its `syncLimit` longer.
   */
  deadline(): number;
  /** Resolves once: SESSION_EXPIRED, AUTH_FAILED, CLOSED. There is never another session in this client. */
  readonly ended: Promise<ZooKeeperError>;
  /** Called on every change, not for the present state. Returns what ends it. */
  onState(listener: (event: StateEvent) => void): () => void;

  create(path: string, data: Uint8Array, options?: CreateOptions): Promise<{ readonly path: string; readonly stat: Stat }>;
  delete(path: string, version: number, options?: CallOptions): Promise<void>;
  /** Null when there is no node. */
  exists(path: string, options?: ReadOptions): Promise<Stat | null>;
  getData(path: string, options?: ReadOptions): Promise<{ readonly data: Uint8Array; readonly stat: Stat }>;
  setData(path: string, data: Uint8Array, version: number, options?: CallOptions): Promise<Stat>;
  /** Names, in no order. */
  getChildren(path: string, options?: ReadOptions): Promise<{ readonly children: readonly string[]; readonly stat: Stat }>;
  /** What this client reads afterwards is at least as new as what any client was told before this call. */
  sync(path: string, options?: CallOptions): Promise<void>;
  /** Rejects with NO_NODE or BAD_VERSION. */
  check(path: string, version: number, options?: CallOptions): Promise<void>;
  /** All or nothing. Rejects with the code of the operation that failed, named by `failed`. */
  multi(operations: readonly WriteOperation[], options?: CallOptions): Promise<MultiResult>;
  multiRead(operations: readonly ReadOperation[], options?: CallOptions): Promise<readonly ReadResult[]>;
  getAcl(path: string, options?: CallOptions): Promise<{ readonly acl: readonly Acl[]; readonly stat: Stat }>;
  /** `version`: of the access control list (`Stat.aclVersion`), or ANY_VERSION. */
  setAcl(path: string, acl: readonly Acl[], version: number, options?: CallOptions): Promise<Stat>;
  /** More credentials, also for all later connections. A wrong password is noticed only where an access control list refuses. */
  addAuth(auth: DigestAuth, options?: CallOptions): Promise<void>;
  /** Stays until it is closed. A path can have one mode in a client (INVALID_ARGUMENT). Recursive: of the node and all below it; never of type `children`. */
  addWatch(path: string, mode: WatchMode, listener: WatchListener, options?: CallOptions): Promise<Watch>;

  /**
   * Ends the session: its ephemeral nodes go, calls that wait reject with CLOSED, calls that were sent are answered first. Never rejects. Takes at most
   * the session's timeout or 5 s, whichever is less; a session that could not be told expires by itself.
   */
  close(): Promise<void>;
}

export type CreateOptions = Omit<CreateOperation, "op" | "path" | "data"> & CallOptions;
