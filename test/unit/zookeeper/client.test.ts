import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/zookeeper/requests.js";
import type { StateEvent, WatchEvent } from "../../../src/zookeeper/zookeeper.js";
import { connectedClient, failureOf, fakeClient, framed, SESSION, writeStat } from "./fake-server.js";

const nothing = new Uint8Array();
const open = [{ permissions: ["read" as const], scheme: "world", id: "anyone" }];
/** Two thirds and one third of the fake's session of 3,000 ms. */
const SILENCE_MS = 2_000;
const PING_MS = 1_000;

describe("a session", () => {
  test("is asked for as new, then attached to again with its id, its password and the last transaction seen", async () => {
    const { zk, clock, connections, now, settle } = await connectedClient();
    expect(now().connectRequest?.readBigInt64BE(16)).toBe(0n);
    expect(zk.session()).toMatchObject({ id: "0x1234", timeoutMs: 3_000 });
    const read = zk.exists("/a");
    await settle();
    now().reply(1, 0, 77n, writeStat);
    await read;
    now().ended();
    await clock.advance(100);
    expect(connections).toHaveLength(2);
    now().opened();
    expect(now().connectRequest?.readBigInt64BE(4)).toBe(77n);
    expect(now().connectRequest?.readBigInt64BE(16)).toBe(SESSION);
    expect(now().server).not.toEqual(connections[0]?.server);
  });

  test("that has expired ends the client, once and for ever, and everything that waits", async () => {
    const { zk, clock, now, settle, connections } = await connectedClient();
    const states: StateEvent["state"][] = [];
    zk.onState(({ state }) => states.push(state));
    now().ended();
    const waiting = failureOf(zk.exists("/a"));
    await clock.advance(100);
    now().accept(0n, 0);
    await settle();
    expect(await zk.ended).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(await waiting).toMatchObject({ code: "SESSION_EXPIRED", outcome: "none" });
    expect(await failureOf(zk.create("/a", nothing))).toMatchObject({ code: "SESSION_EXPIRED", outcome: "none" });
    expect(await failureOf(zk.connected())).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(zk.deadline()).toBe(Number.NEGATIVE_INFINITY);
    await clock.advance(60_000);
    expect(connections).toHaveLength(2);
    expect(states).toEqual(["connecting", "ended"]);
    expect(clock.timers()).toBe(0);
  });

  test("of another id than ours is never taken", async () => {
    const { zk, clock, now, settle, connections } = await connectedClient();
    now().ended();
    await clock.advance(100);
    now().accept(SESSION + 1n, 3_000);
    await settle();
    expect(zk.state()).toBe("connecting");
    expect(zk.session()?.id).toBe("0x1234");
    await clock.advance(500);
    expect(connections.length).toBeGreaterThan(2);
  });

  test("of another process is attached to", async () => {
    const { zk, now, settle } = await fakeClient({ session: { id: "0x8100000000000001", password: new Uint8Array(16).fill(7) } });
    now().opened();
    expect(now().connectRequest?.readBigUInt64BE(16)).toBe(0x8100000000000001n);
    expect(now().connectRequest?.subarray(28, 44)).toEqual(Buffer.alloc(16, 7));
    now().accept(BigInt.asIntN(64, 0x8100000000000001n), 3_000);
    await settle();
    expect(zk.session()?.id).toBe("0x8100000000000001");
  });

  test("ends with close: calls that were sent are answered first, those that wait reject", async () => {
    const { zk, clock, now, settle } = await connectedClient({ maxInFlight: 1 });
    const sent = zk.exists("/a");
    await settle();
    const waiting = failureOf(zk.exists("/b"));
    const closed = zk.close();
    expect(await waiting).toMatchObject({ code: "CLOSED", outcome: "none" });
    expect(await failureOf(zk.exists("/c"))).toMatchObject({ code: "CLOSED" });
    now().reply(1, 0, 1n, writeStat);
    await settle();
    expect(await sent).toMatchObject({ version: 0 });
    expect(now().requests.map(({ type }) => type)).toEqual([OPCODE.exists, OPCODE.closeSession]);
    now().reply(2);
    await closed;
    expect(await zk.ended).toMatchObject({ code: "CLOSED" });
    expect(now().destroyed).toBe(true);
    expect(clock.timers()).toBe(0);
  });

  test("that cannot be told of its close is left to expire, within a bound", async () => {
    const { zk, clock, now } = await connectedClient();
    now().ended();
    const closed = zk.close();
    await clock.advance(3_000);
    await closed;
    expect(clock.timers()).toBe(0);
  });
});

