/**
 * Names of job bundles in the masters' storage: `bundles/FOLDER/SHA-256`. Each leader has a folder of its own.
 *
 * Invariant: a record never names a bundle in the folder of another leader than the one that wrote it first. So a leader that was deposed without knowing it
 * can remove only what no record needs: what its successors take, they take into their own folders.
 */
export interface BundleName {
  /** Null: of an earlier release, which kept all of them in the storage itself. */
  readonly folder: string | null;
  readonly sha256: string;
}

export const bundleFolder = (clusterId: string, epoch: number): string => `${clusterId}.${epoch}`;

/** Whether it is the folder of an earlier leader of this cluster. */
export function isEarlierFolder(folder: string, clusterId: string, epoch: number): boolean {
  const match = /^(.+)\.([0-9]+)$/.exec(folder);
  return match !== null && match[1] === clusterId && Number(match[2]) < epoch;
}
