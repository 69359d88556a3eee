/** Mistakes of a master towards workers, drivers and clients, made in the frames that it sends and hears. */
import type { MasterHostOptions } from "../../host/master/master-host.js";
import { type Mutant, mutant } from "./mutant.js";
import { type Rewrites, withFrames, withWorkerRecords } from "./wrapping.js";

const withMasterFrames =
  (rewrites: (options: MasterHostOptions) => Rewrites) =>
  (options: MasterHostOptions): MasterHostOptions => {
    const { env } = options;
    return { ...options, env: { ...env, transport: withFrames(env.transport, rewrites(options)) } };
  };

export const MASTER_MUTANTS: readonly Mutant[] = [
  mutant("duplicates-by-key", "the same submission key makes another application each time", {
    master: withMasterFrames(() => {
      let sequence = 0;
      return {
        incoming: (frame) => {
          if (frame.kind !== "submit") return frame;
          const body = frame.body as { readonly key: string };
          sequence += 1;
          return { ...frame, body: { ...body, key: `${body.key}.${sequence}` } };
        },
      };
    }),
  }),
  mutant("forgets-stops", "a process that is to be stopped is never told", {
    master: withMasterFrames(() => ({ outgoing: (frame) => (frame.kind === "worker.stop" ? null : frame) })),
  }),
  mutant("never-acknowledges", "reports of workers are not acknowledged", {
    master: withMasterFrames(() => ({ outgoing: (frame) => (frame.kind === "worker.acknowledge" ? null : frame) })),
  }),
  mutant("loses-launches", "one launch order in ten is lost", {
    master: withMasterFrames(({ env }) => ({
      outgoing: (frame) => (frame.kind === "worker.launch" && env.random.fraction() < 0.1 ? null : frame),
    })),
  }),
  mutant("old-answers", "some reads are answered with what was true before", {
    master: withMasterFrames(({ env }) => {
      const earlier = new Map<string, unknown>();
      return {
        outgoing: (frame) => {
          const body = frame.body as { readonly version?: string; readonly application?: { readonly id: string } } | undefined;
          if (frame.kind !== "link.reply" || body?.version === undefined || body.application === undefined) return frame;
          const { id } = body.application;
          const old = earlier.get(id);
          if (old === undefined) earlier.set(id, body);
          return old !== undefined && env.random.fraction() < 0.3 ? { ...frame, body: old } : frame;
        },
      };
    }),
  }),
  mutant("no-removal-limit", "workers are declared lost however many there are", {
    master: (options) => ({ ...options, settings: { ...options.settings, removalLimit: { perMinute: null, share: 1 } } }),
  }),
  mutant("forgets-gone", "that a worker is gone for good is not in its record", {
    master: (options) => ({
      ...options,
      store: withWorkerRecords(options.store, (body) => {
        delete body.retired;
      }),
    }),
  }),
  mutant("commit-for-anybody", "a driver that was superseded may still decide", {
    driverLink: (link) => ({
      ...link,
      id: link.id,
      peer: link.peer,
      remote: link.remote,
      ended: link.ended,
      send: (kind, body) => link.send(kind, body),
      reply: (requestId, body) => link.reply(requestId, body),
      replyError: (requestId, error) => link.replyError(requestId, error),
      onMessage: (listener) => link.onMessage((message) => (message.kind === "driver.superseded" ? undefined : listener(message))),
      lastHeardAt: () => link.lastHeardAt(),
      close: () => link.close(),
      destroy: () => link.destroy(),
      request: async (kind, body, options) => {
        if (kind !== "driver.commit") return link.request(kind, body, options);
        await link.request(kind, body, options).catch(() => {});
        return {} as never;
      },
    }),
  }),
];
