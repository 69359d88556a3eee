/** Watches the free space of a disk, so that LevelDB never meets a full one: it may damage itself there (google/leveldb#1180). */
import { statfs } from "node:fs/promises";
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";

/** Others write to the same disk, so the last look counts no longer than this. */
const LOOK_AGAIN_MS = 500;
/** Nor for more than this part of what was free: LevelDB writes a record more than once (log, tables). */
const LOOK_AGAIN_FRACTION = 1 / 8;

export interface SpaceGuard {
  /** Call before writing. Rejects when less than the reserve is free. */
  check(bytesToWrite: number): Promise<void>;
}

export function createSpaceGuard(options: {
  readonly directory: string;
  readonly reserveBytes: number;
  readonly clock: Clock;
}): SpaceGuard {
  const { directory, reserveBytes, clock } = options;
  let goodUntil = Number.NEGATIVE_INFINITY;
  let goodForBytes = 0;
  return {
    async check(bytesToWrite) {
      goodForBytes -= bytesToWrite;
      if (clock.now() < goodUntil && goodForBytes > 0) return;
      const { bavail, bsize } = await statfs(directory);
      const freeBytes = bavail * bsize;
      if (freeBytes < reserveBytes) throw diskFull(directory, freeBytes, reserveBytes);
      goodUntil = clock.now() + LOOK_AGAIN_MS;
      goodForBytes = (freeBytes - reserveBytes) * LOOK_AGAIN_FRACTION;
    },
  };
}

function diskFull(directory: string, freeBytes: number, reserveBytes: number): CodedError {
  const message = `the disk of the coordination store in ${directory} is full: ${mebibytes(freeBytes)} free, ${mebibytes(reserveBytes)} needed`;
  return new CodedError("STORE_UNUSABLE", message, {
    hint: "Free some space on that disk, then start again.",
    details: { freeBytes, reserveBytes },
  });
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}
