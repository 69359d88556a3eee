/**
 * A whole cluster for one command: a master and a worker in this process, drivers and executors as its children, on loopback only.
 * Boundary: used by `run`. After `close` nothing of it is left: no process, port or file; when this process is killed, its children end
 * themselves within a few seconds.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createMemoryStore } from "../coordination/memory-store.js";
import type { Env } from "../env/env.js";
import { randomId } from "../env/random.js";
import { runMasterHost } from "../host/master/master-host.js";
import { runWorkerHost } from "../host/worker/worker-host.js";
import { createFileBundles } from "../node/files/bundle-store.js";
import { makeTemporaryDirectory } from "../node/files/temporary-directory.js";
import { createProcessLauncher, type SpareCount } from "../node/processes/process-launcher.js";
import { openWorkDirectory } from "../node/processes/process-work-directory.js";
import { programPath } from "../node/programs.js";
import type { Resources } from "../wire/application.js";
import { bundleFolder } from "../wire/bundles.js";
import { UNRECORDED_CLUSTER_ID } from "../wire/handshake.js";

const ENDS_WITHOUT_THIS_MS = 3_000;

export interface EmbeddedCluster {
  readonly masterAddress: string;
  /** Gives master and worker a job's bundle without a way over the network. */
  keepBundle(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface EmbeddedOptions {
  readonly env: Env;
  readonly resources: Resources;
  /** Executors started in advance, while the job is still being bundled. */
  readonly spares: SpareCount;
  readonly driverSpares: SpareCount;
}

/** What was opened, closed in reverse order, also when opening fails half-way. */
async function closeAll(steps: (() => Promise<void>)[]): Promise<void> {
  for (const step of steps.splice(0).reverse()) await step();
}

export async function openEmbeddedCluster(options: EmbeddedOptions): Promise<EmbeddedCluster> {
  const { env } = options;
  const steps: (() => Promise<void>)[] = [];
  try {
    const { path: directory, remove } = makeTemporaryDirectory("run");
    steps.push(remove);
    const files = await openWorkDirectory(path.join(directory, "work"));
    steps.push(() => files.close());
    const launcher = createProcessLauncher({
      workDirectory: files.path,
      runnerPath: programPath("runner"),
      clock: env.clock,
      log: env.log,
      spares: options.spares,
      driverSpares: options.driverSpares,
      endsWithoutWorkerMs: ENDS_WITHOUT_THIS_MS,
    });
    steps.push(() => launcher.close({ leave: false }));
    const store = createMemoryStore();
    const storage = path.join(directory, "blobs");
    const bundles = await createFileBundles(storage);
    steps.push(() => store.close());
    const master = await runMasterHost({
      env,
      masterId: `master-${randomId(env.random, 8)}`,
      pid: process.pid,
      listen: "127.0.0.1:0",
      store,
      mode: "none",
      bundles,
      secret: null,
      settings: { storage },
    });
    steps.push(() => master.close());
    const worker = await runWorkerHost({
      env,
      launcher,
      files,
      masterUrl: master.address,
      readFile: (file) => readFile(file, "utf8"),
      listenAddress: "127.0.0.1:0",
      secret: null,
      resources: options.resources,
      pid: process.pid,
    });
    steps.push(() => worker.close({ leave: false }));
    return {
      masterAddress: master.address,
      keepBundle: async (bytes) => {
        const sha256 = env.digest.sha256Hex(bytes);
        // Where the leader expects it; from elsewhere it would be copied.
        const folder = bundleFolder(UNRECORDED_CLUSTER_ID, master.epoch());
        await Promise.all([bundles.put(folder, bytes), files.keepArtifact(sha256, bytes)]);
      },
      close: () => closeAll(steps),
    };
  } catch (thrown) {
    await closeAll(steps);
    throw thrown;
  }
}
