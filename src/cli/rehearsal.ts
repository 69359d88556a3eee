/**
 * A take-over, rehearsed while standing by: two masters of this process's own on a store of their own, a client and a worker that live through the
 * end of one leader after another. Nothing of it is kept but what V8 has compiled, which is most of what a first take-over costs a fresh
 * process (about 15 of 30 ms).
 *
 * Boundary: loopback and a temporary directory only; knows nothing of the cluster that this master belongs to. After it resolves nothing of it
 * is left. It is best effort: a rehearsal that fails changes nothing.
 */
import { setFlagsFromString } from "node:v8";
import { CodedError } from "../base/errors.js";
import type { BundleStore } from "../env/bundle-store.js";
import { sleep } from "../env/clock.js";
import type { Env } from "../env/env.js";
import { startClient } from "../host/client/client.js";
import { followLeader } from "../host/finding/master-finder.js";
import { DEFAULT_HEARTBEAT_MS, DEFAULT_SILENCE_MS, type Link } from "../host/link/link.js";
import { dialLink } from "../host/link/link-handshake.js";
import { type MasterHost, runMasterHost } from "../host/master/master-host.js";
import { createNodeEnv } from "../node/env.js";
import { makeTemporaryDirectory, sweepTemporaryDirectories } from "../node/files/temporary-directory.js";
import { createLevelStore } from "../node/level-store/level-store.js";
import { createLog } from "../node/log.js";
import type { ApplicationSpec } from "../wire/application.js";
import { CLUSTER_SCOPE, NO_SECRET } from "../wire/handshake.js";
import { type LaunchOrder, masterToWorker } from "../wire/worker-messages.js";

/** Each runs everything once more; later ones bring nothing that can be measured. */
const TAKE_OVERS = 3;
const REHEARSE_AFTER_MS = 500;
const CALL_TIMEOUT_MS = 5_000;
const REHEARSAL_TIMEOUT_MS = 20_000;
const RESOURCES = { cores: 1, memoryBytes: 1024 ** 3 };

export interface StandbyRehearsal {
  /** This master leads, or ends: it is not rehearsed any more. */
  stop(): void;
  /** Resolves when nothing of it runs, and nothing is left of those of masters that were killed meanwhile. */
  close(): Promise<void>;
}

/** Begins when this master has stood by for a moment: the first leader of a cluster never waits. */
export function rehearseOnStandby(env: Env): StandbyRehearsal {
  const stopped = new AbortController();
  const stop = () => stopped.abort(new CodedError("ABORTED", "no rehearsal is needed any more"));
  const rehearsed = sleep(env.clock, REHEARSE_AFTER_MS, stopped.signal).then(
    () => rehearseTakeOver(env, stopped.signal),
    () => {},
  );
  return {
    stop,
    close: async () => {
      stop();
      await rehearsed;
      sweepTemporaryDirectories("rehearsal");
    },
  };
}

/** Resolves when it is over, however; ends early when the signal aborts. */
export async function rehearseTakeOver(env: Env, signal: AbortSignal): Promise<void> {
  // What stands by for days must not have its code thrown away by the garbage collector in the meantime.
  setFlagsFromString("--no-flush-bytecode");
  const over = AbortSignal.any([signal, AbortSignal.timeout(REHEARSAL_TIMEOUT_MS)]);
  const startedAt = env.clock.now();
  try {
    await rehearse(over);
    env.log.debug(`rehearsed ${TAKE_OVERS} take-overs in ${Math.round(env.clock.now() - startedAt)} ms`);
  } catch (thrown) {
    if (!signal.aborted) env.log.debug(`the rehearsal of a take-over did not succeed: ${CodedError.from(thrown).message}`);
  }
}

