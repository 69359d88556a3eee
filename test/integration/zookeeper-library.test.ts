/** The client library and single commands on masters in this process, found through a real ZooKeeper. */
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseZooKeeperUrl } from "../../src/coordination/zookeeper-url.js";
import { type MasterHost, runMasterHost } from "../../src/host/master/master-host.js";
import { type ClusterClient, connect, type EventView } from "../../src/node/client.js";
import { createNodeEnv } from "../../src/node/env.js";
import { createFileBundles } from "../../src/node/files/bundle-store.js";
import { createLog } from "../../src/node/log.js";
import { createZooKeeperStore } from "../../src/node/zookeeper-store/zookeeper-store.js";
import { holdfast, startHoldfast, until } from "../support/holdfast.js";
import { programSpec } from "../support/scenario.js";
import { startZooKeeper, type ZooKeeperServers } from "../support/zookeeper.js";

const PASSWORD = "s3cret-0f-zookeeper";
let zooKeeper: ZooKeeperServers;
let directory: string;
let paths = 0;
const steps: (() => Promise<void>)[] = [];

beforeAll(async () => {
  zooKeeper = await startZooKeeper();
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-library-"));
}, 90_000);
afterEach(async () => {
  for (const step of steps.splice(0).reverse()) await step();
});
afterAll(async () => {
  await zooKeeper?.close();
  await rm(directory, { recursive: true, force: true });
});

const newUrl = () => `zk://me:${PASSWORD}@${zooKeeper.connectString}/library-${++paths}`;

async function master(url: string, name: string): Promise<MasterHost> {
  const env = createNodeEnv({ log: createLog({ format: "text", stream: { write: () => true }, role: "test", id: name }) });
  const store = createZooKeeperStore({ url: parseZooKeeperUrl(url), clock: env.clock, random: env.random });
  const host = await runMasterHost({
    env,
    masterId: name,
    pid: process.pid,
    listen: "127.0.0.1:0",
    store,
    mode: "store",
    bundles: await createFileBundles(path.join(directory, "blobs")),
    secret: null,
    sessionTtlMs: 4_000,
    settings: { recoveryDeadlineMs: 1_000 },
  });
  steps.push(async () => {
    await host.close();
    await store.close();
  });
  return host;
}

async function open(url: string): Promise<ClusterClient> {
  const client = await connect({ master: url, timeoutMs: 20_000 });
  steps.push(() => client.close());
  return client;
}

describe("a cluster found through ZooKeeper", () => {
  test("is followed from leader to leader by the library, which sees every event once and in order", async () => {
    const url = newUrl();
    const masters = [await master(url, "m1")];
    await until("a leader", () => masters[0]?.state() !== "STANDBY");
    masters.push(await master(url, "m2"), await master(url, "m3"));
    const client = await open(url);
    await until("all masters in the view", async () => (await client.call("cluster", {})).masters.length === 3);
    const seen: EventView[] = [];
    const control = new AbortController();
    const following = (async () => {
      for await (const event of client.events({ signal: control.signal })) seen.push(event);
    })().catch(() => {});
    const ids: string[] = [];
    for (let round = 0; round < 2; round++) {
      const submitting = Promise.all(
        Array.from({ length: 30 }, async (_, index) => {
          const spec = programSpec(["true"], {});
          return (await client.call("submit", { key: `k-${round}-${index}`, spec }, { timeoutMs: 30_000 })).id;
        }),
      );
      await masters.find((host) => host.state() !== "STANDBY")?.close();
      ids.push(...(await submitting));
    }
    const submitted = () => seen.filter(({ kind }) => kind === "application.submitted").map(({ subject }) => subject);
    await until("all events", () => submitted().length >= ids.length);
    expect([...submitted()].sort()).toEqual([...ids].sort());
    const epochs = [...new Set(seen.map(({ epoch }) => epoch))];
    expect(epochs).toHaveLength(3);
    expect(epochs).toEqual([...epochs].sort((a, b) => a - b));
    for (const epoch of epochs) {
      const seqs = seen.filter((event) => event.epoch === epoch).map(({ seq }) => seq);
      expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    }
    const again: EventView[] = [];
    for await (const event of client.events({ once: true })) again.push(event);
    expect(again.slice(0, seen.length)).toEqual(seen);
    control.abort(new Error("enough"));
    await following;
  }, 90_000);

  test("is reached by commands; what is wrong is said with the exit code of its kind, and never with the password", async () => {
    const url = newUrl();
    const list = (given: string, ...words: readonly string[]) =>
      holdfast(["list", "--timeout", "2s", ...words], { env: { HOLDFAST_MASTER: given } });
    const wrong: readonly (readonly [string, number, RegExp])[] = [
      [url, 3, /no cluster is at zk:\/\/127/],
      [url.replace(/@[^/]*/, "@127.0.0.1:1"), 3, /no ZooKeeper server of 127\.0\.0\.1:1 gives a session/],
      [url.replace(/\/library.*/, ""), 2, /has no path/],
    ];
    for (const [given, exitCode, text] of wrong) {
      const ran = await list(given, ...(exitCode === 3 ? ["--json"] : []));
      expect(ran, given).toMatchObject({ exitCode, stderr: expect.stringMatching(text) });
      expect(ran.stdout + ran.stderr).not.toContain(PASSWORD);
    }
    const host = await master(url, "m1");
    await until("a leader", () => host.state() === "ALIVE");
    expect(await list(url)).toMatchObject({ exitCode: 0, stderr: "" });
    const workers = await holdfast(["workers"], { env: { HOLDFAST_MASTER: url } });
    expect(workers.stdout).toMatch(/^No workers\. .*--master zk:\/\/127/);
    expect(workers.stdout + workers.stderr).not.toContain(PASSWORD);
    const other = await list(url.replace(PASSWORD, "wr0ng-password"));
    expect(other).toMatchObject({
      exitCode: 4,
      stderr: expect.stringMatching(/does not let user "me" read[\s\S]*UNAUTHENTICATED/),
    });
    expect(other.stderr).not.toContain("wr0ng");
    const nobody = await list(url.replace(/me:[^@]*@/, ""));
    expect(nobody).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("was given without one") });

    const file = path.join(directory, "url");
    writeFileSync(file, `${url}\n`, { mode: 0o600 });
    expect(await list(`file://${file}`)).toMatchObject({ exitCode: 0, stderr: "" });
    const open = path.join(directory, "open-url");
    writeFileSync(open, `${url}\n`, { mode: 0o644 });
    expect(await list(`file://${open}`)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("INSECURE_SECRET") });

    const shown = startHoldfast(["events", "-f", "--master", url]);
    await until("its events", () => shown.stdout().includes("leader.elected"));
    expect(readFileSync(`/proc/${shown.pid}/cmdline`, "utf8")).not.toContain(PASSWORD);
    shown.signal("SIGINT");
    const ran = await shown.ended;
    expect(ran.stderr).toContain("every user of this machine");
    expect(ran.stdout + ran.stderr).not.toContain(PASSWORD);
  }, 90_000);
});
