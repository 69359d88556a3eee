/** A worker's host with everything around it in memory: a launcher without processes, files without a disk, and a master that does as told. */
import { CodedError } from "../../../src/base/errors.js";
import type { Launcher, LaunchSpec, ProcessEnd } from "../../../src/env/launcher.js";
import type { Link, LinkMessage } from "../../../src/host/link/link.js";
import { keysOfCluster } from "../../../src/host/link/link-keys.js";
import { listenLinks } from "../../../src/host/link/link-listener.js";
import { runWorkerHost, type WorkerFiles, type WorkerHost, type WorkerHostOptions } from "../../../src/host/worker/worker-host.js";
import { OPERATIONS } from "../../../src/wire/operations.js";
import { masterToWorker, workerToMaster } from "../../../src/wire/worker-messages.js";
import type { WorkerIdentity } from "../../../src/worker/worker-events.js";
import { createTestEnv, settle, type TestEnv } from "../../support/manual-clock.js";

export const SECRET = new Uint8Array(32).fill(9);
export type FakeLauncher = Launcher & {
  readonly launched: LaunchSpec[];
  readonly calls: string[];
  end(processId: string, end: ProcessEnd): void;
  logs: Map<string, string>;
};

export function fakeLauncher(): FakeLauncher {
  const launched: LaunchSpec[] = [];
  const calls: string[] = [];
  const logs = new Map<string, string>();
  let listener: (processId: string, end: ProcessEnd) => void = () => {};
  return {
    launched,
    calls,
    logs,
    end: (processId, end) => listener(processId, end),
    launch: async (spec) => {
      if (spec.command.kind === "program" && spec.command.argv[0] === "missing")
        throw new CodedError("LAUNCH_FAILED", "cannot run missing");
      launched.push(spec);
      return 1_000 + launched.length;
    },
    stop: async (processId, graceMs) => void calls.push(`stop ${processId} ${graceMs}`),
    tell: async (processId, text) => void calls.push(`tell ${processId} ${text}`),
    inventory: async () => [],
    onEnd: (listen) => {
      listener = listen;
    },
    forget: async (processId) => void calls.push(`forget ${processId}`),
    readLog: async (processId, stream, offset, limitBytes) => {
      const log = logs.get(processId);
      if (log === undefined) throw new CodedError("NOT_FOUND", `no log ${stream} of ${processId}`);
      const bytes = new TextEncoder().encode(log);
      return { bytes: bytes.slice(offset, offset + limitBytes), sizeBytes: bytes.length };
    },
    renewLease: () => {},
    renewLeaderLease: () => {},
    close: async ({ leave }) => void calls.push(`close ${leave ? "leave" : "stop"}`),
  };
}

export function fakeFiles(
  identity: WorkerIdentity = { workerId: "w", incarnation: 1, highestEpoch: 0 },
): WorkerFiles & { readonly saved: WorkerIdentity[]; readonly kept: Map<string, Uint8Array> } {
  const saved: WorkerIdentity[] = [];
  const kept = new Map<string, Uint8Array>();
  return {
    identity,
    saved,
    kept,
    saveIdentity: async (json) => void saved.push(JSON.parse(new TextDecoder().decode(json))),
    mastersPath: "/work/masters",
    saveMasters: async () => {},
    artifactPath: async (sha256) => (kept.has(sha256) ? `/artifacts/${sha256}` : null),
    keepArtifact: async (sha256, bytes) => {
      kept.set(sha256, bytes);
      return `/artifacts/${sha256}`;
    },
    dropArtifact: async (sha256) => void kept.delete(sha256),
    keptArtifacts: async () => [...kept.keys()],
  };
}

export interface FakeMaster {
  readonly link: () => Link;
  readonly links: Link[];
  readonly heard: LinkMessage[];
  epoch: number;
  /** Parts of bundles that it still gives; afterwards it does not answer. */
  parts: number;
  order(kind: keyof typeof masterToWorker, body: unknown): Promise<void>;
  bodies(kind: string): readonly Record<string, unknown>[];
  stop(): Promise<void>;
}

/** Answers registrations; bundles come from `artifacts` in parts of 1000 bytes. */
export async function fakeMaster(
  env: TestEnv,
  address: string,
  artifacts: ReadonlyMap<string, Uint8Array> = new Map(),
  epoch = 1,
): Promise<FakeMaster> {
  const links: Link[] = [];
  const heard: LinkMessage[] = [];
  const last = (): Link => {
    const link = links.at(-1);
    if (link === undefined) throw new Error("no worker has connected");
    return link;
  };
  const master: FakeMaster = {
    links,
    heard,
    epoch,
    link: last,
    parts: Number.POSITIVE_INFINITY,
    order: async (kind, body) => {
      last().send(kind, masterToWorker[kind].parse(body));
      await settle();
    },
    bodies: (kind) => heard.filter((message) => message.kind === kind).map((message) => message.body as Record<string, unknown>),
    stop: async () => {
      await listener.close();
      for (const link of links) link.destroy();
      await settle();
    },
  };
  const hear = (link: Link, message: LinkMessage) => {
    heard.push(message);
    if (message.kind === "worker.register")
      link.send("worker.registered", { clusterId: "c", deadlineMs: 10_000, leaseMs: 6_000, heartbeatMs: 1_000 });
    if (message.kind === "worker.renew")
      link.send("worker.renewed", { sequence: (message.body as { sequence: number }).sequence, masters: [address] });
    if (message.kind !== "artifact.get" || message.requestId === null || master.parts === 0) return;
    master.parts -= 1;
    const { sha256, offset } = message.body as { sha256: string; offset: number };
    const bytes = artifacts.get(sha256);
    if (bytes === undefined) link.replyError(message.requestId, new CodedError("NOT_FOUND", "no such bundle").toShape());
    else
      link.reply(message.requestId, {
        totalBytes: bytes.length,
        base64: Buffer.from(bytes.slice(offset, offset + 1_000)).toString("base64"),
      });
  };
  const listener = await listenLinks({
    env,
    address,
    epoch: () => master.epoch,
    role: "master",
    id: "m",
    clusterId: () => "c",
    keyFor: keysOfCluster(env.digest, SECRET),
    roles: ["worker"],
    facts: () => ({ state: "ALIVE" }),
    incoming: workerToMaster,
    requests: { "artifact.get": OPERATIONS["artifact.get"].input },
    heartbeatMs: 1_000,
    silenceMs: 5_000,
    onLink: (link) => {
      links.push(link);
      link.onMessage((message) => hear(link, message));
    },
  });
  return master;
}

export async function startWorker(env: TestEnv, more: Partial<WorkerHostOptions> = {}): Promise<WorkerHost> {
  const worker = await runWorkerHost({
    env,
    launcher: fakeLauncher(),
    files: fakeFiles(),
    masterUrl: "holdfast://m:1",
    readFile: async () => "",
    listenAddress: "w:0",
    secret: SECRET,
    resources: { cores: 2, memoryBytes: 1e9 },
    pid: 77,
    heartbeatMs: 1_000,
    silenceMs: 5_000,
    ...more,
  });
  await settle();
  return worker;
}

export { createTestEnv, settle };
