/**
 * The ZooKeeper client when the server freezes, connections break in the middle of a message, and bytes vanish in one direction or both.
 * Nothing here measures time: where something has to have been noticed, a timer of the same event loop that is due later says when to look.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CREATOR_ALL_ACL, type ZooKeeperOptions } from "../../../src/zookeeper/index.js";
import { startTcpProxy, type TcpProxy } from "../../support/tcp-proxy.js";
import { waitFor } from "../../support/wait-for.js";
import { startZooKeeper, type ZooKeeperServer, type ZooKeeperServers } from "../../support/zookeeper.js";
import { bytes, clientsOf, failureOf, listening, nothing, pause, type TestClient, text, turns } from "./clients.js";

const SESSION_MS = 3_000;
/** When silence has to have been noticed, and a little for timers that count whole milliseconds. */
const NOTICED_MS = (SESSION_MS * 2) / 3 + 5;

let ensemble: ZooKeeperServers;
let server: ZooKeeperServer;
let proxy: TcpProxy;
const clients = clientsOf(() => proxy.address);

beforeAll(async () => {
  ensemble = await startZooKeeper();
  const [first] = ensemble.servers;
  if (first === undefined) throw new Error("there is no server");
  server = first;
});
afterAll(() => ensemble.close());
beforeEach(async () => {
  proxy = await startTcpProxy(server.port);
});
afterEach(async () => {
  await clients.closeAll();
  await proxy.close();
});

const direct = (options: Partial<ZooKeeperOptions> = {}) => clients.connect({ servers: ensemble.connectString, ...options });

/** The same session again, or its end; never another one. */
async function sameOrOver({ zk, id, states }: TestClient): Promise<void> {
  await Promise.race([zk.connected(AbortSignal.timeout(30_000)), zk.ended]).catch(() => {});
  if (zk.state() === "ended") expect(await zk.ended).toMatchObject({ code: "SESSION_EXPIRED" });
  else expect(zk.session()?.id).toBe(id);
  for (const event of states) if (event.state === "connected") expect(event.sessionId).toBe(id);
}

async function reconnected({ zk, id }: TestClient): Promise<void> {
  await zk.connected(AbortSignal.timeout(30_000));
  expect(zk.session()?.id).toBe(id);
}

describe("a server that does not answer", () => {
  test("because it is stopped is noticed within two thirds of the session, idle or busy", async () => {
    const idle = await direct();
    const busy = await direct();
    const lost = failureOf(
      (async () => {
        for (let index = 0; ; index++) await busy.zk.create(`/busy-${index}`, nothing, { mode: "ephemeral" });
      })(),
    );
    await server.stop();
    try {
      await pause(NOTICED_MS);
      await turns();
      expect(idle.zk.state()).toBe("connecting");
      expect(busy.zk.state()).toBe("connecting");
      expect(await lost).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
      expect(idle.zk.deadline()).toBeLessThan(performance.now());
    } finally {
      server.cont();
    }
    await sameOrOver(idle);
    await sameOrOver(busy);
  });

  test.each(["both", "up", "down"] as const)(
    "because bytes vanish (%s) is noticed though events come, and the session is kept or over",
    async (way) => {
      const client = await clients.connect();
      const other = await direct();
      const root = `/hole-${way}`;
      await other.zk.create(root, nothing);
      const { events, hear, heard } = listening();
      await client.zk.addWatch(root, "persistent", hear);
      proxy.blackHole(way);
      const chatter = (async () => {
        for (let version = 0; client.zk.state() === "connected"; version++) {
          await other.zk.setData(root, nothing, version);
          await pause(50);
        }
      })();
      await pause(NOTICED_MS);
      await turns();
      expect(client.zk.state()).toBe("connecting");
      if (way === "up") expect(events.length).toBeGreaterThan(3);
      await chatter;
      proxy.heal();
      await sameOrOver(client);
      if (client.zk.state() === "connected") await heard("restored", root);
    },
  );

  test("until the session is over: the end is told once, and everything after it rejects", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 1_000 });
    const other = await direct();
    await client.zk.create("/until", nothing, { mode: "ephemeral" });
    const { hear, heard } = listening();
    await other.zk.exists("/until", { watch: hear });
    proxy.blackHole("both");
    await heard("deleted", "/until");
    // By the server's word it is over; the client knew before that it could not rely on it.
    expect(client.zk.deadline()).toBeLessThan(performance.now());
    const waiting = failureOf(client.zk.create("/late", nothing));
    proxy.heal();
    expect(await client.zk.ended).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(await waiting).toMatchObject({ code: "SESSION_EXPIRED", outcome: "none" });
    expect(await failureOf(client.zk.exists("/"))).toMatchObject({ code: "SESSION_EXPIRED" });
    await turns();
    expect(client.states.filter(({ state }) => state === "ended")).toHaveLength(1);
    expect(await other.zk.exists("/late")).toBeNull();
  });
});

