/**
 * The storage of checkpoints, as every machine reaches it: blobs by application. What was written and not yet synced is lost when the storage
 * loses its power (contract: `StateStore` of env/blob-store.ts).
 */
import { CodedError } from "../../base/errors.js";
import type { BlobHandle, StateStore } from "../../env/blob-store.js";
import { simDigest } from "../digest.js";
import { outside } from "../marshal.js";
import type { SeededRandom } from "../seed.js";
import type { SimProcess, World } from "../world.js";

/** What is wrong with it now. */
export interface StateWeather {
  slowness: number;
  /** Of writes that meet a full disk. */
  fullShare: number;
  /** Of reads that fail, though nothing is lost. */
  unreadableShare: number;
}

/** With what a planted bug needs to leave something out. */
export interface SimStateStore extends StateStore {
  /** Written, not synced. */
  write(bytes: Uint8Array): Promise<BlobHandle>;
}

interface Blob {
  readonly bytes: Uint8Array;
  isSynced: boolean;
}

export interface StateWorldOptions {
  readonly world: World;
  removed(applicationId: string, sha256: string, process: SimProcess): void;
  /** Un-synced blobs that went with the power. */
  lost(count: number): void;
}

const FULL = "no space left on device";

export class StateWorld {
  readonly weather: StateWeather = { slowness: 1, fullShare: 0, unreadableShare: 0 };
  private readonly options: StateWorldOptions;
  private readonly random: SeededRandom;
  private readonly applications = new Map<string, Map<string, Blob>>();

  constructor(options: StateWorldOptions) {
    this.options = options;
    this.random = options.world.random.fork("state");
  }

  /** The bytes, when they would outlive a loss of power now. */
  durable(applicationId: string, sha256: string): Uint8Array | null {
    const blob = this.applications.get(applicationId)?.get(sha256);
    return blob?.isSynced === true ? blob.bytes : null;
  }

  blobsOf(applicationId: string): number {
    return this.applications.get(applicationId)?.size ?? 0;
  }

  powerLost(): void {
    let count = 0;
    for (const blobs of this.applications.values()) {
      for (const [sha256, { isSynced }] of blobs) {
        if (isSynced) continue;
        blobs.delete(sha256);
        count += 1;
      }
    }
    this.options.lost(count);
  }

  store(process: SimProcess, applicationId: string): SimStateStore {
    const blobs = (): Map<string, Blob> => {
      const known = this.applications.get(applicationId) ?? new Map<string, Blob>();
      this.applications.set(applicationId, known);
      return known;
    };
    const write = (bytes: Uint8Array): Promise<BlobHandle> =>
      this.later(process, "write state", () => {
        if (this.random.chance(this.weather.fullShare)) throw new CodedError("DISK_FAILED", FULL);
        const sha256 = simDigest.sha256Hex(bytes);
        if (!blobs().has(sha256)) blobs().set(sha256, { bytes: bytes.slice(), isSynced: false });
        return { sha256, sizeBytes: bytes.length };
      });
    const sync = (handle: BlobHandle): Promise<BlobHandle> =>
      this.later(process, "sync state", () => {
        const blob = blobs().get(handle.sha256);
        if (blob === undefined) throw new CodedError("DISK_FAILED", "the storage was gone for a moment");
        blob.isSynced = true;
        return handle;
      });
    return {
      write,
      put: async (bytes) => sync(await write(bytes)),
      get: ({ sha256 }) =>
        this.later(process, "read state", () => {
          if (this.random.chance(this.weather.unreadableShare)) throw new CodedError("DISK_FAILED", "input/output error");
          const blob = blobs().get(sha256);
          if (blob === undefined) throw new CodedError("CHECKPOINT_UNREADABLE", `the state ${sha256} is not there`);
          return blob.bytes;
        }),
      list: () =>
        this.later(process, "list state", () => [...blobs()].map(([sha256, { bytes }]) => ({ sha256, sizeBytes: bytes.length }))),
      remove: ({ sha256 }) =>
        this.later(process, "remove state", () => {
          if (blobs().delete(sha256)) this.options.removed(applicationId, sha256, process);
        }),
      removeAll: () =>
        this.later(process, "remove all state", () => {
          for (const sha256 of [...blobs().keys()]) {
            blobs().delete(sha256);
            this.options.removed(applicationId, sha256, process);
          }
          this.applications.delete(applicationId);
        }),
    };
  }

  /** What a process asked for just before its death happens or not. */
  private later<T>(process: SimProcess, label: string, act: () => T): Promise<T> {
    return outside(this.options.world, process, label, this.random.between(0.2, 3) * this.weather.slowness, () => {
      if (process.state === "dead" && this.random.chance(0.5)) throw new CodedError("ABORTED", "its process is gone");
      return act();
    });
  }
}
