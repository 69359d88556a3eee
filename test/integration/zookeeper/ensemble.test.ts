/** The ZooKeeper client on an ensemble of three servers, of which some die, or see a session move away. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectZooKeeper } from "../../../src/zookeeper/index.js";
import { startZooKeeper, type ZooKeeperServer, type ZooKeeperServers } from "../../support/zookeeper.js";
import { bytes, clientsOf, failureOf, listening, nothing, type TestClient, text } from "./clients.js";
import { takeOverDuringWrites } from "./fence.js";

let ensemble: ZooKeeperServers;
const clients = clientsOf(() => ensemble.connectString);

beforeAll(async () => {
  ensemble = await startZooKeeper({ servers: 3 });
});
afterAll(() => ensemble.close());

const serverOf = ({ states }: TestClient): ZooKeeperServer => {
  const last = states.findLast((event) => event.state === "connected");
  const server = ensemble.servers.find(({ address }) => last?.state === "connected" && last.server === address);
  if (server === undefined) throw new Error("it is not connected");
  return server;
};

const onlyOf = ({ states, id }: TestClient): boolean =>
  states.every((event) => event.state !== "connected" || event.sessionId === id);

describe("an ensemble", () => {
  test("spreads its clients over the servers", async () => {
    const many = await Promise.all(Array.from({ length: 24 }, () => clients.connect()));
    expect(new Set(many.map((client) => serverOf(client).id)).size).toBe(3);
  });

  test("keeps a session whose server dies: another one serves it, with its ephemeral nodes and watches", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 30_000 });
    const first = serverOf(client);
    const { hear, heard } = listening();
    await client.zk.create("/moves", bytes("0"), { mode: "ephemeral" });
    await client.zk.getData("/moves", { watch: hear });
    await first.kill();
    try {
      await client.zk.connected(AbortSignal.timeout(30_000));
      // Made while there may be no leader: it waits for one.
      await expectEventually(() => client.zk.setData("/moves", bytes("1"), 0));
      expect(serverOf(client).id).not.toBe(first.id);
      await heard("changed", "/moves");
      expect(await client.zk.exists("/moves")).toMatchObject({ ephemeralOwner: client.id });
      expect(onlyOf(client)).toBe(true);
    } finally {
      first.start();
      await first.serving();
    }
  });

  test("that loses its quorum and gets it back keeps the sessions; what was asked meanwhile is done or was not, and reading tells", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 60_000 });
    const [one, two] = ensemble.servers;
    if (one === undefined || two === undefined) throw new Error("there are no servers");
    await client.zk.create("/quorum", nothing, { mode: "ephemeral" });
    await Promise.all([one.kill(), two.kill()]);
    const doubtful = client.zk.create("/doubtful", nothing).then(
      () => "done",
      (thrown: { outcome: string }) => thrown.outcome,
    );
    one.start();
    two.start();
    await Promise.all([one.serving(), two.serving()]);
    const outcome = await doubtful;
    await client.zk.connected(AbortSignal.timeout(30_000));
    await expectEventually(() => client.zk.sync("/"));
    const there = (await client.zk.exists("/doubtful")) !== null;
    if (outcome === "done") expect(there).toBe(true);
    if (outcome === "none") expect(there).toBe(false);
    expect(await client.zk.exists("/quorum")).toMatchObject({ ephemeralOwner: client.id });
    expect(onlyOf(client)).toBe(true);
  });

  test("lets a session move, and refuses what its old connection still asks", async () => {
    const [one, two] = ensemble.servers;
    if (one === undefined || two === undefined) throw new Error("there are no servers");
    const old = await clients.connect({ servers: one.address, sessionTimeoutMs: 30_000 });
    await old.zk.create("/moved", nothing, { mode: "ephemeral" });
    const session = old.zk.session();
    if (session === undefined) throw new Error("there is no session");
    const mover = connectZooKeeper({ servers: two.address, sessionTimeoutMs: 30_000, session });
    await mover.connected(AbortSignal.timeout(30_000));
    await mover.setData("/moved", nothing, 0);
    // The old server does not know yet. Whatever it answers, the change is not made by a session that is elsewhere.
    const refused = await failureOf(old.zk.create("/after-move", nothing));
    expect(["CONNECTION_LOST", "SESSION_MOVED"]).toContain(refused.code);
    const observer = await clients.connect({ servers: two.address });
    await observer.zk.sync("/");
    expect(await observer.zk.exists("/after-move")).toBeNull();
    await mover.close();
    expect(await old.zk.ended).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(await observer.zk.exists("/moved")).toBeNull();
    expect(onlyOf(old)).toBe(true);
  });

  test("applies an exact prefix of 3,000 pipelined fenced writes when the epoch is taken through another server", async () => {
    const [one, two] = ensemble.servers;
    const leader = await clients.connect({ servers: one?.address ?? "", maxInFlight: 256, sessionTimeoutMs: 30_000 });
    const other = await clients.connect({ servers: two?.address ?? "" });
    const result = await takeOverDuringWrites(leader.zk, other.zk, "/fence");
    expect(result.rejected).toBeGreaterThan(0);
    expect(result.accepted).toBeGreaterThan(0);
    expect(result.firstRejected).toBe(result.accepted);
    expect(result.applied).toEqual(Array.from({ length: result.accepted }, (_, index) => index));
    expect(result).toMatchObject({ codes: ["BAD_VERSION"], epoch: 1 });
  });

  test("shows what one client wrote to another after sync", async () => {
    const [one, , three] = ensemble.servers;
    const writer = await clients.connect({ servers: one?.address ?? "" });
    const reader = await clients.connect({ servers: three?.address ?? "" });
    await writer.zk.create("/fresh", bytes("0"));
    for (let version = 0; version < 50; version++) {
      await writer.zk.setData("/fresh", bytes(String(version)), version);
      await reader.zk.sync("/fresh");
      expect(text((await reader.zk.getData("/fresh")).data)).toBe(String(version));
    }
  });
});

/** Until a connection holds: an election may break it more than once. Only for calls that may be made again. */
async function expectEventually(call: () => Promise<unknown>): Promise<void> {
  const until = performance.now() + 30_000;
  for (;;) {
    try {
      await call();
      return;
    } catch (thrown) {
      const { code } = thrown as { code: string };
      if (code === "BAD_VERSION") return;
      if (code !== "CONNECTION_LOST" || performance.now() > until) throw thrown;
    }
  }
}
