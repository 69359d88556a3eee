import { describe, expect, test } from "vitest";
import { listenerCheck, viewChecks } from "../../../src/cli/doctor/cluster.js";
import { ensembleChecks, type ServerAnswer, settingsOf } from "../../../src/cli/doctor/ensemble.js";
import { clockCheck, softLimit } from "../../../src/cli/doctor/machine.js";
import { pathChecks, sessionChecks } from "../../../src/cli/doctor/records.js";
import { parseZooKeeperUrl } from "../../../src/coordination/zookeeper-url.js";
import { parseMonitor } from "../../../src/zookeeper/four-letter.js";

const answer = (server: string, mode: string, more: Partial<ServerAnswer> = {}): ServerAnswer => ({
  server,
  state: "serving",
  mode,
  trouble: null,
  monitor: null,
  settings: new Map(),
  ...more,
});
const monitor = (lines: Readonly<Record<string, string | number>>) =>
  parseMonitor(
    Object.entries(lines)
      .map(([name, value]) => `zk_${name}\t${value}`)
      .join("\n"),
    "z1:2181",
  );
const of = (name: string, answers: readonly ServerAnswer[]) => ensembleChecks(answers).filter((check) => check.name === name);
const down = (server: string): ServerAnswer => ({ ...answer(server, ""), state: "down", mode: null, trouble: "refused" });

describe("doctor says of an ensemble", () => {
  test("how many more servers may die, by what its leader says", () => {
    const leader = (synced: number, size: number) =>
      answer("z1:2181", "leader", { monitor: monitor({ server_state: "leader", synced_followers: synced, quorum_size: size }) });
    expect(of("quorum", [leader(2, 3)])[0]).toMatchObject({ verdict: "ok", message: expect.stringContaining("1 more may die") });
    expect(of("quorum", [leader(1, 3)])[0]).toMatchObject({
      verdict: "warn",
      message: expect.stringContaining("no other server may die"),
    });
    expect(of("quorum", [leader(4, 5)])[0]).toMatchObject({ verdict: "ok", message: expect.stringContaining("2 more may die") });
    expect(of("quorum", [leader(3, 4)])[0]).toMatchObject({ verdict: "ok", message: expect.stringContaining("1 more may die") });
  });

  test("that a single server is none, that two leaders are two ensembles, and that a leader is missing among those named", () => {
    expect(of("quorum", [answer("z1:2181", "standalone")])[0]).toMatchObject({ verdict: "warn" });
    expect(of("quorum", [answer("a:1", "leader"), answer("b:1", "standalone")])[0]).toMatchObject({
      verdict: "fail",
      message: "a:1 and b:1 each lead: these are servers of different ensembles",
    });
    expect(of("quorum", [answer("a:1", "follower")])[0]).toMatchObject({
      verdict: "warn",
      hint: expect.stringContaining("Name all servers"),
    });
    expect(of("quorum", [down("a:1"), down("b:1")])[0]).toMatchObject({ verdict: "fail" });
  });

  test("which server is down, which has no majority, and which does not say", () => {
    const noQuorum: ServerAnswer = {
      ...down("b:1"),
      state: "no-quorum",
      trouble: "This ZooKeeper instance is not currently serving requests",
    };
    const silent = { ...answer("c:1", ""), mode: null };
    expect(of("server", [down("a:1"), noQuorum, silent]).map(({ verdict }) => verdict)).toEqual(["fail", "fail", "warn"]);
    expect(of("health", [answer("c:1", "leader")])[0]).toMatchObject({ verdict: "warn", hint: expect.stringContaining("mntr") });
  });

  test("that it is slow, waits, or has few descriptors left", () => {
    const health = (lines: Readonly<Record<string, number>>) =>
      of("health", [answer("z1:2181", "leader", { monitor: monitor(lines) })]);
    expect(health({ avg_latency: 1.5, max_latency: 90, outstanding_requests: 0 })).toMatchObject([{ verdict: "ok" }]);
    expect(health({ avg_latency: 25 })).toMatchObject([{ verdict: "warn" }]);
    expect(health({ max_latency: 4_000 })).toMatchObject([{ verdict: "warn" }]);
    expect(health({ outstanding_requests: 900 })).toMatchObject([{ verdict: "warn" }]);
    expect(health({ max_file_descriptor_count: 1_024, open_file_descriptor_count: 1_000 })).toMatchObject([
      { verdict: "ok" },
      { verdict: "warn" },
    ]);
  });

  test("what its configuration says of ticks", () => {
    const settings = settingsOf("clientPort=2181\ntickTime=4000\nminSessionTimeout=8000\nmaxSessionTimeout=80000\nmembership: \n");
    expect(of("ticks", [answer("a:1", "leader", { settings })])[0]).toMatchObject({
      verdict: "warn",
      message: expect.stringContaining("8000 to 80000 ms"),
    });
  });
});

