/** The watches of one session: who hears of a change. One-shot watches that hear are gone. */
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

  addOneShot(kind: OneShotKind, path: string, heard: Heard): void {
    const listeners = this.oneShots[kind].get(path) ?? new Set();
    this.oneShots[kind].set(path, listeners);
    listeners.add(heard);
  }

  addPersistent(path: string, mode: WatchMode, heard: Heard): () => void {
    const entry = { path, mode, heard };
    this.persistent.add(entry);
    return () => void this.persistent.delete(entry);
  }

  /** Those that hear; one-shot watches among them are gone. */
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
