/**
 * Logs of an application's processes, read from the workers that hold them.
 *
 * Invariants:
 *   1. Bytes of one log come in order, each once, also when its worker or the leader changes: the offset goes on.
 *   2. Nothing more is read from a worker while `onChunk` has not resolved.
 */
import { base64ToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import type { OperationOutput } from "../../wire/operations.js";
import { OPERATIONS } from "../../wire/operations.js";
import type { Link } from "../link/link.js";
import type { CallOptions, Client } from "./client.js";

export const LOG_STREAMS = ["stdout", "stderr"] as const;
export type LogStream = (typeof LOG_STREAMS)[number];

const READ_BYTES = 256 * 1024;
const FOLLOW_WAIT_MS = 5_000;
const READ_TIMEOUT_MS = 15_000;
const LOCATE_EVERY_MS = 1_000;
/** Between two reads that gave nothing. */
const MIN_PAUSE_MS = 50;

export interface LogChunk {
  readonly processId: string;
  readonly stream: LogStream;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface ReadLogsOptions extends CallOptions {
  readonly application: string;
  readonly streams: readonly LogStream[];
  /** Goes on until the application has ended and its logs are read; otherwise what is there now. */
  readonly follow: boolean;
  /** When following: resolves when the application is known to have ended, so that the last look need not wait its turn. */
  readonly over?: Promise<unknown>;
  /** Only processes for which it returns true. */
  wanted?(processId: string): boolean;
  onChunk(chunk: LogChunk): Promise<void> | void;
  /** A log that cannot be reached now (its worker is away); told once for each process, following goes on. */
  onUnreachable?(processId: string, error: CodedError): void;
}

interface Cursor {
  readonly processId: string;
  readonly stream: LogStream;
  offset: number;
  ended: boolean;
  /** Set when following: the reading that runs for it. */
  reading: Promise<void> | null;
  unreachable: boolean;
}

/** Resolves when everything asked for was given out. Rejects with NOT_FOUND, NO_MASTER, the signal's reason, or what `onChunk` threw. */
export async function readLogs(client: Client, options: ReadLogsOptions): Promise<void> {
  const reading: Reading = { options, links: createWorkerLinks(client), cursors: new Map(), final: false, failure: null };
  const over = options.over ?? new Promise(() => {});
  const inFlight = () => [...reading.cursors.values()].map((cursor) => cursor.reading).filter((promise) => promise !== null);
  try {
    for (;;) {
      const located = await client.call("logs.locate", { application: options.application }, options);
      reading.final = located.final;
      for (const process of located.processes) {
        if (options.wanted === undefined || options.wanted(process.processId))
          startReading(reading, process.processId, process.address);
      }
      // A log that is waited for may not hold up a process that has just appeared, so this looks again in between.
      if (options.follow && !located.final) await Promise.race([sleep(client.env.clock, LOCATE_EVERY_MS, options.signal), over]);
      else await Promise.all(inFlight());
      if (reading.failure !== null) throw reading.failure.thrown;
      options.signal.throwIfAborted();
      if (!options.follow || located.final) return;
    }
  } finally {
    reading.links.close();
    await Promise.all(inFlight());
  }
}

interface Reading {
  readonly options: ReadLogsOptions;
  readonly links: WorkerLinks;
  readonly cursors: Map<string, Cursor>;
  /** The application has ended: logs no longer grow. */
  final: boolean;
  failure: { readonly thrown: unknown } | null;
}

function startReading(reading: Reading, processId: string, address: string | null): void {
  for (const stream of reading.options.streams) {
    const cursor = cursorOf(reading.cursors, processId, stream);
    if (cursor.ended || cursor.reading !== null) continue;
    cursor.reading = readSome(reading, cursor, address)
      .catch((thrown) => {
        reading.failure ??= { thrown };
      })
      .finally(() => {
        cursor.reading = null;
      });
  }
}

function cursorOf(cursors: Map<string, Cursor>, processId: string, stream: LogStream): Cursor {
  const key = `${processId}/${stream}`;
  const cursor = cursors.get(key) ?? { processId, stream, offset: 0, ended: false, reading: null, unreachable: false };
  cursors.set(key, cursor);
  return cursor;
}

type WorkerLinks = ReturnType<typeof createWorkerLinks>;

/** Reads until there is no more now; when following, until the log has ended or its worker is away (the next look tries again). */
async function readSome(reading: Reading, cursor: Cursor, address: string | null): Promise<void> {
  const { options, links } = reading;
  const away = (error: CodedError) => {
    if (!cursor.unreachable) options.onUnreachable?.(cursor.processId, error);
    cursor.unreachable = true;
  };
  if (address === null) {
    if (reading.final) away(new CodedError("WORKER_LOST", `the logs of ${cursor.processId} are on no worker that is known now`));
    return;
  }
  for (;;) {
    const goOn = options.follow && !reading.final;
    let answer: OperationOutput<"logs.read">;
    try {
      answer = await links.read(address, cursor, goOn ? FOLLOW_WAIT_MS : 0, options.signal);
    } catch (thrown) {
      if (options.signal.aborted) throw thrown;
      away(CodedError.from(thrown));
      return;
    }
    cursor.unreachable = false;
    const bytes = base64ToBytes(answer.base64);
    // What lay before this offset was removed meanwhile (a log that grew too large): reading goes on behind the gap.
    cursor.offset = answer.offset ?? cursor.offset;
    if (bytes.length > 0)
      await options.onChunk({ processId: cursor.processId, stream: cursor.stream, offset: cursor.offset, bytes });
    cursor.offset += bytes.length;
    cursor.ended = cursor.offset >= answer.sizeBytes && answer.ended;
    if (cursor.ended || (bytes.length === 0 && !goOn)) return;
    options.signal.throwIfAborted();
    // The worker has waited already; the pause is for one that does not.
    if (bytes.length === 0) await sleep(links.clock, MIN_PAUSE_MS, options.signal);
  }
}

/** One link for each worker, made when needed, made again when it broke. */
function createWorkerLinks(client: Client) {
  const links = new Map<string, Promise<Link>>();
  const closing = new AbortController();
  const linkTo = (address: string): Promise<Link> => {
    const known = links.get(address);
    if (known !== undefined) return known;
    const dialled = client.dialWorker(address, { signal: closing.signal });
    links.set(address, dialled);
    const forget = () => {
      if (links.get(address) === dialled) links.delete(address);
    };
    dialled.then((link) => link.ended.then(forget), forget);
    return dialled;
  };
  return {
    clock: client.env.clock,
    async read(address: string, cursor: Cursor, waitMs: number, signal: AbortSignal) {
      const link = await linkTo(address);
      const input = { processId: cursor.processId, stream: cursor.stream, offset: cursor.offset, limitBytes: READ_BYTES, waitMs };
      return link.request("logs.read", input, {
        signal,
        timeoutMs: READ_TIMEOUT_MS + waitMs,
        reply: OPERATIONS["logs.read"].output,
      });
    },
    close() {
      closing.abort(new CodedError("CLOSED", "the reading of logs has ended"));
      for (const link of links.values()) link.then((open) => open.close()).catch(() => {});
    },
  };
}
