/**
 * Job bundles at the master: uploaded in parts, kept in the storage, downloaded in parts, and removed when the core says that no record needs one.
 *
 * Invariants:
 *   1. At most MAX_UPLOADS are under way, the one longest without a part gives way; what a lost master had taken so far is forgotten, and the client is told to
 *      begin again (`nextOffset` 0); a bundle is complete only when its bytes have the named sha-256.
 *   2. What a leader says it has lies in its own folder: it is put there, or copied from another one. So no earlier leader removes it (wire/bundles.ts).
 *   3. A bundle that a submission was told to be there stays until the core has looked at that submission; a removal that meets one is asked for again later.
 *   4. Whoever asks for a bundle while it is removed waits, and then hears that it is gone.
 */
import { base64ToBytes, bytesToBase64 } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import type { BundleStore } from "../../env/bundle-store.js";
import type { Clock } from "../../env/clock.js";
import type { Digest } from "../../env/env.js";
import type { Log } from "../../env/log.js";
import { type BundleName, isEarlierFolder } from "../../wire/bundles.js";
import { MAX_CHUNK_BYTES, type OperationInput, type OperationOutput } from "../../wire/operations.js";

/** Each holds up to MAX_ARTIFACT_BYTES. */
export const MAX_UPLOADS = 8;
/** Bundles kept in memory for the parts that workers ask for next. */
const MAX_CACHED = 2;
/** What was uploaded, and is submitted by nobody for so long, is not needed: a client that comes later uploads it again. */
export const BUNDLE_IDLE_MS = 10 * 60_000;
/** Bundles whose idleness is waited for; with more, it is asked about the oldest at once. */
const MAX_WATCHED = 1_000;
/** Removals that fail are tried so often; then a later leader finds the bundle. */
const MAX_REMOVALS = 5;

export interface MasterArtifacts {
  /** Before a submission is handed to the core: whether its bundle is in the leader's folder, where it then stays until `taken`. */
  expect(sha256: string): Promise<boolean>;
  /** The core has looked at a submission of it, or never will. */
  taken(sha256: string): void;
  put(input: OperationInput<"artifact.put">): Promise<OperationOutput<"artifact.put">>;
  get(input: OperationInput<"artifact.get">): Promise<OperationOutput<"artifact.get">>;
  /** Leadership has begun (with this folder) or ended (null). */
  lead(leading: LeadingBundles | null): void;
  /** No record needs it. */
  remove(bundle: BundleName): void;
  /** Of the folders of earlier leaders all but these. */
  sweep(needed: readonly BundleName[]): void;
}

export interface LeadingBundles {
  readonly folder: string;
  readonly clusterId: string;
  readonly epoch: number;
  /** Nobody has submitted it for a while: is it needed? */
  onIdle(bundle: BundleName): void;
}

interface Upload {
  readonly bytes: Uint8Array;
  received: number;
}

export interface ArtifactsOptions {
  readonly bundles: BundleStore;
  readonly digest: Digest;
  readonly clock: Clock;
  readonly log: Log;
}

const keyOf = ({ folder, sha256 }: BundleName): string => `${folder ?? ""}/${sha256}`;

export function createMasterArtifacts(options: ArtifactsOptions): MasterArtifacts {
  return new Artifacts(options);
}

class Artifacts implements MasterArtifacts {
  private readonly options: ArtifactsOptions;
  /** In the order of their last part. */
  private readonly uploads = new Map<string, Upload>();
  private readonly cached = new Map<string, Promise<Uint8Array>>();
  private leading: LeadingBundles | null = null;
  /** Submissions by their bundle that the core has not looked at. */
  private readonly expected = new Map<string, number>();
  private readonly idle = new Map<string, { cancel(): void }>();
  private readonly removing = new Map<string, Promise<void>>();

  constructor(options: ArtifactsOptions) {
    this.options = options;
  }

  lead(leading: LeadingBundles | null): void {
    this.leading = leading;
    this.expected.clear();
    this.uploads.clear();
    for (const timer of this.idle.values()) timer.cancel();
    this.idle.clear();
  }

