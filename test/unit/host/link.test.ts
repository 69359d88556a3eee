import { setMaxListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { CodedError } from "../../../src/base/errors.js";
import type { Connection } from "../../../src/env/transport.js";
import type { Link, LinkMessage } from "../../../src/host/link/link.js";
import type { AcceptSettings, DialSettings } from "../../../src/host/link/link-handshake.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { deriveApplicationKey, keysOfCluster } from "../../../src/host/link/link-keys.js";
import type { ListenSettings } from "../../../src/host/link/link-listener.js";
import { listenLinks } from "../../../src/host/link/link-listener.js";
import { MAX_OPEN_REQUESTS } from "../../../src/wire/envelope.js";
import { NO_SECRET } from "../../../src/wire/handshake.js";
import type { TestEnv } from "../../support/manual-clock.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const secret = new Uint8Array(32).fill(7);
const table = { hello: z.object({ n: z.number() }), ask: z.object({ text: z.string() }) };
const never = new AbortController().signal;
setMaxListeners(0, never);

function acceptSettings(env: TestEnv, over: Partial<AcceptSettings> = {}): AcceptSettings {
  return {
    env,
    epoch: () => 3,
    incoming: table,
    heartbeatMs: 1_000,
    silenceMs: 5_000,
    role: "master",
    id: "m1",
    clusterId: () => "c1",
    keyFor: keysOfCluster(env.digest, secret),
    roles: ["worker", "client"],
    facts: () => ({ state: "ALIVE" }),
    ...over,
  };
}

function dialSettings(env: TestEnv, over: Partial<DialSettings> = {}): DialSettings {
  return {
    env,
    epoch: () => 2,
    incoming: table,
    heartbeatMs: 1_000,
    silenceMs: 5_000,
    role: "worker",
    id: "w1",
    scope: "cluster",
    key: secret,
    clusterId: null,
    facts: { pid: 12 },
    connectTimeoutMs: 1_000,
    signal: never,
    ...over,
  };
}

async function open(options: { accept?: Partial<ListenSettings>; dial?: Partial<DialSettings> } = {}) {
  const env = createTestEnv();
  const accepted: Link[] = [];
  const refusals: CodedError[] = [];
  const listener = await listenLinks({
    ...acceptSettings(env),
    address: "m:7077",
    onLink: (link) => accepted.push(link),
    onRefused: (_, reason) => refusals.push(reason),
    ...options.accept,
  });
  const dial = (over: Partial<DialSettings> = {}) => dialLink(listener.address, dialSettings(env, { ...options.dial, ...over }));
  return { env, accepted, refusals, listener, dial };
}

async function openPair(options: Parameters<typeof open>[0] = {}) {
  const world = await open(options);
  const near = await world.dial();
  await settle();
  const far = world.accepted[0] as Link;
  return { ...world, near, far };
}

const code = (thrown: unknown) => (thrown as CodedError).code;
const failure = (promise: Promise<unknown>): Promise<CodedError> =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (reason) => reason as CodedError,
  );

const text = (message: object) => new TextEncoder().encode(JSON.stringify(message));

function hear(connection: Connection): string[] {
  const frames: string[] = [];
  connection.onFrame((frame) => frames.push(new TextDecoder().decode(frame)));
  return frames;
}

/** Keeps a copy of every frame that is sent. */
function record(connection: Connection, sent: Uint8Array[]): Connection {
  const send = connection.send.bind(connection);
  connection.send = (frame) => {
    sent.push(frame.slice());
    return send(frame);
  };
  return connection;
}

