/**
 * Merging the log into pages, beside the commits: new pages, then one compare-and-set of the manifest, then what is not needed any more.
 *
 * Invariants:
 *   1. The manifest is replaced only in the version that was read under the lock, together with a check of each page it newly names. A
 *      process that died, lost its session, or lost the lock, can at worst leave pages that no manifest names.
 *   2. Whoever holds the lock removes such pages: their author cannot be alive and merging, and if it were, its checks would fail.
 *   3. A log entry is removed only after a manifest has covered it for a whole merge, a page only after it was out of use for as long: who is
 *      reading meanwhile begins again at most.
 */
import { decodeManifest, encodeManifest, encodePage, type Manifest, type RecordState, type Run, type RunPage } from "./codec.js";
import type { Ensemble, MultiResult, ZnodeOperation } from "./ensemble.js";
import { entryIndex, type Layout } from "./layout.js";
import { DELETE_BATCH } from "./limits.js";
import { pagesOf, runsToKeep } from "./merge-plan.js";
import type { Mirror } from "./mirror.js";
import { vanished } from "./reading.js";

export interface Merger {
  readonly ensemble: Ensemble;
  readonly layout: Layout;
  /** Runs when the mirror holds what is committed and nothing else. */
  atRest<T>(run: (mirror: Mirror) => T): Promise<T>;
  nonce(): string;
}

interface Found {
  readonly manifest: Manifest;
  readonly version: number;
}

/** False: another session is at it. Rejects when the connection broke: nothing is lost, the next merge cleans up. */
export async function merge(merger: Merger): Promise<boolean> {
  const { ensemble, layout } = merger;
  if (!(await lock(merger))) return false;
  try {
    const found = await readManifest(merger);
    const published = await writeRun(merger, found);
    if (published === undefined) return false;
    await merger.atRest((mirror) => mirror.setManifest(published));
    await removeUnused(merger, found.manifest, { manifest: published, version: found.version + 1 });
    return true;
  } finally {
    await unlock(ensemble, layout);
  }
}

/** The lock goes with its session. One of this session's own is left from a merge whose connection broke. */
async function lock({ ensemble, layout }: Merger): Promise<boolean> {
  const data = new TextEncoder().encode(ensemble.sessionId);
  const made = await ensemble.multi([{ op: "create", path: layout.compactor, data, ephemeral: true }]);
  if (made.ok) return true;
  if (made.reason === "missing") throw vanished(layout);
  const holder = await ensemble.get(layout.compactor);
  return holder !== undefined && new TextDecoder().decode(holder.data) === ensemble.sessionId;
}

/** A lock that cannot be given back now is found again by this session's next merge, or goes with the session. */
async function unlock(ensemble: Ensemble, layout: Layout): Promise<void> {
  await ensemble.multi([{ op: "delete", path: layout.compactor, version: 0 }]).catch(() => {});
}

async function readManifest({ ensemble, layout }: Merger): Promise<Found> {
  const [, znode] = await Promise.all([ensemble.sync(layout.manifest), ensemble.get(layout.manifest)]);
  if (znode === undefined) throw vanished(layout);
  return { manifest: decodeManifest(znode.data, layout.manifest), version: znode.version };
}

/** The manifest that was published; undefined: there was nothing to do, or somebody else was faster. */
async function writeRun(merger: Merger, found: Found): Promise<Manifest | undefined> {
  const planned = await merger.atRest((mirror) => planRun(mirror, found.manifest));
  if (planned === undefined) return undefined;
  const pages = await writePages(merger, planned.states);
  const run: Run = { from: planned.from, to: planned.to, pages };
  const manifest: Manifest = { to: planned.to, revision: planned.revision, runs: [...planned.kept, run] };
  return (await publish(merger, found.version, manifest, pages)) ? manifest : undefined;
}

interface PlannedRun {
  readonly kept: readonly Run[];
  readonly from: number;
  readonly to: number;
  readonly revision: number;
  readonly states: readonly RecordState[];
}

function planRun(mirror: Mirror, manifest: Manifest): PlannedRun | undefined {
  if (mirror.index <= manifest.to) return undefined;
  const kept = runsToKeep(manifest, mirror.tail.bytes);
  const from = kept.at(-1)?.to ?? 0;
  return { kept, from, to: mirror.index, revision: mirror.table.revision, states: mirror.statesAfter(from) };
}

async function writePages({ ensemble, layout, nonce }: Merger, states: readonly RecordState[]): Promise<RunPage[]> {
  const prefix = nonce();
  const pages: RunPage[] = [];
  for (const part of pagesOf(states)) {
    const name = `${prefix}-${pages.length}`;
    const data = encodePage(part);
    const made = await ensemble.multi([{ op: "create", path: layout.page(name), data }]);
    if (!made.ok) throw vanished(layout);
    pages.push({ name, sizeBytes: data.length });
  }
  return pages;
}

async function publish(
  { ensemble, layout }: Merger,
  version: number,
  manifest: Manifest,
  pages: readonly RunPage[],
): Promise<boolean> {
  const checks = pages.map(({ name }): ZnodeOperation => ({ op: "check", path: layout.page(name), version: 0 }));
  const set: ZnodeOperation = { op: "set", path: layout.manifest, data: encodeManifest(manifest), version };
  return (await ensemble.multi([set, ...checks])).ok;
}

/** All pages but those of this manifest and the one before, and the log up to the one before. */
async function removeUnused({ ensemble, layout }: Merger, before: Manifest, now: Found): Promise<void> {
  const named = new Set([before, now.manifest].flatMap(({ runs }) => runs.flatMap((run) => run.pages.map((page) => page.name))));
  const [pages, log] = await Promise.all([ensemble.children(layout.pages), ensemble.children(layout.log)]);
  if (pages === undefined || log === undefined) throw vanished(layout);
  const unused = [
    ...pages.filter((name) => !named.has(name)).map((name) => layout.page(name)),
    ...log.filter((name) => entryIndex(name) <= before.to).map((name) => `${layout.log}/${name}`),
  ];
  for (let start = 0; start < unused.length; start += DELETE_BATCH) {
    const deletions = unused.slice(start, start + DELETE_BATCH).map((path): ZnodeOperation => ({ op: "delete", path, version: 0 }));
    const check: ZnodeOperation = { op: "check", path: layout.manifest, version: now.version };
    const removed: MultiResult = await ensemble.multi([check, ...deletions]);
    // Somebody tidies up here too: then it is theirs to do.
    if (!removed.ok) return;
  }
}