  async expect(sha256: string): Promise<boolean> {
    const { leading } = this;
    this.expected.set(sha256, (this.expected.get(sha256) ?? 0) + 1);
    try {
      const isThere = await this.bring(sha256);
      if (isThere && this.leading === leading) return true;
    } catch (thrown) {
      if (this.leading === leading) this.taken(sha256);
      throw thrown;
    }
    if (this.leading === leading) this.taken(sha256);
    return false;
  }

  taken(sha256: string): void {
    const left = (this.expected.get(sha256) ?? 0) - 1;
    if (left > 0) this.expected.set(sha256, left);
    else this.expected.delete(sha256);
    // If it is recorded, the core says when it is needed no longer; if not, nobody may.
    if (left <= 0) this.watchIdle(sha256);
  }

  async put({ sha256, offset, totalBytes, base64 }: OperationInput<"artifact.put">): Promise<OperationOutput<"artifact.put">> {
    if (!this.uploads.has(sha256) && (await this.bring(sha256))) {
      this.watchIdle(sha256);
      return { complete: true, nextOffset: totalBytes };
    }
    const part = base64ToBytes(base64);
    if (part.length > MAX_CHUNK_BYTES)
      throw new CodedError("LIMIT_EXCEEDED", `a part of a bundle has at most ${MAX_CHUNK_BYTES} bytes`);
    let upload = this.uploads.get(sha256);
    if (upload === undefined || upload.bytes.length !== totalBytes) {
      if (offset !== 0) return { complete: false, nextOffset: 0 };
      upload = { bytes: new Uint8Array(totalBytes), received: 0 };
    }
    this.uploads.delete(sha256);
    this.uploads.set(sha256, upload);
    for (const oldest of this.uploads.keys()) {
      if (this.uploads.size <= MAX_UPLOADS) break;
      this.uploads.delete(oldest);
    }
    // A part that was sent twice is taken once; one that leaves a hole is asked for again.
    if (offset > upload.received || offset + part.length > totalBytes) return { complete: false, nextOffset: upload.received };
    upload.bytes.set(part, offset);
    upload.received = Math.max(upload.received, offset + part.length);
    if (upload.received < totalBytes) return { complete: false, nextOffset: upload.received };
    return this.complete(sha256, upload);
  }

  private async complete(sha256: string, upload: Upload): Promise<OperationOutput<"artifact.put">> {
    this.uploads.delete(sha256);
    const actual = this.options.digest.sha256Hex(upload.bytes);
    if (actual !== sha256) {
      throw new CodedError("ARTIFACT_CORRUPT", `the uploaded bundle has the sha-256 ${actual} instead of ${sha256}`, {
        hint: "Upload it again.",
      });
    }
    await this.keep(sha256, upload.bytes);
    this.watchIdle(sha256);
    return { complete: true, nextOffset: upload.bytes.length };
  }

  async get({ sha256, offset, folder }: OperationInput<"artifact.get">): Promise<OperationOutput<"artifact.get">> {
    const bytes = await this.load(sha256, folder ?? null);
    return { totalBytes: bytes.length, base64: bytesToBase64(bytes.subarray(offset, offset + MAX_CHUNK_BYTES)) };
  }

  private load(sha256: string, folder: string | null): Promise<Uint8Array> {
    const known = this.cached.get(sha256);
    if (known !== undefined) return known;
    const loading = this.find(sha256, folder);
    this.cached.set(sha256, loading);
    loading.catch(() => this.cached.delete(sha256));
    for (const oldest of this.cached.keys()) {
      if (this.cached.size <= MAX_CACHED) break;
      this.cached.delete(oldest);
    }
    return loading;
  }

