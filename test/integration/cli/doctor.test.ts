/** `holdfast doctor` on a real ensemble: what it says while all is well, and of each thing that is not. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { holdfast, startHoldfast, until } from "../../support/holdfast.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { newPath, testZooKeeperStore } from "../stores/zookeeper-support.js";

const PASSWORD = "s3cret-of-doctor";
const answer = z.object({
  checks: z.array(
    z.object({ name: z.string(), verdict: z.enum(["ok", "warn", "fail"]), message: z.string(), hint: z.string().nullable() }),
  ),
});
/** Nobody listens there: only the ensemble is looked at. */
const NO_MASTER = "127.0.0.1:1";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), "holdfast-doctor-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** `--recovery`, and a master that does not answer; or other words. */
async function examine(recovery: string, words: readonly string[] = ["--master", NO_MASTER, "--recovery", recovery]) {
  const { exitCode, stdout, stderr } = await holdfast(["doctor", "--json", "--dir", directory, ...words]);
  expect(stdout + stderr).not.toContain(PASSWORD);
  const { checks } = answer.parse(JSON.parse(stdout));
  const failing = checks.filter(({ verdict }) => verdict === "fail");
  expect({ exitCode, failing }).toEqual({ exitCode: failing.length > 0 ? 1 : 0, failing });
  expect(checks.filter(({ verdict, hint }) => verdict !== "ok" && hint === null)).toEqual([]);
  return (name: string) => checks.filter((check) => check.name === name);
}

/** A store as a master makes it, at a path of its own. */
async function storeAt(url: string): Promise<void> {
  const store = testZooKeeperStore(url);
  const session = await store.openSession({ ttlMs: 10_000, signal: new AbortController().signal, candidate: "test" });
  await session.close();
  await store.close();
}

describe("on three servers", () => {
  let ensemble: ZooKeeperServers;
  beforeAll(async () => {
    ensemble = await startZooKeeper({ servers: 3 });
  });
  afterAll(() => ensemble.close());
  const urlOf = (clusterPath: string, user = `ops:${PASSWORD}@`) => `zk://${user}${ensemble.connectString}${clusterPath}`;

  test("it says who leads, who follows, how fast they are, and that the path belongs to its user", async () => {
    const clusterPath = newPath();
    await storeAt(urlOf(clusterPath));
    const of = await examine(urlOf(clusterPath));
    expect(of("server").map(({ verdict }) => verdict)).toEqual(["ok", "ok", "ok"]);
    const leader = await ensemble.leader();
    expect(
      of("server")
        .filter(({ message }) => message.includes("the leader"))
        .map(({ message }) => message),
    ).toEqual([expect.stringContaining(leader.address)]);
    expect(of("quorum")).toEqual([
      expect.objectContaining({ verdict: "ok", message: expect.stringMatching(/2 of 2 followers are synced: 1 more may die/) }),
    ]);
    for (const name of ["latency", "session", "requests", "health", "ticks"])
      expect({ name, count: of(name).length }).toEqual({ name, count: 3 });
    expect(of("requests").map(({ verdict }) => verdict)).toEqual(["ok", "ok", "ok"]);
    expect(of("session")[0]).toMatchObject({ verdict: "ok", message: expect.stringContaining("gets 10000 ms") });
    expect(of("acl").length).toBeGreaterThan(3);
    for (const acl of of("acl"))
      expect(acl).toMatchObject({
        verdict: "ok",
        message: expect.stringMatching(/is for user ops: read write create delete admin$/),
      });
    expect(of("size")).toEqual([expect.objectContaining({ verdict: "ok" })]);
  });

  test("a path that is not there yet, one of something else, and one that a wrong password does not open are told apart", async () => {
    const clusterPath = newPath();
    expect((await examine(urlOf(clusterPath)))("path")).toEqual([
      expect.objectContaining({ verdict: "ok", message: expect.stringContaining("does not exist yet") }),
    ]);
    await storeAt(urlOf(clusterPath));
    expect((await examine(urlOf(clusterPath, "ops:other@")))("path")).toEqual([
      expect.objectContaining({ verdict: "fail", message: expect.stringContaining("may not be read by this user") }),
    ]);
    expect((await examine(urlOf(clusterPath, "")))("path")).toEqual([
      expect.objectContaining({ verdict: "fail", message: expect.stringContaining("without a user") }),
    ]);
    expect((await examine(urlOf("/zookeeper/config")))("path")).toEqual([expect.objectContaining({ verdict: "ok" })]);
    expect((await examine(urlOf("/zookeeper")))("path")).toEqual([
      expect.objectContaining({ verdict: "fail", message: expect.stringContaining("something that is not") }),
    ]);
  });

  test("the ensemble that --master names is looked at too, also when a file names it", async () => {
    const file = path.join(directory, "masters");
    writeFileSync(file, `${urlOf(newPath())}\n`, { mode: 0o600 });
    const of = await examine("", ["--master", `file://${file}`]);
    expect(of("quorum")).toHaveLength(1);
    expect(of("masters")[0]?.verdict).not.toBe("ok");
  });

  test("a path that is open to everybody is a warning without a user and a failure with one", async () => {
    const clusterPath = newPath();
    await storeAt(urlOf(clusterPath, ""));
    expect((await examine(urlOf(clusterPath, "")))("acl")[0]).toMatchObject({
      verdict: "warn",
      message: expect.stringContaining("everybody: read write create delete admin"),
    });
    expect((await examine(urlOf(clusterPath)))("acl")[0]).toMatchObject({ verdict: "fail" });
  });

  // The last one: it takes a server away.
  test("a dead server is named, and that no other may die", async () => {
    const dead = await ensemble.leader();
    await dead.kill();
    await ensemble.leader();
    const of = await examine(urlOf(newPath()));
    expect(of("server").filter(({ verdict }) => verdict === "fail")).toEqual([
      expect.objectContaining({ message: expect.stringContaining(`${dead.address} is down`) }),
    ]);
    expect(of("quorum")).toEqual([
      expect.objectContaining({ verdict: "warn", message: expect.stringContaining("no other server may die") }),
    ]);

    const [next] = await ensemble.followers();
    await next?.kill();
    const without = await examine(urlOf(newPath()));
    expect(without("server").map(({ verdict }) => verdict)).toEqual(["fail", "fail", "fail"]);
    expect(without("quorum")).toEqual([expect.objectContaining({ verdict: "fail" })]);
  });
});