async function rehearse(signal: AbortSignal): Promise<void> {
  const log = createLog({ format: "text", stream: { write: () => true }, role: "rehearsal", id: "rehearsal", level: "debug" });
  const env = createNodeEnv({ log });
  const directory = makeTemporaryDirectory("rehearsal");
  const masters: Rehearsal[] = [];
  const ending = new AbortController();
  const both = AbortSignal.any([signal, ending.signal]);
  const addresses = () => masters.map(({ host }) => host.address).join(",");
  let following: Promise<void> = Promise.resolve();
  try {
    for (let number = 0; number < 2; number++) masters.push(await startMaster(env, directory.path, number));
    following = playWorker(env, addresses, both);
    const client = startClient({
      env,
      masterUrl: "file:///masters",
      readFile: async () => addresses(),
      secret: null,
      signal: both,
      timeoutMs: CALL_TIMEOUT_MS,
    });
    const call = { signal: both, timeoutMs: CALL_TIMEOUT_MS };
    await client.connected(call);
    for (let takeOver = 0; takeOver <= TAKE_OVERS; takeOver++) {
      await client.call("submit", { key: `rehearsal-${takeOver}`, spec: SPEC }, call);
      await client.call("cluster", {}, call);
      if (takeOver === TAKE_OVERS) break;
      await masters.shift()?.close();
      masters.push(await startMaster(env, directory.path, takeOver + 2));
    }
  } finally {
    ending.abort(new CodedError("CLOSED", "the rehearsal is over"));
    await Promise.allSettled([following, ...masters.map((master) => master.close())]);
    await directory.remove();
  }
}

interface Rehearsal {
  readonly host: MasterHost;
  close(): Promise<void>;
}

async function startMaster(env: Env, directory: string, number: number): Promise<Rehearsal> {
  const store = createLevelStore({ directory, clock: env.clock, log: env.log });
  const masterId = `rehearsal-${number}`;
  const host = await runMasterHost({
    env,
    masterId,
    pid: process.pid,
    listen: "127.0.0.1:0",
    store,
    mode: "store",
    bundles: NO_BUNDLES,
    secret: null,
  });
  return {
    host,
    close: async () => {
      await host.close();
      await store.close();
    },
  };
}

/** Registers with every leader, and says of whatever it shall launch that it ran and ended. */
function playWorker(env: Env, addresses: () => string, signal: AbortSignal): Promise<void> {
  return followLeader({
    env,
    masterUrl: "file:///masters",
    readFile: async () => addresses(),
    signal,
    dial: (address, dialling) =>
      dialLink(address, {
        env,
        epoch: () => 0,
        role: "worker",
        id: "rehearsal-worker",
        scope: CLUSTER_SCOPE,
        key: NO_SECRET,
        clusterId: null,
        connectTimeoutMs: CALL_TIMEOUT_MS,
        signal: dialling,
        incoming: masterToWorker,
        heartbeatMs: DEFAULT_HEARTBEAT_MS,
        silenceMs: DEFAULT_SILENCE_MS,
      }),
    onLink: (link) => {
      link.onMessage(({ kind, body }) => {
        if (kind === "worker.launch") reportEnd(link, (body as LaunchOrder).processId);
      });
      link.send("worker.register", {
        workerId: "rehearsal-worker",
        incarnation: 1,
        address: "127.0.0.1:1",
        pid: process.pid,
        resources: RESOURCES,
        highestEpoch: 0,
        inventory: [],
      });
    },
  });
}

function reportEnd(link: Link, processId: string): void {
  link.send("worker.report", { processId, pid: process.pid, end: null, launchFailed: null });
  const end = { exitCode: 0, signal: null, reason: null };
  link.send("worker.report", { processId, pid: process.pid, end, launchFailed: null });
}

const NO_BUNDLES: BundleStore = {
  put: () => Promise.reject(new CodedError("DISK_FAILED", "a rehearsal keeps no bundles")),
  has: async () => false,
  get: () => Promise.reject(new CodedError("NOT_FOUND", "a rehearsal keeps no bundles")),
  folders: async () => [],
  list: async () => [],
  removeUnfinished: async () => {},
  remove: async () => {},
};

const SPEC: ApplicationSpec = {
  name: "rehearsal",
  kind: "process",
  deployMode: "cluster",
  supervise: false,
  restart: { maxRestarts: 0, windowMs: 1_000, minBackoffMs: 0, maxBackoffMs: 0 },
  driver: RESOURCES,
  job: null,
  process: { argv: ["true"], env: {}, cwd: null },
};
