/**
 * The client library with a command's options filled in: where the masters are, the secret, how long to look, and what people are told
 * while it looks. Boundary: the only file of the command line that opens a client.
 */
import { randomId } from "../../env/random.js";
import { type Client, type ClientOptions, connectClient, startClient } from "../../host/client/client.js";
import { followEvents, submitJob, uploadArtifact, waitForEnd } from "../../host/client/client-follow.js";
import { type ReadLogsOptions, readLogs } from "../../host/client/client-logs.js";
import type { Looking } from "../../host/finding/master-finder.js";
import { createNodeEnv } from "../../node/env.js";
import { readSecretFile } from "../../node/files/secret-file.js";
import { readUrlFile } from "../../node/files/url-file.js";
import { createLog } from "../../node/log.js";
import type { OperationInput, OperationName, OperationOutput } from "../../wire/operations.js";
import type { ApplicationView, EventView } from "../../wire/views.js";
import { type ClusterOptions, remark, timeoutMsOf } from "../command.js";
import { formatDuration } from "../terminal.js";
import { openRegistry, secretsOfMaster } from "./master-option.js";

export interface ClusterClient extends AsyncDisposable {
  readonly client: Client;
  call<N extends OperationName>(name: N, input: OperationInput<N>): Promise<OperationOutput<N>>;
  uploadArtifact(bytes: Uint8Array): Promise<string>;
  submitJob(submission: OperationInput<"submit"> & { readonly bundle: Uint8Array }): Promise<OperationOutput<"submit">>;
  /** Resolves with the final state, through every failover; with `orParked` also with a job that waits for a person. */
  waitForEnd(
    application: string,
    onProgress: (view: ApplicationView) => void,
    options?: { readonly orParked: boolean },
  ): Promise<ApplicationView>;
  events(options: { readonly once: boolean }): AsyncGenerator<EventView, void, void>;
  readLogs(options: Omit<ReadLogsOptions, "signal" | "timeoutMs">): Promise<void>;
  /** A key for a submission that the user did not name. */
  newSubmissionKey(): string;
}

export interface OpenOptions {
  /** False: calls that any master answers are meant, so the first leader is not waited for. */
  readonly awaitLeader?: boolean;
  /** Where sentences about looking for a leader go; default: a line on standard error. */
  readonly onLooking?: (text: string) => void;
  /** Addresses of all masters that are known, the likeliest first, whenever that changes. */
  readonly onMasters?: (addresses: readonly string[]) => void;
}

/** While nothing is found for this long, the user is told what is waited for. */
const TELL_AFTER_MS = 1_000;

export async function openClient(options: ClusterOptions, signal: AbortSignal, open: OpenOptions = {}): Promise<ClusterClient> {
  const timeoutMs = timeoutMsOf(options);
  const secrets = await secretsOfMaster(options.master);
  const env = createNodeEnv({
    log: createLog({ format: "text", stream: process.stderr, role: "client", id: "cli", level: "error", secrets }),
  });
  const tell = open.onLooking ?? (options.json === true ? () => {} : remark);
  const first = createFirstWord(tell);
  const wanted: ClientOptions = {
    env,
    masterUrl: options.master,
    readFile: readUrlFile,
    openRegistry: openRegistry(env.clock),
    secret: options.secretFile === undefined ? null : await readSecretFile(options.secretFile),
    signal,
    timeoutMs,
    onLooking: (looking) => {
      if (looking.forMs >= TELL_AFTER_MS) tell(lookingSentence(looking));
      else first.keep(looking);
    },
    ...(open.onMasters === undefined ? {} : { onMasters: open.onMasters }),
  };
  const client = open.awaitLeader === false ? startWith(wanted, first.over) : await connectClient(wanted).finally(first.over);
  const call = { signal, timeoutMs };
  return {
    client,
    call: (name, input) => client.call(name, input, { signal, timeoutMs: timeoutMs + waitMsOf(input) }),
    uploadArtifact: (bytes) => uploadArtifact(client, bytes, call),
    submitJob: (submission) => submitJob(client, submission, call),
    waitForEnd: (application, onProgress, { orParked } = { orParked: false }) =>
      waitForEnd(client, application, { signal, timeoutMs: Number.POSITIVE_INFINITY, onProgress, orParked }),
    events: ({ once }) =>
      followEvents(client, { signal, timeoutMs: once ? timeoutMs : Number.POSITIVE_INFINITY, after: null, once }),
    readLogs: (wanted) => readLogs(client, { ...wanted, signal, timeoutMs: wanted.follow ? Number.POSITIVE_INFINITY : timeoutMs }),
    newSubmissionKey: () => `sub-${randomId(env.random, 16)}`,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

function startWith(options: ClientOptions, onConnected: () => void): Client {
  const client = startClient(options);
  void client.connected({ signal: options.signal, timeoutMs: options.timeoutMs }).then(onConnected, onConnected);
  return client;
}

/** What is found at once is no news; what was heard then, and still holds after TELL_AFTER_MS, is told at that time. */
function createFirstWord(tell: (text: string) => void) {
  const startedAt = performance.now();
  let latest: Looking | null = null;
  const timer = setTimeout(() => {
    if (latest !== null) tell(lookingSentence({ ...latest, forMs: performance.now() - startedAt }));
  }, TELL_AFTER_MS);
  return {
    keep: (looking: Looking) => {
      latest = looking;
    },
    over: () => clearTimeout(timer),
  };
}

const waitMsOf = (input: object): number => ("waitMs" in input && typeof input.waitMs === "number" ? input.waitMs : 0);

export function lookingSentence(looking: Looking): string {
  const tried = looking.tried.map(({ address, error }) => `${address}: ${error.code}`).join(", ");
  const said = [...(looking.problem === null ? [] : [looking.problem.message]), ...(tried === "" ? [] : [tried])].join("; ");
  return `Looking for a leading master for ${formatDuration(looking.forMs)}${said === "" ? "" : ` (${said})`}.`;
}
