/**
 * What the demo runs on: two masters with their records in a directory, or three with theirs in three real ZooKeeper servers; and three workers.
 * Each is a process of its own. Boundary: starts and ends them; kills nothing. After `close` nothing of it is left.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { randomId } from "../src/env/random.js";
import { createNodeRandom } from "../src/node/env.js";
import { type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import { startZooKeeper, type ZooKeeperServers } from "../test/support/zookeeper.js";

const ZOOKEEPER_SERVERS = 3;
const MASTERS = { directory: 2, zookeeper: 3 } as const;
const WORKERS = 3;

export interface DemoStage {
  readonly cluster: ProcessCluster;
  /** Null: the records are in a directory. */
  readonly ensemble: ZooKeeperServers | null;
  close(): Promise<void>;
}

export const announcement = (zookeeper: boolean): string =>
  zookeeper
    ? "Starting three ZooKeeper servers, three masters (one leads, two stand by) and three workers, each a process of its own."
    : "Starting two masters (one leads, one stands by) and three workers, each a process of its own.";

/** Resolves when ZooKeeper serves and the others are started. */
export async function openStage(program: string, zookeeper: boolean): Promise<DemoStage> {
  const ensemble = zookeeper ? await startZooKeeper({ servers: ZOOKEEPER_SERVERS }) : null;
  const cluster = await processCluster(program).catch(async (thrown) => {
    await ensemble?.close();
    throw thrown;
  });
  const close = async () => {
    try {
      await cluster.close();
    } finally {
      await ensemble?.close();
    }
  };
  try {
    const records = ensemble === null ? {} : recordsIn(ensemble, cluster);
    const masters = ensemble === null ? MASTERS.directory : MASTERS.zookeeper;
    for (let number = 1; number <= masters; number++) cluster.startMaster(`master-${number}`, records);
    for (let number = 1; number <= WORKERS; number++) cluster.startWorker(`worker-${number}`);
    return { cluster, ensemble, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** As an operator would: the password stands in a file that only its owner reads, and nobody else may touch the records. */
function recordsIn(ensemble: ZooKeeperServers, cluster: ProcessCluster) {
  const file = path.join(cluster.directory, "recovery");
  const password = randomId(createNodeRandom(), 24);
  writeFileSync(file, `zk://demo:${password}@${ensemble.connectString}/holdfast/demo\n`, { mode: 0o600 });
  return { recovery: `file://${file}`, args: ["--storage", `file:${cluster.file("blobs")}`] };
}
