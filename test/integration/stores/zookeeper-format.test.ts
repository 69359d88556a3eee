/** Records in ZooKeeper that a master must not touch: written by a newer Holdfast. Real servers, a real master process. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CREATOR_ALL_ACL, connectZooKeeper, type ZooKeeper } from "../../../src/zookeeper/index.js";
import { startHoldfast, until } from "../../support/holdfast.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";

let servers: ZooKeeperServers;
let directory: string;
beforeAll(async () => {
  servers = await startZooKeeper();
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-format-"));
}, 90_000);
afterAll(async () => {
  await servers?.close();
  await rm(directory, { recursive: true, force: true });
});

const PATH = "/format";
const USER = "me:s3cret-0f-zookeeper";

const startMaster = (at: string) =>
  startHoldfast([
    ...["master", "--listen", "127.0.0.1:0", "--storage", `file:${path.join(directory, "blobs")}`],
    ...["--recovery", `zk://${USER}@${servers.connectString}${at}`],
  ]);

async function withClient<T>(run: (zk: ZooKeeper) => Promise<T>): Promise<T> {
  const zk = connectZooKeeper({
    servers: servers.connectString,
    sessionTimeoutMs: 10_000,
    auth: [{ scheme: "digest", auth: USER }],
  });
  try {
    return await run(zk);
  } finally {
    await zk.close();
  }
}

/** Every znode below the path with its data's version, so that any write shows. */
async function versions(zk: ZooKeeper, at = PATH): Promise<Record<string, number>> {
  const { stat } = await zk.getData(at);
  const { children } = await zk.getChildren(at);
  const below = await Promise.all(children.map((name) => versions(zk, `${at}/${name}`)));
  return Object.assign({ [at]: stat.version }, ...below);
}

test("records of a newer format are refused at start with a sentence, exit code 4, and nothing of them changes", async () => {
  const master = () => startMaster(PATH);
  const first = master();
  await until("a leader", () => `${first.stdout()}${first.stderr()}`.includes("Elected"));
  first.signal("SIGTERM");
  await first.ended;
  const before = await withClient(async (zk) => {
    const { data, stat } = await zk.getData(`${PATH}/format`);
    const format = JSON.parse(Buffer.from(data).toString()) as Record<string, unknown>;
    expect(format).toMatchObject({ format: 1 });
    await zk.setData(`${PATH}/format`, Buffer.from(JSON.stringify({ ...format, format: 2 })), stat.version);
    return versions(zk);
  });
  const ran = await master().ended;
  expect(ran.exitCode).toBe(4);
  expect(ran.stderr).toMatch(/format 2/);
  expect(ran.stderr).toContain("STORE_FORMAT");
  expect(ran.stderr).not.toContain("s3cret");
  expect(await withClient((zk) => versions(zk))).toEqual(before);
}, 120_000);

test("a path that a stranger made and filled is not taken for an empty one", async () => {
  await withClient((zk) => zk.create("/strange", new Uint8Array(0), { acl: CREATOR_ALL_ACL }));
  await withClient((zk) => zk.create("/strange/thing", new Uint8Array(0), { acl: CREATOR_ALL_ACL }));
  const ran = await startMaster("/strange").ended;
  expect(ran.exitCode).toBe(4);
  expect(ran.stderr).toMatch(/\/strange/);
  expect(await withClient((zk) => zk.getChildren("/strange"))).toMatchObject({ children: ["thing"] });
}, 120_000);
