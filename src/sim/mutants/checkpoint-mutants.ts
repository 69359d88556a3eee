/** Mistakes of checkpoints: of their order, of what they hold, and of what is restored. */
import { present } from "../../base/assert.js";
import { CodedError } from "../../base/errors.js";
import { utf8Decode, utf8Encode } from "../../base/utf8.js";
import type { SinkConnector } from "../../dataflow/connector.js";
import type { BlobHandle, StateStore } from "../../env/blob-store.js";
import type { Link } from "../../host/link/link.js";
import type { CheckpointManifest } from "../../wire/checkpoint.js";
import { SINK, SOURCE } from "../jobs/counting-job.js";
import type { JobProcess } from "../jobs/counting-world.js";
import type { SimStateStore } from "../jobs/state-world.js";
import type { SimProcess } from "../world.js";
import { type Mutant, mutant } from "./mutant.js";
import { type Frame, withApplicationRecords, withFrames } from "./wrapping.js";

const manifestOf = (bytes: Uint8Array): CheckpointManifest | null => {
  const text = utf8Decode(bytes);
  return text?.startsWith('{"version"') === true ? (JSON.parse(text) as CheckpointManifest) : null;
};

const bytesOf = (manifest: CheckpointManifest): Uint8Array => utf8Encode(JSON.stringify(manifest));

const statesOf = ({ slices }: CheckpointManifest): readonly BlobHandle[] =>
  slices.flatMap(({ states }) => Object.values(states).flat());

/** Manifests are stored with this change. */
const storing =
  (change: (manifest: CheckpointManifest) => CheckpointManifest) =>
  (store: SimStateStore): StateStore => ({
    ...store,
    put: (bytes) => {
      const manifest = manifestOf(bytes);
      return store.put(manifest === null ? bytes : bytesOf(change(manifest)));
    },
  });

const withRequests =
  (change: (real: Link["request"], ...args: Parameters<Link["request"]>) => Promise<unknown>) =>
  (link: Link): Link => ({
    ...link,
    id: link.id,
    peer: link.peer,
    remote: link.remote,
    ended: link.ended,
    send: (kind, body) => link.send(kind, body),
    reply: (requestId, body) => link.reply(requestId, body),
    replyError: (requestId, error) => link.replyError(requestId, error),
    onMessage: (listener) => link.onMessage(listener),
    lastHeardAt: () => link.lastHeardAt(),
    close: () => link.close(),
    destroy: () => link.destroy(),
    request: (kind, body, options) =>
      change((...args) => link.request(...args), kind, body, options as never) as ReturnType<typeof link.request> as never,
  });

/** Frames that processes of one role send. */
const sending =
  (role: JobProcess["role"], rewrite: (process: SimProcess) => (frame: Frame) => Frame) =>
  (...[env, of, process]: Parameters<Mutant["runner"]>): ReturnType<Mutant["runner"]> =>
    of === role ? { ...env, transport: withFrames(env.transport, { outgoing: rewrite(process) }) } : env;

interface CheckpointBody {
  readonly id: number;
  readonly completed: number;
}

/** The connectors of drivers, so that a mistake can commit by itself. */
const sinksOfDrivers = new WeakMap<SimProcess, SinkConnector<unknown>>();

/** What their checkpoints have stored, by checkpoint. */
const storedByDrivers = new WeakMap<SimProcess, (readonly BlobHandle[])[]>();

