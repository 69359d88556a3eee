/**
 * Watches: who wants to hear of which node, what the server has to be told for it, and who hears of one notification.
 *
 * Boundary: bookkeeping only; paths are the server's. One-shot watches are registered when the answer of their read has come, as the server does it.
 *
 * A server before 3.9 keeps one mode for each connection and path: a one-shot watch on data turns a persistent one on the same path into a
 * one-shot watch, silently (ZOOKEEPER-4466). So where a persistent watch already reports what a one-shot watch asks for, the server is not asked.
 */

import { ancestorsOf } from "./path.js";
import type { WatchPaths } from "./requests.js";
import type { ChangeType, Notification } from "./responses.js";

export type OneShotKind = "data" | "exists" | "children";
export type WatchMode = "persistent" | "persistent-recursive";

type Heard = (type: ChangeType | "restored", path: string) => void;

const ONE_SHOT_KINDS: readonly OneShotKind[] = ["data", "exists", "children"];
const KINDS_OF: Readonly<Record<ChangeType, readonly OneShotKind[]>> = {
  created: ["data", "exists"],
  changed: ["data", "exists"],
  children: ["children"],
  deleted: ["data", "exists", "children"],
};

interface PersistentPath {
  readonly mode: WatchMode;
  /** Each with whether the server has confirmed it; only those are restored. */
  readonly listeners: Map<Heard, boolean>;
}

