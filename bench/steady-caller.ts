/** A client that asks one thing after the other through a fault: which of its calls failed, and how long the slowest took. */
import type { ClusterClient } from "../src/cli/client/cluster-client.js";

const PAUSE_MS = 2;

export interface SteadyCaller {
  stop(): Promise<{ readonly failed: readonly string[]; readonly slowestMs: number }>;
}

export function startCaller(client: ClusterClient): SteadyCaller {
  const failed: string[] = [];
  let slowestMs = 0;
  let stops = false;
  const asking = (async () => {
    while (!stops) {
      const startedAt = performance.now();
      await client.call("list", {}).catch((thrown) => void failed.push(String(thrown)));
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();
  return {
    stop: async () => {
      stops = true;
      await asking;
      return { failed, slowestMs };
    },
  };
}
