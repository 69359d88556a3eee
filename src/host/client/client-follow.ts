/**
 * What takes many calls: an application's end, events, an artifact's upload. Logs are in client-logs.ts.
 *
 * Boundary: only `Client.call`. Each goes on where it was after a failover: by version, by cursor, by offset.
 */
import { bytesToBase64 } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import { isFinal } from "../../wire/application.js";
import {
  MAX_ARTIFACT_BYTES,
  MAX_CHUNK_BYTES,
  MAX_EVENTS_PAGE,
  type OperationInput,
  type OperationOutput,
} from "../../wire/operations.js";
import type { ApplicationView, EventView } from "../../wire/views.js";
import type { CallOptions, Client } from "./client.js";

/** How long the cluster holds back an answer when nothing changed. */
const POLL_WAIT_MS = 10_000;
/** Least time between two looks, so that a job which changes all the time is not followed at every change. */
const MIN_POLL_MS = 50;
/** Parts may have to be sent again after each failover; this many times their number is a fault. */
const MAX_UPLOAD_ROUNDS = 10;

/** Each is spoiled only by another application of the same job that ends at just that moment. */
const MAX_SUBMIT_ROUNDS = 10;

/**
 * Resolves with the final state (with `orParked` also when a person has to decide first). `timeoutMs` bounds each single look (a failover may take that long), not the application.
 * Rejects with NOT_FOUND, NO_MASTER or the signal's reason.
 */
export async function waitForEnd(
  client: Client,
  application: string,
  options: CallOptions & { onProgress?(view: ApplicationView): void; readonly orParked?: boolean },
): Promise<ApplicationView> {
  let after: string | null = null;
  for (;;) {
    const waitMs = after === null ? 0 : POLL_WAIT_MS;
    const call: CallOptions = { signal: options.signal, timeoutMs: options.timeoutMs + waitMs };
    const answer: { version: string; application: ApplicationView } = await client.call(
      "status",
      { application, after, waitMs },
      call,
    );
    if (answer.version !== after) options.onProgress?.(answer.application);
    const { state } = answer.application;
    if (isFinal(state) || (options.orParked === true && state === "parked")) return answer.application;
    after = answer.version;
    await sleep(client.env.clock, MIN_POLL_MS, options.signal);
  }
}

export interface EventCursor {
  readonly epoch: number;
  readonly seq: number;
}

/** Events in order, for ever (until the signal or the consumer ends it); with `once`, those that are there now. */
export async function* followEvents(
  client: Client,
  options: CallOptions & { readonly after: EventCursor | null; readonly once?: boolean },
): AsyncGenerator<EventView, void, void> {
  let after = options.after;
  for (;;) {
    const waitMs = options.once === true ? 0 : POLL_WAIT_MS;
    const input = { after: after === null ? null : { epoch: after.epoch, seq: after.seq }, limit: MAX_EVENTS_PAGE, waitMs };
    const { events } = await client.call("events", input, { signal: options.signal, timeoutMs: options.timeoutMs + waitMs });
    for (const event of events) {
      after = { epoch: event.epoch, seq: event.seq };
      yield event;
    }
    if (options.once === true && events.length < MAX_EVENTS_PAGE) return;
    if (events.length === 0) await sleep(client.env.clock, MIN_POLL_MS, options.signal);
  }
}

/**
 * Uploads the bundle and submits the job. Between the two the cluster may have removed the bundle (the last application of that job has just ended), and
 * says so: then it is uploaded once more. Rejects as both do.
 */
export async function submitJob(
  client: Client,
  { key, spec, bundle }: OperationInput<"submit"> & { readonly bundle: Uint8Array },
  options: CallOptions,
): Promise<OperationOutput<"submit">> {
  for (let rounds = 1; ; rounds += 1) {
    await uploadArtifact(client, bundle, options);
    try {
      return await client.call("submit", { key, spec }, options);
    } catch (thrown) {
      const error = CodedError.from(thrown);
      if (error.code !== "NOT_FOUND" || error.details?.bundle === undefined || rounds >= MAX_SUBMIT_ROUNDS) throw error;
    }
  }
}

/** Uploads what the cluster does not have yet. `timeoutMs` bounds each part. Resolves with the sha-256. Rejects with LIMIT_EXCEEDED, NO_MASTER. */
export async function uploadArtifact(
  client: Client,
  bytes: Uint8Array,
  options: CallOptions & { onProgress?(sentBytes: number): void },
): Promise<string> {
  if (bytes.length === 0 || bytes.length > MAX_ARTIFACT_BYTES) {
    throw new CodedError("LIMIT_EXCEEDED", `a job bundle has 1 to ${MAX_ARTIFACT_BYTES} bytes; this one has ${bytes.length}`);
  }
  const sha256 = client.env.digest.sha256Hex(bytes);
  const parts = Math.ceil(bytes.length / MAX_CHUNK_BYTES);
  let offset = 0;
  for (let round = 0; round < parts * MAX_UPLOAD_ROUNDS; round += 1) {
    const base64 = bytesToBase64(bytes.subarray(offset, offset + MAX_CHUNK_BYTES));
    // A master that took over has none of the earlier parts; it then answers from where to go on.
    const answer = await client.call("artifact.put", { sha256, offset, totalBytes: bytes.length, base64 }, options);
    if (answer.complete) return sha256;
    offset = Math.min(Math.max(0, Math.floor(answer.nextOffset)), bytes.length);
    options.onProgress?.(offset);
  }
  throw new CodedError("INTERNAL", `the upload of ${sha256} did not come to an end`, {
    hint: "Look at the log of the leading master.",
  });
}
