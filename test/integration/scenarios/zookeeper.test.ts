/** Masters whose records are in a real ZooKeeper: take-over, what is durable, what is refused at the start, and that no password shows. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { holdfast, type Running, startHoldfast, until } from "../../support/holdfast.js";
import { type Stage, scenario } from "../../support/scenario.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { newPath, testZooKeeperStore } from "../stores/zookeeper-support.js";

const PASSWORD = "kr8bs@lat/9";
const SIGNAL = { signal: new AbortController().signal };

let ensemble: ZooKeeperServers;
let storage = "";
beforeAll(async () => {
  storage = mkdtempSync(path.join(os.tmpdir(), "holdfast-storage-"));
  ensemble = await startZooKeeper();
});
afterAll(async () => {
  await ensemble.close();
  rmSync(storage, { recursive: true });
});

const urlOf = (clusterPath: string, password = PASSWORD): string =>
  `zk://ops:${encodeURIComponent(password)}@${ensemble.connectString}${clusterPath}`;

/** A file that holds the URL, readable by its owner alone. */
function urlFile(stage: Stage, url: string): string {
  const file = stage.cluster.file("recovery");
  writeFileSync(file, `${url}\n`);
  chmodSync(file, 0o600);
  return `file://${file}`;
}

scenario(
  "the leader is killed: the next one has every record, programs run on, and what is submitted then is durable too",
  async (stage) => {
    const recovery = urlFile(stage, urlOf(newPath()));
    const args = ["--storage", `file:${stage.cluster.file("blobs")}`, "--log-level", "debug"];
    const start = () => stage.master({ recovery, args });
    start();
    start();
    stage.worker({ cores: 4 });
    const before = await stage.valid(2, 1);
    const program = await stage.ticker();
    const footprint = await stage.footprint(program);
    const waiting = await stage.program(["true"], { name: "waits", driver: { cores: 64, memoryBytes: 1024 } });

    const first = await stage.killLeader();
    expect((await stage.valid(1, 1)).epoch).toBeGreaterThan(before.epoch);
    await stage.undisturbed(program, footprint);
    expect((await stage.status(waiting)).state).toBe("waiting");
    const later = await stage.program(["true"], { name: "later", driver: { cores: 64, memoryBytes: 1024 } });
    await stage.usable("after-the-first");

    // Nobody of those who knew of it is left.
    const second = await stage.killLeader();
    start();
    await stage.valid(1, 1);
    for (const id of [waiting, later]) expect((await stage.status(id)).state).toBe("waiting");
    await stage.undisturbed(program, footprint);
    await stage.usable("after-the-second");
    for (const master of [first, second, await stage.leader()]) {
      expect(master.log()).not.toContain(PASSWORD);
      expect(master.log()).not.toContain(encodeURIComponent(PASSWORD));
    }
  },
  { timeoutMs: 120_000 },
);

scenario("ZooKeeper is away for a while: programs run on, and submissions go on when it is back", async (stage) => {
  const recovery = urlFile(stage, urlOf(newPath()));
  stage.master({ recovery, args: ["--storage", `file:${stage.cluster.file("blobs")}`] });
  stage.worker({ cores: 4 });
  await stage.valid(1, 1);
  const program = await stage.ticker();
  const footprint = await stage.footprint(program);
  const [server] = ensemble.servers;
  await server?.restart();
  await stage.valid(1, 1, 40_000);
  await stage.undisturbed(program, footprint);
  await stage.usable("afterwards");
});

const master = (recovery: string, ...more: readonly string[]) =>
  holdfast(["master", "--listen", "127.0.0.1:0", "--recovery", recovery, "--storage", `file:${storage}`, ...more]);

test("a password that is wrong, a path that has another user, and none given are told from a path that is missing", async () => {
  const clusterPath = newPath();
  const store = testZooKeeperStore(urlOf(clusterPath));
  await store.openSession({ ttlMs: 4_000, candidate: "c", ...SIGNAL });
  await store.close();
  const wrong = await master(urlOf(clusterPath, "another-one"));
  expect(wrong).toMatchObject({ exitCode: 4 });
  expect(wrong.stderr).toContain("STORE_UNUSABLE");
  expect(wrong.stderr).toMatch(/belongs to another user than "ops", or the password is wrong/);
  expect(wrong.stderr).not.toContain("another-one");
  const none = await master(`zk://${ensemble.connectString}${clusterPath}`);
  expect(none).toMatchObject({ exitCode: 4 });
  expect(none.stderr).toMatch(/belongs to a user, and .* names none/);
});

test("a master that waited for a server ends just so when it comes and refuses the password, and is not started again", async () => {
  const own = await startZooKeeper();
  let waiting: Running | undefined;
  try {
    const [server] = own.servers;
    const url = (password: string) => `zk://ops:${password}@${own.connectString}${clusterPath}`;
    const clusterPath = newPath();
    const store = testZooKeeperStore(url("right"));
    await store.openSession({ ttlMs: 4_000, candidate: "c", ...SIGNAL });
    await store.close();
    await server?.kill();
    const words = ["master", "--listen", "127.0.0.1:0", "--recovery", url("wr0ng"), "--storage", `file:${storage}`];
    const started = startHoldfast(words);
    waiting = started;
    await until("it to wait", () => /Standing by: no ZooKeeper server of .* gives a session/.test(started.stderr()));
    server?.start();
    const ended = await started.ended;
    expect(ended).toMatchObject({ exitCode: 4 });
    expect(ended.stderr).toContain("STORE_UNUSABLE");
    expect(ended.stderr).toMatch(/This master cannot lead: .*belongs to another user than "ops", or the password is wrong/);
    expect(ended.stderr).not.toMatch(/Trying again|started again|wr0ng/);
  } finally {
    waiting?.signal("SIGKILL");
    await own.close();
  }
}, 60_000);

test("without a server a master waits and says so, until --recovery-timeout ends it with exit code 3", async () => {
  const ended = await master("zk://ops:never-shown@127.0.0.1:1/holdfast/x", "--recovery-timeout", "1500ms");
  expect(ended).toMatchObject({ exitCode: 3 });
  expect(ended.stderr).toMatch(/no ZooKeeper server of 127\.0\.0\.1:1 gives a session/);
  expect(ended.stderr).toContain("NO_STORE");
  expect(ended.stderr).not.toContain("never-shown");
});

test("a URL that cannot be read, a missing --storage, and a file that others may read are refused before anything is touched", async () => {
  const file = path.join(storage, "recovery");
  writeFileSync(file, "zk://ops:hunter2@127.0.0.1:1/holdfast/x");
  chmodSync(file, 0o644);
  const readable = await master(`file://${file}`);
  expect(readable.stderr).toContain("INSECURE_SECRET");
  expect(readable).toMatchObject({ exitCode: 2 });
  const noPath = await master("zk://ops:hunter2@127.0.0.1:1");
  expect(noPath).toMatchObject({ exitCode: 2 });
  expect(noPath.stderr).not.toContain("hunter2");
  const noStorage = await holdfast(["master", "--listen", "127.0.0.1:0", "--recovery", "zk://127.0.0.1:1/holdfast/x"]);
  expect(noStorage).toMatchObject({ exitCode: 2 });
  expect(noStorage.stderr).toContain("--storage");
});
