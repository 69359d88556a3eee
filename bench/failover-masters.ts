/** Two masters that are kept alive through many faults: who leads, who stands by, and a new one in the place of a lost one. */
import type { ClusterClient } from "../src/cli/client/cluster-client.js";
import type { ClusterView } from "../src/wire/views.js";
import type { ClusterProcess, ProcessCluster } from "../test/support/process-cluster.js";
import { freeAddress } from "./free-address.js";

const MASTER_ARGS = ["--log-level", "debug", "--log-format", "json"] as const;
const LOOK_EVERY_MS = 20;

export interface MasterPair {
  rolesWith(leaderPid: number): { readonly leader: ClusterProcess; readonly standby: ClusterProcess };
  /** As an operator has it: a master that was lost is there again at its own address. `pid`: of its serving process, which may stand still. */
  replace(lost: ClusterProcess, pid: number): Promise<void>;
}

export async function twoMasters(
  cluster: ProcessCluster,
  recovery: string | undefined,
  args: readonly string[],
): Promise<MasterPair> {
  const places = [await freeAddress(), await freeAddress()];
  const kept = recovery === undefined ? [] : ["--storage", `file:${cluster.file("bundles")}`];
  let started = 0;
  const start = (listen: string) => ({
    listen,
    process: cluster.startMaster(`master-${started++}`, {
      listen,
      args: [...MASTER_ARGS, ...kept, ...args],
      ...(recovery === undefined ? {} : { recovery }),
    }),
  });
  const present = places.map(start);
  return {
    rolesWith: (leaderPid) => {
      const leader = present.find(({ process }) => process.servingPid() === leaderPid)?.process;
      const standby = present.find(({ process }) => process !== leader)?.process;
      if (leader === undefined || standby === undefined) throw new Error("there is no leader, or no standby");
      return { leader, standby };
    },
    replace: async (lost, pid) => {
      lost.signal("SIGKILL");
      killIfThere(pid);
      await lost.exited;
      const at = present.findIndex(({ process }) => process === lost);
      const listen = present[at]?.listen;
      if (listen !== undefined) present[at] = start(listen);
    },
  };
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

/** A leader, a standby and the worker are there. */
export async function bothReady(client: ClusterClient, timeoutMs: number): Promise<ClusterView> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const view = await client.call("cluster", {});
    if (view.state === "ALIVE" && view.masters.length === 2 && view.workers.alive === 1) return view;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for a leader and a standby`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
