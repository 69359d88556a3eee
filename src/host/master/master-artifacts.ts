/**
 * Job bundles at the master: uploaded in parts, kept in the blob store, downloaded in parts.
 *
 * Invariants: at most MAX_UPLOADS are under way, the one longest without a part gives way; what a lost master had taken so far is forgotten,
 * and the client is told to begin again (`nextOffset` 0); a bundle is complete only when its bytes have the named sha-256.
 */
import { base64ToBytes, bytesToBase64 } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import type { BlobStore } from "../../env/blob-store.js";
import type { Digest } from "../../env/env.js";
import { MAX_CHUNK_BYTES, type OperationInput, type OperationOutput } from "../../wire/operations.js";

/** Each holds up to MAX_ARTIFACT_BYTES. */
export const MAX_UPLOADS = 8;
/** Bundles kept in memory for the parts that workers ask for next. */
const MAX_CACHED = 2;

export interface MasterArtifacts {
  has(sha256: string): Promise<boolean>;
  put(input: OperationInput<"artifact.put">): Promise<OperationOutput<"artifact.put">>;
  get(input: OperationInput<"artifact.get">): Promise<OperationOutput<"artifact.get">>;
}

interface Upload {
  readonly bytes: Uint8Array;
  received: number;
}

export function createMasterArtifacts(blobs: BlobStore, digest: Digest): MasterArtifacts {
  /** In the order of their last part. */
  const uploads = new Map<string, Upload>();
  const cached = new Map<string, Promise<Uint8Array>>();

  const load = (sha256: string): Promise<Uint8Array> => {
    const known = cached.get(sha256);
    if (known !== undefined) return known;
    const loading = blobs.get(sha256);
    cached.set(sha256, loading);
    loading.catch(() => cached.delete(sha256));
    for (const oldest of cached.keys()) {
      if (cached.size <= MAX_CACHED) break;
      cached.delete(oldest);
    }
    return loading;
  };

  const complete = async (sha256: string, upload: Upload): Promise<OperationOutput<"artifact.put">> => {
    uploads.delete(sha256);
    const actual = digest.sha256Hex(upload.bytes);
    if (actual !== sha256) {
      throw new CodedError("ARTIFACT_CORRUPT", `the uploaded bundle has the sha-256 ${actual} instead of ${sha256}`, {
        hint: "Upload it again.",
      });
    }
    await blobs.put(upload.bytes);
    return { complete: true, nextOffset: upload.bytes.length };
  };

  return {
    has: (sha256) => blobs.has(sha256),

    async put({ sha256, offset, totalBytes, base64 }) {
      if (!uploads.has(sha256) && (await blobs.has(sha256))) return { complete: true, nextOffset: totalBytes };
      const part = base64ToBytes(base64);
      if (part.length > MAX_CHUNK_BYTES)
        throw new CodedError("LIMIT_EXCEEDED", `a part of a bundle has at most ${MAX_CHUNK_BYTES} bytes`);
      let upload = uploads.get(sha256);
      if (upload === undefined || upload.bytes.length !== totalBytes) {
        if (offset !== 0) return { complete: false, nextOffset: 0 };
        upload = { bytes: new Uint8Array(totalBytes), received: 0 };
      }
      uploads.delete(sha256);
      uploads.set(sha256, upload);
      for (const oldest of uploads.keys()) {
        if (uploads.size <= MAX_UPLOADS) break;
        uploads.delete(oldest);
      }
      // A part that was sent twice is taken once; one that leaves a hole is asked for again.
      if (offset > upload.received || offset + part.length > totalBytes) return { complete: false, nextOffset: upload.received };
      upload.bytes.set(part, offset);
      upload.received = Math.max(upload.received, offset + part.length);
      if (upload.received < totalBytes) return { complete: false, nextOffset: upload.received };
      return complete(sha256, upload);
    },

    async get({ sha256, offset }) {
      const bytes = await load(sha256);
      return { totalBytes: bytes.length, base64: bytesToBase64(bytes.subarray(offset, offset + MAX_CHUNK_BYTES)) };
    },
  };
}