describe("silence", () => {
  test("a ping goes out after a third of the timeout in which nothing else did, and its answer moves the deadline", async () => {
    const { zk, clock, now } = await connectedClient();
    const connectedAt = clock.now();
    expect(zk.deadline()).toBe(connectedAt + SILENCE_MS);
    await clock.advance(PING_MS - 1);
    expect(now().of(OPCODE.ping)).toHaveLength(0);
    await clock.advance(1);
    expect(now().of(OPCODE.ping)).toHaveLength(1);
    await clock.advance(300);
    expect(zk.deadline()).toBe(connectedAt + SILENCE_MS);
    now().reply(-2);
    // Counted from when the ping was sent, not from when its answer came.
    expect(zk.deadline()).toBe(connectedAt + PING_MS + SILENCE_MS);
  });

  test("for two thirds of the timeout ends the connection", async () => {
    const { zk, clock, now } = await connectedClient();
    const events: StateEvent[] = [];
    zk.onState((event) => events.push(event));
    await clock.advance(SILENCE_MS - 1);
    expect(now().destroyed).toBe(false);
    await clock.advance(1);
    expect(events).toMatchObject([{ state: "connecting", reason: { code: "CONNECTION_LOST" } }]);
    expect(String(events[0]?.state === "connecting" && events[0].reason.message)).toContain("answered nothing for 2000 ms");
  });

  test("is not broken by notifications: they come also when what we send is lost", async () => {
    const { zk, clock, now } = await connectedClient();
    for (let at = 0; at < SILENCE_MS; at += 250) {
      now().notify(3, "/a");
      await clock.advance(250);
    }
    expect(zk.state()).toBe("connecting");
  });

  test("answers that were not read yet count before this process, which was stopped, judges the server", async () => {
    const { zk, clock, now, connections } = await connectedClient();
    await clock.advance(PING_MS);
    const [first] = connections;
    const judged = clock.jump(10_000);
    // What lay in the socket is read in the turn after the late timer, and before the judgement.
    first?.reply(-2);
    await judged;
    expect(now()).toBe(first);
    expect(zk.state()).toBe("connected");
    // The deadline knows better: it counts from when the ping was sent.
    expect(zk.deadline()).toBeLessThan(clock.now());
  });
});

describe("servers that fail", () => {
  test("are tried in turn, with pauses that grow to a bound and never come in a storm", async () => {
    const { clock, connections, now } = await fakeClient();
    const startedAt = clock.now();
    for (let turn = 0; turn < 2_000 && clock.now() - startedAt < 60_000; turn++) {
      now().ended("connect ECONNREFUSED");
      await clock.advance(25);
    }
    // The longest pause is a sixth of the session, three quarters of that with this chance: about 160 tries a minute for three servers.
    expect(connections.length).toBeGreaterThan(60);
    expect(connections.length).toBeLessThan(200);
    expect(new Set(connections.slice(0, 3).map(({ server }) => server.host)).size).toBe(3);
  });

  test("that never answer are given up after a share of the session", async () => {
    const { clock, connections, now } = await fakeClient();
    now().opened();
    await clock.advance(499);
    expect(now().destroyed).toBe(false);
    await clock.advance(100);
    expect(connections[0]?.destroyed).toBe(true);
    expect(connections).toHaveLength(2);
  });

  test("are named by whoever waits for a connection and gives up", async () => {
    const { zk, now, settle } = await fakeClient({ servers: "one:1" });
    const leaving = new AbortController();
    const failed = failureOf(zk.connected(leaving.signal));
    now().ended("connect ECONNREFUSED 10.0.0.1:1");
    await settle();
    leaving.abort();
    expect(await failed).toMatchObject({ code: "ABORTED", message: expect.stringContaining("ECONNREFUSED 10.0.0.1:1") });
  });

  test("a connection that breaks at once, again and again, is not made without pauses", async () => {
    const { clock, connections, now } = await connectedClient();
    for (let turn = 0; turn < 400; turn++) {
      if (!now().destroyed) {
        now().accept(SESSION, 3_000);
        now().ended();
      }
      await clock.advance(25);
    }
    expect(connections.length).toBeLessThan(45);
  });
});

