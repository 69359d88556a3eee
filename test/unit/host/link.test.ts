import { describe, expect, test } from "vitest";
import { z } from "zod";
import { CodedError } from "../../../src/base/errors.js";
import type { Link, LinkMessage } from "../../../src/host/link.js";
import type { AcceptSettings, DialSettings } from "../../../src/host/link-handshake.js";
import { dialLink } from "../../../src/host/link-handshake.js";
import { keysOfCluster } from "../../../src/host/link-keys.js";
import type { ListenSettings } from "../../../src/host/link-listener.js";
import { listenLinks } from "../../../src/host/link-listener.js";
import type { TestEnv } from "../../support/manual-clock.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const secret = new Uint8Array(32).fill(7);
const table = { hello: z.object({ n: z.number() }), ask: z.object({ text: z.string() }) };
const never = new AbortController().signal;

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
    expect(got[0]).toEqual({ kind: "hello", body: { n: 0 }, epoch: 2, requestId: null });
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
});
