/** Listeners of one session: told in a microtask of their own, never from within a call. */
import type { Watch, WatchEvent } from "../env/coordination-store.js";

interface Watcher {
  readonly prefix: string;
  readonly listener: (event: WatchEvent) => void;
}

export class Watchers {
  private readonly all = new Set<Watcher>();

  add(prefix: string, listener: (event: WatchEvent) => void): Watch {
    const watcher = { prefix, listener };
    this.all.add(watcher);
    return { close: () => void this.all.delete(watcher) };
  }

  changed(key: string): void {
    for (const watcher of this.all) if (key.startsWith(watcher.prefix)) this.tell(watcher, { kind: "changed", key });
  }

  lost(): void {
    for (const watcher of this.all) this.tell(watcher, { kind: "lost" });
  }

  clear(): void {
    this.all.clear();
  }

  private tell(watcher: Watcher, event: WatchEvent): void {
    queueMicrotask(() => {
      if (this.all.has(watcher)) watcher.listener(event);
    });
  }
}