  /** Where the record says, else wherever it lies: workers of earlier releases know no folder. */
  private async find(sha256: string, folder: string | null): Promise<Uint8Array> {
    const { bundles } = this.options;
    const first = await bundles.get({ folder, sha256 }).catch((thrown: unknown) => CodedError.from(thrown));
    if (!(first instanceof CodedError)) return first;
    if (first.code !== "NOT_FOUND") throw first;
    const others = [null, ...(await bundles.folders())].filter((other) => other !== folder);
    for (const other of others) if (await bundles.has({ folder: other, sha256 })) return bundles.get({ folder: other, sha256 });
    throw first;
  }

  /** Whether it is in the leader's folder, now that it was copied there from another one. */
  private async bring(sha256: string): Promise<boolean> {
    const { leading, options } = this;
    if (leading === null) return false;
    const own = { folder: leading.folder, sha256 };
    await this.removing.get(keyOf(own));
    if (await options.bundles.has(own)) return true;
    const bytes = await this.find(sha256, leading.folder).catch((thrown: unknown) => {
      const error = CodedError.from(thrown);
      if (error.code === "NOT_FOUND" || error.code === "ARTIFACT_CORRUPT") return null;
      throw error;
    });
    if (bytes === null) return false;
    await this.keep(sha256, bytes);
    return true;
  }

  private async keep(sha256: string, bytes: Uint8Array): Promise<void> {
    const { leading } = this;
    if (leading === null) throw new CodedError("NOT_LEADER", "this master does not lead any more");
    await this.removing.get(keyOf({ folder: leading.folder, sha256 }));
    await this.options.bundles.put(leading.folder, bytes);
  }

  private watchIdle(sha256: string): void {
    const { leading } = this;
    if (leading === null) return;
    this.idle.get(sha256)?.cancel();
    const { clock } = this.options;
    const timer = clock.at(clock.now() + BUNDLE_IDLE_MS, () => {
      this.idle.delete(sha256);
      leading.onIdle({ folder: leading.folder, sha256 });
    });
    this.idle.delete(sha256);
    this.idle.set(sha256, timer);
    for (const [oldest, waiting] of this.idle) {
      if (this.idle.size <= MAX_WATCHED) break;
      waiting.cancel();
      this.idle.delete(oldest);
      leading.onIdle({ folder: leading.folder, sha256: oldest });
    }
  }

  remove(bundle: BundleName): void {
    const { leading } = this;
    if (leading === null) return;
    if (bundle.folder === leading.folder && this.expected.has(bundle.sha256)) {
      this.watchIdle(bundle.sha256);
      return;
    }
    if (bundle.folder === leading.folder) {
      this.idle.get(bundle.sha256)?.cancel();
      this.idle.delete(bundle.sha256);
    }
    const key = keyOf(bundle);
    if (this.removing.has(key)) return;
    const removal = this.removeOne(bundle).finally(() => this.removing.delete(key));
    this.removing.set(key, removal);
  }

  private async removeOne(bundle: BundleName): Promise<void> {
    const { bundles, log } = this.options;
    for (let tries = 1; ; tries += 1) {
      try {
        await bundles.remove(bundle);
        this.cached.delete(bundle.sha256);
        return;
      } catch (thrown) {
        if (tries < MAX_REMOVALS) continue;
        log.warn("a job bundle that is needed no longer could not be removed", {
          bundle: bundle.sha256,
          reason: CodedError.from(thrown).message,
        });
        return;
      }
    }
  }

  sweep(needed: readonly BundleName[]): void {
    const { leading } = this;
    if (leading === null) return;
    const kept = new Set(needed.map(keyOf));
    const work = async (): Promise<void> => {
      for (const folder of await this.options.bundles.folders()) {
        if (!isEarlierFolder(folder, leading.clusterId, leading.epoch)) continue;
        for (const sha256 of await this.options.bundles.list(folder)) {
          if (this.leading !== leading) return;
          if (!kept.has(keyOf({ folder, sha256 }))) this.remove({ folder, sha256 });
        }
        await this.options.bundles.removeUnfinished(folder);
      }
    };
    work().catch((thrown: unknown) =>
      this.options.log.warn("bundles of earlier leaders could not be looked through", { reason: CodedError.from(thrown).message }),
    );
  }
}