const ORDER: readonly Mutant[] = [
  mutant("commits-before-the-manifest", "sinks commit what a checkpoint holds before its manifest is stored", {
    sink: (connector, { role, process }) => {
      if (role === "driver") sinksOfDrivers.set(process, connector);
      return connector;
    },
    state: (store, { process, applicationId }) => ({
      ...store,
      put: async (bytes) => {
        const manifest = manifestOf(bytes);
        const staged = manifest?.commit[SINK] ?? [];
        const options = { applicationId, attempt: manifest?.attempt ?? "", parallelism: 1, again: true };
        await sinksOfDrivers.get(process)?.commit(
          staged.map(({ committable }) => committable as never),
          options,
        );
        return store.put(bytes);
      },
    }),
  }),
  mutant("pointer-before-sync", "state and manifests are not synced before a pointer names them", {
    state: (store) => ({ ...store, put: (bytes) => store.write(bytes) }),
  }),
  mutant("removes-before-the-pointer", "the oldest checkpoint is removed before the pointer that pushes it out is durable", {
    state: (store, { role, process }) => {
      if (role !== "driver") return store;
      const kept = storedByDrivers.get(process) ?? [];
      storedByDrivers.set(process, kept);
      return {
        ...store,
        put: async (bytes) => {
          const manifest = manifestOf(bytes);
          const oldest = kept.length >= 3 ? (kept.shift() ?? []) : [];
          for (const handle of oldest) await store.remove(handle);
          const handle = await store.put(bytes);
          if (manifest !== null) kept.push([...statesOf(manifest), handle]);
          return handle;
        },
      };
    },
  }),
  mutant(
    "told-complete-too-early",
    "executors are told that a checkpoint is complete when the next one begins, whatever became of it",
    {
      runner: sending("driver", () => (frame) => {
        if (frame.kind !== "executor.checkpoint") return frame;
        const body = frame.body as CheckpointBody;
        return { ...frame, body: { ...body, completed: body.id - 1 } };
      }),
    },
  ),
  mutant("refused-is-complete", "a pointer that the master refuses is taken for durable", {
    driverLink: withRequests((real, kind, ...rest) =>
      kind === "driver.checkpoint" ? real(kind, ...rest).catch(() => ({})) : real(kind, ...rest),
    ),
  }),
  mutant("unknown-is-refused", "a pointer whose outcome is unknown is taken for refused", {
    driverLink: withRequests((real, kind, ...rest) =>
      kind !== "driver.checkpoint"
        ? real(kind, ...rest)
        : real(kind, ...rest).catch((thrown: unknown) => {
            const { code, message } = CodedError.from(thrown);
            throw code === "CONNECTION_LOST" || code === "CLOSED" || code === "TIMEOUT"
              ? new CodedError("CONFLICT", message)
              : thrown;
          }),
    ),
  }),
  mutant("no-commit-at-a-restore", "what the checkpoint that a try goes on from holds is not committed again", {
    sink: (connector) => ({
      ...connector,
      commit: async (committables, options) => {
        if (options.again !== true) await connector.commit(committables, options);
      },
    }),
  }),
  mutant("cleans-up-what-is-needed", "staged output of earlier tries is removed though a checkpoint needs it", {
    sink: (connector) => ({
      ...connector,
      cleanUp: ({ applicationId, keepAttempt }) => connector.cleanUp({ applicationId, keepAttempt }),
    }),
  }),
  mutant("leaves-state-behind", "the state of an application stays after its end", {
    state: (store) => ({ ...store, removeAll: async () => {} }),
    master: (options) => ({ ...options, removeState: async () => {} }),
  }),
];

const BARRIERS: readonly Mutant[] = [
  mutant("barrier-overtakes", "a barrier overtakes the last batch before it", { network: overtaken("barrier") }),
  mutant("watermark-overtakes", "a watermark overtakes the last batch before it", { network: overtaken("watermark") }),
  mutant("channels-go-on", "a channel that gave its barrier is read on before the others have given theirs", {
    network: (network) => ({
      ...networkOf(network),
      input: (channels) => {
        const input = network.input(channels);
        return {
          release: (released) => input.release(released),
          onReady: (listener) => input.onReady(listener),
          poll: () => {
            const batch = input.poll();
            if (batch?.barrier !== undefined) input.release([batch.channel]);
            return batch;
          },
        };
      },
    }),
  }),
  mutant("old-snapshots", "some checkpoints are answered with what an earlier one was answered with", {
    runner: sending("executor", () => {
      let before: unknown = null;
      let count = 0;
      return (frame) => {
        const body = frame.body as { readonly snapshot?: unknown } | undefined;
        if (frame.kind !== "executor.checkpointed" || body?.snapshot == null) return frame;
        count += 1;
        const old = before;
        before = body.snapshot;
        return old !== null && count % 3 === 0 ? { ...frame, body: { ...body, snapshot: old } } : frame;
      };
    }),
  }),
];