describe("a connection that breaks", () => {
  test.each([1, 3, 5, 17, 40])("by a reset after %d bytes of an answer leaves nothing behind for the next one", async (offset) => {
    const client = await clients.connect({ sessionTimeoutMs: 20_000 });
    await client.zk.create(`/half-${offset}`, bytes("whole"), { mode: "ephemeral" });
    proxy.cutAfter("down", offset, "rst");
    expect(await failureOf(client.zk.getData(`/half-${offset}`))).toMatchObject({ code: "CONNECTION_LOST", outcome: "none" });
    await reconnected(client);
    expect(text((await client.zk.getData(`/half-${offset}`)).data)).toBe("whole");
  });

  test.each(["fin", "rst"] as const)(
    "(%s) before or after a change was applied leaves its outcome unknown, and reading tells",
    async (ending) => {
      const client = await clients.connect({ sessionTimeoutMs: 20_000 });
      for (const when of ["before-request", "before-response"] as const) {
        const path = `/${ending}-${when}`;
        const cut = proxy.cutNextRequest(when, ending);
        expect(await failureOf(client.zk.create(path, nothing))).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
        await cut;
        await reconnected(client);
        await client.zk.sync("/");
        expect((await client.zk.exists(path)) !== null).toBe(when === "before-response");
      }
    },
  );

  test("keeps the session and its ephemeral nodes; calls made meanwhile wait, with the credentials before them", async () => {
    const auth = [{ scheme: "digest", auth: "bob:builder" }] as const;
    const client = await clients.connect({ sessionTimeoutMs: 20_000, auth });
    await client.zk.create("/kept", bytes("mine"), { mode: "ephemeral", acl: CREATOR_ALL_ACL });
    proxy.refuse(true);
    proxy.cutAll("rst");
    await waitFor(() => client.zk.state() === "connecting");
    const read = client.zk.getData("/kept");
    const write = client.zk.setData("/kept", bytes("still mine"), 0);
    proxy.refuse(false);
    expect(text((await read).data)).toBe("mine");
    expect((await write).ephemeralOwner).toBe(client.id);
  });

  test("because the server was killed and started again keeps the session, too", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 40_000 });
    await client.zk.create("/survivor", nothing, { mode: "ephemeral" });
    await server.restart();
    await reconnected(client);
    expect(await client.zk.exists("/survivor")).toMatchObject({ ephemeralOwner: client.id });
  });

  test("restores more than a megabyte of watches, and tells of what happened meanwhile", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 20_000 });
    const other = await direct();
    const { events, hear, heard } = listening();
    await other.zk.create("/many", nothing);
    await client.zk.addWatch("/many", "persistent-recursive", hear);
    const name = (index: number) => `/${"w".repeat(150)}-${index}`;
    const paths = Array.from({ length: 8_000 }, (_, index) => name(index));
    await Promise.all(paths.map((path) => client.zk.exists(path, { watch: hear })));
    proxy.refuse(true);
    proxy.cutAll("fin");
    await waitFor(() => client.zk.state() === "connecting");
    await other.zk.create(name(0), nothing, { mode: "ephemeral" });
    await other.zk.create(name(7_999), nothing, { mode: "ephemeral" });
    const before = proxy.links().length;
    proxy.refuse(false);
    await heard("restored", "/many");
    expect(before).toBe(0);
    expect(proxy.links()[0]?.seen("up")).toBeGreaterThan(1_048_576);
    await heard("created", name(0));
    await heard("created", name(7_999));
    await other.zk.create(name(4_000), nothing, { mode: "ephemeral" });
    await other.zk.create("/many/child", nothing);
    await heard("created", name(4_000));
    await heard("created", "/many/child");
    expect(events).toHaveLength(5);
    // The server took all of it at once.
    expect(client.states.filter(({ state }) => state === "connected")).toHaveLength(2);
  });

  test("again and again does not make a storm", async () => {
    const client = await clients.connect({ sessionTimeoutMs: 20_000 });
    let links = 0;
    let counted = 0;
    const heal = proxy.onBytes((_chunk, direction, link) => {
      if (link.id <= counted) return "forward";
      if (direction === "up") return "forward";
      counted = link.id;
      links++;
      return { forward: 0, ending: "rst" };
    });
    proxy.cutAll("rst");
    // Pauses double from 50 ms to 2 s: in two seconds there are few, whatever the machine does.
    await pause(2_000);
    expect(links).toBeGreaterThan(1);
    expect(links).toBeLessThan(20);
    heal();
    await reconnected(client);
  });
});
