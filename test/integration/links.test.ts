import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { CodedError } from "../../src/base/errors.js";
import type { Connection } from "../../src/env/transport.js";
import type { Link, LinkMessage } from "../../src/host/link/link.js";
import type { DialSettings } from "../../src/host/link/link-handshake.js";
import { dialLink, dialPeer } from "../../src/host/link/link-handshake.js";
import { keysOfCluster } from "../../src/host/link/link-keys.js";
import type { ListenSettings } from "../../src/host/link/link-listener.js";
import { listenLinks, listenPeers } from "../../src/host/link/link-listener.js";
import { createNodeEnv } from "../../src/node/env.js";
import { parseHostPort } from "../../src/node/network/tcp-transport.js";
import { MAX_HANDSHAKE_FRAME_BYTES } from "../../src/wire/envelope.js";
import { encodeFrame } from "../../src/wire/frames.js";
import { NO_SECRET } from "../../src/wire/handshake.js";
import type { Program } from "../support/child.js";
import { bundleProgram } from "../support/child.js";
import { waitFor } from "../support/wait-for.js";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const env = createNodeEnv({ log: quiet });
const never = new AbortController().signal;
const table = { ask: z.object({ text: z.string() }) };
const closers: (() => unknown)[] = [];
let peer: Program;

beforeAll(async () => {
  peer = await bundleProgram("test/integration/fixtures/link-peer.ts");
});
afterAll(() => peer.close());
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const dialSettings = (over: Partial<DialSettings> = {}): DialSettings => ({
  env,
  epoch: () => 1,
  incoming: table,
  heartbeatMs: 100,
  silenceMs: 20_000,
  role: "worker",
  id: "w1",
  scope: "cluster",
  key: NO_SECRET,
  clusterId: null,
  connectTimeoutMs: 20_000,
  signal: never,
  ...over,
});

async function listen(over: Partial<ListenSettings> = {}) {
  const links: Link[] = [];
  const messages: LinkMessage[] = [];
  const refusals: CodedError[] = [];
  const listener = await listenLinks({
    env,
    address: "127.0.0.1:0",
    epoch: () => 1,
    incoming: table,
    heartbeatMs: 100,
    silenceMs: 20_000,
    role: "master",
    id: "m1",
    clusterId: () => null,
    keyFor: keysOfCluster(env.digest, null),
    roles: ["worker"],
    facts: () => ({}),
    onLink: (link) => {
      links.push(link);
      link.onMessage((message) => {
        messages.push(message);
        if (message.requestId !== null) link.reply(message.requestId, message.body);
      });
    },
    onRefused: (_, reason) => refusals.push(reason),
    ...over,
  });
  closers.push(() => listener.close());
  return { listener, links, messages, refusals };
}

async function dial(address: string, over: Partial<DialSettings> = {}): Promise<Link> {
  const link = await dialLink(address, dialSettings(over));
  closers.push(() => link.destroy());
  return link;
}

function rawConnect(address: string): net.Socket {
  const socket = net.connect({ host: "127.0.0.1", port: parseHostPort(address).port });
  socket.on("error", () => {});
  closers.push(() => socket.destroy());
  return socket;
}

const ask = (link: Link, text = "hello") => link.request("ask", { text }, { signal: never, timeoutMs: 60_000 });

