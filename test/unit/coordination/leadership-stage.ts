/** A stage for leadership: one memory store, a connection with faults for each process, and the store's own history as the truth. */

import { createFaultyStore, type FaultyStore } from "../../../src/coordination/faulty-store.js";
import { RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import { type CampaignOptions, campaign, type Leadership } from "../../../src/coordination/leadership.js";
import type { AppliedCommit } from "../../../src/coordination/local-store.js";
import { createMemoryStore } from "../../../src/coordination/memory-store.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createManualClock, type ManualClock } from "../../support/manual-clock.js";

export const TTL_MS = 6_000;
export const live: { readonly signal: AbortSignal } = { signal: new AbortController().signal };

/** What the tests of the tests replace by something broken. */
export interface Parts {
  /** Between leadership and the faulty connection. */
  readonly wrap?: (store: CoordinationStore) => CoordinationStore;
  readonly campaign?: typeof campaign;
}

export interface Process {
  readonly store: FaultyStore;
  /** Pumps the clock until the campaign is through. */
  lead(more?: Partial<CampaignOptions>): Promise<Leadership>;
  /** Only starts it. */
  startCampaign(more?: Partial<CampaignOptions>): Promise<Leadership>;
}

export interface Stage {
  readonly clock: ManualClock;
  /** Everything the store ever applied, in order. */
  readonly history: readonly AppliedCommit[];
  process(name: string): Process;
  /** A user record's text as the store holds it, with its version. */
  look(key: string): { readonly value: string; readonly version: number } | undefined;
  /** Lets time pass until the promise settles. */
  pump<T>(promise: Promise<T>): Promise<T>;
}

export function openStage(parts: Parts = {}): Stage {
  const clock = createManualClock();
  const history: AppliedCommit[] = [];
  const memory = createMemoryStore({ onApplied: (applied) => void history.push(applied) });
  const wrap = parts.wrap ?? ((store) => store);
  const campaignWith = parts.campaign ?? campaign;

  const pump = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    for (let turn = 0; turn < 3_000 && !settled; turn++) await clock.advance(turn < 100 ? 5 : 50);
    if (!settled) throw new Error("nothing came of it in more than two minutes of the stage's time");
    return promise;
  };
  return {
    clock,
    history,
    pump,
    process(name) {
      const store = createFaultyStore(memory, { clock });
      const startCampaign = (more: Partial<CampaignOptions> = {}) =>
        campaignWith(wrap(store), { candidate: name, ttlMs: TTL_MS, clock, signal: live.signal, ...more });
      return { store, startCampaign, lead: (more) => pump(startCampaign(more)) };
    },
    look(key) {
      const record = memory.records().find((candidate) => candidate.key === `${RECORDS_PREFIX}${key}`);
      return record === undefined ? undefined : { value: new TextDecoder().decode(record.value), version: record.version };
    },
  };
}

export const write = (key: string, value: string) => ({ key, value: new TextEncoder().encode(value) });

export async function readAll(leadership: Leadership, prefix = ""): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for await (const page of leadership.readRecords({ prefix, signal: live.signal })) {
    for (const { key, value } of page) all[key] = new TextDecoder().decode(value);
  }
  return all;
}