describe("doctor says of records in ZooKeeper", () => {
  const look = { grantedTimeoutMs: 10_000, readsMs: [1, 900, 2], syncsMs: [3], takesLargeRequests: true };
  const verdicts = (change: Partial<typeof look>) =>
    sessionChecks("z1:2181", { ...look, ...change }, 10_000).map(({ verdict }) => verdict);

  test("medians, so that one slow answer is none", () => {
    expect(verdicts({})).toEqual(["ok", "ok", "ok"]);
    expect(verdicts({ readsMs: [80, 90, 1] })).toEqual(["warn", "ok", "ok"]);
    expect(verdicts({ syncsMs: [150] })).toEqual(["warn", "ok", "ok"]);
  });

  test("a session that is shorter or longer than masters ask for", () => {
    const hint = (grantedTimeoutMs: number) => sessionChecks("z1:2181", { ...look, grantedTimeoutMs }, 10_000)[1]?.hint;
    expect(hint(4_000)).toContain("maxSessionTimeout");
    expect(hint(40_000)).toContain("minSessionTimeout");
  });

  test("who may do what, never with the digest of a password", () => {
    const url = parseZooKeeperUrl("zk://ops:secret@z1:2181/holdfast");
    const acl = [{ scheme: "digest", id: "ops:HfBkd9zYf3cEIrk5SM4Sa4q7Nsg=", permissions: ["read", "write"] as const }];
    const [found] = pathChecks(url, { kind: "store", acls: [{ path: "/holdfast", acl }], sizeBytes: 0, logEntries: 0 });
    expect(found).toMatchObject({ verdict: "ok", message: "/holdfast is for user ops: read write" });
  });

  test("that the store is nearly full, and that its log is not merged", () => {
    const url = parseZooKeeperUrl("zk://z1:2181/holdfast");
    const checks = pathChecks(url, { kind: "store", acls: [], sizeBytes: 100_000_000, logEntries: 8_000 });
    expect(checks.map(({ name, verdict }) => [name, verdict])).toEqual([
      ["size", "warn"],
      ["log", "warn"],
    ]);
  });
});

describe("doctor says of this machine", () => {
  test("limits, and where they are unlimited or unknown", () => {
    const text =
      "Limit                     Soft Limit           Hard Limit           Units\nMax processes             unlimited            unlimited            processes\nMax open files            1024                 524288               files\n";
    expect(softLimit(text, "Max open files")).toBe(1_024);
    expect(softLimit(text, "Max processes")).toBe(Number.POSITIVE_INFINITY);
    expect(softLimit("", "Max processes")).toBeNaN();
  });

  test("a clock that runs at another rate, both ways, and that safety does not depend on it", () => {
    expect(clockCheck(120).verdict).toBe("ok");
    expect(clockCheck(-500).message).toBe(
      "the system's time runs 500 ppm slower than the monotonic clock (no deadline and no fence depends on it)",
    );
    expect(clockCheck(50_000).verdict).toBe("warn");
    expect(clockCheck(-50_000).verdict).toBe("warn");
  });
});

describe("doctor says of a cluster", () => {
  test.each([
    ["10.0.0.1:7077", "open", "fail"],
    ["10.0.0.1:7077", "guarded", "ok"],
    ["127.0.0.1:7077", "open", "ok"],
    ["127.0.0.1:7077", "guarded", "ok"],
    ["10.0.0.1:7077", "unreached", "warn"],
  ] as const)("of a listener at %s that is %s: %s", (address, admission, verdict) => {
    expect(listenerCheck("master-1", address, admission).verdict).toBe(verdict);
  });

  test("that masters run two builds", () => {
    const master = (id: string, build: string | null) => {
      const rest = { pid: 1, state: "STANDBY" as const, epoch: 3 };
      return { id, address: `${id}:7077`, ...rest, build };
    };
    const view = (masters: ReturnType<typeof master>[]) =>
      viewChecks({
        clusterId: "c",
        epoch: 3,
        state: "ALIVE",
        leader: null,
        leaderless: null,
        masters,
        silentMasters: [],
        workers: { alive: 1, suspect: 0, lost: 0, draining: 0, gone: 0 },
        applications: { waiting: 0, running: 0 },
        recovery: null,
        removals: null,
        quarantined: [],
      }).filter(({ name }) => name === "builds");
    expect(view([master("a", "1.0.0+aa"), master("b", "1.0.0+aa")])).toEqual([]);
    expect(view([master("a", "1.0.0+aa"), master("b", "1.0.1+bb")])).toMatchObject([
      { verdict: "warn", message: expect.stringContaining("b 1.0.1+bb") },
    ]);
    expect(view([master("a", "1.0.0+aa"), master("b", null)])).toHaveLength(1);
  });

  test("that nobody leads, since when, and who does not answer", () => {
    const [found, ...more] = viewChecks({
      clusterId: "c",
      epoch: 3,
      state: "STANDBY",
      leader: null,
      leaderless: { since: "2026-01-01T00:00:00.000Z", last: { id: "b", address: "b:1", pid: 2 } },
      masters: [{ id: "a", address: "a:1", pid: 1, state: "STANDBY", epoch: 3, build: null }],
      silentMasters: [{ address: "b:1", id: "b", pid: 2, epoch: 3 }],
      workers: { alive: 0, suspect: 0, lost: 0, draining: 0, gone: 0 },
      applications: { waiting: 0, running: 0 },
      recovery: null,
      removals: null,
      quarantined: [],
    });
    // Nothing is said of workers: a standby knows none.
    expect(more).toEqual([]);
    expect(found).toMatchObject({
      verdict: "fail",
      message: "nobody leads since 2026-01-01T00:00:00.000Z (epoch 3): a:1 STANDBY, b:1 does not answer",
    });
  });
});
