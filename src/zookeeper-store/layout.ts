/**
 * Where everything lies in ZooKeeper, below the path of one cluster (docs/design/zookeeper-store.md shows it as a tree).
 *
 * What changes lies below a znode named by the store's random id, which only `format` tells: a store that was removed and made again
 * has other paths, so that no write meant for the old one can ever touch the new one.
 */
import { CodedError } from "../base/errors.js";

export const FORMAT_VERSION = 1;
const MAX_ROOT_BYTES = 200;
const INDEX_DIGITS = 15;

export interface Layout {
  readonly root: string;
  readonly storeId: string;
  readonly store: string;
  readonly head: string;
  readonly log: string;
  readonly pages: string;
  readonly manifest: string;
  readonly ephemerals: string;
  readonly compactor: string;
  entry(index: number): string;
  page(name: string): string;
  ephemeral(name: string): string;
}

export function layoutOf(root: string, storeId: string): Layout {
  const store = `${root}/${storeId}`;
  return {
    root,
    storeId,
    store,
    head: `${store}/head`,
    log: `${store}/log`,
    pages: `${store}/pages`,
    manifest: `${store}/manifest`,
    ephemerals: `${store}/ephemerals`,
    compactor: `${store}/compactor`,
    entry: (index) => `${store}/log/${digits(index)}`,
    page: (name) => `${store}/pages/${name}`,
    ephemeral: (name) => `${store}/ephemerals/${name}`,
  };
}

export const formatPath = (root: string): string => `${root}/format`;

/** Of a child of `log`; NaN for what is no entry. */
export const entryIndex = (name: string): number => (/^[0-9]+$/.test(name) ? Number(name) : Number.NaN);

/** Unique in the life of a store: no two commits that were applied have the same index. */
export const ephemeralName = (index: number, ordinal: number): string => `${digits(index)}-${ordinal}`;

/** The commit that created it. */
export const createdBy = (name: string): number => Number(name.slice(0, INDEX_DIGITS));

/** Throws INVALID_ARGUMENT unless it is an absolute path of ordinary names, short enough to leave requests their room. */
export function checkRoot(root: string): void {
  const names = root.split("/").slice(1);
  const ordinary = root.startsWith("/") && names.every((name) => /^[\w.@:+-]+$/.test(name) && name !== "." && name !== "..");
  if (!ordinary || names[0] === "zookeeper" || root.length > MAX_ROOT_BYTES) {
    throw new CodedError("INVALID_ARGUMENT", `"${root}" is not a path for a cluster in ZooKeeper`, {
      hint: `Give the cluster a path of its own such as /holdfast/production: letters, digits and ._@:+- in each name, at most ${MAX_ROOT_BYTES} characters.`,
    });
  }
}

function digits(index: number): string {
  return String(index).padStart(INDEX_DIGITS, "0");
}