describe("calls", () => {
  test("of one turn go out in one write, in order, and answers belong to the oldest", async () => {
    const { zk, now, settle } = await connectedClient();
    const before = now().writes.length;
    const all = Promise.all(["/a", "/b", "/c"].map((path) => zk.exists(path)));
    await settle();
    expect(now().writes.length - before).toBe(1);
    for (const { xid } of now().of(OPCODE.exists)) now().reply(xid, 0, 1n, (writer) => writeStat(writer, xid));
    expect((await all).map((stat) => stat?.version)).toEqual([1, 2, 3]);
  });

  test("that were sent when the connection broke have an unknown outcome if they change something; those not sent have none", async () => {
    const { zk, now, settle } = await connectedClient({ maxInFlight: 2 });
    const read = failureOf(zk.exists("/read"));
    const write = failureOf(zk.create("/write", nothing));
    const unsent = failureOf(zk.create("/unsent", nothing));
    await settle();
    now().ended();
    expect(await read).toMatchObject({ code: "CONNECTION_LOST", outcome: "none" });
    expect(await write).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect(await unsent).toMatchObject({
      code: "CONNECTION_LOST",
      outcome: "none",
      message: expect.stringContaining("was not sent"),
    });
  });

  test("made before a break are never sent after it; those made after it wait for the next connection", async () => {
    const { zk, clock, now, settle } = await connectedClient({ maxInFlight: 1 });
    void failureOf(zk.exists("/sent"));
    void failureOf(zk.exists("/waiting"));
    await settle();
    now().ended();
    await settle();
    const after = zk.exists("/after");
    await clock.advance(100);
    now().accept(SESSION, 3_000);
    await settle();
    expect(
      now()
        .of(OPCODE.exists)
        .map(({ body }) => body.subarray(4, -1).toString()),
    ).toEqual(["/after"]);
    now().reply(now().requests[0]?.xid ?? 0, 0, 1n, writeStat);
    expect(await after).toMatchObject({ version: 0 });
  });

  test("beyond the bound of waiting ones reject with LIMIT, and are not sent", async () => {
    const { zk, now, settle } = await connectedClient({ maxInFlight: 1, maxWaiting: 2 });
    void failureOf(zk.exists("/1"));
    await settle();
    void failureOf(zk.exists("/2"));
    void failureOf(zk.exists("/3"));
    expect(await failureOf(zk.create("/4", nothing))).toMatchObject({ code: "LIMIT", outcome: "none" });
    now().ended();
  });

  test("larger than the server takes are refused before they are sent", async () => {
    const { zk, now, settle } = await connectedClient();
    expect(await failureOf(zk.create("/a", new Uint8Array(1_048_576)))).toMatchObject({ code: "TOO_LARGE", outcome: "none" });
    await settle();
    expect(now().requests).toHaveLength(0);
  });

  test("given up before they were sent are never sent, and leave no trace, however many", async () => {
    const { zk, clock, now, settle } = await fakeClient({ maxWaiting: 3 });
    for (let turn = 0; turn < 1_000; turn++) {
      const leaving = new AbortController();
      const failed = failureOf(zk.create("/a", nothing, { signal: leaving.signal }));
      leaving.abort(new Error("enough"));
      expect(await failed).toMatchObject({ code: "ABORTED", outcome: "none", cause: new Error("enough") });
    }
    now().accept(SESSION, 3_000);
    await settle();
    expect(now().requests).toHaveLength(0);
    expect(clock.timers()).toBe(1);
  });

  test("given up after they were sent have an unknown outcome, and their answer disturbs nobody", async () => {
    const { zk, now, settle } = await connectedClient();
    const leaving = new AbortController();
    const write = failureOf(zk.setData("/a", nothing, 0, { signal: leaving.signal }));
    const read = failureOf(zk.exists("/a", { signal: leaving.signal }));
    const next = zk.exists("/b");
    await settle();
    leaving.abort();
    expect(await write).toMatchObject({ code: "ABORTED", outcome: "unknown" });
    expect(await read).toMatchObject({ code: "ABORTED", outcome: "none" });
    for (const { xid } of now().requests) now().reply(xid, 0, 1n, writeStat);
    expect(await next).toMatchObject({ version: 0 });
    expect(zk.state()).toBe("connected");
  });

  test("answered with SessionMoved were not done, and end the connection", async () => {
    const { zk, now, settle } = await connectedClient();
    const moved = failureOf(zk.create("/a", nothing));
    const behind = failureOf(zk.create("/b", nothing));
    await settle();
    now().reply(1, -118);
    expect(await moved).toMatchObject({ code: "SESSION_MOVED", outcome: "none", retryable: true });
    expect(await behind).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
  });

  test("with arguments that cannot be reject, and never throw", async () => {
    const { zk } = await connectedClient();
    for (const failed of [
      zk.exists("a"),
      zk.create("/a/", nothing),
      zk.setData("/a", nothing, 1.5),
      zk.multi([{ op: "check", path: "/a", version: Number.NaN }]),
      zk.create("/a", nothing, { mode: "persistent-ttl" }),
      zk.create("/a", "text" as unknown as Uint8Array),
    ])
      expect(await failureOf(failed)).toMatchObject({ code: "INVALID_ARGUMENT", outcome: "none" });
  });
});

