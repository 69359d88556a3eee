/** Mistakes of a worker: about epochs, processes and what it tells. */
import type { WorkerHostOptions } from "../../host/worker/worker-host.js";
import { type Mutant, mutant } from "./mutant.js";
import { type Rewrites, withFrames } from "./wrapping.js";

const withWorkerFrames =
  (rewrites: (options: WorkerHostOptions) => Rewrites) =>
  (options: WorkerHostOptions): WorkerHostOptions => {
    const { env } = options;
    return { ...options, env: { ...env, transport: withFrames(env.transport, rewrites(options)) } };
  };

const NEVER_MS = 24 * 3_600_000;

export const WORKER_MUTANTS: readonly Mutant[] = [
  mutant("forgets-inventory", "a worker that starts again does not look at what it had launched", {
    worker: (options) => ({ ...options, launcher: { ...options.launcher, inventory: () => Promise.resolve([]) } }),
  }),
  mutant("no-lease", "programs run on without their worker", {
    worker: (options) => ({
      ...options,
      launcher: {
        ...options.launcher,
        launch: ({ endsWithoutWorkerMs: _worker, endsWithoutLeaderMs: _leader, ...spec }) => options.launcher.launch(spec),
      },
    }),
  }),
  mutant("confirms-itself", "a worker that nobody hears goes on as if a leader had confirmed it", {
    worker: (options) => ({
      ...options,
      launcher: {
        ...options.launcher,
        renewLease: () => {
          options.launcher.renewLease();
          options.launcher.renewLeaderLease(0);
        },
      },
    }),
  }),
  mutant("lease-too-long", "a lease is taken for three times as long as the leader said", {
    worker: withWorkerFrames(() => ({
      incoming: (frame) => {
        if (frame.kind !== "worker.registered") return frame;
        const body = frame.body as { readonly leaseMs: number };
        return { ...frame, body: { ...body, leaseMs: 3 * body.leaseMs } };
      },
    })),
  }),
  mutant("stops-politely-only", "what ignores the polite signal is never killed", {
    worker: (options) => ({
      ...options,
      launcher: { ...options.launcher, stop: (processId, _graceMs, reason) => options.launcher.stop(processId, NEVER_MS, reason) },
    }),
  }),
  mutant("over-commits", "a worker offers twice what it has", {
    worker: (options) => ({ ...options, resources: { ...options.resources, cores: options.resources.cores * 2 } }),
  }),
  mutant("reports-once", "an end that was reported over a connection that broke is not reported again", {
    worker: (options) => {
      const told = new Set<string>();
      return withWorkerFrames(({ env }) => ({
        outgoing: (frame) => {
          if (frame.kind !== "worker.report") return frame;
          const { processId, end } = frame.body as { readonly processId: string; readonly end: unknown };
          if (end === null) return frame;
          const isLost = !told.has(processId) && env.random.fraction() < 0.1;
          told.add(processId);
          return isLost ? null : frame;
        },
      }))(options);
    },
  }),
];
