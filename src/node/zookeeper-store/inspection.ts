/**
 * What an operator may want to know of the ensemble and of a cluster's path in it: facts, measured. Boundary: judges nothing, and changes nothing
 * but that each look is a short session of its own. For `holdfast doctor`; masters never use it.
 */
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import { type Acl, connectZooKeeper, hasZooKeeperCode, type ZooKeeper } from "../../zookeeper/index.js";
import { entryIndex, formatPath, layoutOf } from "../../zookeeper-store/layout.js";
import { MAX_REQUEST_BYTES, READ_WINDOW } from "../../zookeeper-store/limits.js";

/** One session with one server of the ensemble. */
export interface ServerLook {
  readonly grantedTimeoutMs: number;
  /** Milliseconds each, in the order they were measured. */
  readonly readsMs: readonly number[];
  readonly syncsMs: readonly number[];
  /** Whether it takes a request as large as the largest that a master sends (its `jute.maxbuffer`). */
  readonly takesLargeRequests: boolean;
}

export type PathLook =
  | { readonly kind: "missing" }
  /** This user may not read it. */
  | { readonly kind: "refused" }
  /** Readable, and not a store of this format. */
  | { readonly kind: "foreign" }
  | { readonly kind: "store"; readonly acls: readonly PathAcl[]; readonly sizeBytes: number; readonly logEntries: number };

export interface PathAcl {
  readonly path: string;
  readonly acl: readonly Acl[];
}

export interface LookOptions {
  readonly sessionTimeoutMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const READS = 15;
const SYNCS = 5;
/** Of the log, whose entries are counted all and measured up to here; a longer log is about to be merged. */
const MEASURED_ENTRIES = 1_024;

/** Rejects with ZooKeeperError, ABORTED when it takes too long. */
export async function lookAtServer(url: ZooKeeperUrl, server: string, options: LookOptions): Promise<ServerLook> {
  return withSession(url, server, options, async (zk, signal) => {
    const grantedTimeoutMs = zk.session()?.timeoutMs ?? 0;
    const readsMs = await timed(READS, () => zk.exists("/zookeeper", { signal }));
    const syncsMs = await timed(SYNCS, () => zk.sync("/", { signal }));
    // Last: a server that does not take it closes the connection.
    const takesLargeRequests = await takesLarge(zk, signal);
    return { grantedTimeoutMs, readsMs, syncsMs, takesLargeRequests };
  });
}

/** By whichever server answers first of those given. Rejects as `lookAtServer`. */
export async function lookAtPath(url: ZooKeeperUrl, servers: readonly string[], options: LookOptions): Promise<PathLook> {
  return withSession(url, servers.join(","), options, async (zk, signal) => {
    try {
      await zk.sync(url.path, { signal }).catch((thrown) => ignoreMissing(thrown));
      const format = await zk.getData(formatPath(url.path), { signal });
      const storeId = storeIdOf(format.data);
      if (storeId === null) return { kind: "foreign" };
      return await lookAtStore(zk, url.path, storeId, signal);
    } catch (thrown) {
      if (hasZooKeeperCode(thrown, "NO_AUTH")) return { kind: "refused" };
      if (!hasZooKeeperCode(thrown, "NO_NODE")) throw thrown;
      const others = await zk.getChildren(url.path, { signal }).catch((failure) => ignoreMissing(failure));
      return { kind: others === undefined || others.children.length === 0 ? "missing" : "foreign" };
    }
  });
}

async function lookAtStore(zk: ZooKeeper, root: string, storeId: string, signal: AbortSignal): Promise<PathLook> {
  const layout = layoutOf(root, storeId);
  const paths = [root, formatPath(root), layout.store, layout.head, layout.ephemerals];
  const acls = await Promise.all(paths.map(async (path) => ({ path, acl: (await zk.getAcl(path, { signal })).acl })));
  const pages = (await zk.getChildren(layout.pages, { signal })).children.map((name) => layout.page(name));
  const entries = (await zk.getChildren(layout.log, { signal })).children;
  const newest = entries.map(entryIndex).sort((left, right) => right - left);
  const measured = newest.slice(0, MEASURED_ENTRIES).map((index) => layout.entry(index));
  return { kind: "store", acls, sizeBytes: await sizeOf(zk, [...pages, ...measured], signal), logEntries: entries.length };
}

/** What was merged away meanwhile counts nothing. */
async function sizeOf(zk: ZooKeeper, paths: readonly string[], signal: AbortSignal): Promise<number> {
  let sizeBytes = 0;
  for (let from = 0; from < paths.length; from += READ_WINDOW) {
    const stats = await Promise.all(paths.slice(from, from + READ_WINDOW).map((path) => zk.exists(path, { signal })));
    for (const stat of stats) sizeBytes += stat?.sizeBytes ?? 0;
  }
  return sizeBytes;
}

async function withSession<T>(
  url: ZooKeeperUrl,
  servers: string,
  { sessionTimeoutMs, timeoutMs, signal }: LookOptions,
  look: (zk: ZooKeeper, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { credentials } = url;
  const auth = credentials === null ? [] : [{ scheme: "digest", auth: `${credentials.user}:${credentials.password}` } as const];
  const zk = connectZooKeeper({ servers, sessionTimeoutMs, auth });
  try {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    await zk.connected(bounded);
    return await look(zk, bounded);
  } finally {
    await zk.close();
  }
}

async function timed(runs: number, call: () => Promise<unknown>): Promise<readonly number[]> {
  const times: number[] = [];
  for (let run = 0; run < runs; run++) {
    const startedAt = performance.now();
    await call();
    times.push(performance.now() - startedAt);
  }
  return times;
}

/** Asks for a node with a name of that length: nothing is there, and nothing is made. */
async function takesLarge(zk: ZooKeeper, signal: AbortSignal): Promise<boolean> {
  const OVERHEAD_BYTES = 64;
  try {
    await zk.exists(`/${"x".repeat(MAX_REQUEST_BYTES - OVERHEAD_BYTES)}`, { signal });
    return true;
  } catch (thrown) {
    if (hasZooKeeperCode(thrown, "CONNECTION_LOST") && !signal.aborted) return false;
    throw thrown;
  }
}

function storeIdOf(bytes: Uint8Array): string | null {
  try {
    const { store } = JSON.parse(new TextDecoder().decode(bytes)) as { readonly store?: unknown };
    return typeof store === "string" && /^[0-9a-z]+$/.test(store) ? store : null;
  } catch {
    return null;
  }
}

function ignoreMissing(thrown: unknown): undefined {
  if (!hasZooKeeperCode(thrown, "NO_NODE")) throw thrown;
}
