/**
 * Job bundles on a worker: fetched from the leading master in parts, verified, kept. Launches that need the same bundle share one fetch.
 *
 * What no process runs any more is removed after UNUSED_KEPT_MS, and what none runs when the worker starts at once: it is fetched again when it is needed.
 *
 * Invariant: a path is handed out only for bytes with the named sha-256. A fetch waits as long as there is no master; it fails when a master says
 * that it does not have the bundle, when the bytes are wrong, or when nobody waits any more.
 */
import { base64ToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import type { Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { BundleName } from "../../wire/bundles.js";
import { MAX_ARTIFACT_BYTES, OPERATIONS } from "../../wire/operations.js";
import type { Link } from "../link/link.js";
import type { LeaderLinks } from "./worker-leader.js";

const REQUEST_TIMEOUT_MS = 30_000;
/** A bundle that came damaged is fetched once more; then something is wrong that does not heal. */
const MAX_DAMAGED = 2;

export interface ArtifactFiles {
  /** Null: not kept. A kept file with other bytes counts as not kept. */
  artifactPath(sha256: string): Promise<string | null>;
  /** Appears whole or not at all. Rejects with DISK_FAILED. */
  keepArtifact(sha256: string, bytes: Uint8Array): Promise<string>;
  /** Harmless when it is not kept. */
  dropArtifact(sha256: string): Promise<void>;
  /** The sha-256 of all that are kept. */
  keptArtifacts(): Promise<readonly string[]>;
}

export interface Artifacts {
  /** Rejects with NOT_FOUND, ARTIFACT_CORRUPT, DISK_FAILED or the signal's reason. */
  path(bundle: BundleName, signal: AbortSignal): Promise<string>;
  /** No process runs it: it goes after a while, unless it is asked for again. */
  unused(sha256: string): void;
  /** Before anything is launched: all but these go. */
  sweep(used: ReadonlySet<string>): Promise<void>;
  close(): void;
}

/** A job that is started again, or submitted once more, finds it there. */
export const UNUSED_KEPT_MS = 10_000;

export function createArtifacts(env: Env, files: ArtifactFiles, leader: LeaderLinks): Artifacts {
  const fetches = new Map<string, Promise<string>>();
  const closing = new AbortController();
  const unused = new Map<string, Timer>();
  const removals = new Map<string, Promise<void>>();

  const drop = (sha256: string): Promise<void> => {
    const removal = files
      .dropArtifact(sha256)
      .catch((thrown: unknown) =>
        env.log.warn("a job bundle could not be removed", { bundle: sha256, reason: CodedError.from(thrown).message }),
      )
      .finally(() => removals.delete(sha256));
    removals.set(sha256, removal);
    return removal;
  };

  const fetched = async (bundle: BundleName): Promise<string> => {
    const { sha256 } = bundle;
    await removals.get(sha256);
    const kept = await files.artifactPath(sha256);
    if (kept !== null) return kept;
    for (let damaged = 0; damaged < MAX_DAMAGED; damaged += 1) {
      const bytes = await download(leader, bundle, closing.signal);
      if (env.digest.sha256Hex(bytes) === sha256) return files.keepArtifact(sha256, bytes);
    }
    throw new CodedError(
      "ARTIFACT_CORRUPT",
      `the job bundle ${sha256.slice(0, 12)} arrived damaged from the master ${MAX_DAMAGED} times`,
    );
  };

  return {
    path: (bundle, signal) => {
      const { sha256 } = bundle;
      unused.get(sha256)?.cancel();
      unused.delete(sha256);
      let fetch = fetches.get(sha256);
      if (fetch === undefined) {
        fetch = fetched(bundle).finally(() => fetches.delete(sha256));
        fetches.set(sha256, fetch);
      }
      return orAborted(fetch, signal);
    },
    unused: (sha256) => {
      unused.get(sha256)?.cancel();
      const timer = env.clock.at(env.clock.now() + UNUSED_KEPT_MS, () => {
        unused.delete(sha256);
        void drop(sha256);
      });
      unused.set(sha256, timer);
    },
    sweep: async (used) => {
      const kept = await files.keptArtifacts();
      await Promise.all(kept.filter((sha256) => !used.has(sha256)).map(drop));
    },
    close: () => {
      for (const timer of unused.values()) timer.cancel();
      closing.abort(new CodedError("CLOSED", "the worker is closed"));
    },
  };
}

/** Begins again with the next master when one is lost on the way. */
async function download(leader: LeaderLinks, bundle: BundleName, signal: AbortSignal): Promise<Uint8Array> {
  for (let lost: Link | null = null; ; ) {
    const link = await leader.next(lost, signal);
    try {
      return await downloadFrom(link, bundle, signal);
    } catch (thrown) {
      const error = CodedError.from(thrown);
      if (signal.aborted || (error.retry === "no" && error.code !== "CLOSED")) throw error;
      lost = error.code === "TIMEOUT" ? null : link;
    }
  }
}

async function downloadFrom(link: Link, { folder, sha256 }: BundleName, signal: AbortSignal): Promise<Uint8Array> {
  let bytes: Uint8Array | undefined;
  for (let offset = 0; bytes === undefined || offset < bytes.length; ) {
    const options = { signal, timeoutMs: REQUEST_TIMEOUT_MS, reply: OPERATIONS["artifact.get"].output };
    const { totalBytes, base64 } = await link.request(
      "artifact.get",
      { sha256, offset, ...(folder === null ? {} : { folder }) },
      options,
    );
    const part = base64ToBytes(base64);
    bytes ??= new Uint8Array(checkedSize(totalBytes));
    if (totalBytes !== bytes.length || offset + part.length > totalBytes || (part.length === 0 && offset < totalBytes)) {
      throw new CodedError("ARTIFACT_CORRUPT", `the master sent a part of the job bundle ${sha256.slice(0, 12)} that does not fit`);
    }
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function checkedSize(totalBytes: number): number {
  if (Number.isInteger(totalBytes) && totalBytes >= 0 && totalBytes <= MAX_ARTIFACT_BYTES) return totalBytes;
  throw new CodedError("LIMIT_EXCEEDED", `a job bundle of ${totalBytes} bytes is larger than ${MAX_ARTIFACT_BYTES}`);
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
