import { describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import { RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import type { Link } from "../../../src/host/link/link.js";
import type { MasterHostOptions } from "../../../src/host/master/master-host.js";
import { MAX_WAITING_MESSAGES_PER_LINK } from "../../../src/host/turns/inbox.js";
import type { ClusterView } from "../../../src/wire/views.js";
import { settle } from "../../support/manual-clock.js";
import { MIB, programSpec } from "../master/harness.js";
import { type MasterStage, never, onStage, type StagedMaster } from "./master-stage.js";

const ask = (link: Link, kind: string, body: unknown): Promise<unknown> =>
  link.request(kind, body, { signal: never, timeoutMs: 60_000 });
const failure = (promise: Promise<unknown>): Promise<CodedError> =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (reason) => reason as CodedError,
  );

async function leader(stage: MasterStage, id = "m1", change: Partial<MasterHostOptions> = {}): Promise<StagedMaster> {
  const master = await stage.master(id, change);
  await stage.until(`${id} leads`, () => master.host.state() === "ALIVE");
  return master;
}

const registration = (change: object = {}) => ({
  workerId: "w1",
  incarnation: 1,
  address: "w1:9",
  pid: 10,
  resources: { cores: 4, memoryBytes: 1024 * MIB },
  highestEpoch: 0,
  inventory: [],
  ...change,
});

describe("a leading master", () => {
  test("acknowledges, sends and launches only after the commit", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const worker = await stage.link(master.address, "worker", "w1");
      worker.send("worker.register", registration());
      await stage.until("the worker is registered", () => worker.messages.length === 1);
      let commits = 0;
      stage.fault = (call) => {
        if (call.kind !== "commit") return undefined;
        commits += 1;
        return { requestDelayMs: 500 };
      };
      const client = await stage.link(master.address);
      let answered = false;
      const submitted = ask(client, "submit", { key: "k", spec: programSpec() }).finally(() => {
        answered = true;
      });
      await stage.env.clock.advance(499);
      expect(commits).toBe(1);
      expect(answered).toBe(false);
      expect(worker.messages.map(({ kind }) => kind)).toEqual(["worker.registered"]);
      expect(await stage.drive(submitted)).toMatchObject({ state: "submitted", created: true });
      await settle();
      expect(worker.messages.map(({ kind }) => kind)).toEqual(["worker.registered", "worker.launch"]);
      expect(worker.messages[1]).toMatchObject({ body: { applicationKey: expect.stringMatching(/^[0-9a-f]{64}$/) } });
    }));

  test("ends the link that floods it while the disk is slow, tells it why, and serves the others", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const worker = await stage.link(master.address, "worker", "w1");
      worker.send("worker.register", registration());
      await stage.until("the worker is registered", () => worker.messages.length === 1);
      const client = await stage.link(master.address);
      stage.fault = (call) => (call.kind === "commit" ? { requestDelayMs: 500 } : undefined);
      const submitted = ask(client, "submit", { key: "k", spec: programSpec() });
      await settle();
      const report = { processId: "app-1-9.d1", pid: 1, end: null, launchFailed: null };
      for (let index = 0; index <= MAX_WAITING_MESSAGES_PER_LINK; index++) worker.send("worker.report", report);
      const told = await stage.drive(worker.ended);
      expect(told.details).toEqual({ code: "LIMIT_EXCEEDED" });
      expect(await stage.drive(submitted)).toMatchObject({ created: true });
      stage.fault = () => undefined;
      expect(await stage.drive(ask(client, "workers", {}))).toMatchObject({ workers: [{ id: "w1", state: "suspect" }] });
    }));

  test("writes the turns of a burst in few transactions", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const client = await stage.link(master.address);
      let commits = 0;
      stage.fault = (call) => {
        if (call.kind !== "commit") return undefined;
        commits += 1;
        return { requestDelayMs: 5 };
      };
      const answers = Array.from({ length: 500 }, (_, n) => ask(client, "submit", { key: `k${n}`, spec: programSpec() }));
      await stage.drive(Promise.all(answers));
      expect(commits).toBeLessThan(10);
      expect(stage.memory.records().filter(({ key }) => key.startsWith(`${RECORDS_PREFIX}applications/`))).toHaveLength(500);
    }));

  test("that is fenced answers nothing of the fenced turn, goes to STANDBY in the same process, and closes its links", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const worker = await stage.link(one.address, "worker", "w1");
      worker.send("worker.register", registration());
      await stage.until("the worker is registered", () => worker.messages.length === 1);
      let workerGone = false;
      void worker.ended.then(() => {
        workerGone = true;
      });
      const client = await stage.link(one.address);
      const two = await stage.master("m2");
      // The store gives the first one's session up while it is stopped; it does not know.
      one.store.disconnect("hang");
      const submitted = failure(ask(client, "submit", { key: "k", spec: programSpec() }));
      await stage.until("m2 leads", () => two.host.state() === "ALIVE");
      one.store.reconnect();
      expect((await stage.drive(submitted)).retry).not.toBe("no");
      await stage.until("m1 is a standby", () => one.host.state() === "STANDBY");
      await stage.until("the worker's link is closed", () => workerGone);
      expect(stage.memory.records().some(({ key }) => key.includes("applications/"))).toBe(false);
      expect(one.logs.some((line) => line.startsWith("Deposed from epoch 1"))).toBe(true);
      expect(two.host.epoch()).toBe(2);
    }));

  test("whose disk fails at a commit says so, stands by, and leads again", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const client = await stage.link(master.address);
      master.store.failNextCommit("disk-failed-not-applied");
      const error = await stage.drive(failure(ask(client, "submit", { key: "k", spec: programSpec() })));
      expect(error.retry).not.toBe("no");
      expect(master.logs.some((line) => line.startsWith("Deposed"))).toBe(true);
      await stage.until("it leads again", () => master.host.state() === "ALIVE");
      const again = await stage.link(master.address);
      expect(await stage.drive(ask(again, "submit", { key: "k", spec: programSpec() }))).toMatchObject({ created: true });
    }));

  test("settles a commit of unknown outcome and answers", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const client = await stage.link(master.address);
      master.store.failNextCommit("unknown-applied");
      expect(await stage.drive(ask(client, "submit", { key: "k", spec: programSpec() }))).toMatchObject({ created: true });
      master.store.failNextCommit("unknown-not-applied");
      expect(await stage.drive(ask(client, "submit", { key: "l", spec: programSpec() }))).toMatchObject({ created: true });
    }));

  test("keeps what it cannot decode, shows it, and recovers the rest", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const client = await stage.link(one.address);
      await stage.drive(ask(client, "submit", { key: "k", spec: programSpec() }));
      await stage.drive(one.host.close());
      const session = await stage.memory.openSession({ ttlMs: 1000, signal: never, candidate: "test" });
      const strange = new TextEncoder().encode('{"v":9,"kind":"application","body":{}}');
      await session.commit(
        { guards: [], writes: [{ put: `${RECORDS_PREFIX}applications/app-1-9`, value: strange }] },
        { signal: never },
      );
      await session.close();
      const two = await leader(stage, "m2");
      const next = await stage.link(two.address);
      const view = (await stage.drive(ask(next, "cluster", {}))) as ClusterView;
      expect(view.quarantined).toEqual([
        { key: "applications/app-1-9", reason: "of version 9, this program knows versions up to 1" },
      ]);
      expect(view.applications.waiting).toBe(1);
      expect(stage.memory.records().find(({ key }) => key.endsWith("app-1-9"))?.value).toEqual(strange);
    }));

  test("of mode none whose epoch is too low takes a higher one and keeps what it knows", () =>
    onStage(async (stage) => {
      const master = await leader(stage, "m1", { mode: "none" });
      const before = master.host.epoch();
      const client = await stage.link(master.address);
      await stage.drive(ask(client, "submit", { key: "k", spec: programSpec() }));
      const worker = await stage.link(master.address, "worker", "w1");
      worker.send("worker.register", registration({ highestEpoch: before + 5 }));
      await stage.until("the epoch is raised", () => master.host.epoch() > before + 5 && master.host.state() === "ALIVE");
      const again = await stage.link(master.address);
      expect(await stage.drive(ask(again, "list", {}))).toMatchObject({ applications: [{ id: `app-${before}-1` }] });
    }));

  test("takes a bundle in parts, and a job only with its bundle", () =>
    onStage(async (stage) => {
      const master = await leader(stage);
      const client = await stage.link(master.address);
      const bytes = new TextEncoder().encode("export default 1;");
      const sha256 = stage.env.digest.sha256Hex(bytes);
      const job = {
        artifact: sha256,
        graphHash: "b".repeat(64),
        params: {},
        parallelism: 1,
        executor: { cores: 1, memoryBytes: MIB },
      };
      const spec = programSpec({ kind: "job", process: null, job });
      expect((await stage.drive(failure(ask(client, "submit", { key: "j", spec })))).code).toBe("NOT_FOUND");
      const part = (from: number, to: number) => ({
        sha256,
        offset: from,
        totalBytes: bytes.length,
        base64: Buffer.from(bytes.subarray(from, to)).toString("base64"),
      });
      expect(await stage.drive(ask(client, "artifact.put", part(5, 10)))).toEqual({ complete: false, nextOffset: 0 });
      expect(await stage.drive(ask(client, "artifact.put", part(0, 5)))).toEqual({ complete: false, nextOffset: 5 });
      expect(await stage.drive(ask(client, "artifact.put", part(5, bytes.length)))).toEqual({
        complete: true,
        nextOffset: bytes.length,
      });
      expect(await stage.drive(ask(client, "submit", { key: "j", spec }))).toMatchObject({ created: true });
      const got = (await stage.drive(ask(client, "artifact.get", { sha256, offset: 0 }))) as { base64: string };
      expect(Buffer.from(got.base64, "base64").toString()).toBe("export default 1;");
    }));
});

