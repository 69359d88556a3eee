/** The present link to the leading master, and waiting for the next one. */
import type { Link } from "../link/link.js";

export interface LeaderLinks {
  current(): Link | null;
  set(link: Link | null): void;
  /** A link other than `lost`, as soon as there is one. Rejects with the signal's reason. */
  next(lost: Link | null, signal: AbortSignal): Promise<Link>;
}

export function createLeaderLinks(): LeaderLinks {
  let current: Link | null = null;
  const waiting = new Set<(link: Link) => void>();
  return {
    current: () => current,
    set: (link) => {
      current = link;
      if (link === null) return;
      for (const take of [...waiting]) take(link);
    },
    next: (lost, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        if (current !== null && current !== lost) return resolve(current);
        const settle = () => {
          waiting.delete(take);
          signal.removeEventListener("abort", onAbort);
        };
        const take = (link: Link) => {
          if (link === lost) return;
          settle();
          resolve(link);
        };
        const onAbort = () => {
          settle();
          reject(signal.reason);
        };
        waiting.add(take);
        signal.addEventListener("abort", onAbort, { once: true });
      }),
  };
}
