import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { createDetector, type DetectorEvent, MAX_RETRY_MS, READ_SPREAD_MS } from "../../../src/host/finding/master-detector.js";
import { createFakeRegistry, NOBODY } from "../../support/fake-registry.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const SESSION_MS = 10_000;

function world() {
  const env = createTestEnv();
  const fake = createFakeRegistry(env, { sessionMs: SESSION_MS });
  const events: DetectorEvent[] = [];
  let changes = 0;
  const start = () =>
    createDetector({
      env,
      registry: fake.registry,
      onEvent: (event) => events.push(event),
      onChange: () => {
        changes += 1;
      },
    });
  const told = () => events.splice(0).map((event) => ("leader" in event ? `${event.kind} ${event.leader.address}` : event.kind));
  return { env, fake, start, told, events, changes: () => changes };
}

const leads = (address: string, epoch: number, ...others: readonly string[]) => ({
  leader: { address, epoch },
  candidates: [address, ...others],
});

/** The detector has seen a:1 lead with epoch 3, and has told so. */
async function withLeader() {
  const { start, ...about } = world();
  about.fake.set(leads("a:1", 3));
  const detector = start();
  await about.env.clock.advance(1);
  about.told();
  return { ...about, detector };
}

describe("the detector", () => {
  test("tells that it is connected, then who leads, and every change of that", async () => {
    const { env, fake, start, told } = world();
    fake.set(leads("a:1", 3));
    const detector = start();
    await env.clock.advance(1);
    expect(told()).toEqual(["connected", "leader.created a:1", "masters"]);
    expect(detector.view()).toEqual({ ...leads("a:1", 3), problem: null, isFresh: true });
    fake.set(leads("b:1", 4));
    await env.clock.advance(READ_SPREAD_MS);
    expect(told()).toEqual(["leader.changed b:1", "masters"]);
    fake.set({ leader: null, candidates: ["b:1"] });
    await env.clock.advance(READ_SPREAD_MS);
    expect(told()).toEqual(["leader.deleted"]);
    fake.set(leads("b:1", 5));
    await env.clock.advance(READ_SPREAD_MS);
    expect(told()).toEqual(["leader.created b:1"]);
    await detector.close();
    expect(env.clock.timers()).toBe(0);
  });

  test("the same address with another epoch is another leader", async () => {
    const { env, fake, told, detector } = await withLeader();
    fake.set(leads("a:1", 4));
    await env.clock.advance(READ_SPREAD_MS);
    expect(told()).toEqual(["leader.changed a:1"]);
    await detector.close();
  });

  test("that is cut off knows within its session that it has no leader, though nobody tells it", async () => {
    const { env, fake, told, detector } = await withLeader();
    fake.cut();
    expect(told()).toEqual(["disconnected"]);
    expect(detector.view().leader).toEqual({ address: "a:1", epoch: 3 });
    await env.clock.advance(SESSION_MS - 2);
    expect(detector.view().leader).not.toBeNull();
    await env.clock.advance(2);
    expect(told()).toEqual(["expired", "leader.deleted"]);
    expect(detector.view()).toMatchObject({ leader: null, candidates: ["a:1"], problem: { code: "CONNECTION_LOST" } });
    fake.heal();
    await env.clock.advance(MAX_RETRY_MS);
    expect(told()).toEqual(["connected", "leader.created a:1"]);
    await detector.close();
    expect([fake.sessions(), env.clock.timers()]).toEqual([0, 0]);
  });

  test("that is connected again in time keeps its leader and its session, and reads what it missed", async () => {
    const { env, fake, told, detector } = await withLeader();
    fake.cut();
    await env.clock.advance(SESSION_MS / 2);
    fake.set(leads("b:1", 4));
    fake.heal();
    await env.clock.advance(READ_SPREAD_MS);
    expect(told()).toEqual(["disconnected", "reconnected", "leader.changed b:1", "masters"]);
    await env.clock.advance(2 * SESSION_MS);
    expect(told()).toEqual([]);
    expect(fake.counts.opened).toBe(1);
    await detector.close();
  });

  test("tells that its session expired, and opens a new one after a pause", async () => {
    const { env, fake, told, detector } = await withLeader();
    fake.expire();
    await settle();
    expect(told()).toEqual(["expired", "leader.deleted"]);
    expect([fake.counts.opened, fake.sessions()]).toEqual([1, 0]);
    await env.clock.advance(1_000);
    expect(told()).toEqual(["connected", "leader.created a:1"]);
    expect([fake.counts.opened, fake.sessions()]).toEqual([2, 1]);
    await detector.close();
  });

  test("says what it waits for: servers, the password, the path, a first master", async () => {
    const { env, fake, start } = world();
    fake.down();
    const detector = start();
    await env.clock.advance(1);
    expect(detector.view().problem).toMatchObject({ code: "CONNECTION_LOST", message: expect.stringContaining("refused") });
    fake.set(new CodedError("UNAUTHENTICATED", "the password is wrong"));
    fake.heal();
    await env.clock.advance(MAX_RETRY_MS);
    expect(detector.view().problem).toMatchObject({ code: "UNAUTHENTICATED" });
    fake.set(new CodedError("NO_MASTER", "no cluster is there"));
    await env.clock.advance(MAX_RETRY_MS);
    expect(detector.view().problem).toMatchObject({ code: "NO_MASTER", message: "no cluster is there" });
    fake.set(NOBODY);
    await env.clock.advance(MAX_RETRY_MS);
    expect(detector.view().problem?.message).toBe("no master of this cluster runs: zk://z:2181/x lists none");
    fake.set({ leader: null, candidates: ["a:1"] });
    await env.clock.advance(READ_SPREAD_MS);
    expect(detector.view().problem).toBeNull();
    await detector.close();
  });

  test("reads many changes once, at a moment of its own, and tries again ever more rarely what fails", async () => {
    const { env, fake, start } = world();
    fake.set(leads("a:1", 1));
    const detector = start();
    await env.clock.advance(1);
    expect(fake.counts.reads).toBe(1);
    for (let epoch = 2; epoch < 100; epoch++) fake.set(leads("a:1", epoch));
    expect(fake.counts.reads).toBe(1);
    await env.clock.advance(READ_SPREAD_MS);
    expect(fake.counts.reads).toBe(2);
    expect(detector.view().leader?.epoch).toBe(99);
    fake.set(new CodedError("UNAUTHENTICATED", "no"));
    await env.clock.advance(600_000);
    expect(fake.counts.reads).toBeLessThan(2 + 600_000 / (MAX_RETRY_MS / 2) + 10);
    await detector.close();
    expect(env.clock.timers()).toBe(0);
  });

  test("reports nothing after its close, and leaves neither session nor timer", async () => {
    const { env, fake, start, told, changes } = world();
    fake.set(leads("a:1", 3));
    const detector = start();
    await env.clock.advance(1);
    told();
    const before = changes();
    const closing = detector.close();
    fake.set(leads("b:1", 4));
    fake.cut();
    await closing;
    await env.clock.advance(60_000);
    expect([told(), changes(), fake.sessions(), env.clock.timers()]).toEqual([[], before, 0, 0]);
  });

  test("an implementation that waits for ZooKeeper's word keeps its leader for ever (a test of the test)", async () => {
    const env = createTestEnv();
    const fake = createFakeRegistry(env, { sessionMs: Number.POSITIVE_INFINITY });
    fake.set(leads("a:1", 3));
    const detector = createDetector({ env, registry: fake.registry, onEvent: () => {}, onChange: () => {} });
    await env.clock.advance(1);
    fake.cut();
    await env.clock.advance(10 * SESSION_MS);
    expect(detector.view().leader).not.toBeNull();
    await detector.close();
  });
});
