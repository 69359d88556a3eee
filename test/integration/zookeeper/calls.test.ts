/** The calls of the ZooKeeper client on a real server. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ANY_VERSION,
  askFourLetterWord,
  CREATOR_ALL_ACL,
  type CreateMode,
  connectZooKeeper,
  OPEN_ACL,
  readMonitor,
} from "../../../src/zookeeper/index.js";
import { startTcpProxy } from "../../support/tcp-proxy.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { bytes, clientsOf, failureOf, listening, nothing, text } from "./clients.js";
import { takeOverDuringWrites } from "./fence.js";

let ensemble: ZooKeeperServers;
const clients = clientsOf(() => ensemble.connectString);

beforeAll(async () => {
  ensemble = await startZooKeeper();
});
afterAll(() => ensemble.close());

describe("nodes", () => {
  test("are created in every mode; an ephemeral one names its session and goes with it", async () => {
    const { zk, id } = await clients.connect();
    await zk.create("/modes", nothing);
    const made = new Map<CreateMode, string>();
    const modes: readonly CreateMode[] = [
      ...(["persistent", "ephemeral", "container"] as const),
      ...(["persistent-sequential", "ephemeral-sequential", "persistent-ttl", "persistent-sequential-ttl"] as const),
    ];
    for (const mode of modes) {
      const ttl = mode.endsWith("ttl") ? { ttlMs: 60_000 } : {};
      const { path, stat } = await zk.create(`/modes/${mode}-`, bytes(mode), { mode, ...ttl });
      made.set(mode, path);
      expect(stat.version).toBe(0);
      expect(stat.ephemeralOwner).toBe(mode.startsWith("ephemeral") ? id : null);
      expect(text((await zk.getData(path)).data)).toBe(mode);
    }
    expect(made.get("persistent")).toBe("/modes/persistent-");
    expect(made.get("persistent-sequential")).toMatch(/^\/modes\/persistent-sequential-\d{10}$/);
    expect((await zk.create("/modes/", nothing, { mode: "persistent-sequential" })).path).toMatch(/^\/modes\/\d{10}$/);
    const observer = await clients.connect();
    await zk.close();
    const { children } = await observer.zk.getChildren("/modes");
    expect(children.filter((name) => name.startsWith("ephemeral"))).toEqual([]);
    expect(children).toHaveLength(6);
  });

  test("errors have codes, and say that nothing was done", async () => {
    const { zk } = await clients.connect();
    await zk.create("/errors", nothing);
    await zk.create("/errors/child", nothing, { mode: "ephemeral" });
    for (const [call, code] of [
      [zk.create("/errors", nothing), "NODE_EXISTS"],
      [zk.create("/no/parent", nothing), "NO_NODE"],
      [zk.create("/errors/child/of", nothing), "NO_CHILDREN_FOR_EPHEMERALS"],
      [zk.delete("/errors", ANY_VERSION), "NOT_EMPTY"],
      [zk.delete("/errors/child", 5), "BAD_VERSION"],
      [zk.getData("/nowhere"), "NO_NODE"],
      [zk.create("/bad-acl", nothing, { acl: [] }), "INVALID_ACL"],
      [zk.create("/no-auth", nothing, { acl: CREATOR_ALL_ACL }), "INVALID_ACL"],
    ] as const)
      expect(await failureOf(call)).toMatchObject({ code, outcome: "none", path: expect.stringMatching(/^\//) });
  });

  test("data of almost a megabyte is written and read; more is refused before it is sent", async () => {
    const { zk } = await clients.connect();
    const large = Buffer.alloc(1_048_000, 7);
    await zk.create("/large", large);
    expect(Buffer.compare(Buffer.from((await zk.getData("/large")).data), large)).toBe(0);
    expect(await failureOf(zk.setData("/large", Buffer.alloc(1_100_000), 0))).toMatchObject({ code: "TOO_LARGE", outcome: "none" });
    await zk.delete("/large", 0);
  });

  test("lists of more than a megabyte are read", async () => {
    const { zk } = await clients.connect();
    await zk.create("/list", nothing);
    const names = Array.from({ length: 11_000 }, (_, index) => `${"n".repeat(95)}${index}`);
    for (let at = 0; at < names.length; at += 1_000)
      await zk.multi(names.slice(at, at + 1_000).map((name) => ({ op: "create", path: `/list/${name}` })));
    expect(new Set((await zk.getChildren("/list")).children)).toEqual(new Set(names));
  });
});

describe("versions", () => {
  test("0 is 0, in every call that takes one, alone and in a multi", async () => {
    const { zk } = await clients.connect();
    await zk.create("/v", bytes("0"));
    expect((await zk.setData("/v", bytes("1"), 0)).version).toBe(1);
    for (const call of [
      zk.setData("/v", bytes("x"), 0),
      zk.delete("/v", 0),
      zk.check("/v", 0),
      zk.multi([{ op: "check", path: "/v", version: 0 }]),
      zk.multi([{ op: "setData", path: "/v", data: bytes("x"), version: 0 }]),
      zk.multi([{ op: "delete", path: "/v", version: 0 }]),
      zk.setAcl("/v", OPEN_ACL, 7),
    ])
      expect(await failureOf(call)).toMatchObject({ code: "BAD_VERSION", outcome: "none" });
    expect(text((await zk.getData("/v")).data)).toBe("1");
    expect((await zk.setData("/v", bytes("2"), ANY_VERSION)).version).toBe(2);
    await zk.check("/v", 2);
    await zk.delete("/v", ANY_VERSION);
    expect(await failureOf(zk.check("/v", 0))).toMatchObject({ code: "NO_NODE" });
  });

  test("a node that was deleted and made again has version 0 again, which is why fences stand on nodes that are never deleted", async () => {
    const { zk } = await clients.connect();
    const first = await zk.create("/leader", nothing);
    await zk.delete("/leader", 0);
    const second = await zk.create("/leader", nothing);
    // The stale holder of "version 0" would be believed; the transaction that created the node tells the two apart.
    await zk.check("/leader", first.stat.version);
    expect(second.stat.czxid).toBeGreaterThan(first.stat.czxid);
    await zk.create("/epoch", nothing);
    await zk.setData("/epoch", nothing, 0);
    expect(await failureOf(zk.multi([{ op: "check", path: "/epoch", version: 0 }]))).toMatchObject({ code: "BAD_VERSION" });
  });

  test("3,000 pipelined fenced writes against a take-over give an exact prefix", async () => {
    const leader = await clients.connect({ maxInFlight: 256 });
    const other = await clients.connect();
    const result = await takeOverDuringWrites(leader.zk, other.zk, "/fence");
    expect(result.accepted).toBeGreaterThan(0);
    expect(result.rejected).toBeGreaterThan(0);
    expect(result.lastAccepted).toBe(result.accepted - 1);
    expect(result.firstRejected).toBe(result.accepted);
    expect(result.applied).toEqual(Array.from({ length: result.accepted }, (_, index) => index));
    expect(result).toMatchObject({ codes: ["BAD_VERSION"], epoch: 1 });
  });
});

describe("a multi", () => {
  test("applies all or nothing, and names what failed", async () => {
    const { zk } = await clients.connect();
    const { zxid, results } = await zk.multi([
      { op: "create", path: "/m", data: bytes("a") },
      { op: "create", path: "/m/s-", mode: "persistent-sequential" },
      { op: "create", path: "/m/e", mode: "ephemeral" },
      { op: "setData", path: "/m", data: bytes("b"), version: 0 },
      { op: "check", path: "/m", version: 1 },
      { op: "delete", path: "/m/e", version: 0 },
    ]);
    expect(results).toMatchObject([
      { op: "create", path: "/m" },
      { op: "create", path: "/m/s-0000000000" },
      { op: "create", path: "/m/e" },
      { op: "setData", stat: { version: 1, mzxid: zxid } },
      { op: "check" },
      { op: "delete" },
    ]);
    const failed = await failureOf(
      zk.multi([
        { op: "create", path: "/m/never" },
        { op: "check", path: "/m", version: 0 },
        { op: "create", path: "/m/neither" },
      ]),
    );
    expect(failed).toMatchObject({ code: "BAD_VERSION", outcome: "none", failed: { index: 1, code: "BAD_VERSION", path: "/m" } });
    expect((await zk.getChildren("/m")).children).toEqual(["s-0000000000"]);
    expect((await zk.multi([])).results).toEqual([]);
  });

  test("of reads gives what could be read", async () => {
    const { zk } = await clients.connect();
    await zk.create("/r", bytes("data"));
    await zk.create("/r/child", nothing);
    const results = await zk.multiRead([
      { op: "getData", path: "/r" },
      { op: "getData", path: "/r/none" },
      { op: "getChildren", path: "/r" },
    ]);
    expect(results).toMatchObject([
      { op: "getData", data: new Uint8Array(bytes("data")), stat: { version: 0 } },
      { op: "failed", error: { code: "NO_NODE", path: "/r/none" } },
      { op: "getChildren", children: ["child"] },
    ]);
  });
});

describe("access control", () => {
  const alice = { scheme: "digest", auth: "alice:wonder" } as const;

  test("nodes of a client with credentials are its own; a wrong password and no password are refused alike", async () => {
    const owner = await clients.connect({ auth: [alice] });
    await owner.zk.create("/mine", bytes("secret"));
    await owner.zk.create("/public", nothing, { acl: OPEN_ACL });
    for (const auth of [[], [{ scheme: "digest", auth: "alice:wrong" } as const]]) {
      const { zk } = await clients.connect({ auth });
      for (const call of [zk.getData("/mine"), zk.setData("/mine", nothing, ANY_VERSION), zk.create("/mine/x", nothing)])
        expect(await failureOf(call)).toMatchObject({ code: "NO_AUTH", outcome: "none" });
      await zk.getData("/public");
    }
    const { acl, stat } = await owner.zk.getAcl("/mine");
    expect(acl).toMatchObject([{ scheme: "digest", id: expect.stringMatching(/^alice:.{28}$/) }]);
    await owner.zk.setAcl("/mine", [...acl, { permissions: ["read"], scheme: "world", id: "anyone" }], stat.aclVersion);
    const reader = await clients.connect();
    expect(text((await reader.zk.getData("/mine")).data)).toBe("secret");
    expect(await failureOf(reader.zk.setData("/mine", nothing, ANY_VERSION))).toMatchObject({ code: "NO_AUTH" });
  });

  test("credentials may come later", async () => {
    const owner = await clients.connect({ auth: [alice] });
    await owner.zk.create("/later", nothing);
    const { zk } = await clients.connect();
    expect(await failureOf(zk.getData("/later"))).toMatchObject({ code: "NO_AUTH" });
    await zk.addAuth(alice);
    await zk.getData("/later");
  });

  test("a scheme that the server does not know ends the client", async () => {
    const { zk } = await clients.connect();
    const unknown = { scheme: "digest", auth: "no-colon" } as const;
    expect(await failureOf(zk.addAuth(unknown))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(zk.state()).toBe("connected");
  });
});

describe("watches", () => {
  test("of one shot hear once, of what they asked for", async () => {
    const { zk } = await clients.connect();
    const other = await clients.connect();
    const { events, hear, heard } = listening();
    await zk.create("/once", nothing);
    await zk.getData("/once", { watch: hear });
    await zk.getChildren("/once", { watch: hear });
    await zk.exists("/once/child", { watch: hear });
    await other.zk.setData("/once", bytes("1"), 0);
    await other.zk.create("/once/child", nothing);
    await other.zk.setData("/once", bytes("2"), 1);
    await heard("created", "/once/child");
    await heard("children", "/once");
    await zk.sync("/once");
    await zk.getData("/once");
    expect(events).toHaveLength(3);
  });

  test("that stay hear everything in order; recursive ones of all below; and nothing after close", async () => {
    const { zk } = await clients.connect();
    const other = await clients.connect();
    await zk.create("/stay", nothing);
    const own = listening();
    const below = listening();
    const watch = await zk.addWatch("/stay", "persistent", own.hear);
    await zk.addWatch("/", "persistent-recursive", below.hear);
    await other.zk.setData("/stay", nothing, 0);
    await other.zk.create("/stay/a", nothing);
    await other.zk.create("/stay/a/b", nothing);
    await other.zk.setData("/stay", nothing, 1);
    await other.zk.delete("/stay/a/b", 0);
    await below.heard("deleted", "/stay/a/b");
    expect(own.events.map(({ type, path }) => `${type} ${path}`)).toEqual(["changed /stay", "children /stay", "changed /stay"]);
    expect(below.events.map(({ type, path }) => `${type} ${path}`)).toEqual([
      ...["changed /stay", "created /stay/a", "created /stay/a/b", "changed /stay", "deleted /stay/a/b"],
    ]);
    watch.close();
    await other.zk.setData("/stay", nothing, 2);
    await other.zk.create("/stay/last", nothing);
    await below.heard("created", "/stay/last");
    expect(own.events).toHaveLength(3);
  });

  test.each(["persistent", "persistent-recursive"] as const)(
    "that are %s are not lost when a one-shot watch of the same node is set after them",
    async (mode) => {
      const { zk } = await clients.connect();
      const other = await clients.connect();
      const root = `/same-${mode}`;
      await zk.create(root, nothing);
      const stays = listening();
      const once = listening();
      await zk.addWatch(root, mode, stays.hear);
      await zk.getData(root, { watch: once.hear });
      await zk.exists(root, { watch: once.hear });
      await zk.getChildren(root, { watch: once.hear });
      for (let version = 0; version < 3; version++) await other.zk.setData(root, nothing, version);
      await other.zk.create(`${root}/child`, nothing);
      await once.heard("children", root);
      await zk.sync(root);
      expect(once.events.map(({ type }) => type).sort()).toEqual(["changed", "changed", "children"]);
      expect(stays.events.filter(({ type }) => type === "changed")).toHaveLength(3);
    },
  );
});

describe("reaching the server", () => {
  test("a chroot is the root of all paths, in answers and events too", async () => {
    const plain = await clients.connect();
    await plain.zk.create("/root", nothing);
    const { zk } = await clients.connect({ servers: `${ensemble.connectString}/root` });
    const { hear, heard } = listening();
    await zk.addWatch("/", "persistent-recursive", hear);
    const { path } = await zk.create("/n-", nothing, { mode: "persistent-sequential" });
    expect(path).toBe("/n-0000000000");
    await heard("created", path);
    expect((await zk.multi([{ op: "create", path: "/m" }])).results).toEqual([{ op: "create", path: "/m" }]);
    expect([...(await plain.zk.getChildren("/root")).children].sort()).toEqual(["m", "n-0000000000"]);
  });

  test("over IPv6, and past a server that is not there", async () => {
    const proxy = await startTcpProxy(ensemble.servers[0]?.port ?? 0, "127.0.0.1", "::1");
    try {
      expect(proxy.address).toMatch(/^\[::1\]:/);
      const { zk } = await clients.connect({ servers: `127.0.0.1:1,${proxy.address}` });
      await zk.exists("/");
      await zk.close();
    } finally {
      await proxy.close();
    }
  });

  test("a session can be taken over with its id and password, and be ended by whoever has them", async () => {
    const { zk, id, states } = await clients.connect();
    await zk.create("/mine-until", nothing, { mode: "ephemeral" });
    const observer = await clients.connect();
    const { hear, heard } = listening();
    await observer.zk.exists("/mine-until", { watch: hear });
    const session = zk.session();
    if (session === undefined) throw new Error("there is no session");
    const guardian = connectZooKeeper({ servers: ensemble.connectString, sessionTimeoutMs: 3_000, session });
    await guardian.close();
    await heard("deleted", "/mine-until");
    expect(await zk.ended).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(states.every((event) => event.state !== "connected" || event.sessionId === id)).toBe(true);
  });

  test("servers tell of themselves by four-letter words", async () => {
    const [server] = ensemble.servers;
    expect(await askFourLetterWord(server?.address ?? "", "ruok")).toBe("imok");
    expect(await askFourLetterWord(server?.address ?? "", "srvr")).toContain("Mode: standalone");
    const monitor = await readMonitor(server?.address ?? "");
    expect(monitor).toMatchObject({ role: "standalone", version: expect.stringContaining("3.8.0") });
    expect(monitor.numbers.get("znode_count")).toBeGreaterThan(5);
    expect(await failureOf(askFourLetterWord("127.0.0.1:1", "ruok"))).toMatchObject({ code: "CONNECTION_LOST" });
  });
});