describe("links between processes", () => {
  test("carry requests, also of nearly 4 MB", async () => {
    const { child, firstLine } = await peer.start();
    const link = await dial(firstLine);
    expect(link.peer.facts).toEqual({ pid: child.pid });
    const text = "x".repeat(4 * 1024 * 1024 - 200);
    expect(await ask(link, text)).toEqual({ text });
    expect(await Promise.all(Array.from({ length: 500 }, (_, index) => ask(link, String(index))))).toHaveLength(500);
  });

  test("notice at once that the other process was killed, and the next connect is refused", async () => {
    const { child, firstLine } = await peer.start();
    // Its silence would be noticed only after the end of this test.
    const link = await dial(firstLine, { silenceMs: 600_000 });
    await ask(link);
    child.kill("SIGKILL");
    expect((await link.ended).code).toBe("CONNECTION_LOST");
    // The kernel closes what a killed process had open one after the other: the connection may be gone a moment before the listener.
    const codes: string[] = [];
    while (codes.at(-1) !== "CONNECTION_REFUSED" && codes.length < 1_000) {
      const error = await dialLink(firstLine, dialSettings()).then(
        () => null,
        (thrown) => thrown as CodedError,
      );
      codes.push(error?.code ?? "a link");
    }
    expect(codes.at(-1)).toBe("CONNECTION_REFUSED");
    expect(codes.slice(0, -1).filter((code) => code !== "CONNECTION_LOST")).toEqual([]);
  });

  test("notice after silenceMs that the other process was stopped; when it goes on, others can link to it again", async () => {
    const { child, firstLine } = await peer.start();
    const link = await dial(firstLine, { silenceMs: 2_000 });
    await ask(link);
    const stoppedAt = performance.now();
    child.kill("SIGSTOP");
    const reason = await link.ended;
    const tookMs = performance.now() - stoppedAt;
    expect(reason.code).toBe("CONNECTION_LOST");
    expect(reason.message).toContain("nothing was heard");
    expect(tookMs).toBeGreaterThan(1_000);
    child.kill("SIGCONT");
    expect(await ask(await dial(firstLine))).toEqual({ text: "hello" });
  });

  test("outlive a stop that is shorter than the silence allowed", async () => {
    const { child, firstLine } = await peer.start(["100", "30000"]);
    const link = await dial(firstLine, { silenceMs: 30_000 });
    child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    child.kill("SIGCONT");
    expect(await ask(link)).toEqual({ text: "hello" });
  });

  test("that are idle live by their heartbeats", async () => {
    const { firstLine } = await peer.start(["50", "2000"]);
    const link = await dial(firstLine, { heartbeatMs: 50, silenceMs: 2_000 });
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    expect(await ask(link)).toEqual({ text: "hello" });
  });

  test("end, instead of growing for ever, when the other side takes nothing", async () => {
    const bounded = createNodeEnv({ log: quiet, transport: { maxQueuedBytes: 8 * 1024 * 1024 } });
    const { child, firstLine } = await peer.start(["100", "60000"]);
    const link = await dial(firstLine, { env: bounded, silenceMs: 60_000 });
    await ask(link);
    child.kill("SIGSTOP");
    const text = "x".repeat(1024 * 1024);
    for (let index = 0; index < 40; index += 1) link.send("ask", { text });
    expect((await link.ended).code).toBe("LIMIT_EXCEEDED");
    child.kill("SIGCONT");
  });

  test("give the data plane authenticated connections whose early frames are kept", async () => {
    const got: Uint8Array[] = [];
    const acceptor = {
      epoch: () => 1,
      role: "executor" as const,
      id: "e1",
      clusterId: () => null,
      roles: ["executor"] as const,
      facts: () => ({}),
    };
    const scope = "application/app-1-1";
    const key = randomBytes(32);
    const listener = await listenPeers({
      ...acceptor,
      env,
      address: "127.0.0.1:0",
      keyFor: (asked) => (asked === scope ? key : null),
      onPeer: ({ channel }) => {
        channel.limit(8 * 1024 * 1024);
        channel.listen((frame) => got.push(frame));
      },
    });
    closers.push(() => listener.close());
    const { channel, peer: other } = await dialPeer(listener.address, dialSettings({ role: "executor", id: "e2", scope, key }));
    closers.push(() => channel.connection.destroy());
    expect(other).toMatchObject({ role: "executor", id: "e1", scope });
    for (const size of [1, 5 * 1024 * 1024, 2]) channel.connection.send(new Uint8Array(size));
    await waitFor(() => got.length === 3);
    expect(got.map((frame) => frame.length)).toEqual([1, 5 * 1024 * 1024, 2]);
  });
});