describe("a link", () => {
  test("tells each side who the other is", async () => {
    const { near, far } = await openPair();
    expect(near.peer).toEqual({ role: "master", id: "m1", scope: "cluster", clusterId: "c1", epoch: 3, facts: { state: "ALIVE" } });
    expect(far.peer).toEqual({ role: "worker", id: "w1", scope: "cluster", clusterId: null, epoch: 2, facts: { pid: 12 } });
  });

  test("delivers messages in order with the sender's epoch, also those that came before anybody listened", async () => {
    const { near, far } = await openPair();
    for (let n = 0; n < 10; n += 1) near.send("hello", { n, unknown: true });
    await settle();
    const got: LinkMessage[] = [];
    far.onMessage((message) => got.push(message));
    near.send("hello", { n: 10 });
    await settle();
    expect(got.map((message) => (message.body as { n: number }).n)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(got[0]).toEqual({ kind: "hello", body: { n: 0 }, epoch: 2, requestId: null, sizeBytes: 56 });
  });

  test("answers requests, with values and with errors", async () => {
    const { near, far } = await openPair();
    far.onMessage((message) => {
      const { text } = message.body as { text: string };
      if (text === "bad")
        far.replyError(message.requestId as number, new CodedError("NOT_FOUND", "no such thing", { hint: "look again" }).toShape());
      else far.reply(message.requestId as number, { text: text.toUpperCase() });
    });
    const reply = z.object({ text: z.string() });
    expect(await near.request("ask", { text: "a" }, { signal: never, timeoutMs: 1_000, reply })).toEqual({ text: "A" });
    const error = await failure(near.request("ask", { text: "bad" }, { signal: never, timeoutMs: 1_000 }));
    expect(error.toShape()).toEqual({ code: "NOT_FOUND", message: "no such thing", hint: "look again" });
  });

  test("rejects open requests with CONNECTION_LOST when it ends", async () => {
    const { near, far } = await openPair();
    const asked = failure(near.request("ask", { text: "a" }, { signal: never, timeoutMs: 1_000 }));
    await settle();
    far.destroy();
    expect(code(await asked)).toBe("CONNECTION_LOST");
    expect(code(await near.ended)).toBe("CONNECTION_LOST");
    expect(code(await far.ended)).toBe("CLOSED");
  });

  test("gives up a request at its time or its signal, ignores the late reply, and still counts it until it came", async () => {
    const { env, near, far } = await openPair();
    const asked: number[] = [];
    far.onMessage((message) => asked.push(message.requestId as number));
    const late = failure(near.request("ask", { text: "a" }, { signal: never, timeoutMs: 300 }));
    const control = new AbortController();
    const reason = new Error("changed my mind");
    const aborted = failure(near.request("ask", { text: "b" }, { signal: control.signal, timeoutMs: 300 }));
    await settle();
    control.abort(reason);
    await env.clock.advance(300);
    expect(code(await late)).toBe("TIMEOUT");
    expect(await aborted).toBe(reason);
    for (let count = 0; count < MAX_OPEN_REQUESTS - 2; count += 1)
      near.request("ask", { text: "x" }, { signal: never, timeoutMs: 1e6 }).catch(() => {});
    expect(code(await failure(near.request("ask", { text: "x" }, { signal: never, timeoutMs: 1e6 })))).toBe("LIMIT_EXCEEDED");
    await settle();
    for (const id of asked.splice(0, 2)) far.reply(id, {});
    await settle();
    const next = near.request("ask", { text: "y" }, { signal: never, timeoutMs: 1e6 });
    await settle();
    far.reply(asked.at(-1) as number, { text: "Y" });
    expect(await next).toEqual({ text: "Y" });
  });

  test("refuses a request once it has ended, and drops messages", async () => {
    const { near, far } = await openPair();
    near.close();
    await settle();
    expect(code(await failure(near.request("ask", { text: "a" }, { signal: never, timeoutMs: 10 })))).toBe("CONNECTION_LOST");
    near.send("hello", { n: 1 });
    expect((await far.ended).message).toContain("closed the link");
  });

  test("ends with PROTOCOL_VIOLATION for an unknown kind, a malformed body, or a reply that nobody asked for; the other side is told why", async () => {
    const cases: readonly ((near: Link) => void)[] = [
      (near) => near.send("nonsense", {}),
      (near) => near.send("hello", { n: "no number" }),
      (near) => near.send("hello", undefined),
      (near) => near.send("__proto__", { n: 1 }),
      (near) => near.send("toString", { n: 1 }),
      (near) => near.send("hello", JSON.parse('{"n":1,"__proto__":{}}')),
      (near) => near.send("hello", { n: 1, deep: JSON.parse(`${"[".repeat(100)}${"]".repeat(100)}`) }),
      (near) => near.reply(77, {}),
    ];
    for (const [index, violate] of cases.entries()) {
      const { near, far } = await openPair();
      let got = 0;
      far.onMessage(() => {
        got += 1;
      });
      violate(near);
      await settle();
      if (index === cases.length - 1) {
        // A reply to a request that never was is not even sent.
        near.send("hello", { n: 1 });
        await settle();
        expect(got).toBe(1);
        continue;
      }
      expect([index, code(await far.ended)]).toEqual([index, "PROTOCOL_VIOLATION"]);
      expect(got).toBe(0);
      const told = await near.ended;
      expect(told.code).toBe("CONNECTION_LOST");
      expect(told.details).toEqual({ code: "PROTOCOL_VIOLATION" });
    }
  });

  test("answers a request whose body is malformed with INVALID_ARGUMENT, which names the field, and goes on", async () => {
    const { near, far } = await openPair();
    far.onMessage((message) => far.reply(message.requestId as number, { ok: true }));
    const options = { signal: never, timeoutMs: 1_000 };
    const refused = await failure(near.request("ask", { text: 7 }, options));
    expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/^ask: text: /) });
    expect((await failure(near.request("ask", "nothing", options))).message).toMatch(/^ask: its input: /);
    expect(await near.request("ask", { text: "a" }, options)).toEqual({ ok: true });
  });

  test("that fails tells the other side why", async () => {
    const { near, far } = await openPair();
    far.fail(new CodedError("LIMIT_EXCEEDED", "too much at once"));
    const told = await near.ended;
    expect([told.message, told.details]).toEqual([expect.stringContaining("too much at once"), { code: "LIMIT_EXCEEDED" }]);
    expect(code(await far.ended)).toBe("LIMIT_EXCEEDED");
  });

  test("is refused when its listener has as many connections as it may, until one ends; those that are there do not notice", async () => {
    const { dial, refusals, accepted } = await open({ accept: { maxConnections: 2 } });
    const [one, two] = [await dial(), await dial()];
    expect(code(await failure(dial()))).toBe("CONNECTION_LOST");
    expect(refusals.map(code)).toEqual(["LIMIT_EXCEEDED"]);
    one.close();
    await settle();
    const three = await dial();
    let got = 0;
    for (const link of accepted)
      link.onMessage(() => {
        got += 1;
      });
    for (const link of [two, three]) link.send("hello", { n: 1 });
    await settle();
    expect(got).toBe(2);
  });

  test("takes kinds of the requests table only as requests", async () => {
    const { near, far } = await openPair({ accept: { incoming: {}, requests: table } });
    far.onMessage((message) => far.reply(message.requestId as number, { ok: true }));
    expect(await near.request("ask", { text: "a" }, { signal: never, timeoutMs: 1_000 })).toEqual({ ok: true });
    near.send("ask", { text: "a" });
    await settle();
    expect(code(await far.ended)).toBe("PROTOCOL_VIOLATION");
  });

  test("chooses its tables by the peer", async () => {
    const { near, far } = await openPair({ accept: { incoming: (peer) => (peer.role === "worker" ? table : {}) } });
    let got = 0;
    far.onMessage(() => {
      got += 1;
    });
    near.send("hello", { n: 1 });
    await settle();
    expect(got).toBe(1);
  });

  test("refuses a message that is too large without breaking a request's promise, and ends for one that may not be left out", async () => {
    const { near, far } = await openPair();
    const text = "x".repeat(5 * 1024 * 1024);
    expect(code(await failure(near.request("ask", { text }, { signal: never, timeoutMs: 1_000 })))).toBe("LIMIT_EXCEEDED");
    far.onMessage((message) => far.reply(message.requestId as number, { text }));
    expect(code(await failure(near.request("ask", { text: "a" }, { signal: never, timeoutMs: 1_000 })))).toBe("LIMIT_EXCEEDED");
    near.send("hello", { n: 1, text });
    expect(code(await near.ended)).toBe("LIMIT_EXCEEDED");
  });

  test("keeps a bounded number of messages for a listener that does not come", async () => {
    const { near, far } = await openPair();
    for (let n = 0; n < 2_000; n += 1) near.send("hello", { n });
    await settle();
    expect(code(await far.ended)).toBe("LIMIT_EXCEEDED");
  });

  test("that is idle lives by its heartbeats", async () => {
    const { env, near, far } = await openPair();
    await env.clock.advance(60_000);
    expect(env.clock.now() - near.lastHeardAt()).toBeLessThanOrEqual(1_000);
    expect(env.clock.now() - far.lastHeardAt()).toBeLessThanOrEqual(1_000);
    near.send("hello", { n: 1 });
    const got: LinkMessage[] = [];
    far.onMessage((message) => got.push(message));
    await settle();
    expect(got).toHaveLength(1);
  });

  test("ends with CONNECTION_LOST after silenceMs without a frame, not before", async () => {
    const { env, near, listener } = await openPair();
    await env.clock.advance(500);
    env.transport.freeze(listener.address);
    let ended = false;
    near.ended.then(() => {
      ended = true;
    });
    await env.clock.advance(4_400);
    expect(ended).toBe(false);
    await env.clock.advance(200);
    expect(ended).toBe(true);
    expect((await near.ended).code).toBe("CONNECTION_LOST");
    expect((await near.ended).message).toContain("nothing was heard");
  });

  test("does not judge the other side by its own absence: a process that was stopped reads first what waits for it", async () => {
    const { env, near, far } = await openPair();
    await env.clock.jump(60_000);
    await env.clock.advance(1_500);
    let ended = false;
    for (const link of [near, far]) {
      link.ended.then(() => {
        ended = true;
      });
    }
    await env.clock.advance(10_000);
    expect(ended).toBe(false);
  });

  test("leaves no timer behind", async () => {
    const { env, near, far, dial } = await openPair();
    near.close();
    await settle();
    await far.ended;
    const other = await dial();
    other.destroy();
    await settle();
    expect(env.clock.timers()).toBe(0);
  });
});

