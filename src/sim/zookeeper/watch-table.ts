/**
 * The watches of one session: what its server was told (`armed`, one-shot; `covered`, persistent), and who hears in the client.
 *
 * The two are not the same. A server forgets a one-shot watch when it fires, also when its event is withheld from somebody who may not read the node;
 * and the project's client does not ask the server for what a persistent watch on the same path reports anyway.
 */
import type { Change, ChangeType } from "./operations.js";
import { parentOf } from "./tree.js";

export type OneShotKind = "data" | "exists" | "children";
export type WatchMode = "persistent" | "persistent-recursive";
/** `restored`: the connection was away, and changes may have been missed. */
export type Heard = (change: { readonly type: ChangeType | "restored"; readonly path: string }) => void;

interface Persistent {
  readonly path: string;
  readonly mode: WatchMode;
  readonly heard: Heard;
}

export class WatchTable {
  private readonly oneShots: Readonly<Record<OneShotKind, Map<string, Set<Heard>>>> = {
    data: new Map(),
    exists: new Map(),
    children: new Map(),
  };
  private readonly persistent = new Set<Persistent>();
  private readonly armed: Readonly<Record<"data" | "children", Set<string>>> = { data: new Set(), children: new Set() };
  private readonly covered = new Map<string, WatchMode>();

  addOneShot(kind: OneShotKind, path: string, heard: Heard): void {
    const listeners = this.oneShots[kind].get(path) ?? new Set();
    this.oneShots[kind].set(path, listeners);
    listeners.add(heard);
    const mode = this.covered.get(path);
    if (mode === undefined || (kind === "children" && mode === "persistent-recursive"))
      this.armed[kind === "children" ? "children" : "data"].add(path);
  }

  addPersistent(path: string, mode: WatchMode, heard: Heard): () => void {
    const entry = { path, mode, heard };
    this.persistent.add(entry);
    this.covered.set(path, mode);
    // One mode for each connection and path: the server forgets what was there, also a one-shot watch on children, of which a recursive watch says nothing.
    this.armed.data.delete(path);
    this.armed.children.delete(path);
    return () => this.removePersistent(entry);
  }

  /** Whether the server has something to say of it; one-shot watches that fire are gone there. */
  fires(change: Change): boolean {
    let isFired = false;
    for (const kind of change.type === "children" ? (["children"] as const) : (["data", "children"] as const)) {
      if (kind === "children" && change.type !== "children" && change.type !== "deleted") continue;
      if (this.armed[kind].delete(change.path)) isFired = true;
    }
    for (const [path, mode] of this.covered) if (concerns(path, mode, change)) isFired = true;
    return isFired;
  }

  /** Those that hear in the client; one-shot watches among them are gone. */
  heardBy(change: Change): readonly Heard[] {
    const listeners: Heard[] = [];
    for (const kind of kindsOf(change.type)) {
      listeners.push(...(this.oneShots[kind].get(change.path) ?? []));
      this.oneShots[kind].delete(change.path);
    }
    for (const { path, mode, heard } of this.persistent) if (concerns(path, mode, change)) listeners.push(heard);
    return listeners;
  }

  /** What a new connection has to tell its server. */
  oneShotPaths(): readonly { readonly kind: OneShotKind; readonly path: string }[] {
    return (["data", "exists", "children"] as const).flatMap((kind) =>
      [...this.oneShots[kind].keys()].map((path) => ({ kind, path })),
    );
  }

  persistentListeners(): readonly { readonly path: string; readonly heard: Heard }[] {
    return [...this.persistent];
  }

  private removePersistent(entry: Persistent): void {
    const { path } = entry;
    if (!this.persistent.delete(entry)) return;
    const isShared = [...this.persistent].some((other) => other.path === path);
    // A server knows only "all watches of this path": while a one-shot watch may be there, the client leaves it as it is.
    const hasOneShots = [...Object.values(this.oneShots)].some((listeners) => listeners.has(path));
    if (!isShared && !hasOneShots) this.covered.delete(path);
  }
}

const kindsOf = (type: ChangeType): readonly OneShotKind[] => {
  if (type === "children") return ["children"];
  return type === "deleted" ? ["data", "exists", "children"] : ["data", "exists"];
};

function concerns(path: string, mode: WatchMode, change: Change): boolean {
  if (change.path === path) return mode === "persistent" || change.type !== "children";
  if (mode !== "persistent-recursive" || change.type === "children") return false;
  for (let above = parentOf(change.path); above !== "/"; above = parentOf(above)) if (above === path) return true;
  return path === "/";
}
