/** What the demo knows of the running job: asked from the cluster again and again, by one client that follows every failover. */
import type { ClusterClient } from "../src/cli/client/cluster-client.js";
import type { ApplicationView, ClusterView } from "../src/wire/views.js";

const LOOK_EVERY_MS = 5;

/** What a fault may or may not change. */
export interface Footprint {
  readonly epoch: number;
  readonly attempt: number;
  readonly jobRestarts: number;
  readonly driverPid: number | null;
  /** Pids of running executors, ascending. */
  readonly executorPids: readonly number[];
}

export interface Observer {
  status(): Promise<ApplicationView>;
  cluster(): Promise<ClusterView>;
  footprint(): Promise<Footprint>;
  /** Milliseconds until the condition holds; rejects with what was waited for after `timeoutMs`. */
  until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<number>;
}

export function observer(client: ClusterClient, application: string): Observer {
  const status = async () => (await client.call("status", { application, after: null, waitMs: 0 })).application;
  const cluster = () => client.call("cluster", {});
  return {
    status,
    cluster,
    footprint: async () => {
      const [view, masters] = [await status(), await cluster()];
      return {
        epoch: masters.epoch,
        attempt: view.attempt,
        jobRestarts: view.progress?.jobRestarts ?? 0,
        driverPid: view.driver?.pid ?? null,
        executorPids: view.executors
          .flatMap((executor) => (executor.state === "running" && executor.pid !== null ? [executor.pid] : []))
          .sort((a, b) => a - b),
      };
    },
    until: async (what, timeoutMs, holds) => {
      const startedAt = performance.now();
      for (;;) {
        if (await holds()) return performance.now() - startedAt;
        if (performance.now() - startedAt > timeoutMs) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
    },
  };
}

/** The job reads, with all its executors: nothing is missing. */
export function isWhole(view: ApplicationView, parallelism: number): boolean {
  const running = view.executors.filter((executor) => executor.state === "running").length;
  return (
    view.state === "running" && view.progress?.phase === "running" && running === parallelism && (view.progress?.recordsIn ?? 0) > 0
  );
}
