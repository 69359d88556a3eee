/** Links to masters that stand by: what they are for, and what they must never do. */
import { setMaxListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import { type FollowOptions, followLeader } from "../../../src/host/finding/master-finder.js";
import { MAX_STANDING_LINKS, STANDING_SPREAD_MS } from "../../../src/host/finding/standing-links.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { STANDING, STANDING_PACE } from "../../../src/wire/handshake.js";
import { masterToWorker } from "../../../src/wire/worker-messages.js";
import { type FakeMaster, startFakeMaster, testSecret } from "../../support/fake-master.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const ORDER = { reason: "gone", message: "stop" };

/** A worker that follows whoever leads, and holds links to the others. */
function stage(
  masterUrl: string,
  over: Partial<
    { readonly key: Uint8Array; readonly clusterId: string } & Pick<FollowOptions, "needsProof" | "onNobodyLeads">
  > = {},
) {
  const env = createTestEnv();
  const control = new AbortController();
  setMaxListeners(0, control.signal);
  const dials: string[] = [];
  const standingDials: string[] = [];
  const found: Link[] = [];
  const ends: string[] = [];
  const orders: string[] = [];
  const dialAs = (isStanding: boolean) => (address: string, signal: AbortSignal) => {
    (isStanding ? standingDials : dials).push(address);
    return dialLink(address, {
      env,
      epoch: () => 0,
      role: "worker",
      id: "w1",
      scope: "cluster",
      key: (isStanding ? over.key : undefined) ?? testSecret,
      clusterId: over.clusterId ?? null,
      incoming: masterToWorker,
      connectTimeoutMs: 3_000,
      signal,
      ...(isStanding ? { ...STANDING_PACE, facts: { [STANDING]: 1 } } : { heartbeatMs: 1_000, silenceMs: 5_000 }),
    });
  };
  const options: FollowOptions = {
    env,
    masterUrl,
    readFile: () => Promise.reject(new Error("no files here")),
    dial: dialAs(false),
    dialStanding: dialAs(true),
    onLink: (link) => {
      link.pace({ heartbeatMs: 1_000, silenceMs: 5_000 });
      found.push(link);
      link.onMessage(({ kind }) => void orders.push(kind));
      void link.ended.then(({ code }) => ends.push(`${link.remote} ${code}`));
    },
    signal: control.signal,
    ...(over.needsProof === undefined ? {} : { needsProof: over.needsProof }),
    ...(over.onNobodyLeads === undefined ? {} : { onNobodyLeads: over.onNobodyLeads }),
  };
  const following = followLeader(options);
  const stop = async () => {
    control.abort(new Error("stop"));
    await following;
    await settle();
    expect(env.clock.timers()).toBe(0);
  };
  return { env, dials, standingDials, found, ends, orders, stop, addresses: () => found.map(({ remote }) => remote) };
}

/** How it has ended; "open" while it has not. */
async function endOf(link: Link, say = ({ code }: CodedError): string => code): Promise<string> {
  let said = "open";
  void link.ended.then((reason) => {
    said = say(reason);
  });
  await settle();
  return said;
}

/** It takes over, and tells everybody who waits. */
function takesOver(master: FakeMaster, epoch: number): void {
  master.state = "RECOVERING";
  master.epoch = epoch;
  master.announce();
}

const standing = (over: Partial<FakeMaster> = {}) => ({ state: "STANDBY", leader: "a:1", leads: 0, ...over }) as const;

describe("links to masters that stand by", () => {
  test("stand before the leader dies, so that a failover is one message on a link that stands", async () => {
    const { env, dials, standingDials, found, addresses, stop } = stage("a:1,b:1,c:1");
    const leader = await startFakeMaster(env, "a:1");
    const b = await startFakeMaster(env, "b:1", standing());
    const c = await startFakeMaster(env, "c:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    expect([...standingDials].sort()).toEqual(["b:1", "c:1"]);
    const [kept] = b.links;
    await env.clock.advance(60_000);
    const before = dials.length;
    await leader.kill();
    await settle();
    takesOver(b, 2);
    await settle();
    expect(addresses()).toEqual(["a:1", "b:1"]);
    // Nobody was dialled but the dead leader, and the link is the one of before.
    expect(dials.slice(before)).toEqual(["a:1"]);
    expect(b.links).toHaveLength(1);
    expect(found[1]?.peer.epoch).toBe(2);
    // The other one is kept: it may be next.
    await env.clock.advance(30_000);
    takesOver(c, 3);
    await settle();
    expect(addresses()).toEqual(["a:1", "b:1", "c:1"]);
    expect(await endOf(kept as Link)).toBe("CONNECTION_LOST");
    await stop();
  });

  test("beat slowly while they wait, and as every other link when their master leads", async () => {
    const { env, found, stop } = stage("a:1,b:1");
    const leader = await startFakeMaster(env, "a:1");
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    const kept = b.links[0] as Link;
    kept.pace(STANDING_PACE);
    let longestMs = 0;
    for (let second = 0; second < 120; second += 1) {
      await env.clock.advance(1_000);
      longestMs = Math.max(longestMs, env.clock.now() - kept.lastHeardAt());
    }
    expect(longestMs).toBeGreaterThan(STANDING_PACE.heartbeatMs - 1_001);
    expect(longestMs).toBeLessThanOrEqual(STANDING_PACE.heartbeatMs);
    await leader.kill();
    kept.pace({ heartbeatMs: 1_000, silenceMs: 5_000 });
    takesOver(b, 2);
    await env.clock.advance(20_000);
    expect(found).toHaveLength(2);
    expect(env.clock.now() - kept.lastHeardAt()).toBeLessThanOrEqual(1_000);
    await stop();
  });

  test("win over an old leader that has not noticed: its link is ended by this side", async () => {
    const { env, ends, addresses, stop } = stage("a:1,b:1");
    await startFakeMaster(env, "a:1", { epoch: 4 });
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    takesOver(b, 5);
    await settle();
    await env.clock.advance(10);
    expect(ends).toEqual(["a:1 CLOSED"]);
    expect(addresses()).toEqual(["a:1", "b:1"]);
    // The old one is now among the others, still says that it leads, and is not believed.
    await env.clock.advance(60_000);
    expect(addresses()).toEqual(["a:1", "b:1"]);
    await stop();
  });

  test("are not believed when they lead with an epoch that is not above the leader's", async () => {
    const { env, ends, addresses, stop } = stage("a:1,b:1");
    await startFakeMaster(env, "a:1", { epoch: 5 });
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    const kept = b.links[0] as Link;
    takesOver(b, 5);
    await settle();
    expect(await endOf(kept)).toBe("CONNECTION_LOST");
    expect(ends).toEqual([]);
    expect(addresses()).toEqual(["a:1"]);
    await stop();
  });

  test("carry no orders before their master has said that it leads, also none of the present epoch", async () => {
    const { env, orders, addresses, stop } = stage("a:1,b:1");
    const leader = await startFakeMaster(env, "a:1");
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    const kept = b.links[0] as Link;
    kept.send("worker.refused", ORDER);
    await settle();
    expect(await endOf(kept, ({ message }) => message)).toContain("has not said that it leads");
    await leader.kill();
    takesOver(b, 2);
    await env.clock.advance(2_000);
    expect(addresses()).toEqual(["a:1", "b:1"]);
    expect(orders).toEqual([]);
    await stop();
  });

  test("that died unnoticed cost a second: then the standby is dialled", async () => {
    const { env, addresses, stop } = stage("a:1,b:1");
    const leader = await startFakeMaster(env, "a:1");
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    // Nothing comes over the old link any more, neither a word nor its end.
    (b.links[0] as Link).announce = () => {};
    await leader.kill();
    takesOver(b, 2);
    await env.clock.advance(400);
    expect(addresses()).toEqual(["a:1"]);
    await env.clock.advance(2_000);
    expect(addresses()).toEqual(["a:1", "b:1"]);
    await stop();
  });

  test("spare no dial to whoever needs the proof that nobody leads, and are used all the same", async () => {
    const proofs: number[] = [];
    const { env, dials, addresses, stop } = stage("a:1,b:1", {
      needsProof: () => true,
      onNobodyLeads: (since) => proofs.push(since),
    });
    const leader = await startFakeMaster(env, "a:1");
    const b = await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS + 5_000);
    const kept = b.links[0] as Link;
    await leader.kill();
    await settle();
    expect(dials.slice(-2)).toEqual(["a:1", "b:1"]);
    expect(proofs).toEqual([env.clock.now()]);
    b.state = "RECOVERING";
    b.epoch = 2;
    kept.announce({ state: "RECOVERING" });
    await settle();
    expect(addresses()).toEqual(["a:1", "b:1"]);
    expect(await endOf(kept)).toBe("open");
    await stop();
  });

  test("to a master that leads, is deposed and leads again are made anew each time", async () => {
    const { env, addresses, stop } = stage("a:1,b:1");
    const masters = [await startFakeMaster(env, "a:1"), await startFakeMaster(env, "b:1", standing())] as const;
    await env.clock.advance(STANDING_SPREAD_MS);
    for (let epoch = 2; epoch <= 5; epoch += 1) {
      const [next, former] = epoch % 2 === 0 ? [masters[1], masters[0]] : masters;
      former.state = "STANDBY";
      // A deposed leader ends all its links.
      for (const link of former.links.splice(0)) link.close();
      takesOver(next, epoch);
      await env.clock.advance(50);
      expect(addresses().at(-1)).toBe(next.address);
      await env.clock.advance(2 * STANDING_SPREAD_MS);
    }
    expect(addresses()).toEqual(["a:1", "b:1", "a:1", "b:1", "a:1"]);
    await stop();
  });

  test("are refused by masters of another secret, which are asked ever more rarely", async () => {
    const { env, standingDials, ends, addresses, stop } = stage("a:1,b:1", { key: new Uint8Array(32).fill(9) });
    await startFakeMaster(env, "a:1");
    await startFakeMaster(env, "b:1", standing());
    await env.clock.advance(10 * 60_000);
    expect(standingDials.length).toBeGreaterThan(3);
    expect(standingDials.length).toBeLessThan(16);
    expect(addresses()).toEqual(["a:1"]);
    expect(ends).toEqual([]);
    await stop();
  });

  test("are at most four, none of them to the leader, whatever it is called", async () => {
    const names = ["b:1", "c:1", "d:1", "e:1", "f:1", "g:1"];
    const { env, standingDials, stop } = stage("a:1");
    await startFakeMaster(env, "a:1", { masters: ["a:1", ...names].join(",") });
    const others = await Promise.all(names.map((name) => startFakeMaster(env, name, standing())));
    await env.clock.advance(5 * 60_000);
    expect(standingDials).toHaveLength(MAX_STANDING_LINKS);
    expect(others.filter(({ links }) => links.length > 0)).toHaveLength(MAX_STANDING_LINKS);
    await stop();
  });

  test("follow what the leader tells of the other masters: to those that come, and no more to those that are gone", async () => {
    const { env, stop } = stage("a:1");
    const leader = await startFakeMaster(env, "a:1", { masters: "a:1,b:1" });
    const b = await startFakeMaster(env, "b:1", standing());
    const c = await startFakeMaster(env, "c:1", standing());
    await env.clock.advance(STANDING_SPREAD_MS);
    expect([b.links.length, c.links.length]).toEqual([1, 0]);
    leader.masters = "a:1,c:1";
    leader.announce();
    await env.clock.advance(STANDING_SPREAD_MS);
    expect(await endOf(b.links[0] as Link)).toBe("CONNECTION_LOST");
    expect(c.links).toHaveLength(1);
    await stop();
  });
});