describe("a handshake", () => {
  test("fails with UNAUTHENTICATED, in the same words, for a wrong key, an unknown scope and a role that may not use its scope", async () => {
    const { dial, refusals, env } = await open();
    const foreign = deriveApplicationKey(env.digest, secret, "app-1-1");
    const attempts: readonly Partial<DialSettings>[] = [
      { key: new Uint8Array(32) },
      { key: new Uint8Array(0) },
      { scope: "nonsense" },
      { scope: "application/" },
      { scope: "application/../x" },
      { scope: "application/app-1-1", key: foreign, role: "worker" },
      { scope: "application/app-1-2", key: foreign, role: "driver" },
      { role: "driver" },
      { role: "executor" },
    ];
    const messages = new Set<string>();
    for (const attempt of attempts) {
      const error = await failure(dial(attempt));
      expect(error.code).toBe("UNAUTHENTICATED");
      messages.add(error.message);
    }
    expect(messages.size).toBe(1);
    expect(refusals).toHaveLength(attempts.length);
  });

  test("lets drivers and executors in with their application's key", async () => {
    const { dial, accepted, env } = await open({ accept: { roles: ["driver", "executor"] } });
    const key = deriveApplicationKey(env.digest, secret, "app-1-1");
    await dial({ scope: "application/app-1-1", key, role: "driver", id: "app-1-1.d1" });
    await settle();
    expect(accepted[0]?.peer).toMatchObject({ role: "driver", scope: "application/app-1-1" });
  });

  test("works without a secret by the same path", async () => {
    const { dial } = await open({ accept: { keyFor: keysOfCluster(createTestEnv().digest, null) } });
    expect((await dial({ key: NO_SECRET })).peer.id).toBe("m1");
    expect(code(await failure(dial()))).toBe("UNAUTHENTICATED");
  });

  test("refuses a role that has no business here, and another cluster, only after the proof", async () => {
    const { dial } = await open({ accept: { roles: ["client"] } });
    expect(code(await failure(dial()))).toBe("FORBIDDEN");
    expect(code(await failure(dial({ role: "client", clusterId: "c2" })))).toBe("WRONG_CLUSTER");
    expect(code(await failure(dial({ role: "client", clusterId: "c2", key: NO_SECRET })))).toBe("UNAUTHENTICATED");
    expect((await dial({ role: "client", clusterId: "c1" })).peer.clusterId).toBe("c1");
  });

  test("does not talk to an acceptor that does not know the key either", async () => {
    const { dial } = await open({ accept: { keyFor: () => secret } });
    const { env, listener } = await open();
    // A man in the middle who knows no key: answers a hello with a welcome of its own.
    const fake = await env.transport.listen("fake:1", (connection) => {
      connection.onFrame(() => {
        connection.send(
          text({ kind: "welcome", clusterId: null, role: "master", id: "m1", epoch: 9, facts: {}, proof: "0".repeat(64) }),
        );
      });
      connection.send(text({ kind: "challenge", protocol: 1, nonce: "0".repeat(32) }));
    });
    expect(code(await failure(dialLink(fake.address, dialSettings(env))))).toBe("UNAUTHENTICATED");
    expect(listener.address).toBe("m:7077");
    expect((await dial()).peer.id).toBe("m1");
  });

  test("names both versions when they differ, on both sides", async () => {
    const { env, refusals, listener } = await open();
    const raw = await env.transport.connect(listener.address, { signal: never, timeoutMs: 100 });
    const frames = hear(raw);
    await settle();
    raw.send(text({ kind: "hello", protocol: 99, something: "else" }));
    await settle();
    const answer = JSON.parse(frames[1] as string);
    expect(answer).toMatchObject({ kind: "refused", error: { code: "PROTOCOL_VERSION" } });
    expect(answer.error.message).toMatch(/99.*1/);
    expect(refusals[0]?.code).toBe("PROTOCOL_VERSION");
    expect((await raw.ended).code).toBe("CONNECTION_LOST");

    const other = await env.transport.listen("new:1", (connection) =>
      connection.send(text({ kind: "challenge", protocol: 2, nonce: "0".repeat(32) })),
    );
    const error = await failure(dialLink(other.address, dialSettings(env)));
    expect(error.code).toBe("PROTOCOL_VERSION");
    expect(error.message).toMatch(/2.*1/);
  });

  test("cannot be replayed: a hello that was once right is refused on another connection", async () => {
    const { env, dial, listener, accepted } = await open();
    const recorded: Uint8Array[] = [];
    const connect = env.transport.connect.bind(env.transport);
    const recording = {
      ...env,
      transport: {
        ...env.transport,
        connect: async (...args: Parameters<typeof connect>) => record(await connect(...args), recorded),
      },
    };
    await dial({ env: recording });
    await settle();
    expect(accepted).toHaveLength(1);
    const raw = await env.transport.connect(listener.address, { signal: never, timeoutMs: 100 });
    const frames = hear(raw);
    await settle();
    raw.send(recorded[0] as Uint8Array);
    await settle();
    expect(JSON.parse(frames[1] as string)).toMatchObject({ kind: "refused", error: { code: "UNAUTHENTICATED" } });
    expect(accepted).toHaveLength(1);
  });

  test("cannot be played by somebody who recorded an acceptor: its welcome answers one hello only", async () => {
    const { env, dial } = await open();
    const heard: Uint8Array[] = [];
    const connect = env.transport.connect.bind(env.transport);
    const listening = async (...args: Parameters<typeof connect>) => {
      const connection = await connect(...args);
      const onFrame = connection.onFrame.bind(connection);
      connection.onFrame = (listener) =>
        onFrame((frame) => {
          heard.push(frame.slice());
          listener(frame);
        });
      return connection;
    };
    await dial({ env: { ...env, transport: { ...env.transport, connect: listening } } });
    const [challenge, welcome] = heard as [Uint8Array, Uint8Array];
    const fake = await env.transport.listen("fake:1", (connection) => {
      connection.onFrame(() => void connection.send(welcome));
      connection.send(challenge);
    });
    expect(code(await failure(dialLink(fake.address, dialSettings(env))))).toBe("UNAUTHENTICATED");
  });

  test("must be complete after five seconds, however slowly bytes come", async () => {
    const { env, refusals, listener } = await open();
    const raw = await env.transport.connect(listener.address, { signal: never, timeoutMs: 100 });
    hear(raw);
    await env.clock.advance(4_900);
    expect(refusals).toHaveLength(0);
    await env.clock.advance(200);
    expect(refusals[0]?.code).toBe("TIMEOUT");
    expect((await raw.ended).code).toBe("CONNECTION_LOST");
    env.transport.freeze(listener.address);
    const dialling = failure(dialLink(listener.address, dialSettings(env)));
    await env.clock.advance(6_000);
    expect(code(await dialling)).toBe("TIMEOUT");
  });

  test("is open for at most 100 strangers of one address at a time, and for more when they have gone", async () => {
    const { env, refusals, listener, dial } = await open();
    const raws: Connection[] = [];
    for (let count = 0; count < 100; count += 1)
      raws.push(await env.transport.connect(listener.address, { signal: never, timeoutMs: 100 }));
    expect(code(await failure(dial()))).toBe("CONNECTION_LOST");
    expect(refusals.map(code)).toEqual(["LIMIT_EXCEEDED"]);
    raws[0]?.destroy();
    await settle();
    expect((await dial()).peer.id).toBe("m1");
  });

  test("stops at the signal of the dialler", async () => {
    const { env, dial, listener } = await open();
    env.transport.freeze(listener.address);
    const control = new AbortController();
    const dialling = failure(dial({ signal: control.signal }));
    await settle();
    const reason = new Error("enough");
    control.abort(reason);
    expect(await dialling).toBe(reason);
    expect(env.clock.timers()).toBe(0);
  });

  test("ends what is under way when the listener closes", async () => {
    const { env, listener, accepted } = await open();
    const raw = await env.transport.connect(listener.address, { signal: never, timeoutMs: 100 });
    hear(raw);
    await settle();
    await listener.close();
    expect((await raw.ended).code).toBe("CONNECTION_LOST");
    await settle();
    expect(accepted).toHaveLength(0);
    expect(env.clock.timers()).toBe(0);
  });
});
