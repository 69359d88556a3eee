/** Clients of one test file, with the failures and states that tests look at; all are closed after the test. */
import { afterEach } from "vitest";
import {
  connectZooKeeper,
  type StateEvent,
  type WatchEvent,
  type ZooKeeper,
  type ZooKeeperError,
  type ZooKeeperOptions,
} from "../../../src/zookeeper/index.js";
import { waitFor } from "../../support/wait-for.js";

export const nothing = new Uint8Array();
export const bytes = (text: string): Uint8Array => Buffer.from(text);
export const text = (data: Uint8Array): string => Buffer.from(data).toString();

export interface TestClient {
  readonly zk: ZooKeeper;
  readonly states: StateEvent[];
  readonly id: string;
}

export function clientsOf(servers: () => string) {
  const open: ZooKeeper[] = [];
  /** For tests that take away first what clients are connected through. */
  const closeAll = async (): Promise<void> => {
    await Promise.all(open.splice(0).map((zk) => zk.close()));
  };
  afterEach(closeAll);
  const create = (options: Partial<ZooKeeperOptions> = {}): { readonly zk: ZooKeeper; readonly states: StateEvent[] } => {
    const zk = connectZooKeeper({ servers: servers(), sessionTimeoutMs: 3_000, ...options });
    const states: StateEvent[] = [];
    zk.onState((event) => states.push(event));
    open.push(zk);
    return { zk, states };
  };
  return {
    create,
    closeAll,
    connect: async (options: Partial<ZooKeeperOptions> = {}): Promise<TestClient> => {
      const { zk, states } = create(options);
      await zk.connected(AbortSignal.timeout(30_000));
      return { zk, states, id: zk.session()?.id ?? "none" };
    },
  };
}

export const failureOf = (promise: Promise<unknown>): Promise<ZooKeeperError> =>
  promise.then(
    (value) => {
      throw new Error(`it did not fail, but gave ${String(value)}`);
    },
    (thrown) => thrown as ZooKeeperError,
  );

/** Collects events; `heard` waits for one that looks like that. */
export function listening() {
  const events: WatchEvent[] = [];
  return {
    events,
    hear: (event: WatchEvent) => void events.push(event),
    heard: (type: WatchEvent["type"], path: string) =>
      waitFor(() => events.some((event) => event.type === type && event.path === path)),
  };
}

/** Lets the timers that are due, and what they put off until sockets were read, run. */
export const turns = async (count = 3): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

export const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));
