/**
 * Bringing a mirror up to what the ensemble holds: from the pages at first, from the log ever after.
 *
 * Order matters: the head is read before the list of ephemeral records, so that the list holds every one that the log up to that head
 * created and that still lives. What later commits created is left for the next refresh.
 */
import { CodedError } from "../base/errors.js";
import { decodeEntry, decodeEphemeral, decodeHead, decodeManifest, decodePage, type Manifest } from "./codec.js";
import type { Ensemble, Znode } from "./ensemble.js";
import { createdBy, type Layout } from "./layout.js";
import { MERGE_ENTRIES, READ_WINDOW } from "./limits.js";
import { Mirror } from "./mirror.js";
import { damaged } from "./sealed.js";

export interface Reading {
  readonly ensemble: Ensemble;
  readonly layout: Layout;
  /** Default MERGE_ENTRIES. */
  readonly mergeEntries?: number | undefined;
}

/** Everything, from nothing. A merge that takes away what is being read only makes it begin again. */
export async function readAll(reading: Reading): Promise<Mirror> {
  const { ensemble, layout } = reading;
  for (let seen: number | undefined; ; ) {
    const [, znode] = await Promise.all([ensemble.sync(layout.manifest), ensemble.get(layout.manifest)]);
    if (znode === undefined) throw vanished(layout);
    const mirror = await readPages(reading, decodeManifest(znode.data, layout.manifest));
    if (mirror !== undefined && (await refresh(reading, mirror, () => {})) === "current") return mirror;
    if (seen === znode.version) throw damaged(layout.store, "pages or log entries that its manifest relies on are missing");
    seen = znode.version;
  }
}

/**
 * Everything acknowledged before the call is in the mirror when it resolves. `reload`: the log does not go back far enough any more.
 * `onChange` is called for each key that changed, also when it rejects half-way.
 */
export async function refresh(reading: Reading, mirror: Mirror, onChange: (key: string) => void): Promise<"current" | "reload"> {
  const { ensemble, layout, mergeEntries = MERGE_ENTRIES } = reading;
  const [, znode, names] = await Promise.all([
    ensemble.sync(layout.head),
    ensemble.get(layout.head),
    ensemble.children(layout.ephemerals),
  ]);
  if (znode === undefined || names === undefined) throw vanished(layout);
  const head = decodeHead(znode.data, layout.head);
  if (head.index < mirror.index) throw damaged(layout.head, `it went back from ${mirror.index} to ${head.index}`);
  if (!(await readLog(reading, mirror, head.index, onChange))) return "reload";
  mirror.headVersion = znode.version;
  await readEphemerals(reading, mirror, names, onChange);
  if (mirror.tail.entries >= 2 * mergeEntries) await readManifest(reading, mirror);
  return "current";
}

/** Somebody else may have merged the log. */
async function readManifest({ ensemble, layout }: Reading, mirror: Mirror): Promise<void> {
  const znode = await ensemble.get(layout.manifest);
  if (znode === undefined) throw vanished(layout);
  const manifest = decodeManifest(znode.data, layout.manifest);
  // It may cover more than this mirror has read; the next time will do.
  if (manifest.to <= mirror.index) mirror.setManifest(manifest);
}

/** Undefined: a page is gone. */
async function readPages({ ensemble, layout }: Reading, manifest: Manifest): Promise<Mirror | undefined> {
  const mirror = new Mirror();
  const pages = manifest.runs.flatMap(({ to, pages }) => pages.map(({ name }) => ({ to, path: layout.page(name) })));
  const whole = await inWindows(
    pages,
    READ_WINDOW / 2,
    ({ path }) => ensemble.get(path),
    (znode, { to, path }) => {
      mirror.loadRun(decodePage(znode.data, path), to, manifest.revision);
    },
  );
  if (!whole) return undefined;
  mirror.loadRun([], manifest.to, manifest.revision);
  mirror.setManifest(manifest);
  return mirror;
}

/** False: an entry is gone. */
function readLog({ ensemble, layout }: Reading, mirror: Mirror, to: number, onChange: (key: string) => void): Promise<boolean> {
  const indexes = Array.from({ length: to - mirror.index }, (_, offset) => mirror.index + 1 + offset);
  return inWindows(
    indexes,
    READ_WINDOW,
    (index) => ensemble.get(layout.entry(index)),
    ({ data }, index) => {
      const entry = decodeEntry(data, layout.entry(index));
      if (entry.index !== index) throw damaged(layout.entry(index), `it holds entry ${entry.index}`);
      mirror.applyEntry(entry, data.length);
      for (const { key } of entry.states) onChange(key);
    },
  );
}

async function readEphemerals(
  { ensemble, layout }: Reading,
  mirror: Mirror,
  names: readonly string[],
  onChange: (key: string) => void,
): Promise<void> {
  const listed = new Set(names);
  const known = mirror.ephemeralNames();
  const drop = (name: string) => {
    const key = mirror.dropEphemeral(name);
    if (key !== undefined) onChange(key);
  };
  for (const name of known) if (!listed.has(name)) drop(name);
  const wanted = names.filter((name) => createdBy(name) <= mirror.index && (!known.has(name) || mirror.touched.has(name)));
  const znodes = await Promise.all(wanted.map((name) => ensemble.get(layout.ephemeral(name))));
  for (const [at, name] of wanted.entries()) {
    const znode = znodes[at];
    if (znode === undefined) {
      drop(name);
      continue;
    }
    const record = decodeEphemeral(znode.data, layout.ephemeral(name));
    if (!mirror.putEphemeral(name, record, znode.version))
      throw damaged(layout.ephemeral(name), `the record ${record.key} is there as a persistent one too`);
    onChange(record.key);
  }
  mirror.touched.clear();
}

/** Reads in order, many at a time; false at the first that is missing. */
async function inWindows<T>(
  items: readonly T[],
  windowSize: number,
  read: (item: T) => Promise<Znode | undefined>,
  take: (znode: Znode, item: T) => void,
): Promise<boolean> {
  for (let start = 0; start < items.length; start += windowSize) {
    const part = items.slice(start, start + windowSize);
    const znodes = await Promise.all(part.map(read));
    for (const [at, item] of part.entries()) {
      const znode = znodes[at];
      if (znode === undefined) return false;
      take(znode, item);
    }
  }
  return true;
}

export function vanished(layout: Layout): CodedError {
  return new CodedError(
    "STORE_UNUSABLE",
    `the records of this cluster are no longer at ${layout.root} in ZooKeeper (store ${layout.storeId})`,
    {
      hint: "Restore the path from a copy of ZooKeeper's data. To start an empty cluster there on purpose, stop all masters first.",
      details: { path: layout.root },
    },
  );
}
