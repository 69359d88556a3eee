/**
 * What the drivers of a worker are told about where masters are, instead of the worker's own URL where that may hold credentials.
 *
 * Drivers run user code, so they get a file of addresses in the work directory. The worker renews it whenever it learns of other masters; when
 * the worker is gone, a driver still has the file as it was, and the list that each master tells on its link (docs/design/finding.md).
 */
import { CodedError } from "../../base/errors.js";
import type { Log } from "../../env/log.js";
import type { Places } from "../finding/master-places.js";

export interface MastersFile {
  /** Absolute. */
  readonly mastersPath: string;
  /** A reader sees the old list or the new one. */
  saveMasters(addresses: readonly string[]): Promise<void>;
}

export interface WorkerMasters {
  known(addresses: readonly string[]): void;
  /** For a driver that is about to be started. */
  urlFor(places: Places): string;
  /** Resolves when nothing is being written any more. */
  settled(): Promise<void>;
}

export function createWorkerMasters(masterUrl: string, file: MastersFile, log: Log): WorkerMasters {
  let writing = Promise.resolve();
  let wanted: readonly string[] | null = null;
  const write = async () => {
    const addresses = wanted;
    wanted = null;
    if (addresses === null || addresses.length === 0) return;
    await file.saveMasters(addresses).catch((thrown) => {
      log.warn(`The list of masters for drivers cannot be written; they keep the one before: ${CodedError.from(thrown).message}`);
    });
  };
  return {
    known: (addresses) => {
      const isQueued = wanted !== null;
      wanted = addresses;
      if (!isQueued) writing = writing.then(write);
    },
    // A driver reads the file whenever it looks for a master, so it may be written a moment later.
    urlFor: (places) => (places.isPrivate() ? `file://${encodeURI(file.mastersPath)}` : masterUrl),
    settled: () => writing,
  };
}