describe("a multi that failed", () => {
  test("names the operation and its code; the others were rolled back", async () => {
    const { zk, now, settle } = await connectedClient();
    const failed = zk.multi([
      { op: "check", path: "/a", version: 0 },
      { op: "create", path: "/b", acl: open },
      { op: "delete", path: "/c", version: 3 },
    ]);
    const failure = failureOf(failed);
    await settle();
    now().reply(1, 0, 9n, (writer) => {
      for (const code of [0, -110, -2]) writer.int(-1).boolean(false).int(code).int(code);
      writer.int(-1).boolean(true).int(-1);
    });
    expect(await failure).toMatchObject({
      code: "NODE_EXISTS",
      outcome: "none",
      failed: { index: 1, code: "NODE_EXISTS", path: "/b" },
      message: expect.stringContaining("operation 1 of 3 (create /b)"),
    });
  });
});

describe("a new connection", () => {
  test("hears of credentials and watches before anything else", async () => {
    const { zk, clock, now, settle } = await connectedClient({ auth: [{ scheme: "digest", auth: "user:secret" }] });
    expect(now().requests.map(({ type }) => type)).toEqual([OPCODE.auth]);
    const watched = zk.exists("/a", { watch: () => {} });
    const persistent = zk.addWatch("/p", "persistent-recursive", () => {});
    await settle();
    now().reply(1, -101);
    now().reply(2);
    expect(await watched).toBeNull();
    await persistent;
    now().ended();
    await settle();
    const queued = failureOf(zk.exists("/queued"));
    await clock.advance(100);
    now().accept(SESSION, 3_000);
    await settle();
    expect(now().requests.map(({ type }) => type)).toEqual([OPCODE.auth, OPCODE.setWatches2, OPCODE.exists]);
    now().ended();
    await queued;
  });

  test("tells persistent watches that they may have missed something, once the server watches again", async () => {
    const { zk, clock, now, settle } = await connectedClient();
    const events: WatchEvent[] = [];
    const watching = zk.addWatch("/p", "persistent", (event) => events.push(event));
    await settle();
    now().reply(1);
    const watch = await watching;
    now().ended();
    await clock.advance(100);
    now().accept(SESSION, 3_000);
    await settle();
    expect(events).toEqual([]);
    now().reply(-8);
    now().notify(3, "/p");
    await settle();
    expect(events).toEqual([
      { type: "restored", path: "/p" },
      { type: "changed", path: "/p" },
    ]);
    now().notify(3, "/p");
    watch.close();
    await settle();
    expect(events).toHaveLength(2);
    expect(now().of(OPCODE.removeWatches)).toHaveLength(1);
  });

  test("keeps nothing of the bytes of the one before", async () => {
    const { zk, clock, now, settle } = await connectedClient();
    const half = framed((writer) => writer.int(-2).long(1n).int(0));
    now().send(half.subarray(0, 7));
    now().ended();
    await clock.advance(100);
    now().accept(SESSION, 3_000);
    await settle();
    expect(zk.state()).toBe("connected");
  });

  test("that refuses the credentials ends the client, and nobody sees the password", async () => {
    const { zk, now, settle } = await connectedClient({ auth: [{ scheme: "digest", auth: "user:secret" }] });
    const waiting = failureOf(zk.create("/a", nothing));
    await settle();
    now().reply(-4, -115);
    const failure = await zk.ended;
    expect(failure.code).toBe("AUTH_FAILED");
    for (const { message } of [failure, await waiting]) expect(message).not.toContain("secret");
  });
});

