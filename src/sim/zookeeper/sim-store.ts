/**
 * The coordination store of a simulated cluster on a modelled ZooKeeper ensemble: the product's own ZooKeeper store, all of it, on `FakeEnsemble`.
 *
 * Boundary: gives each master its connection, breaks it when faults say so, and reads the history of the store from its log, as ZooKeeper ordered it.
 */
import type { AppliedCommit } from "../../coordination/local-store.js";
import type { CoordinationStore, StoredRecord, Write } from "../../env/coordination-store.js";
import { decodeEntry } from "../../zookeeper-store/codec.js";
import { createCoordinationStore } from "../../zookeeper-store/store.js";
import { withSessions } from "../store-wrapping.js";
import type { SimStore, StoreOptions, StoreWeather } from "../stores.js";
import type { SimProcess } from "../world.js";
import { FakeZooKeeperClient } from "./client.js";
import { FakeEnsemble } from "./ensemble.js";
import type { AnyWrite } from "./operations.js";
import { StoreEnsemble } from "./store-ensemble.js";

const ROOT = "/holdfast/simulated";
const TICK_MS = 500;
const SERVERS = 3;
/** Log entries before they are merged into pages: few, so that merging is part of every run. */
const MERGE_ENTRIES = 40;
const LOG_ENTRY = /\/log\/[0-9]+$/;
/** A server that is not reached stays so for a while. */
const DOWN_MS = 3_000;

export function createZooKeeperSimStore(options: StoreOptions, weather: StoreWeather): SimStore {
  const { world, minLatencyMs, maxLatencyMs } = options;
  const random = world.random.fork("zookeeper");
  const digests = (auth: string) => `${auth.split(":")[0]}:digest`;
  const latencyMs = () => random.between(minLatencyMs, maxLatencyMs) * weather.slowness;
  const lags = Array.from({ length: SERVERS }, () => maxLatencyMs * random.between(0.5, 4));
  const extraLags = Array.from({ length: SERVERS }, () => 0);
  const ownerOfSession = new Map<string, SimProcess>();
  const clients = new Map<SimProcess, Set<FakeZooKeeperClient>>();
  const cutOff = new Set<SimProcess>();
  const records = new Map<string, StoredRecord>();
  const ensemble = new FakeEnsemble({
    world,
    random,
    servers: SERVERS,
    tickMs: TICK_MS,
    lagMs: (server) => (lags[server] ?? 0) + (extraLags[server] ?? 0),
    commitMs: latencyMs,
    ordered: (_sessionId, operations) => {
      for (const applied of commitsIn(operations, records))
        options.committed(applied, ownerOfSession.get(applied.sessionId) ?? null);
    },
  });

  const each = (process: SimProcess, act: (client: FakeZooKeeperClient) => void) => {
    for (const client of clients.get(process) ?? []) act(client);
  };
  const serverDown = () => {
    const server = random.pick(ensemble.servers);
    if (server === undefined || ensemble.servers.some(({ isDown }) => isDown)) return;
    server.isDown = true;
    for (const own of clients.values()) for (const client of own) if (client.server() === server.index) client.breakConnection();
    world.schedule(world.now() + random.between(0, DOWN_MS), "zk server is back", () => {
      server.isDown = false;
    });
  };
  /** What befalls a commit: its connection breaks before it has arrived, or after, or on the way back. */
  const disturb = (client: FakeZooKeeperClient) => {
    if (random.chance(weather.failShare)) world.schedule(world.now() + latencyMs(), "zk server is down", serverDown);
    if (!random.chance(weather.unknownShare) && !random.chance(weather.lostShare)) return;
    world.schedule(world.now() + random.between(0, 3) * latencyMs(), "zk connection breaks", () => client.breakConnection());
  };

  const connect = (process: SimProcess, timeoutMs: number) => {
    const own = clients.get(process) ?? new Set();
    clients.set(process, own);
    const client = new FakeZooKeeperClient({
      world,
      process,
      random: random.fork(`${process.id} ${own.size}`),
      ensemble,
      sessionTimeoutMs: timeoutMs,
      latencyMs,
      isReachable: () => !cutOff.has(process),
      digestId: digests,
      auth: [{ scheme: "digest", auth: "holdfast:secret" }],
    });
    own.add(client);
    ownerOfSession.set(client.sessionId, process);
    void client.ended.then(() => own.delete(client));
    return new StoreEnsemble(client, () => disturb(client));
  };

  return {
    weather,
    forMaster(process): CoordinationStore {
      process.onPause(() => each(process, (client) => client.mute()));
      process.onResume(() => {
        if (!cutOff.has(process)) each(process, (client) => client.unmute());
      });
      const store = createCoordinationStore({
        root: ROOT,
        isProtected: true,
        address: "zk://simulated",
        clock: process.clock,
        random: world.random.fork(`${process.id} store`),
        mergeEntries: MERGE_ENTRIES,
        connect: ({ timeoutMs }) => connect(process, timeoutMs),
      });
      return withSessions(store, () => ({}));
    },
    disconnect(process, mode) {
      cutOff.add(process);
      each(process, (client) => (mode === "hang" ? client.mute() : client.breakConnection()));
    },
    reconnect(process) {
      cutOff.delete(process);
      if (process.state === "running") each(process, (client) => client.unmute());
    },
    expire: (process) => each(process, (client) => client.expire()),
    // No watch of ZooKeeper is ever lost while its connection lives: it comes late, when its server is late.
    loseWatches(process, afterMs) {
      for (const client of clients.get(process) ?? []) {
        const server = client.server();
        if (server === null) continue;
        extraLags[server] = afterMs / 4;
        world.schedule(world.now() + afterMs, "zk server has caught up", () => {
          extraLags[server] = 0;
        });
      }
    },
    records: () => [...records.values()],
    owner: () => null,
  };
}

/** Log entries are the commits of the store: what they put and delete, in ZooKeeper's order. Ephemeral records stand in no entry. */
function commitsIn(operations: readonly AnyWrite[], records: Map<string, StoredRecord>): readonly AppliedCommit[] {
  const commits: AppliedCommit[] = [];
  for (const operation of operations) {
    if (operation.op !== "create" || !LOG_ENTRY.test(operation.path)) continue;
    const entry = decodeEntry(operation.data ?? new Uint8Array(0), operation.path);
    const writes = entry.states.map(({ key, record }): Write => {
      if (record === undefined) records.delete(key);
      else records.set(key, record);
      return record === undefined ? { delete: key } : { put: key, value: record.value };
    });
    commits.push({ revision: entry.revision, sessionId: entry.sessionId, transaction: { guards: [], writes } });
  }
  return commits;
}
