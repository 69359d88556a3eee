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
  /** Records that the sources have read, as far as the job has told. */
  readonly recordsIn: number;
  /** The checkpoint that the present try goes on from; 0: none, or the try has not told yet. */
  readonly restored: number;
  /** The try that has told so. */
  readonly restoredTry: string | null;
}

export interface Observer {
  /** Records that had been read at that checkpoint; null: it was never seen to be the newest. */
  recordsAt(checkpoint: number): number | null;
  status(): Promise<ApplicationView>;
  cluster(): Promise<ClusterView>;
  footprint(): Promise<Footprint>;
  /** Whether this attempt of the driver has taken over what the executors of the one before it ran. */
  tookOver(attempt: number): Promise<boolean>;
  /** Milliseconds until the condition holds; rejects with what was waited for after `timeoutMs`. */
  until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<number>;
}

export function observer(client: ClusterClient, application: string): Observer {
  const recordsAt = new Map<number, number>();
  const status = async () => {
    const view = (await client.call("status", { application, after: null, waitMs: 0 })).application;
    if (view.checkpoint !== null) recordsAt.set(view.checkpoint.id, view.checkpoint.records.in);
    return view;
  };
  const cluster = () => client.call("cluster", {});
  return {
    recordsAt: (checkpoint) => recordsAt.get(checkpoint) ?? null,
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
        recordsIn: view.progress?.recordsIn ?? 0,
        restored: view.progress?.restored?.checkpoint ?? 0,
        restoredTry: view.progress?.restored?.try ?? null,
      };
    },
    tookOver: async (attempt) => {
      const { events } = await client.call("events", { after: null, limit: 1_000, waitMs: 0 });
      const words = `Attempt ${attempt} of the driver of ${application} `;
      return events.some(({ kind, message }) => kind === "job.taken-over" && message.startsWith(words));
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

/** A checkpoint was completed since the present try began, so that the next one has something to go on from. */
export function hasCheckpoint({ checkpoint, progress }: ApplicationView): boolean {
  return checkpoint !== null && checkpoint.id > (progress?.restored?.checkpoint ?? 0) && checkpoint.records.in > 0;
}

/** The job reads, with all its executors: nothing is missing. */
export function isWhole(view: ApplicationView, parallelism: number): boolean {
  const running = view.executors.filter((executor) => executor.state === "running").length;
  return (
    view.state === "running" && view.progress?.phase === "running" && running === parallelism && (view.progress?.recordsIn ?? 0) > 0
  );
}
