/**
 * The executable definition of `CoordinationStore` (src/env/coordination-store.ts): every backend passes this suite.
 *
 * A backend's test file is five lines: `coordinationStoreSuite({ name, open, supports })`. Each check gets a store with no records of its
 * own, throws when the store breaks the contract, and can be run by itself (`STORE_CHECKS`): the tests of the tests run single
 * checks against stores that are broken on purpose. Nothing here but the contract, the errors and vitest is imported.
 */
import { describe, test } from "vitest";
import type { CoordinationStore } from "../env/coordination-store.js";
import { FAULT_CHECKS } from "./coordination-store-faults.js";
import { LIMIT_CHECKS } from "./coordination-store-limits.js";
import { RECORD_CHECKS } from "./coordination-store-records.js";
import { SESSION_CHECKS } from "./coordination-store-sessions.js";

/** A store for one check, and what the check may do to it beyond the interface. */
export interface OpenedStore {
  readonly store: CoordinationStore;
  /** Closes the store and opens it again on the same records; needed for `supports.reopen`. */
  readonly reopen?: () => Promise<CoordinationStore>;
  /** Needed for `supports.faults`. */
  readonly faults?: StoreFaultControls;
  /** Closes everything and removes what was made. */
  readonly cleanUp: () => Promise<void>;
}

export interface StoreFaultControls {
  /** The next commit of any session of this store. */
  failNextCommit(outcome: CommitOutcome): void;
  disconnect(mode: "hang" | "reject"): void;
  reconnect(): void;
  /** Lets the store's and the process's time pass. */
  advance(durationMs: number): Promise<void>;
  /** Events are lost from now on; `lost` is reported some time (less than a second) later. */
  loseWatches(): void;
  /** Records as the store holds them, seen past all faults. */
  look(key: string): Promise<Uint8Array | undefined>;
}

export type CommitOutcome =
  | "unknown-applied"
  | "unknown-not-applied"
  | "connection-lost"
  | "disk-failed-applied"
  | "disk-failed-not-applied"
  | "expired-applied"
  | "expired-not-applied";

export interface StoreCheck {
  readonly group: string;
  /** A sentence of behaviour. */
  readonly name: string;
  readonly needs?: "reopen" | "faults";
  readonly run: (opened: OpenedStore) => Promise<void>;
}

export const STORE_CHECKS: readonly StoreCheck[] = [...RECORD_CHECKS, ...SESSION_CHECKS, ...LIMIT_CHECKS, ...FAULT_CHECKS];

export interface StoreSuite {
  readonly name: string;
  readonly open: () => Promise<OpenedStore>;
  /** What cannot be done with this backend is left out of its suite. */
  readonly supports: { readonly reopen: boolean; readonly faults: boolean };
}

export function coordinationStoreSuite(suite: StoreSuite): void {
  describe(`the coordination store of ${suite.name}`, () => {
    for (const check of STORE_CHECKS) {
      if (check.needs !== undefined && !suite.supports[check.needs]) continue;
      test(`${check.group}: ${check.name}`, () => runCheck(check, suite.open));
    }
  });
}

export async function runCheck(check: StoreCheck, open: () => Promise<OpenedStore>): Promise<void> {
  const opened = await open();
  try {
    await check.run(opened);
  } finally {
    await opened.cleanUp();
  }
}
