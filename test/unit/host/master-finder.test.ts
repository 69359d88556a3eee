import { setMaxListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { FindOptions, Looking } from "../../../src/host/finding/master-finder.js";
import { findLeader, followLeader } from "../../../src/host/finding/master-finder.js";
import { createPlaces } from "../../../src/host/finding/master-places.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialAsWorker, startFakeMaster } from "../../support/fake-master.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

function world(masterUrl: string, over: Partial<FindOptions> = {}) {
  const env = createTestEnv();
  const control = new AbortController();
  setMaxListeners(0, control.signal);
  const dials: string[] = [];
  const looking: Looking[] = [];
  const options: FindOptions = {
    env,
    masterUrl,
    readFile: () => Promise.reject(new Error("no files here")),
    dial: (address, signal) => {
      dials.push(address);
      return dialAsWorker(env, address, signal);
    },
    onLooking: (report) => looking.push(report),
    signal: control.signal,
    ...over,
  };
  return { env, control, dials, looking, options };
}

/** Follows, and gathers the addresses of the leaders that were found. */
function follow(options: FindOptions) {
  const found: Link[] = [];
  const following = followLeader({ ...options, onLink: (link) => found.push(link) });
  return { found, following, addresses: () => found.map((link) => link.remote) };
}

describe("the master finder", () => {
  test("finds the leader among standbys", async () => {
    const { env, options } = world("a:1,b:1,c:1");
    await startFakeMaster(env, "a:1", { state: "STANDBY" });
    await startFakeMaster(env, "b:1", { state: "STANDBY" });
    await startFakeMaster(env, "c:1", { state: "RECOVERING" });
    expect((await findLeader(options)).remote).toBe("c:1");
  });

  test("follows a standby's hint at an address that the URL does not name", async () => {
    const { env, options } = world("a:1");
    await startFakeMaster(env, "a:1", { state: "STANDBY", leader: "z:9" });
    await startFakeMaster(env, "z:9");
    expect((await findLeader(options)).remote).toBe("z:9");
    expect(env.clock.now()).toBe(1_000);
  });

  test("is not led in circles by wrong hints", async () => {
    const { env, options, dials, control } = world("a:1,b:1");
    await startFakeMaster(env, "a:1", { state: "STANDBY", leader: "b:1" });
    await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1" });
    const finding = findLeader(options).catch((reason) => reason);
    await settle();
    expect(dials).toEqual(["a:1", "b:1"]);
    await env.clock.advance(60_000);
    // About one round a second once the pause has grown.
    expect(dials.length).toBeLessThan(220);
    control.abort(new Error("enough"));
    expect(await finding).toEqual(new Error("enough"));
    expect(env.clock.timers()).toBe(0);
  });

  test("is not delayed by an address that hangs", async () => {
    const { env, options } = world("a:1,b:1");
    await startFakeMaster(env, "a:1");
    env.transport.freeze("a:1");
    const finding = findLeader(options);
    await env.clock.advance(300);
    await startFakeMaster(env, "b:1");
    await env.clock.advance(1_000);
    expect((await finding).remote).toBe("b:1");
  });

  test("finds the next leader at once when the link breaks, and tells who it follows", async () => {
    const { env, options, control } = world("a:1,b:1");
    const first = await startFakeMaster(env, "a:1");
    const second = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1" });
    const { addresses, following } = follow(options);
    await settle();
    expect(addresses()).toEqual(["a:1"]);
    await env.clock.advance(5_000);
    second.state = "RECOVERING";
    await first.kill();
    await settle();
    expect(addresses()).toEqual(["a:1", "b:1"]);
    expect(env.clock.now()).toBe(6_000);
    control.abort(new Error("stop"));
    await following;
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("finds a standby that takes over at the moment when it says so, without looking again", async () => {
    const { env, options, dials } = world("a:1,b:1");
    const standby = await startFakeMaster(env, "a:1", { state: "STANDBY" });
    const other = await startFakeMaster(env, "b:1", { state: "STANDBY" });
    const finding = findLeader(options);
    await settle();
    for (const link of standby.links) link.announce({ state: "RECOVERING", leader: "a:1" });
    expect((await finding).remote).toBe("a:1");
    expect((await finding).peer.facts.state).toBe("RECOVERING");
    expect(dials).toEqual(["a:1", "b:1"]);
    expect(env.clock.now()).toBe(1_000);
    await settle();
    expect(other.links.length).toBe(1);
    expect((await (other.links[0] as Link).ended).code).toBe("CONNECTION_LOST");
  });

  test("keeps no second link to a leader that said at first that it stands by, as one in doubt does", async () => {
    const { env, options, control } = world("a:1");
    const master = await startFakeMaster(env, "a:1", { state: "STANDBY" });
    const finding = findLeader(options);
    await settle();
    // Without an announcement: what it says now is heard by the next dial.
    master.state = "ALIVE";
    await env.clock.advance(2_000);
    expect((await finding).peer.facts.state).toBe("ALIVE");
    await settle();
    const ends: string[] = [];
    for (const [at, link] of master.links.entries()) void link.ended.then(({ code }) => ends.push(`${at} ${code}`));
    await settle();
    expect(master.links).toHaveLength(2);
    expect(ends).toEqual(["0 CONNECTION_LOST"]);
    control.abort(new Error("stop"));
  });

  test("waits for a leader that takes over a little later, looking often at first", async () => {
    const { env, options, looking } = world("a:1,b:1");
    const first = await startFakeMaster(env, "a:1");
    const second = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1" });
    const { addresses } = follow(options);
    await env.clock.advance(5_000);
    await first.kill();
    await settle();
    await env.clock.advance(20);
    second.state = "ALIVE";
    await env.clock.advance(60);
    expect(addresses()).toEqual(["a:1", "b:1"]);
    expect(looking[0]?.tried.map(({ error }) => error.code).sort()).toEqual(["CONNECTION_REFUSED", "NOT_LEADER"]);
  });

  test("reads the file on every attempt, so a master that comes back on another port is found", async () => {
    let text = "a:1\n";
    const { env, options, looking } = world("file:///masters", { readFile: async () => text });
    const first = await startFakeMaster(env, "a:1");
    const { addresses } = follow(options);
    await env.clock.advance(2_000);
    await first.kill();
    await env.clock.advance(30_000);
    expect(looking.at(-1)?.lastError?.code).toBe("CONNECTION_REFUSED");
    await startFakeMaster(env, "a:2");
    text = "a:1\na:2 # came back\n";
    await env.clock.advance(1_100);
    expect(addresses()).toEqual(["a:1", "a:2"]);
  });

  test("says what it waits for: at first, when that changes, and every ten seconds", async () => {
    const { env, options, looking, control } = world("file:///masters", { readFile: () => Promise.reject(new Error("ENOENT")) });
    const finding = findLeader(options).catch(() => {});
    await env.clock.advance(100);
    expect(looking).toHaveLength(1);
    expect(looking[0]).toMatchObject({ since: 1_000, permanent: null, lastError: { code: "NO_MASTER" } });
    await env.clock.advance(9_000);
    expect(looking).toHaveLength(1);
    await env.clock.advance(22_000);
    expect(looking).toHaveLength(4);
    expect(looking[3]?.forMs).toBeGreaterThan(29_000);
    control.abort();
    await finding;
  });

  test("speaks up after a second when every address hangs", async () => {
    const { env, options, looking, control } = world("a:1");
    await startFakeMaster(env, "a:1");
    env.transport.freeze("a:1");
    const finding = findLeader(options).catch(() => {});
    await env.clock.advance(900);
    expect(looking).toHaveLength(0);
    await env.clock.advance(1_500);
    expect(looking).toHaveLength(1);
    control.abort();
    await finding;
  });

  test("says so when every master refuses for good", async () => {
    const { env, options, looking, control } = world("a:1");
    await startFakeMaster(env, "a:1");
    const finding = findLeader({
      ...options,
      dial: (address, signal) => dialAsWorker(env, address, signal, new Uint8Array(32)),
    }).catch(() => {});
    await env.clock.advance(100);
    expect(looking.at(-1)?.permanent?.code).toBe("UNAUTHENTICATED");
    control.abort();
    await finding;
  });

  test("does not storm a master that turns everybody away", async () => {
    const { env, options, dials, control } = world("a:1");
    const master = await startFakeMaster(env, "a:1");
    const { following } = follow(options);
    for (let step = 0; step < 600; step += 1) {
      for (const link of master.links.splice(0)) link.close();
      await env.clock.advance(100);
    }
    expect(dials.length).toBeLessThan(150);
    expect(dials.length).toBeGreaterThan(40);
    control.abort();
    await following;
  });

  test("closes its link at the signal, and leaves nothing behind", async () => {
    const { env, options, control } = world("a:1,b:1");
    const master = await startFakeMaster(env, "a:1");
    const { found, following } = follow(options);
    await settle();
    control.abort();
    await following;
    await settle();
    expect((await (found[0] as Link).ended).code).toBe("CLOSED");
    expect((await (master.links[0] as Link).ended).code).toBe("CONNECTION_LOST");
    expect(env.clock.timers()).toBe(0);
  });

  test("refuses a malformed URL at once", async () => {
    const { options } = world("nonsense://x");
    await expect(findLeader(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(followLeader({ ...options, onLink: () => {} })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("masters that refuse", () => {
  test("are proof that none runs, from the instant at which the first of them was dialled, again and again", async () => {
    const proofs: number[] = [];
    const { env, options, control } = world("a:1,b:1", { onNobodyLeads: (since) => proofs.push(since) });
    const { following } = follow(options);
    await settle();
    expect(proofs).toEqual([1_000]);
    await env.clock.advance(5_000);
    expect(proofs.length).toBeGreaterThan(3);
    expect(proofs.at(-1)).toBeGreaterThan(4_000);
    control.abort();
    await following;
  });

  test("and those that say that they do not lead are proof as well: whoever leads now was elected later", async () => {
    const proofs: number[] = [];
    const { env, options, control } = world("a:1,b:1", { onNobodyLeads: (since) => proofs.push(since) });
    // It names a leader of before, which refuses.
    const standby = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1", leads: 0 });
    const { following } = follow(options);
    await env.clock.advance(3_000);
    expect(proofs.length).toBeGreaterThan(2);
    expect(proofs.at(-1)).toBeGreaterThan(1_000);
    const before = proofs.length;
    // A leader in doubt, and a leader that only the standby knows, may go on leading.
    standby.leads = 1;
    await env.clock.advance(3_000);
    standby.leads = 0;
    standby.leader = "c:1";
    await env.clock.advance(3_000);
    expect(proofs.length - before).toBeLessThanOrEqual(1);
    control.abort();
    await following;
  });

  test("and so is one that is silent because its process is stopped, as a standby beside it says", async () => {
    const proofs: number[] = [];
    const { env, options, control } = world("a:1,b:1", { onNobodyLeads: (since) => proofs.push(since) });
    const standby = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1", leads: 0, stopped: "a:1" });
    const dial: FindOptions["dial"] = (address, signal) =>
      address === "a:1" ? new Promise(() => {}) : options.dial(address, signal);
    const { following } = follow({ ...options, dial });
    await env.clock.advance(3_000);
    expect(proofs.length).toBeGreaterThan(2);
    expect(proofs.at(-1)).toBeGreaterThan(2_000);
    const last = env.clock.now();
    standby.stopped = null;
    await env.clock.advance(5_000);
    // What was said before holds for its own instant only.
    expect(Math.max(...proofs)).toBeLessThanOrEqual(last);
    control.abort();
    await following;
  });

  test("prove nothing while one is silent, stands by, or is known from elsewhere", async () => {
    const proofs: number[] = [];
    const onNobodyLeads = (since: number) => proofs.push(since);
    const silent = world("a:1,b:1", { onNobodyLeads });
    const { options } = silent;
    const { following } = follow({
      ...options,
      dial: (address, signal) => (address === "b:1" ? new Promise(() => {}) : options.dial(address, signal)),
    });
    await silent.env.clock.advance(5_000);
    const standby = world("a:1,b:1", { onNobodyLeads });
    await startFakeMaster(standby.env, "b:1", { state: "STANDBY" });
    const second = follow(standby.options);
    await standby.env.clock.advance(5_000);
    const told = world("a:1", { onNobodyLeads });
    await startFakeMaster(told.env, "z:9", { state: "STANDBY" });
    const places = createPlaces(told.options);
    places.told(["z:9"]);
    const third = follow({ ...told.options, places });
    await told.env.clock.advance(5_000);
    expect(proofs).toEqual([]);
    for (const one of [silent, standby, told]) one.control.abort();
    await Promise.all([following, second.following, third.following]);
  });
});
