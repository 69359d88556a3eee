/**
 * The few calls of S3 that blobs need, through the optional package @aws-sdk/client-s3: each with a deadline, a bounded number of tries and a signal.
 *
 * Boundary: the package is loaded at the first use of an s3:// storage and never otherwise. Its types are named here as far as they are used, so that what
 * compiles this package need not have it.
 */
import { setTimeout } from "node:timers/promises";
import { CodedError } from "../../base/errors.js";
import { formatS3Url, type S3Place } from "./s3-url.js";

/** A try: until connected, and until the whole answer is there. */
const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Of one request, by the SDK, close to each other. */
const MAX_TRIES = 3;
const MAX_SOCKETS = 32;
/** A server that is away, or has too much to do, is asked again for so long, with growing waits in between. */
export const DEFAULT_RETRY_FOR_MS = 20_000;
const FIRST_WAIT_MS = 200;
const MAX_WAIT_MS = 2_000;

export interface S3Objects {
  /** Undefined: it is not there. */
  sizeOf(key: string): Promise<number | undefined>;
  /** Undefined: it is not there. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** Durable when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Harmless when it is gone. */
  remove(key: string): Promise<void>;
  /** Keys that begin so. */
  list(prefix: string): AsyncIterable<string>;
  close(): void;
}

interface Answer {
  readonly ContentLength?: number;
  readonly Body?: { transformToByteArray(): Promise<Uint8Array> };
  readonly Contents?: readonly { readonly Key?: string }[];
  readonly NextContinuationToken?: string;
}

interface Sdk {
  readonly S3Client: new (
    config: Record<string, unknown>,
  ) => {
    send(command: unknown, options: { readonly abortSignal: AbortSignal }): Promise<Answer>;
    destroy(): void;
  };
  readonly HeadObjectCommand: new (input: unknown) => unknown;
  readonly GetObjectCommand: new (input: unknown) => unknown;
  readonly PutObjectCommand: new (input: unknown) => unknown;
  readonly DeleteObjectCommand: new (input: unknown) => unknown;
  readonly ListObjectsV2Command: new (input: unknown) => unknown;
}

/** Not a literal, so that compilers don't look for it. */
const PACKAGE: string = "@aws-sdk/client-s3";

async function loadSdk(): Promise<Sdk> {
  try {
    return (await import(PACKAGE)) as Sdk;
  } catch (thrown) {
    throw new CodedError("INVALID_ARGUMENT", `An s3:// storage needs the package ${PACKAGE}, which can't be loaded here.`, {
      hint: `Install it beside holdfast on every machine: npm install ${PACKAGE}`,
      cause: thrown,
    });
  }
}

/** Nothing is sent yet. Rejects with INVALID_ARGUMENT when the package is missing. */
export async function openS3(place: S3Place, signal: AbortSignal, retryForMs = DEFAULT_RETRY_FOR_MS): Promise<S3Objects> {
  const sdk = await loadSdk();
  const { bucket, endpoint, region } = place;
  const client = new sdk.S3Client({
    region: region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? "us-east-1",
    ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
    maxAttempts: MAX_TRIES,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      httpAgent: { maxSockets: MAX_SOCKETS, keepAlive: true },
      httpsAgent: { maxSockets: MAX_SOCKETS, keepAlive: true },
    },
    // Servers other than AWS's refuse checksums that nobody asked for; names of blobs are their checksums anyway.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  const send = async (command: unknown): Promise<Answer> => {
    const until = performance.now() + retryForMs;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, 2 * waitMs)) {
      try {
        return await client.send(command, { abortSignal: signal });
      } catch (thrown) {
        if (signal.aborted || !isPassing(thrown) || performance.now() > until) throw thrown;
      }
      await setTimeout(waitMs, undefined, { signal });
    }
  };
  const ifThere = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw s3Failed(place, thrown, signal);
    }
  };
  return {
    sizeOf: (Key) => ifThere(async () => (await send(new sdk.HeadObjectCommand({ Bucket: bucket, Key }))).ContentLength ?? 0),
    get: (Key) =>
      ifThere(async () => {
        const { Body } = await send(new sdk.GetObjectCommand({ Bucket: bucket, Key }));
        return (await Body?.transformToByteArray()) ?? new Uint8Array();
      }),
    put: async (Key, bytes) => {
      try {
        await send(new sdk.PutObjectCommand({ Bucket: bucket, Key, Body: bytes, ContentLength: bytes.length }));
      } catch (thrown) {
        throw s3Failed(place, thrown, signal);
      }
    },
    remove: async (Key) => void (await ifThere(() => send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key })))),
    list: async function* (Prefix) {
      let ContinuationToken: string | undefined;
      do {
        const page: Answer | undefined = await ifThere(() =>
          send(
            new sdk.ListObjectsV2Command({
              Bucket: bucket,
              Prefix,
              ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
            }),
          ),
        );
        for (const { Key } of page?.Contents ?? []) if (Key !== undefined) yield Key;
        ContinuationToken = page?.NextContinuationToken;
      } while (ContinuationToken !== undefined);
    },
    close: () => client.destroy(),
  };
}

interface S3Error {
  readonly name?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

const PASSING_ERRNO = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN"]);

/** Every call here may be repeated: names are those of the bytes. */
function isPassing(thrown: unknown): boolean {
  const { name, code, $metadata } = thrown as S3Error & { readonly code?: unknown };
  const status = $metadata?.httpStatusCode ?? 0;
  return (typeof code === "string" && PASSING_ERRNO.has(code)) || name === "TimeoutError" || status >= 500 || status === 429;
}

/** A bucket that is not there is no missing object. */
function isMissing(thrown: unknown): boolean {
  const { name, $metadata } = thrown as S3Error;
  if (name === "NoSuchBucket") return false;
  return name === "NoSuchKey" || name === "NotFound" || $metadata?.httpStatusCode === 404;
}

/** With the server's own words; they hold no secret (of a wrong signature only that it is wrong is told). */
function s3Failed(place: S3Place, thrown: unknown, signal: AbortSignal): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const { name = "Error", message = "", $metadata } = thrown as S3Error;
  const where = formatS3Url(place);
  if (signal.aborted) return new CodedError("ABORTED", `the storage ${where} is no longer used`, { cause: signal.reason });
  const words = name === "SignatureDoesNotMatch" ? "the secret key is wrong" : message;
  return new CodedError("DISK_FAILED", `the blob store ${where} failed: ${name}${words === "" ? "" : `: ${words}`}`, {
    hint: hintFor(name, $metadata?.httpStatusCode),
    details: { storage: where, error: name, status: $metadata?.httpStatusCode ?? null },
    cause: thrown,
  });
}

function hintFor(name: string, status: number | undefined): string {
  if (name === "NoSuchBucket") return "Make the bucket, or correct its name in --storage.";
  if (name === "CredentialsProviderError" || status === 401 || status === 403 || /Signature|AccessKey/.test(name))
    return "Check ~/.aws/credentials (or the machine's role) of the user that runs masters and workers: it needs to read, write, list and delete there.";
  if (name === "PermanentRedirect" || /Region/.test(name)) return "Name the bucket's region: ?region=NAME.";
  return "Check that the server is reachable from this machine.";
}
