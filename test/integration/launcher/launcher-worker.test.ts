import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Link } from "../../../src/host/link/link.js";
import { keysOfCluster } from "../../../src/host/link/link-keys.js";
import { type LinkListener, listenLinks } from "../../../src/host/link/link-listener.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { openWorkDirectory } from "../../../src/node/processes/process-work-directory.js";
import { workerToMaster } from "../../../src/wire/worker-messages.js";
import { order } from "../../unit/worker/worker-bench.js";
import { type Bench, isLiving, kill, livingIn, makeBench, silentLog, until } from "./launcher-support.js";

let bench: Bench;
beforeEach(() => {
  bench = makeBench();
});
afterEach(() => bench.close());

describe("the work directory", () => {
  test("keeps the worker's id, incarnation and epoch", async () => {
    const first = await openWorkDirectory(bench.directory);
    expect(first.identity).toMatchObject({
      workerId: expect.stringMatching(/^worker-[0-9a-f]{10}$/),
      incarnation: 1,
      highestEpoch: 0,
    });
    const changed = { ...first.identity, incarnation: 12, highestEpoch: 3_456 };
    await first.saveIdentity(new TextEncoder().encode(JSON.stringify(changed)));
    await first.close();
    const second = await openWorkDirectory(bench.directory);
    expect(second.identity).toEqual(changed);
    await second.close();
  });

  test("is refused to a second living worker, and free when the first is gone", async () => {
    const first = await openWorkDirectory(bench.directory);
    await expect(openWorkDirectory(bench.directory)).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringContaining(`process ${process.pid}, lives on`),
    });
    await first.close();
    // A lock whose process is gone, or whose pid belongs to another process now, holds nobody up.
    writeFileSync(path.join(bench.directory, "worker.lock"), `${process.pid} 1\n`);
    const second = await openWorkDirectory(bench.directory);
    await second.close();
    expect(readdirSync(bench.directory).filter((name) => name.startsWith("worker.lock"))).toEqual([]);
  });

  test("of many that start at once one gets a stale lock", async () => {
    writeFileSync(path.join(bench.directory, "worker.lock"), "1 1\n");
    const opened = await Promise.allSettled(Array.from({ length: 8 }, () => openWorkDirectory(bench.directory)));
    expect(opened.map(({ status }) => status).filter((status) => status === "fulfilled").length).toBe(1);
  });

  test("that is damaged is named and left as it is", async () => {
    mkdirSync(path.join(bench.directory, "d"));
    writeFileSync(path.join(bench.directory, "d/worker.json"), "garbage");
    await expect(openWorkDirectory(path.join(bench.directory, "d"))).rejects.toMatchObject({
      code: "DISK_FAILED",
      message: expect.stringContaining("is damaged"),
    });
    expect(readFileSync(path.join(bench.directory, "d/worker.json"), "utf8")).toBe("garbage");
    expect(existsSync(path.join(bench.directory, "d/worker.lock"))).toBe(false);
  });

  test("gives a bundle only with the right bytes", async () => {
    const files = await openWorkDirectory(bench.directory);
    const sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    expect(await files.artifactPath(sha256)).toBeNull();
    const file = await files.keepArtifact(sha256, new TextEncoder().encode("hello"));
    expect(await files.artifactPath(sha256)).toBe(file);
    expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    chmodSync(file, 0o600);
    writeFileSync(file, "jello");
    expect(await files.artifactPath(sha256)).toBeNull();
    await files.close();
  });
});

interface Master {
  readonly url: string;
  readonly heard: { readonly kind: string; readonly body: Record<string, unknown> }[];
  send(kind: string, body: unknown): void;
  close(): Promise<void>;
}

async function startMaster(): Promise<Master> {
  const env = createNodeEnv({ log: silentLog });
  const heard: Master["heard"] = [];
  const links: Link[] = [];
  const listener: LinkListener = await listenLinks({
    env,
    address: "127.0.0.1:0",
    epoch: () => 1,
    role: "master",
    id: "m",
    clusterId: () => "c",
    keyFor: keysOfCluster(env.digest, null),
    roles: ["worker"],
    facts: () => ({ state: "ALIVE" }),
    incoming: workerToMaster,
    heartbeatMs: 1_000,
    silenceMs: 10_000,
    onLink: (link) => {
      links.push(link);
      link.onMessage(({ kind, body }) => {
        heard.push({ kind, body: body as Record<string, unknown> });
        if (kind === "worker.register")
          link.send("worker.registered", { clusterId: "c", deadlineMs: 60_000, leaseMs: 60_000, heartbeatMs: 1_000 });
        if (kind === "worker.renew")
          link.send("worker.renewed", { sequence: (body as { readonly sequence: number }).sequence, masters: [] });
      });
    },
  });
  return {
    url: `holdfast://${listener.address}`,
    heard,
    send: (kind, body) => links.at(-1)?.send(kind, body),
    close: async () => {
      await listener.close();
      for (const link of links) link.destroy();
    },
  };
}

