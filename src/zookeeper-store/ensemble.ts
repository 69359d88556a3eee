/**
 * What the store needs of one ZooKeeper session. `zookeeper-ensemble.ts` is the real one; tests have a fake with cuts at every step.
 *
 * Contract:
 *   1. Calls are carried out in the order they were made, answers come in that order; nothing is sent while `isConnected()` is false
 *      but waits for the next connection.
 *   2. Rejections are CodedErrors: CONNECTION_LOST (a read lost, or a write that certainly was not carried out), OUTCOME_UNKNOWN (a write
 *      whose answer was lost), SESSION_ENDED, CLOSED, STORE_UNUSABLE (access denied and the like).
 *   3. A write whose outcome is unknown may still be carried out after a read on the next connection.
 */
import type { CodedError } from "../base/errors.js";

export interface Znode {
  readonly data: Uint8Array;
  readonly version: number;
}

/** Versions are exact: 0 is version 0. */
export type ZnodeOperation =
  | { readonly op: "check"; readonly path: string; readonly version: number }
  | { readonly op: "create"; readonly path: string; readonly data: Uint8Array; readonly ephemeral?: boolean }
  | { readonly op: "set"; readonly path: string; readonly data: Uint8Array; readonly version: number }
  | { readonly op: "delete"; readonly path: string; readonly version: number };

/** All operations were carried out, or none. `at`: the first one that could not be. */
export type MultiResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly at: number; readonly reason: "missing" | "exists" | "version" | "not-empty" };

export interface Ensemble {
  readonly sessionId: string;
  /** Resolves once: SESSION_ENDED (expired), CLOSED. */
  readonly ended: Promise<CodedError>;
  isConnected(): boolean;
  /** Rejects with the signal's reason, SESSION_ENDED, CLOSED. */
  connected(signal: AbortSignal): Promise<void>;
  /** What is wrong while there is no connection, without credentials. */
  trouble(): string;
  /** The local instant until which the session certainly lives. */
  deadline(): number;
  /** What follows is answered by a server that knows everything acknowledged before. */
  sync(path: string): Promise<void>;
  get(path: string): Promise<Znode | undefined>;
  children(path: string): Promise<readonly string[] | undefined>;
  /** Whether anybody who reaches the ensemble may write there; undefined: no such znode. */
  isOpenToAll(path: string): Promise<boolean | undefined>;
  multi(operations: readonly ZnodeOperation[]): Promise<MultiResult>;
  /** Creates the path's missing parts, persistent. */
  makePath(path: string): Promise<void>;
  /** Calls back on each change of the znode or of its list of children, and after each new connection, until the session's end. */
  watch(path: string, onChange: () => void): Promise<void>;
  close(): Promise<void>;
}
