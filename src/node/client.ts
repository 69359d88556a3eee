/**
 * `holdfast/client`: a program's way to a cluster. What the command line can ask, as typed calls that survive failovers.
 *
 * Boundary: files and defaults; everything else is host/client*.ts.
 */
import type { CallOptions } from "../host/client/client.js";
import { connectClient } from "../host/client/client.js";
import type { EventCursor } from "../host/client/client-follow.js";
import { followEvents, uploadArtifact, waitForEnd } from "../host/client/client-follow.js";
import type { ReadLogsOptions } from "../host/client/client-logs.js";
import { readLogs } from "../host/client/client-logs.js";
import type { Looking } from "../host/finding/master-finder.js";
import type { OperationInput, OperationName, OperationOutput } from "../wire/operations.js";
import type { ApplicationView, EventView } from "../wire/views.js";
import { createNodeEnv } from "./env.js";
import { readSecretFile } from "./files/secret-file.js";
import { readUrlFile } from "./files/url-file.js";
import { createLog } from "./log.js";
import { createZooKeeperRegistry } from "./zookeeper-store/registry.js";

export { CodedError } from "../base/errors.js";
export type { EventCursor } from "../host/client/client-follow.js";
export type { LogChunk, LogStream } from "../host/client/client-logs.js";
export type { Looking } from "../host/finding/master-finder.js";
export type { OperationInput, OperationName, OperationOutput } from "../wire/operations.js";
export type { ApplicationView, ClusterView, EventView, WorkerView } from "../wire/views.js";

export interface ConnectOptions {
  /** `holdfast://h1:7077,h2:7077`, `zk://[user:password@]z1:2181,z2:2181/path`, `file:///path` of one of these, or `host:port`. */
  readonly master: string;
  /** Where the cluster has a secret. */
  readonly secretFile?: string;
  /** How long to look for a leading master, here and in each call that names no other time; 30 s when absent. */
  readonly timeoutMs?: number;
  /** Ends the client and all its calls. */
  readonly signal?: AbortSignal;
  /** What is waited for, when no leader is found at once. */
  onLooking?(looking: Looking): void;
}

export interface ClusterClient {
  /** Any operation by its name. Rejects with NO_MASTER, the operation's own errors, or the signal's reason. */
  call<N extends OperationName>(name: N, input: OperationInput<N>, options?: Partial<CallOptions>): Promise<OperationOutput<N>>;
  /** Resolves with the final state, through every failover. */
  waitForEnd(
    application: string,
    options?: { readonly signal?: AbortSignal; onProgress?(view: ApplicationView): void },
  ): Promise<ApplicationView>;
  /** Events after the cursor (null: from the beginning), for ever. */
  events(options?: {
    readonly after?: EventCursor | null;
    readonly once?: boolean;
    readonly signal?: AbortSignal;
  }): AsyncGenerator<EventView, void, void>;
  readLogs(options: Omit<ReadLogsOptions, "signal" | "timeoutMs"> & { readonly signal?: AbortSignal }): Promise<void>;
  /** Resolves with the sha-256 under which the cluster knows the bytes. */
  uploadArtifact(bytes: Uint8Array): Promise<string>;
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** Timers of hosts do not keep a process alive; while a client is open, its program is meant to run. */
const STAY_ALIVE_MS = 2 ** 30;

/** Rejects with NO_MASTER, INVALID_ARGUMENT, INSECURE_SECRET, UNAUTHENTICATED, WRONG_CLUSTER, PROTOCOL_VERSION. */
export async function connect(options: ConnectOptions): Promise<ClusterClient> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const forever = options.signal ?? new AbortController().signal;
  const secret = options.secretFile === undefined ? null : await readSecretFile(options.secretFile);
  const log = createLog({ format: "text", stream: process.stderr, role: "client", id: "library", level: "error" });
  const alive = setInterval(() => {}, STAY_ALIVE_MS);
  const rest = () => clearInterval(alive);
  forever.addEventListener("abort", rest, { once: true });
  try {
    const env = createNodeEnv({ log });
    const client = await connectClient({
      env,
      masterUrl: options.master,
      readFile: readUrlFile,
      openRegistry: (url) => createZooKeeperRegistry(url, { clock: env.clock }),
      secret,
      signal: forever,
      timeoutMs,
      ...(options.onLooking === undefined ? {} : { onLooking: options.onLooking }),
    });
    const patient = (signal?: AbortSignal): CallOptions => ({ signal: signal ?? forever, timeoutMs: Number.POSITIVE_INFINITY });
    return {
      call: (name, input, call = {}) =>
        client.call(name, input, { signal: call.signal ?? forever, timeoutMs: call.timeoutMs ?? timeoutMs }),
      waitForEnd: (application, wait = {}) =>
        waitForEnd(client, application, {
          ...patient(wait.signal),
          ...(wait.onProgress === undefined ? {} : { onProgress: wait.onProgress }),
        }),
      events: (follow = {}) =>
        followEvents(client, { ...patient(follow.signal), after: follow.after ?? null, once: follow.once ?? false }),
      readLogs: ({ signal, ...wanted }) => readLogs(client, { ...wanted, ...patient(signal) }),
      uploadArtifact: (bytes) => uploadArtifact(client, bytes, { signal: forever, timeoutMs }),
      close: async () => {
        forever.removeEventListener("abort", rest);
        rest();
        await client.close();
      },
    };
  } catch (thrown) {
    forever.removeEventListener("abort", rest);
    rest();
    throw thrown;
  }
}