async function startWorkerProcess(master: Master) {
  const outfile = path.join(bench.directory, "worker.mjs");
  const banner = { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" };
  await build({
    entryPoints: [path.join(import.meta.dirname, "launcher-worker-child.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
    banner,
  });
  const child = spawn(process.execPath, [outfile, bench.directory, master.url], { stdio: ["ignore", "ignore", "pipe"] });
  bench.children.push(child);
  return child;
}

const bodies = (master: Master, kind: string) => master.heard.filter((message) => message.kind === kind).map(({ body }) => body);
const registrations = (master: Master, count: number) =>
  until(`registration ${count}`, () => bodies(master, "worker.register")[count - 1]);

function orderOf(processId: string, script: string) {
  const { application, ...rest } = order(processId);
  const process = { argv: ["sh", "-c", script], env: {}, cwd: null };
  return { ...rest, application: { ...application, spec: { ...application.spec, process } } };
}

describe("a worker that is killed and started again on its work directory", () => {
  test("registers as the same incarnation with what runs and the exit code of what ended; nothing is restarted", async () => {
    const master = await startMaster();
    try {
      const first = await startWorkerProcess(master);
      await registrations(master, 1);
      const gate = path.join(bench.directory, "gate");
      master.send("worker.launch", orderOf("app-1-1.d1", "echo $$; sleep 600"));
      master.send("worker.launch", orderOf("app-1-2.d1", `while [ ! -e ${gate} ]; do sleep 0.02; done; exit 42`));
      await until("two reports", () => bodies(master, "worker.report").length === 2);
      const pid = Number(bench.file("app-1-1.d1", "stdout"));
      expect(bodies(master, "worker.report")).toEqual(
        expect.arrayContaining([expect.objectContaining({ processId: "app-1-1.d1", pid, end: null })]),
      );
      await kill(first);
      writeFileSync(gate, "");
      await until("the end of the second", () => bench.file("app-1-2.d1", "exit").startsWith("exited"));

      const second = await startWorkerProcess(master);
      const again = (await registrations(master, 2)) as {
        workerId: string;
        incarnation: number;
        inventory: { processId: string; pid: number; end: unknown }[];
      };
      expect(again).toMatchObject({ workerId: (await registrations(master, 1)).workerId, incarnation: 1, highestEpoch: 1 });
      expect(again.inventory.map(({ processId, pid: of, end }) => [processId, of === pid, end]).sort()).toEqual([
        ["app-1-1.d1", true, null],
        ["app-1-2.d1", false, { exitCode: 42, signal: null, reason: null }],
      ]);
      expect(isLiving(pid)).toBe(true);

      const third = await startWorkerProcess(master);
      let said = "";
      third.stderr?.on("data", (text) => {
        said += text;
      });
      await new Promise((resolve) => third.once("exit", resolve));
      expect(said).toContain(`another worker, process ${second.pid}, lives on the work directory`);

      master.send("worker.acknowledge", { processIds: ["app-1-2.d1"] });
      master.send("worker.stop", { processId: "app-1-1.d1", graceMs: 2_000, reason: "cancelled" });
      await until("its end", () =>
        bodies(master, "worker.report").find(({ processId, end }) => processId === "app-1-1.d1" && end !== null),
      );
      expect(bodies(master, "worker.report").at(-1)).toMatchObject({
        end: { exitCode: null, signal: "SIGTERM", reason: "stopped: cancelled" },
      });
      expect(existsSync(path.join(bench.directory, "processes/app-1-2.d1/forgotten"))).toBe(true);
      second.kill("SIGTERM");
      await new Promise((resolve) => second.once("exit", resolve));
      expect(livingIn(bench.directory)).toEqual([]);
    } finally {
      await master.close();
    }
  });
});