export class WatchRegistry {
  readonly #oneShots: Readonly<Record<OneShotKind, Map<string, Set<Heard>>>> = {
    data: new Map(),
    exists: new Map(),
    children: new Map(),
  };
  readonly #persistent = new Map<string, PersistentPath>();
  /** Reads with a watch that were called and not answered. */
  readonly #asked = new Map<string, number>();
  /** The server still reports these though nobody asked for it any more, until the connection ends. */
  #lingering = new Map<string, WatchMode>();

  /** Whether the server has to be asked for this one-shot watch. Every call is followed by one of `settled`. */
  ask(kind: OneShotKind, path: string): boolean {
    this.#asked.set(path, (this.#asked.get(path) ?? 0) + 1);
    const mode = this.#persistent.get(path)?.mode ?? this.#lingering.get(path);
    if (mode === undefined) return true;
    // A recursive watch says nothing of lists of children, and the server keeps those apart.
    return kind === "children" && mode === "persistent-recursive";
  }

  settled(path: string): void {
    const count = this.#asked.get(path) ?? 0;
    if (count > 1) this.#asked.set(path, count - 1);
    else this.#asked.delete(path);
  }

  addOneShot(kind: OneShotKind, path: string, heard: Heard): void {
    const listeners = this.#oneShots[kind].get(path);
    if (listeners === undefined) this.#oneShots[kind].set(path, new Set([heard]));
    else listeners.add(heard);
  }

  /** The mode of a persistent watch that is there already, when it is another one: a path can have only one. */
  conflict(path: string, mode: WatchMode): WatchMode | null {
    const present = this.#persistent.get(path)?.mode ?? this.#lingering.get(path);
    return present === undefined || present === mode ? null : present;
  }

  addPersistent(path: string, mode: WatchMode, heard: Heard): void {
    const present = this.#persistent.get(path);
    this.#lingering.delete(path);
    if (present === undefined) this.#persistent.set(path, { mode, listeners: new Map([[heard, false]]) });
    else present.listeners.set(heard, false);
  }

  confirm(path: string, heard: Heard): void {
    const present = this.#persistent.get(path);
    if (present?.listeners.has(heard) === true) present.listeners.set(heard, true);
  }

  /** Whether the server can be told that nobody listens there any more. */
  removePersistent(path: string, heard: Heard): boolean {
    const present = this.#persistent.get(path);
    if (present === undefined || !present.listeners.delete(heard) || present.listeners.size > 0) return false;
    this.#persistent.delete(path);
    // The server knows only "all watches of this path", so while a one-shot watch may be there, it goes on reporting.
    const shared = this.#asked.has(path) || ONE_SHOT_KINDS.some((kind) => this.#oneShots[kind].has(path));
    if (shared) this.#lingering.set(path, present.mode);
    return !shared;
  }

  /** Who hears of it. One-shot watches that hear are gone. */
  heardBy({ type, path }: Notification): readonly Heard[] {
    if (type === null) return [];
    const heard: Heard[] = [];
    for (const kind of KINDS_OF[type]) {
      heard.push(...(this.#oneShots[kind].get(path) ?? []));
      this.#oneShots[kind].delete(path);
    }
    const own = this.#persistent.get(path);
    if (own !== undefined && (own.mode === "persistent" || type !== "children")) heard.push(...own.listeners.keys());
    if (type !== "children") {
      for (const ancestor of ancestorsOf(path)) {
        const above = this.#persistent.get(ancestor);
        if (above?.mode === "persistent-recursive") heard.push(...above.listeners.keys());
      }
    }
    return heard;
  }

  /** All persistent watches, with their paths: after a reconnection they may have missed something. */
  persistentListeners(): readonly { readonly path: string; readonly heard: Heard }[] {
    return [...this.#persistent].flatMap(([path, { listeners }]) =>
      [...listeners].flatMap(([heard, confirmed]) => (confirmed ? [{ path, heard }] : [])),
    );
  }

  /** What a new connection has to be told. */
  paths(): WatchPaths {
    const isSet = ({ listeners }: PersistentPath) => [...listeners.values()].includes(true);
    const persistent = (mode: WatchMode) =>
      [...this.#persistent].filter(([, entry]) => entry.mode === mode && isSet(entry)).map(([path]) => path);
    return {
      data: [...this.#oneShots.data.keys()],
      exists: [...this.#oneShots.exists.keys()],
      children: [...this.#oneShots.children.keys()],
      persistent: persistent("persistent"),
      recursive: persistent("persistent-recursive"),
    };
  }

  /** A connection ended, and with it what the server knew. */
  forgetConnection(): void {
    this.#lingering = new Map();
  }

  clear(): void {
    for (const kind of ONE_SHOT_KINDS) this.#oneShots[kind].clear();
    this.#persistent.clear();
    this.#lingering.clear();
  }

  /** How many, for tests of leaks. */
  size(): number {
    const oneShots = ONE_SHOT_KINDS.reduce((sum, kind) => sum + this.#oneShots[kind].size, 0);
    return oneShots + this.#persistent.size + this.#asked.size;
  }
}

/** The server refuses requests of more than 1 MB; what ZooKeeper's own client sends is of this size, too. */
export const MAX_SET_WATCHES_BYTES = 128 * 1024;

const KINDS_OF_PATHS: readonly (keyof WatchPaths)[] = ["data", "exists", "children", "persistent", "recursive"];
const LENGTH_BYTES = 4;

/** In parts below the bound, in this order: a persistent watch comes after a one-shot watch of the same path, and wins. */
export function splitWatchPaths(paths: WatchPaths, maxBytes: number = MAX_SET_WATCHES_BYTES): readonly WatchPaths[] {
  const parts: WatchPaths[] = [];
  const empty = (): Record<keyof WatchPaths, string[]> => ({ data: [], exists: [], children: [], persistent: [], recursive: [] });
  let part = empty();
  let sizeBytes = 0;
  for (const kind of KINDS_OF_PATHS) {
    for (const path of paths[kind]) {
      const pathBytes = LENGTH_BYTES + Buffer.byteLength(path, "utf8");
      if (sizeBytes > 0 && sizeBytes + pathBytes > maxBytes) {
        parts.push(part);
        part = empty();
        sizeBytes = 0;
      }
      part[kind].push(path);
      sizeBytes += pathBytes;
    }
  }
  if (sizeBytes > 0) parts.push(part);
  return parts;
}
