/**
 * The clients of load-cluster.ts in a process of their own, so that what they need of the processor is known and is not the benchmark's.
 * `runLoadProcess` is that process; `startLoadProcess` starts and asks it.
 */
import { fork } from "node:child_process";
import { setMaxListeners } from "node:events";
import { createNodeEnv } from "../src/node/env.js";
import { LoadCluster } from "./load-cluster.js";

/** First word of the command line that makes this program the load process. */
export const LOAD_PROCESS = "load-process";
const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const END_MS = 20_000;

interface LoadOptions {
  readonly addresses: readonly string[];
  /** Links to the masters that stand by are kept. */
  readonly standing: boolean;
  readonly workers: number;
  readonly slots: number;
}

export interface LoadCounts {
  readonly executors: number;
  readonly drivers: number;
  readonly launches: number;
  readonly stops: number;
  /** Links that stand, of workers and drivers. */
  readonly links: number;
  /** Links to masters that stand by. */
  readonly standing: number;
}

type ToLoad = { readonly kind: "start"; readonly options: LoadOptions } | { readonly kind: "counts" };
type FromLoad =
  | { readonly kind: "connected" }
  | { readonly kind: "counts"; readonly counts: LoadCounts }
  | { readonly kind: "program"; readonly id: string; readonly at: number };

/** Until its parent lets go of it. */
export async function runLoadProcess(): Promise<void> {
  // One signal ends everything, so many wait for it.
  setMaxListeners(0);
  const tell = (message: FromLoad) => void process.send?.(message);
  const control = new AbortController();
  let load: LoadCluster | null = null;
  process.on("message", (message: ToLoad) => {
    if (message.kind === "counts") {
      if (load !== null) tell({ kind: "counts", counts: load.counts() });
      return;
    }
    const { signal } = control;
    const onProgram = (id: string) => tell({ kind: "program", id, at: performance.timeOrigin + performance.now() });
    load = new LoadCluster({ env: createNodeEnv({ log: SILENT }), ...message.options, signal, onProgram });
    void load.start().then(
      () => tell({ kind: "connected" }),
      (thrown) => {
        if (!signal.aborted) throw thrown;
      },
    );
  });
  await new Promise<void>((resolve) => process.once("disconnect", resolve));
  control.abort();
  process.exit(0);
}

export interface LoadProcess {
  readonly pid: number;
  /** Everybody has registered. */
  readonly connected: Promise<void>;
  counts(): Promise<LoadCounts>;
  /** Launches of programs: when, in calendar time, by application. */
  readonly programs: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

export function startLoadProcess(options: LoadOptions): LoadProcess {
  const child = fork(process.argv[1] ?? "", [LOAD_PROCESS], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const programs = new Map<string, number>();
  const waiting: ((counts: LoadCounts) => void)[] = [];
  let connected: () => void = () => {};
  let failed: (reason: Error) => void = () => {};
  const isConnected = new Promise<void>((resolve, reject) => {
    connected = resolve;
    failed = reject;
  });
  // Whoever waits is told; nobody has to.
  isConnected.catch(() => {});
  child.on("message", (message: FromLoad) => {
    if (message.kind === "connected") connected();
    else if (message.kind === "counts") waiting.shift()?.(message.counts);
    else programs.set(message.id, message.at);
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", (code) => {
      failed(new Error(`the load process ended with ${code}`));
      resolve();
    });
  });
  const tell = (message: ToLoad) => void child.send(message);
  tell({ kind: "start", options });
  return {
    pid: child.pid ?? 0,
    connected: isConnected,
    counts: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        tell({ kind: "counts" });
      }),
    programs,
    close: async () => {
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill("SIGKILL"), END_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}
