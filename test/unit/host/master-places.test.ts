import { setMaxListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { followLeader, type Looking } from "../../../src/host/finding/master-finder.js";
import { ASK_AFTER_HELD_MS, ASK_AFTER_MS, createPlaces } from "../../../src/host/finding/master-places.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialAsWorker, startFakeMaster } from "../../support/fake-master.js";
import { createFakeRegistry, NOBODY } from "../../support/fake-registry.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const URL = "zk://me:s3cret@z:2181/x";

function world(masterUrl = URL, files: Readonly<Record<string, string>> = {}) {
  const env = createTestEnv();
  const fake = createFakeRegistry(env);
  const control = new AbortController();
  setMaxListeners(0, control.signal);
  const dials: string[] = [];
  const looking: Looking[] = [];
  const found: Link[] = [];
  const known: (readonly string[])[] = [];
  const places = createPlaces({
    env,
    masterUrl,
    readFile: async (path) => files[path] ?? Promise.reject(new Error("ENOENT")),
    openRegistry: () => fake.registry,
    onKnown: (addresses) => known.push(addresses),
  });
  const follow = () =>
    followLeader({
      env,
      masterUrl,
      readFile: () => Promise.reject(new Error("not used")),
      places,
      signal: control.signal,
      onLink: (link) => found.push(link),
      onLooking: (report) => looking.push(report),
      dial: (address, signal) => {
        dials.push(address);
        return dialAsWorker(env, address, signal);
      },
    });
  const stop = async (following: Promise<void>) => {
    control.abort(new Error("stop"));
    await following;
    await places.close();
    await settle();
    expect([fake.sessions(), env.clock.timers()]).toEqual([0, 0]);
  };
  return { env, fake, places, dials, looking, found, known, follow, stop };
}

describe("whoever follows the leader through ZooKeeper", () => {
  test("asks at once when it knows nothing, dials what is listed, and has no session while it has a leader", async () => {
    const { env, fake, found, follow, stop, places } = world();
    await startFakeMaster(env, "a:1");
    fake.set({ leader: { address: "a:1", epoch: 1 }, candidates: ["a:1", "b:1"] });
    const following = follow();
    await env.clock.advance(10);
    expect(found.map(({ remote }) => remote)).toEqual(["a:1"]);
    expect([fake.counts.opened, fake.sessions()]).toEqual([1, 0]);
    expect(places.known()).toEqual(["a:1", "b:1"]);
    await env.clock.advance(60_000);
    expect(fake.counts.opened).toBe(1);
    await stop(following);
  });

  test("finds the next leader among those it knows without asking", async () => {
    const { env, fake, found, follow, stop } = world();
    const first = await startFakeMaster(env, "a:1");
    fake.set({ leader: { address: "a:1", epoch: 1 }, candidates: ["a:1", "b:1"] });
    const second = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1" });
    const following = follow();
    await env.clock.advance(5_000);
    second.state = "RECOVERING";
    await first.kill();
    await env.clock.advance(100);
    expect(found.map(({ remote }) => remote)).toEqual(["a:1", "b:1"]);
    expect(fake.counts.opened).toBe(1);
    await stop(following);
  });

  test("asks again, once and not at once, when none of those it knows leads; much later while a standby answers", async () => {
    for (const standby of [false, true]) {
      const { env, fake, found, follow, stop } = world();
      const first = await startFakeMaster(env, "a:1");
      if (standby) await startFakeMaster(env, "b:1", { state: "STANDBY" });
      fake.set({ leader: { address: "a:1", epoch: 1 }, candidates: ["a:1", "b:1"] });
      const following = follow();
      await env.clock.advance(5_000);
      await first.kill();
      await startFakeMaster(env, "c:1");
      fake.set({ leader: { address: "c:1", epoch: 2 }, candidates: ["c:1"] });
      const afterMs = standby ? ASK_AFTER_HELD_MS : ASK_AFTER_MS;
      await env.clock.advance(afterMs / 2 - 100);
      expect(fake.counts.opened).toBe(1);
      await env.clock.advance(afterMs + 1_000);
      expect(fake.counts.opened).toBe(2);
      expect(found.map(({ remote }) => remote)).toEqual(["a:1", "c:1"]);
      await stop(following);
    }
  });

  test("knows the masters that its leader tells of, also those that come later", async () => {
    const { env, fake, follow, stop, places, known } = world();
    const master = await startFakeMaster(env, "a:1", { masters: "a:1,d:1" });
    fake.set({ leader: { address: "a:1", epoch: 1 }, candidates: ["a:1"] });
    const following = follow();
    await env.clock.advance(10);
    expect(places.known()).toEqual(["a:1", "d:1"]);
    master.masters = "a:1,d:1,e:1";
    master.announce();
    await settle();
    expect(places.known()).toEqual(["a:1", "d:1", "e:1"]);
    expect(known.at(-1)).toEqual(["a:1", "d:1", "e:1"]);
    await stop(following);
  });

  test("says what it waits for, without credentials, and that a wrong password does not pass by itself", async () => {
    const { env, fake, looking, follow, stop } = world();
    fake.down();
    const following = follow();
    await env.clock.advance(2_000);
    expect(looking.at(-1)).toMatchObject({ problem: { code: "CONNECTION_LOST" }, permanent: null });
    fake.set(new CodedError("UNAUTHENTICATED", "the password is wrong"));
    fake.heal();
    await env.clock.advance(20_000);
    expect(looking.at(-1)).toMatchObject({ problem: { code: "UNAUTHENTICATED" }, permanent: { code: "UNAUTHENTICATED" } });
    fake.set(NOBODY);
    await env.clock.advance(20_000);
    expect(looking.at(-1)).toMatchObject({ problem: { code: "NO_MASTER" }, permanent: null });
    expect(JSON.stringify(looking)).not.toContain("s3cret");
    await stop(following);
  });

  test("may have the URL in a file, and another one there later", async () => {
    const files: Record<string, string> = { "/f": `${URL}\n` };
    const { env, fake, found, follow, stop, places } = world("file:///f", files);
    const first = await startFakeMaster(env, "a:1");
    fake.set({ leader: { address: "a:1", epoch: 1 }, candidates: ["a:1"] });
    const following = follow();
    await env.clock.advance(10);
    expect(places.isPrivate()).toBe(true);
    files["/f"] = "b:1\n";
    await startFakeMaster(env, "b:1");
    await first.kill();
    await env.clock.advance(100);
    expect(found.map(({ remote }) => remote)).toEqual(["a:1", "b:1"]);
    expect([places.isPrivate(), fake.counts.opened]).toEqual([false, 1]);
    await stop(following);
  });

  test("is refused the URL where nobody can ask", () => {
    const env = createTestEnv();
    const make = () => createPlaces({ env, masterUrl: URL, readFile: async () => "" });
    expect(make).toThrow(/cannot be looked for in zk:\/\/z:2181\/x from here/);
  });
});
