import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { Connection } from "../../../src/env/transport.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { keysOfCluster } from "../../../src/host/link/link-keys.js";
import { listenLinks } from "../../../src/host/link/link-listener.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const secret = new Uint8Array(32).fill(7);
const kinds = ["challenge", "hello", "welcome"] as const;
type Message = Record<string, unknown>;
type Alter = (message: Message) => Message;

/** A man in the middle who changes messages of one kind. */
function tamper(connection: Connection, kind: string, alter: Alter): Connection {
  const change = (frame: Uint8Array): Uint8Array => {
    const message = JSON.parse(new TextDecoder().decode(frame)) as Message;
    return message.kind === kind ? new TextEncoder().encode(JSON.stringify(alter(message))) : frame;
  };
  const send = connection.send.bind(connection);
  const onFrame = connection.onFrame.bind(connection);
  connection.send = (frame) => send(change(frame));
  connection.onFrame = (listener) => onFrame((frame) => listener(change(frame)));
  return connection;
}

async function attempt(kind: string, alter: Alter): Promise<{ dialled: Link | CodedError; accepted: Link[]; messages: number }> {
  const env = createTestEnv();
  const accepted: Link[] = [];
  let messages = 0;
  const common = { epoch: () => 5, incoming: {}, heartbeatMs: 1_000, silenceMs: 5_000 };
  const listener = await listenLinks({
    ...common,
    env,
    address: "m:7077",
    role: "master",
    id: "m1",
    clusterId: () => "c1",
    keyFor: keysOfCluster(env.digest, secret),
    roles: ["worker", "client", "master"],
    facts: () => ({ state: "ALIVE", leader: null }),
    onLink: (link) => {
      accepted.push(link);
      link.onMessage(() => {
        messages += 1;
      });
    },
  });
  const connect = env.transport.connect.bind(env.transport);
  const dialled = await dialLink(listener.address, {
    ...common,
    env: {
      ...env,
      transport: {
        ...env.transport,
        connect: async (...args: Parameters<typeof connect>) => tamper(await connect(...args), kind, alter),
      },
    },
    role: "worker",
    id: "w1",
    scope: "cluster",
    key: secret,
    clusterId: "c1",
    facts: { pid: 12 },
    connectTimeoutMs: 100,
    signal: new AbortController().signal,
  }).catch((reason) => reason as CodedError);
  await settle();
  return { dialled, accepted, messages };
}

const nonce = fc.stringMatching(/^[0-9a-f]{32}$/);
const changes: Readonly<Record<string, readonly fc.Arbitrary<readonly [string, unknown]>[]>> = {
  challenge: [
    nonce.map((value) => ["nonce", value] as const),
    fc.integer({ min: 2, max: 100 }).map((value) => ["protocol", value] as const),
  ],
  hello: [
    nonce.map((value) => ["nonce", value] as const),
    fc.constantFrom(null, "c2", "C1").map((value) => ["clusterId", value] as const),
    fc.constantFrom("client", "master", "driver", "executor").map((value) => ["role", value] as const),
    fc.stringMatching(/^[a-z0-9]{1,8}$/).map((value) => ["id", value] as const),
    fc.constantFrom("application/app-1-1", "cluster ", "").map((value) => ["scope", value] as const),
    fc.nat().map((value) => ["epoch", value] as const),
    fc
      .dictionary(fc.string({ maxLength: 8 }), fc.oneof(fc.string(), fc.integer(), fc.constant(null)), { maxKeys: 5 })
      .map((value) => ["facts", value] as const),
    fc.stringMatching(/^[0-9a-f]{64}$/).map((value) => ["proof", value] as const),
  ],
  welcome: [
    fc.constantFrom(null, "c2").map((value) => ["clusterId", value] as const),
    fc.constantFrom("client", "worker").map((value) => ["role", value] as const),
    fc.stringMatching(/^[a-z0-9]{3,8}$/).map((value) => ["id", value] as const),
    fc.integer({ min: 6 }).map((value) => ["epoch", value] as const),
    fc
      .constantFrom({}, { state: "STANDBY", leader: null }, { state: "ALIVE", leader: "evil:1" })
      .map((value) => ["facts", value] as const),
    fc.stringMatching(/^[0-9a-f]{64}$/).map((value) => ["proof", value] as const),
  ],
};

describe("a handshake whose messages are changed on the way", () => {
  for (const kind of kinds) {
    test(`never succeeds for the dialler when any field of the ${kind} is another`, async () => {
      const change = fc.oneof(...(changes[kind] as fc.Arbitrary<readonly [string, unknown]>[]));
      await fc.assert(
        fc.asyncProperty(change, async ([field, value]) => {
          let changed = false;
          const { dialled, accepted, messages } = await attempt(kind, (message) => {
            changed = JSON.stringify(message[field]) !== JSON.stringify(value);
            return { ...message, [field]: value };
          });
          if (!changed) return;
          expect(dialled).toBeInstanceOf(CodedError);
          expect(["UNAUTHENTICATED", "PROTOCOL_VERSION", "PROTOCOL_VIOLATION"]).toContain((dialled as CodedError).code);
          // A changed welcome is noticed by the dialler only, which then ends the connection.
          if (kind !== "welcome") expect(accepted).toHaveLength(0);
          else expect((await (accepted[0] as Link).ended).code).toBe("CONNECTION_LOST");
          expect(messages).toBe(0);
        }),
        { numRuns: 60 },
      );
    });
  }

  test("succeeds when nothing is changed, and when only unknown fields are added", async () => {
    for (const kind of kinds) {
      const { dialled, accepted } = await attempt(kind, (message) => ({ ...message, unknown: 1 }));
      expect(dialled).not.toBeInstanceOf(CodedError);
      expect(accepted).toHaveLength(1);
    }
  });

  test("never succeeds with random JSON or random bytes in the place of a message", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...kinds), fc.jsonValue(), async (kind, value) => {
        const { dialled, messages } = await attempt(kind, () => value as Message);
        expect(dialled).toBeInstanceOf(CodedError);
        expect(messages).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});
