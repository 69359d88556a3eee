/** Mistakes of reports, supervision, scheduling and submissions. */
import type { Connection } from "../../env/transport.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import type { WorkerHostOptions } from "../../host/worker/worker-host.js";
import { type Mutant, mutant } from "./mutant.js";
import { type Frame, type Rewrites, withFrames } from "./wrapping.js";

const withMasterFrames =
  (rewrites: (options: MasterHostOptions) => Rewrites) =>
  (options: MasterHostOptions): MasterHostOptions => ({
    ...options,
    env: { ...options.env, transport: withFrames(options.env.transport, rewrites(options)) },
  });

const withReports =
  (change: (body: Record<string, unknown>) => Record<string, unknown>) =>
  (options: WorkerHostOptions): WorkerHostOptions => {
    const outgoing = (frame: Frame): Frame =>
      frame.kind === "worker.report" ? { ...frame, body: change(frame.body as Record<string, unknown>) } : frame;
    return { ...options, env: { ...options.env, transport: withFrames(options.env.transport, { outgoing }) } };
  };

interface ReportedEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

interface LaunchBody {
  readonly role: string;
  readonly resources: { readonly cores: number };
}

export const SUPERVISION_MUTANTS: readonly Mutant[] = [
  mutant("killed-is-well", "what was killed is reported as having ended well", {
    worker: withReports((body) => {
      const end = body.end as ReportedEnd | null;
      return end !== null && end.exitCode === null ? { ...body, end: { ...end, exitCode: 0, signal: null } } : body;
    }),
  }),
  mutant("fails-well", "exit codes are not reported", {
    worker: withReports((body) => {
      const end = body.end as ReportedEnd | null;
      return end === null ? body : { ...body, end: { ...end, exitCode: end.exitCode === null ? null : 0 } };
    }),
  }),
  mutant("changes-what-was-submitted", "a submission is recorded with another number of restarts", {
    master: withMasterFrames(() => ({
      incoming: (frame) => {
        if (frame.kind !== "submit") return frame;
        const body = frame.body as { readonly spec: { readonly restart: { readonly maxRestarts: number } } };
        const restart = { ...body.spec.restart, maxRestarts: body.spec.restart.maxRestarts + 3 };
        return { ...frame, body: { ...body, spec: { ...body.spec, restart } } };
      },
    })),
  }),
  mutant("launches-twice", "one order in ten goes to another worker, too", {
    master: withMasterFrames(({ env }) => {
      let before: Connection | null = null;
      return {
        outgoing: (frame, connection) => {
          if (frame.kind !== "worker.launch") return frame;
          const other = before;
          before = connection;
          if (other !== null && other !== connection && env.random.fraction() < 0.1)
            other.send(new TextEncoder().encode(JSON.stringify(frame)));
          return frame;
        },
      };
    }),
  }),
  mutant("launches-too-large", "what is launched takes twice what was reserved", {
    master: withMasterFrames(() => ({
      outgoing: (frame) => {
        if (frame.kind !== "worker.launch") return frame;
        const body = frame.body as LaunchBody;
        return { ...frame, body: { ...body, resources: { ...body.resources, cores: body.resources.cores * 2 } } };
      },
    })),
  }),
  mutant("acknowledges-unheard", "ends are acknowledged to workers and then lost", {
    master: withMasterFrames(({ env }) => ({
      incoming: (frame) => {
        const end = (frame.body as { readonly end?: unknown } | undefined)?.end ?? null;
        return frame.kind === "worker.report" && end !== null && env.random.fraction() < 0.1 ? null : frame;
      },
    })),
  }),
];
