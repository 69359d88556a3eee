/** Looking masters up in a real ZooKeeper: what the detector tells when servers die, stop, come back, and what it says of bad URLs. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { campaign, type Leadership } from "../../../src/coordination/leadership.js";
import { parseZooKeeperUrl } from "../../../src/coordination/zookeeper-url.js";
import { createDetector, type DetectorEvent } from "../../../src/host/finding/master-detector.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { createLog } from "../../../src/node/log.js";
import { createZooKeeperRegistry } from "../../../src/node/zookeeper-store/registry.js";
import { createZooKeeperStore } from "../../../src/node/zookeeper-store/zookeeper-store.js";
import { until } from "../../support/holdfast.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";

const SESSION_MS = 2_000;
let zooKeeper: ZooKeeperServers;
let paths = 0;
const env = createNodeEnv({ log: createLog({ format: "text", stream: { write: () => true }, role: "test", id: "t" }) });

beforeAll(async () => {
  zooKeeper = await startZooKeeper();
}, 90_000);
afterAll(() => zooKeeper?.close());

const newUrl = (user = "") => `zk://${user}${zooKeeper.connectString}/registry-${++paths}`;

async function master(url: string, address: string, suspicion?: AbortSignal) {
  const { clock, random } = env;
  const store = createZooKeeperStore({ url: parseZooKeeperUrl(url), clock, random });
  const control = new AbortController();
  const leading = campaign(store, {
    candidate: address,
    ttlMs: 4_000,
    clock,
    signal: control.signal,
    ...(suspicion === undefined ? {} : { suspicion }),
  });
  leading.catch(() => {});
  return {
    leading,
    end: async () => {
      control.abort(new Error("end"));
      await leading.then((leadership: Leadership) => leadership.resign()).catch(() => {});
      await store.close();
    },
  };
}

function detect(url: string) {
  const events: DetectorEvent[] = [];
  const registry = createZooKeeperRegistry(parseZooKeeperUrl(url), { clock: env.clock, sessionTimeoutMs: SESSION_MS });
  const detector = createDetector({ env, registry, onEvent: (event) => events.push(event), onChange: () => {} });
  const kinds = () => events.map(({ kind }) => kind);
  const sees = (what: string, count = 1) =>
    until(`${what} among ${kinds().join(", ")}`, () => kinds().filter((kind) => kind === what).length >= count);
  return { detector, events, kinds, sees };
}

describe("the detector on a real ZooKeeper", () => {
  test("sees masters come, lead, hand over and go, and leaves nothing there", async () => {
    const url = newUrl("me:s3cret@");
    const first = await master(url, "h1:7077");
    await first.leading;
    const { detector, kinds, sees } = detect(url);
    await sees("leader.created");
    expect(detector.view()).toEqual({
      leader: { address: "h1:7077", epoch: 1 },
      candidates: ["h1:7077"],
      problem: null,
      isFresh: true,
    });
    const second = await master(url, "h2:7077");
    await until("the standby", () => detector.view().candidates.length === 2);
    const nodesBefore = /zk_znode_count\s+(\d+)/.exec(
      await (zooKeeper.servers[0] as { ask(word: string): Promise<string> }).ask("mntr"),
    )?.[1];
    await first.end();
    await second.leading;
    await until("the next leader", () => detector.view().leader?.address === "h2:7077");
    expect(detector.view()).toMatchObject({ leader: { epoch: 2 }, candidates: ["h2:7077"], problem: null });
    await second.end();
    await until("nobody", () => detector.view().leader === null && detector.view().candidates.length === 0);
    expect(detector.view().problem?.message).toMatch(/no master of this cluster runs: zk:\/\/.*lists none$/);
    expect(kinds()[0]).toBe("connected");
    expect(nodesBefore).toBeDefined();
    const ephemerals = () => zooKeeper.servers[0]?.ask("dump");
    await detector.close();
    expect(await ephemerals()).not.toMatch(/registry/);
  }, 60_000);

  test("goes on with the same session when the server was restarted, and opens another one when it was away for too long", async () => {
    const url = newUrl();
    const leader = await master(url, "h1:7077");
    await leader.leading;
    const { detector, kinds, sees } = detect(url);
    await sees("leader.created");
    const [server] = zooKeeper.servers;
    await server?.restart();
    await until(
      "a connection again",
      () => kinds().some((kind) => kind === "reconnected") || kinds().filter((kind) => kind === "connected").length > 1,
    );
    // A stopped server takes connections and says nothing: only its own clock tells the detector.
    const expiries = kinds().filter((kind) => kind === "expired").length;
    await until("the leader again", () => detector.view().leader !== null);
    await server?.stop();
    try {
      await sees("expired", expiries + 1);
      expect(detector.view().leader).toBeNull();
      expect(detector.view().problem).toMatchObject({ code: "CONNECTION_LOST" });
    } finally {
      server?.cont();
    }
    await until("the list again", () => detector.view().problem === null || detector.view().problem?.code === "NO_MASTER");
    await detector.close();
    await leader.end();
  }, 90_000);

  test("tells a wrong password from a missing one, from a missing path, and from servers that do not answer", async () => {
    const url = newUrl("me:s3cret@");
    const leader = await master(url, "h1:7077");
    await leader.leading;
    const problems: Record<string, string> = {
      [url.replace("s3cret", "wr0ng")]: "UNAUTHENTICATED",
      [url.replace("me:s3cret@", "")]: "UNAUTHENTICATED",
      [`${url}-other`]: "NO_MASTER",
      "zk://me:s3cret@127.0.0.1:1/registry-0": "CONNECTION_LOST",
    };
    for (const [wrong, code] of Object.entries(problems)) {
      const { detector } = detect(wrong);
      await until(
        `${code} of ${wrong}`,
        () => detector.view().problem?.code === code && !/not answered yet/.test(detector.view().problem?.message ?? ""),
      );
      const { problem } = detector.view();
      expect(JSON.stringify(problem?.toShape()) + String(problem?.stack)).not.toMatch(/s3cret|wr0ng/);
      expect(problem?.hint).toBeTruthy();
      await detector.close();
    }
    await leader.end();
  }, 60_000);
});