test("a server with small requests, short sessions and long ticks is told what to set", async () => {
  const small = await startZooKeeper({ tickTimeMs: 3_000, maxSessionTimeoutMs: 8_000, java: ["-Djute.maxbuffer=200000"] });
  try {
    const of = await examine(`zk://${small.connectString}/cluster`);
    expect(of("quorum")[0]).toMatchObject({ verdict: "warn", message: expect.stringContaining("stands alone") });
    expect(of("requests")[0]).toMatchObject({ verdict: "fail", hint: expect.stringContaining("jute.maxbuffer") });
    expect(of("session")[0]).toMatchObject({ verdict: "warn", hint: expect.stringContaining("maxSessionTimeout") });
    expect(of("ticks")[0]).toMatchObject({ verdict: "warn", hint: expect.stringContaining("tickTime=2000") });
  } finally {
    await small.close();
  }
});

test("a directory of records is looked at where the masters have it", async () => {
  const of = await examine(`file:${path.join(directory, "not-yet/records")}`);
  expect(of("recovery")[0]).toMatchObject({ verdict: "ok", message: expect.stringContaining("local file system") });
  expect(of("disk")).toHaveLength(2);
  expect(of("clock")[0]?.message).toContain("no deadline and no fence depends on it");
  for (const name of ["files", "processes", "space", "node", "programs", "secret", "masters"])
    expect({ name, found: of(name).length > 0 }).toEqual({ name, found: true });
});

test("a wrong --recovery is wrong usage, and shows no password", async () => {
  const { exitCode, stderr } = await holdfast(["doctor", "--recovery", `zk://ops:${PASSWORD}@h1:2181`]);
  expect(exitCode).toBe(2);
  expect(stderr).not.toContain(PASSWORD);
});

test.each([
  ["with a secret", true, /^master-\w+ at \S+ asks for the cluster secret$/],
  ["without one", false, /lets in every user of this machine, and nobody else$/],
])("a master %s is dialled without it, and what it does is said", async (_, hasSecret, sentence) => {
  const secret = path.join(directory, `secret-${hasSecret}`);
  const masters = path.join(directory, `masters-${hasSecret}`);
  expect(await holdfast(["secret", secret])).toMatchObject({ exitCode: 0 });
  const words = hasSecret ? ["--secret-file", secret] : [];
  const master = startHoldfast([
    ...["master", "--listen", "127.0.0.1:0", "--recovery", "none", "--advertise-file", masters, "--no-supervisor"],
    ...words,
  ]);
  try {
    await until("the master to lead", () => master.stderr().includes("Recovery complete"));
    const of = await examine("", ["--master", `file://${masters}`, ...words]);
    expect(of("listener")).toEqual([expect.objectContaining({ verdict: "ok", message: expect.stringMatching(sentence) })]);
    expect(of("masters")[0]).toMatchObject({ verdict: "warn", hint: expect.stringContaining("start a standby") });
  } finally {
    master.signal("SIGTERM");
    expect(await master.ended).toMatchObject({ exitCode: 0 });
  }
});