describe("listeners", () => {
  test("hear of a change after the promise of an answer that came before it", async () => {
    const { zk, now, settle } = await connectedClient();
    const order: string[] = [];
    const read = zk.getData("/a", { watch: ({ type }) => order.push(type) }).then(() => order.push("data"));
    await settle();
    const answer = framed((writer) => writeStat(writer.int(1).long(1n).int(0).buffer(nothing)));
    const event = framed((writer) => writer.int(-1).long(-1n).int(0).int(3).int(3).string("/a"));
    now().send(Buffer.concat([answer, event]));
    await read;
    await settle();
    expect(order).toEqual(["data", "changed"]);
  });

  test("of paths below a chroot see the caller's paths", async () => {
    const { zk, now, settle } = await connectedClient({ servers: "one:1/root/of" });
    const events: WatchEvent[] = [];
    const read = zk.exists("/a", { watch: (event) => events.push(event) });
    await settle();
    expect(now().requests[0]?.body.subarray(4, -1).toString()).toBe("/root/of/a");
    now().reply(1, 0, 1n, writeStat);
    await read;
    now().notify(2, "/root/of/a");
    await settle();
    expect(events).toEqual([{ type: "deleted", path: "/a" }]);
  });
});

describe("hostile bytes", () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((array) => Buffer.from(array));
  /** Random bodies in well-formed frames get farther than random streams. */
  const stream = fc.oneof(
    bytes,
    fc
      .array(bytes, { minLength: 1, maxLength: 5 })
      .map((bodies) => Buffer.concat(bodies.map((body) => framed((w) => body.forEach((b) => void w.boolean(b > 127)))))),
    fc
      .array(fc.record({ xid: fc.constantFrom(-1, -2, -4, -8, 1, 2, 3), body: bytes }), { minLength: 1, maxLength: 5 })
      .map((parts) =>
        Buffer.concat(
          parts.map(({ xid, body }) => {
            const frame = Buffer.alloc(8 + body.length);
            frame.writeInt32BE(4 + body.length, 0);
            frame.writeInt32BE(xid, 4);
            body.copy(frame, 8);
            return frame;
          }),
        ),
      ),
  );

  test("from a server end the connection with a clear error, or wait for more: nothing throws, hangs, or applies", async () => {
    let protocol = 0;
    await fc.assert(
      fc.asyncProperty(stream, fc.boolean(), async (hostile, early) => {
        const { zk, clock, now, settle } = await (early ? fakeClient() : connectedClient());
        if (early) now().opened();
        const reasons: string[] = [];
        zk.onState((event) => event.state === "connecting" && reasons.push(event.reason.code));
        const calls = [zk.create("/a", nothing), zk.exists("/b"), zk.getChildren("/c")].map((call) =>
          call.then(
            () => "answered",
            (thrown: { code: string }) => thrown.code,
          ),
        );
        await settle();
        now().send(hostile);
        await settle();
        protocol += reasons.filter((code) => code === "PROTOCOL").length;
        // Whatever it was, an end comes: silence or closing, and every call is told.
        const closed = zk.close();
        await clock.advance(10_000);
        await closed;
        await zk.ended;
        expect((await Promise.all(calls)).every((outcome) => typeof outcome === "string")).toBe(true);
        expect(clock.timers()).toBe(0);
      }),
      { numRuns: 300 },
    );
    expect(protocol).toBeGreaterThan(30);
  }, 60_000);

  test.each([
    ["an answer out of order", (writer: Parameters<Parameters<typeof framed>[0]>[0]) => writer.int(9).long(1n).int(0)],
    [
      "an answer to a ping that was not sent",
      (writer: Parameters<Parameters<typeof framed>[0]>[0]) => writer.int(-2).long(1n).int(0),
    ],
    ["half a header", (writer: Parameters<Parameters<typeof framed>[0]>[0]) => writer.int(1)],
    ["half a stat", (writer: Parameters<Parameters<typeof framed>[0]>[0]) => writer.int(1).long(1n).int(0).long(1n)],
  ])("such as %s leave a sent change unknown", async (_, write) => {
    const { zk, now, settle } = await connectedClient();
    const states: StateEvent[] = [];
    zk.onState((event) => states.push(event));
    const failed = failureOf(zk.create("/a", nothing));
    await settle();
    now().send(framed(write));
    expect(await failed).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown", cause: { code: "PROTOCOL" } });
    expect(states).toMatchObject([{ state: "connecting", reason: { code: "PROTOCOL" } }]);
  });
});
