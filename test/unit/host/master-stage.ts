/** Masters on one memory store and one memory network, under a clock that the test moves. */
import { setMaxListeners } from "node:events";
import { expect } from "vitest";
import { createFaultyStore, type FaultyStore, type StoreCall, type StoreFault } from "../../../src/coordination/faulty-store.js";
import { createMemoryStore, type MemoryStore } from "../../../src/coordination/memory-store.js";
import type { Log } from "../../../src/env/log.js";
import type { Link, LinkMessage } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { type MasterHost, type MasterHostOptions, runMasterHost } from "../../../src/host/master/master-host.js";
import type { Role } from "../../../src/wire/envelope.js";
import { NO_SECRET } from "../../../src/wire/handshake.js";
import { masterToWorker } from "../../../src/wire/worker-messages.js";
import { createTestEnv, settle, type TestEnv } from "../../support/manual-clock.js";
import { type MemoryBundles, memoryBundles } from "../../support/memory-bundles.js";

export const never = new AbortController().signal;
setMaxListeners(0, never);

export interface StagedMaster {
  readonly host: MasterHost;
  readonly store: FaultyStore;
  readonly logs: string[];
  readonly address: string;
}

export interface MasterStage {
  readonly env: TestEnv;
  readonly memory: MemoryStore;
  readonly bundles: MemoryBundles;
  fault: (call: StoreCall) => StoreFault | undefined;
  master(id: string, change?: Partial<MasterHostOptions>): Promise<StagedMaster>;
  link(address: string, role?: Role, id?: string): Promise<Link & { readonly messages: LinkMessage[] }>;
  /** Moves time until the condition holds. */
  until(what: string, condition: () => boolean): Promise<void>;
  drive<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export function openMasterStage(): MasterStage {
  const env = createTestEnv();
  const memory = createMemoryStore();
  const bundles = memoryBundles(env.digest);
  const masters: StagedMaster[] = [];
  const stage: MasterStage = {
    env,
    memory,
    bundles,
    fault: () => undefined,
    async master(id, change = {}) {
      const logs: string[] = [];
      const note = (message: string) => void logs.push(message);
      const log: Log = { debug() {}, info: note, warn: note, error: note };
      const store = createFaultyStore(memory, { clock: env.clock, decide: (call) => stage.fault(call) });
      const base = {
        masterId: id,
        pid: 1,
        listen: `${id}:7077`,
        store,
        mode: "store",
        bundles,
        secret: null,
        clusterId: "test",
      } as const;
      const host = await runMasterHost({ env: { ...env, log }, ...base, ...change });
      const master = { host, store, logs, address: host.address };
      masters.push(master);
      return master;
    },
    async link(address, role = "client", id = "someone") {
      const settings = {
        env,
        epoch: () => 0,
        role,
        id,
        scope: "cluster",
        key: NO_SECRET,
        clusterId: null,
        incoming: masterToWorker,
      };
      const link = await stage.drive(
        dialLink(address, { ...settings, heartbeatMs: 1000, silenceMs: 10_000, connectTimeoutMs: 1000, signal: never }),
      );
      const messages: LinkMessage[] = [];
      link.onMessage((message) => void messages.push(message));
      return Object.assign(link, { messages });
    },
    async until(what, condition) {
      for (let turn = 0; turn < 4_000; turn++) {
        if (condition()) return;
        await env.clock.advance(turn < 200 ? 1 : 20);
      }
      throw new Error(`not within the stage's time: ${what}`);
    },
    async drive(promise) {
      let done = false;
      const over = () => {
        done = true;
      };
      promise.then(over, over);
      await stage.until("a promise settles", () => done);
      return promise;
    },
    async close() {
      await stage.drive(Promise.all(masters.map(({ host }) => host.close())));
      await settle();
    },
  };
  return stage;
}

/** With a stage of its own, of which nothing is left running afterwards. */
export async function onStage(act: (stage: MasterStage) => Promise<void>): Promise<void> {
  const stage = openMasterStage();
  try {
    await act(stage);
  } finally {
    await stage.close();
  }
  expect(stage.env.clock.timers()).toBe(0);
}