describe("a listener among strangers", () => {
  test("survives garbage, truncated and oversized frames without a message, a link or growth", async () => {
    const { listener, links, messages, refusals } = await listen();
    const inputs: Uint8Array[] = [
      new Uint8Array(0),
      Uint8Array.of(0xff, 0xff, 0xff, 0xff),
      encodeFrame(new Uint8Array(MAX_HANDSHAKE_FRAME_BYTES + 1)),
      encodeFrame(new TextEncoder().encode("{}")),
      encodeFrame(new TextEncoder().encode('{"kind":"hello","protocol":1}')),
      encodeFrame(new TextEncoder().encode('{"kind":"ask","epoch":1,"body":{"text":"x"}}')),
      encodeFrame(new Uint8Array(0)),
      encodeFrame(Uint8Array.of(0xc3, 0x28)),
      new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      encodeFrame(new TextEncoder().encode("[".repeat(16_000))),
    ];
    for (let index = 0; index < 300; index += 1) {
      const garbage = randomBytes(1 + (index % 4_000));
      // Half of them have a plausible length.
      inputs.push(index % 2 === 0 ? garbage : encodeFrame(garbage));
    }
    for (let start = 0; start < inputs.length; start += 40) {
      await Promise.all(
        inputs.slice(start, start + 40).map(async (bytes) => {
          const socket = rawConnect(listener.address);
          const closed = once(socket, "close");
          socket.end(bytes);
          socket.resume();
          await closed;
        }),
      );
    }
    await waitFor(() => refusals.length === inputs.length);
    expect([links.length, messages.length]).toEqual([0, 0]);
    expect(new Set(refusals.map((reason) => reason.code))).toEqual(
      new Set(["PROTOCOL_VIOLATION", "CONNECTION_LOST", "LIMIT_EXCEEDED"]),
    );
    expect(await ask(await dial(listener.address))).toEqual({ text: "hello" });
  });

  test("keeps its memory flat when strangers announce large frames and send on and on", async () => {
    const { listener, links } = await listen();
    const before = process.memoryUsage().arrayBuffers;
    const announced = [MAX_HANDSHAKE_FRAME_BYTES, 4 * 1024 * 1024, 0x7fffffff];
    const sockets = Array.from({ length: 60 }, (_, index) => {
      const socket = rawConnect(listener.address);
      const header = new Uint8Array(4);
      new DataView(header.buffer).setUint32(0, announced[index % announced.length] as number);
      socket.write(header);
      socket.resume();
      return socket;
    });
    await Promise.all(sockets.map((socket) => (socket.connecting ? once(socket, "connect") : null)));
    const flood = setInterval(() => {
      for (const socket of sockets) if (!socket.destroyed && socket.writableLength < 100_000) socket.write(new Uint8Array(1_000));
    }, 5);
    closers.push(() => clearInterval(flood));
    await waitFor(() => sockets.filter((socket) => socket.destroyed).length === 60);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1024 * 1024);
    expect(links).toHaveLength(0);
  });

  test("gives slow strangers five seconds, counts them, and serves honest processes of other addresses meanwhile", async () => {
    const { listener, refusals, links } = await listen({ address: "0.0.0.0:0" });
    const { port } = parseHostPort(listener.address);
    const address = `127.0.0.1:${port}`;
    const slow = Array.from({ length: 100 }, () => rawConnect(address));
    await Promise.all(slow.map((socket) => once(socket, "connect")));
    const drip = setInterval(() => {
      for (const socket of slow) if (!socket.destroyed) socket.write(Uint8Array.of(0));
    }, 1_700);
    closers.push(() => clearInterval(drip));
    for (const socket of slow) socket.resume();
    await expect(dialLink(address, dialSettings())).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    const other = net.connect({ host: "127.0.0.1", port, localAddress: "127.0.0.2" });
    closers.push(() => other.destroy());
    const [greeting] = (await once(other, "data")) as [Buffer];
    expect(greeting.toString()).toContain("challenge");
    // They say something every 1.7 s, for ever: only a limit on the whole handshake ends them.
    await waitFor(() => slow.every((socket) => socket.destroyed), 30_000);
    expect(refusals.filter((reason) => reason.code === "TIMEOUT").length).toBeGreaterThanOrEqual(100);
    expect(links).toHaveLength(0);
    expect(await ask(await dial(address))).toEqual({ text: "hello" });
  });

  test("ends a link whose other side goes mad after an honest handshake, and no other", async () => {
    const { listener, links, messages } = await listen();
    const honest = await dial(listener.address);
    for (const bytes of [
      randomBytes(100),
      new Uint8Array(0),
      new TextEncoder().encode('{"kind":"ask","epoch":-1}'),
      new TextEncoder().encode("null"),
    ]) {
      const mad = await dialPeer(listener.address, dialSettings({ id: "mad" }));
      const connection: Connection = mad.channel.connection;
      connection.send(bytes);
      connection.send(new TextEncoder().encode('{"kind":"ask","epoch":1,"body":{"text":"too late"}}'));
      expect((await connection.ended).code).toBe("CONNECTION_LOST");
    }
    await waitFor(() => links.length === 5);
    for (const link of links.slice(1)) expect((await link.ended).code).toBe("PROTOCOL_VIOLATION");
    expect(messages).toHaveLength(0);
    expect(await ask(honest)).toEqual({ text: "hello" });
  });
});