describe("a standby", () => {
  test("names the leader, answers cluster with the leader's view, and is shown there", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const two = await stage.master("m2");
      const atOne = await stage.link(one.address);
      let view: ClusterView | null = null;
      const look = async () => {
        view = (await ask(atOne, "cluster", {})) as ClusterView;
      };
      await stage.until("the standby is shown", () => {
        void look();
        return view?.masters.length === 2;
      });
      expect(view).toMatchObject({
        state: "ALIVE",
        masters: [
          { id: "m1", state: "ALIVE" },
          { id: "m2", address: "m2:7077", state: "STANDBY" },
        ],
      });
      const atTwo = await stage.link(two.address);
      expect(atTwo.peer.facts).toMatchObject({ state: "STANDBY", leader: "m1:7077" });
      const error = await stage.drive(failure(ask(atTwo, "list", {})));
      expect(error).toMatchObject({ code: "NOT_LEADER", details: { leader: "m1:7077" } });
      expect(await stage.drive(ask(atTwo, "cluster", {}))).toMatchObject({ state: "ALIVE", leader: { id: "m1" } });
    }));

  test("that hears no leader shows every master that it knows of with state and epoch, who is silent, and since when", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const two = await stage.master("m2");
      await stage.master("m3", { otherMasters: async () => ["m1:7077", "nowhere:1"] });
      await stage.until("m2 follows", () => two.host.epoch() === 1);
      await stage.env.clock.advance(2_000);
      // The leader's machine is gone without a word, and its session lives on.
      const lostAt = stage.env.clock.wallNow();
      stage.env.transport.freeze("m1:7077");
      await stage.env.clock.advance(30_000);
      const at = await stage.link("m3:7077");
      const view = (await stage.drive(ask(at, "cluster", {}))) as ClusterView;
      expect(view).toMatchObject({
        epoch: 1,
        state: "STANDBY",
        leader: null,
        leaderless: { last: { id: "m1", address: "m1:7077", pid: 1 } },
        masters: [
          { id: "m2", address: "m2:7077", state: "STANDBY", epoch: 1 },
          { id: "m3", address: "m3:7077", state: "STANDBY", epoch: 1 },
        ],
      });
      expect([...view.silentMasters].sort((a, b) => (a.address < b.address ? -1 : 1))).toEqual([
        { address: "m1:7077", id: "m1", pid: 1, epoch: 1 },
        { address: "nowhere:1", id: null, pid: null, epoch: null },
      ]);
      expect(Math.abs(Date.parse(view.leaderless?.since ?? "") - lostAt)).toBeLessThan(2_000);
      stage.env.transport.thaw("m1:7077");
      expect(one.host.state()).toBe("ALIVE");
    }));

  test("takes over at once when the leader's process is gone", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const client = await stage.link(one.address);
      const id = ((await stage.drive(ask(client, "submit", { key: "k", spec: programSpec() }))) as { id: string }).id;
      const two = await stage.master("m2");
      await stage.until("the standby follows", () => two.host.epoch() === 1);
      const at = stage.env.clock.now();
      one.store.crash(60_000);
      void one.host.close();
      await settle();
      stage.env.transport.breakConnections(one.address);
      await stage.until("m2 leads", () => two.host.state() === "ALIVE");
      expect(stage.env.clock.now() - at).toBeLessThan(200);
      const next = await stage.link(two.address);
      expect(await stage.drive(ask(next, "submit", { key: "k", spec: programSpec() }))).toMatchObject({ id, created: false });
      await stage.env.clock.advance(60_000);
    }));

  test("takes over at once when the leader resigns", () =>
    onStage(async (stage) => {
      const one = await leader(stage, "m1");
      const two = await stage.master("m2");
      const at = stage.env.clock.now();
      await stage.drive(one.host.close());
      await stage.until("m2 leads", () => two.host.state() === "ALIVE");
      expect(stage.env.clock.now() - at).toBeLessThan(200);
    }));
});

test("a master whose store can never be used ends with the reason", () =>
  onStage(async (stage) => {
    const { CodedError } = await import("../../../src/base/errors.js");
    const broken = {
      limits: stage.memory.limits,
      openSession: () => Promise.reject(new CodedError("STORE_UNUSABLE", "the directory is not writable")),
      nudge() {},
      close: async () => {},
    };
    const master = await stage.master("m1", { store: broken });
    expect(await stage.drive(master.host.ended)).toMatchObject({ code: "STORE_UNUSABLE" });
  }));
