/**
 * The simulator's ZooKeeper held to the real one: the same random operations, the same answers, stats and watch events.
 *
 * HOLDFAST_ZK_OPERATIONS=100000 plays more of them, HOLDFAST_ZK_SEED=7 other ones.
 */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seededRandom } from "../../../src/sim/seed.js";
import { World } from "../../../src/sim/world.js";
import { FakeZooKeeperClient } from "../../../src/sim/zookeeper/client.js";
import { FakeEnsemble } from "../../../src/sim/zookeeper/ensemble.js";
import { connectZooKeeper } from "../../../src/zookeeper/index.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { type PlayedClient, type PlayedEnsemble, play, type Step } from "../../support/zookeeper-sequence.js";

const OPERATIONS = Number(process.env.HOLDFAST_ZK_OPERATIONS ?? 10_000);
const SEED = Number(process.env.HOLDFAST_ZK_SEED ?? 1);
const IN_A_SEQUENCE = 500;
const SESSION_MS = 30_000;

const digestId = (auth: string): string => `${auth.split(":")[0]}:${createHash("sha1").update(auth).digest("base64")}`;

function realEnsemble(servers: string): PlayedEnsemble {
  return {
    digestId,
    settle: (promise) => promise,
    connect: async (auth): Promise<PlayedClient> => {
      const shown = auth === null ? [] : [{ scheme: "digest", auth } as const];
      const zk = connectZooKeeper({ servers, sessionTimeoutMs: SESSION_MS, auth: shown });
      await zk.connected();
      const id = zk.session()?.id ?? "";
      return Object.assign(zk, { id: () => id });
    },
  };
}

function fakeEnsemble(seed: number): PlayedEnsemble {
  const world = new World(seed, () => new Promise((resolve) => setImmediate(resolve)));
  const random = world.random.fork("ensemble");
  const ensemble = new FakeEnsemble({
    world,
    random,
    servers: 1,
    tickMs: 200,
    lagMs: () => 0,
    commitMs: () => random.between(0.1, 0.3),
    ordered: () => {},
  });
  const settle = async <T>(promise: Promise<T>): Promise<T> => {
    let isSettled = false;
    const over = () => {
      isSettled = true;
    };
    promise.then(over, over);
    for (let round = 0; round < 100 && !isSettled; round += 1) await world.runUntil(world.now() + 1_000, () => isSettled);
    return promise;
  };
  return {
    digestId,
    settle,
    connect: async (auth): Promise<PlayedClient> => {
      const client = new FakeZooKeeperClient({
        world,
        process: world.spawn("client", "m"),
        random: world.random.fork("client"),
        ensemble,
        sessionTimeoutMs: SESSION_MS,
        latencyMs: () => 0.1,
        isReachable: () => true,
        digestId,
        auth: auth === null ? [] : [{ scheme: "digest", auth }],
      });
      await settle(client.sync("/"));
      return Object.assign(client, { id: () => client.sessionId });
    },
  };
}

describe("the simulator's ZooKeeper", () => {
  let servers: ZooKeeperServers;
  beforeAll(async () => {
    servers = await startZooKeeper({ java: ["-Dzookeeper.forceSync=no"] });
  });
  afterAll(() => servers.close());

  test(`answers ${OPERATIONS} random operations as the real one does`, { timeout: 60_000 + OPERATIONS * 30 }, async () => {
    for (let done = 0; done < OPERATIONS; done += IN_A_SEQUENCE) {
      const seed = SEED * 1_000_000 + done;
      const real = await play(realEnsemble(servers.connectString), `/s${seed}/r`, seededRandom(seed), IN_A_SEQUENCE);
      const fake = await play(fakeEnsemble(seed), `/s${seed}/r`, seededRandom(seed), IN_A_SEQUENCE);
      const difference = real.findIndex((step, index) => JSON.stringify(step) !== JSON.stringify(fake[index]));
      if (difference >= 0) expect(told(fake, difference), `seed ${seed}, step ${difference}`).toEqual(told(real, difference));
      expect(fake).toHaveLength(real.length);
    }
  });

  test("is a comparison that sees what it compares: another order of deletions is another transcript", async () => {
    const one = await play(fakeEnsemble(1), "/s/r", seededRandom(1), IN_A_SEQUENCE);
    const other = await play(fakeEnsemble(1), "/s/r", seededRandom(2), IN_A_SEQUENCE);
    expect(other).not.toEqual(one);
    expect(one.some(({ events }) => events.length > 0)).toBe(true);
    const errors = new Set(one.map(({ answer }) => (answer as { error?: string } | null)?.error).filter(Boolean));
    for (const code of ["NO_NODE", "NODE_EXISTS", "BAD_VERSION", "NOT_EMPTY", "NO_AUTH"]) expect([...errors]).toContain(code);
  });
});

/** The step, and those before it. */
const told = (steps: readonly Step[], index: number): readonly Step[] => steps.slice(Math.max(0, index - 3), index + 1);
