/**
 * Where masters can be looked up by somebody who only reads: the ephemeral records of a coordination store's candidates and leader.
 *
 * Contract:
 *   1. Reading opens no candidate, changes nothing, and needs no right to write.
 *   2. What it says is a hint: which master leads is known from the epoch of a link to it, and from nothing else.
 *   3. A session that could not be kept is `ended` once, and no other takes its place in silence.
 *   4. No text of it holds credentials.
 */
import type { CodedError } from "../base/errors.js";

export interface SeenLeader {
  readonly address: string;
  readonly epoch: number;
}

export interface SeenMasters {
  /** The living leader's record; null: there is none. */
  readonly leader: SeenLeader | null;
  /** Addresses of all masters that lead or stand by, in the order in which they came. */
  readonly candidates: readonly string[];
}

export interface RegistryListener {
  /** `again`: the same session as before has a connection again, and changes may have been missed. */
  connected(again: boolean): void;
  /** `reason`: why there is no connection, or why the last try failed. Called for each. */
  disconnected(reason: CodedError): void;
  /** Something has changed since the last `read`. */
  changed(): void;
  /** SESSION_ENDED: the store gave it up. CLOSED. Anything else: the session was refused. */
  ended(reason: CodedError): void;
}

export interface RegistrySession {
  /**
   * Rejects with CONNECTION_LOST (passes), UNAUTHENTICATED (credentials are missing or wrong), NO_MASTER (nothing is there: no master
   * ever ran, or it is another place), STORE_FORMAT, STORE_UNUSABLE.
   */
  read(): Promise<SeenMasters>;
  /** The instant (env clock) until which the session certainly lives, whatever nobody says; -Infinity before the first connection. */
  deadline(): number;
  close(): Promise<void>;
}

export interface MasterRegistry {
  /** For people: without credentials. */
  readonly address: string;
  open(listener: RegistryListener): RegistrySession;
}