const CONTENT: readonly Mutant[] = [
  mutant("position-ahead", "a source tells a position one record too far", { source: positioned(1) }),
  mutant("position-behind", "a source tells a position one record too early", { source: positioned(-1) }),
  mutant("forgets-splits", "one of the splits that remain is not in the manifest", {
    state: storing((manifest) => {
      const { remaining = [], ...source } = manifest.sources[SOURCE] ?? {};
      return {
        ...manifest,
        sources: { [SOURCE]: { subtasks: 1, totalRecords: null, ...source, remaining: remaining.slice(0, -1) } },
      };
    }),
  }),
  mutant("forgets-carried", "output that waits for the end is not in the manifest", {
    state: storing((manifest) => ({ ...manifest, carried: {} })),
  }),
  mutant("forgets-time", "how far event time had come is not in the manifest", {
    state: storing((manifest) => ({ ...manifest, slices: manifest.slices.map(({ watermarks: _, ...part }) => part) })),
  }),
  mutant("forgets-an-executor", "the first executor's part is not in the manifest", {
    state: storing((manifest) => ({
      ...manifest,
      slices: manifest.slices.map((part, index) => (index === 0 ? { finished: "all" as const, states: {}, writers: {} } : part)),
    })),
  }),
  mutant("decides-without-carried", "the decision does not name the checkpoint that holds earlier output", {
    driverLink: withRequests((real, kind, body, options) => {
      if (kind !== "driver.commit") return real(kind, body, options);
      const { checkpoint: _, ...rest } = body as { readonly checkpoint?: number };
      return real(kind, rest, options);
    }),
  }),
  mutant("restores-without-state", "a try goes on from the positions of a checkpoint and not from its state", {
    state: (store, { role }) =>
      role === "driver"
        ? store
        : {
            ...store,
            get: async (handle) => {
              const bytes = await store.get(handle);
              const manifest = manifestOf(bytes);
              if (manifest === null) return bytes;
              return bytesOf({ ...manifest, slices: manifest.slices.map((part) => ({ ...part, states: {} })) });
            },
          },
  }),
  mutant("restores-the-oldest", "a driver goes on from the oldest checkpoint of the record", {
    driverLink: withRequests(async (real, kind, body, options) => {
      const answer = await real(kind, body, options);
      if (kind !== "driver.register") return answer;
      const { application } = answer as unknown as { application: { checkpoints?: { completed: unknown[] } } };
      application.checkpoints?.completed.splice(1);
      return answer;
    }),
  }),
  mutant("ids-begin-anew", "the record does not keep which ids may have been used", {
    master: (options) => ({
      ...options,
      store: withApplicationRecords(options.store, ({ checkpoints }) => {
        const known = checkpoints as { nextId: number; completed: readonly { readonly id: number }[] } | undefined;
        if (known !== undefined) known.nextId = (known.completed.at(-1)?.id ?? 0) + 1;
      }),
    }),
  }),
  mutant("pointer-goes-back", "some writes of a record lose its newest pointer", {
    master: (options) => ({
      ...options,
      store: withApplicationRecords(options.store, ({ checkpoints }) => {
        const known = checkpoints as { completed: unknown[] } | undefined;
        if (known !== undefined && known.completed.length > 1 && options.env.random.fraction() < 0.2) known.completed.pop();
      }),
    }),
  }),
];

const REGIONS: readonly Mutant[] = [
  mutant("regions-too-small", "a slice restarts without those that it exchanges records with", { failover: () => "slice" }),
  mutant(
    "keeps-what-the-lost-wrote",
    "a slice that restarts alone keeps what its lost incarnation had written since its last barrier",
    {
      sink: (connector, { role, plan, applicationId }) => {
        if (role !== "executor" || plan.apart !== true) return connector;
        return {
          ...connector,
          open: async (options) => {
            const name = `${applicationId} ${options.attempt.split(".")[0]} ${options.subtask}`;
            const earlier = options.attempt.endsWith(".1") ? [] : (writtenBySubtask.get(name) ?? []);
            const own: unknown[] = [];
            writtenBySubtask.set(name, own);
            const writer = await connector.open(options);
            await writer.write(earlier, earlier.length);
            return {
              ...writer,
              write: (records, count) => {
                own.push(...records.slice(0, count));
                return writer.write(records, count);
              },
              checkpoint: () => {
                own.length = 0;
                return present(writer.checkpoint, "checkpoints of a part's writer")();
              },
            };
          },
        };
      },
    },
  ),
];

/** By application, attempt and subtask: what its newest incarnation has written since. The first one of each begins anew, so that no other world's is left. */
const writtenBySubtask = new Map<string, unknown[]>();

interface Offered {
  readonly marks: readonly { readonly id: number; readonly sources: Readonly<Record<string, { readonly taken: number }>> }[];
  readonly sources: Readonly<Record<string, { readonly asks: number; readonly isEnded: boolean }>>;
}

/** Executors offer something else to the next driver than what they run. */
const offering = (change: (slice: Offered) => Offered): Mutant["runner"] =>
  sending("executor", () => (frame) => {
    const body = frame.body as { readonly slice?: Offered } | undefined;
    if (frame.kind !== "executor.register" || body?.slice === undefined) return frame;
    return { ...frame, body: { ...body, slice: change(body.slice) } };
  });

const TAKEOVERS: readonly Mutant[] = [
  mutant(
    "forgets-what-executors-read",
    "a driver that takes a try over does not know which splits its executors read, and hands them out again",
    {
      runner: offering((slice) => {
        const nothing = Object.entries(slice.sources).map(([uid, one]) => {
          const taken = one.asks - (one.isEnded ? 1 : 0);
          return [uid, { ...one, before: taken, given: [] }, { taken, reading: [] }] as const;
        });
        const sources = Object.fromEntries(nothing.map(([uid, given]) => [uid, given]));
        const marked = Object.fromEntries(nothing.map(([uid, , mark]) => [uid, mark]));
        return { ...slice, sources, marks: slice.marks.map((mark) => ({ ...mark, sources: marked })) };
      }),
    },
  ),
  mutant(
    "takes-over-at-the-checkpoint-taken",
    "what executors had taken when their driver was lost counts as complete to them, recorded or not",
    {
      runner: sending("driver", () => (frame) => {
        if (frame.kind !== "executor.checkpoint") return frame;
        const body = frame.body as CheckpointBody & { readonly order: string };
        return body.order === "abort" ? { ...frame, body: { ...body, completed: body.id } } : frame;
      }),
    },
  ),
  mutant(
    "cleans-up-what-is-taken-over",
    "a driver that goes on from a checkpoint removes what the try is staging that it takes over",
    {
      sink: (connector, { role }) =>
        role === "executor"
          ? connector
          : {
              ...connector,
              commit: async (committables, options) => {
                await connector.commit(committables, options);
                const { applicationId } = options;
                if (options.again === true) await connector.cleanUp({ applicationId, keepAttempt: null, isOver: () => true });
              },
            },
    },
  ),
  mutant("ids-of-the-lost-driver", "a driver takes the ids again that the one before had reserved and not used", {
    driverLink: withRequests(async (real, kind, body, options) => {
      const answer = await real(kind, body, options);
      if (kind !== "driver.register") return answer;
      const { application } = answer as unknown as {
        application: { checkpoints?: { nextId: number; completed: readonly { readonly id: number }[] } };
      };
      if (application.checkpoints !== undefined)
        application.checkpoints.nextId = (application.checkpoints.completed.at(-1)?.id ?? 0) + 1;
      return answer;
    }),
  }),
];

export const CHECKPOINT_MUTANTS: readonly Mutant[] = [...ORDER, ...BARRIERS, ...CONTENT, ...REGIONS, ...TAKEOVERS];

function positioned(by: number): Mutant["source"] {
  return (connector) => ({
    ...connector,
    open: async (split, position, options) => {
      const reader = await connector.open(split, position, options);
      return {
        next: (out, limit) => reader.next(out, limit),
        position: () => Math.max(Number(split.from), Number(reader.position()) + by),
        progress: () => reader.progress(),
        close: () => reader.close(),
      };
    },
  });
}

/** The last batch is held back until something follows it, and this goes before it. */
function overtaken(by: "barrier" | "watermark"): Mutant["network"] {
  return (network) => ({
    ...networkOf(network),
    output: (channel) => {
      const output = network.output(channel);
      let held: unknown[] | null = null;
      const flush = () => {
        const records = held;
        held = null;
        return records === null ? true : output.send(records, 0, records.length);
      };
      const inOrder = (kind: typeof by, send: () => true | Promise<void>): true | Promise<void> => {
        if (kind !== by) {
          void flush();
          return send();
        }
        const sent = send();
        const flushed = flush();
        return sent === true ? flushed : sent.then(() => (flushed === true ? undefined : flushed));
      };
      return {
        send: (records, start, count) => {
          const before = flush();
          held = records.slice(start, start + count);
          return before;
        },
        watermark: (watermark) => inOrder("watermark", () => output.watermark(watermark)),
        barrier: (id) => inOrder("barrier", () => output.barrier(id)),
        end: () => {
          void flush();
          output.end();
        },
      };
    },
  });
}

const networkOf = (network: Parameters<Mutant["network"]>[0]): Parameters<Mutant["network"]>[0] => ({
  output: (channel) => network.output(channel),
  input: (channels) => network.input(channels),
  close: (reason) => network.close(reason),
});
