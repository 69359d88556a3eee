/** Planned hand-overs: the leader resigns for a standby, goes on standing by, and nobody who asks notices more than a pause. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { type Client, startClient } from "../../../src/host/client/client.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import type { MasterHost } from "../../../src/host/master/master-host.js";
import { NO_SECRET } from "../../../src/wire/handshake.js";
import { leaderToStandby } from "../../../src/wire/master-messages.js";
import type { OperationInput, OperationOutput } from "../../../src/wire/operations.js";
import { programSpec } from "../master/harness.js";
import { type MasterStage, never, onStage, type StagedMaster } from "./master-stage.js";

interface Cluster {
  readonly masters: readonly StagedMaster[];
  readonly client: Client;
  leader(): StagedMaster;
  ask(input: Partial<OperationInput<"handover">>): Promise<OperationOutput<"handover">>;
  close(): Promise<void>;
}

/** m1 leads, the others stand by and follow it. */
async function clusterOf(stage: MasterStage, count: number): Promise<Cluster> {
  const masters = [await stage.master("m1")];
  await stage.until("m1 leads", () => masters[0]?.host.state() === "ALIVE");
  for (let number = 2; number <= count; number++) masters.push(await stage.master(`m${number}`));
  await stage.until("they follow", () => masters.every(({ host }) => host.epoch() === 1));
  const client = startClient({
    env: stage.env,
    masterUrl: masters.map(({ address }) => address).join(","),
    readFile: () => Promise.reject(new Error("no file")),
    secret: null,
    signal: never,
    timeoutMs: 30_000,
  });
  const leads = (host: MasterHost) => host.state() !== "STANDBY";
  const cluster: Cluster = {
    masters,
    client,
    leader: () => masters.find(({ host }) => leads(host)) ?? (masters[0] as StagedMaster),
    ask: (input) => {
      const { host } = cluster.leader();
      return stage.drive(
        client.call("handover", { epoch: host.epoch(), to: null, ...input }, { signal: never, timeoutMs: 30_000 }),
      );
    },
    close: () => stage.drive(client.close()),
  };
  return cluster;
}

const withCluster = (count: number, act: (stage: MasterStage, cluster: Cluster) => Promise<void>) =>
  onStage(async (stage) => {
    const cluster = await clusterOf(stage, count);
    try {
      await act(stage, cluster);
    } finally {
      await cluster.close();
    }
  });

const failure = async (promise: Promise<unknown>): Promise<CodedError> => {
  const thrown = await promise.then(
    () => null,
    (reason) => reason,
  );
  expect(thrown).toBeInstanceOf(CodedError);
  return thrown as CodedError;
};

describe("a hand-over", () => {
  test("makes a standby lead at once; the old leader stands by in the same process and names the new one", () =>
    withCluster(2, async (stage, cluster) => {
      const [one, two] = cluster.masters as [StagedMaster, StagedMaster];
      const at = stage.env.clock.now();
      expect(await cluster.ask({})).toEqual({ handedOver: true, epoch: 1, to: "m2" });
      await stage.until("m2 leads", () => two.host.state() === "ALIVE");
      expect(stage.env.clock.now() - at).toBeLessThan(50);
      expect(two.host.epoch()).toBe(2);
      expect(one.host.state()).toBe("STANDBY");
      await stage.until("m1 follows m2", () => one.host.epoch() === 2);
      const link = await stage.link(one.address);
      expect(link.peer.facts).toMatchObject({ state: "STANDBY", leader: "m2:7077" });
      expect(one.logs.some((line) => line.startsWith("Resigned from epoch 1: handed over to m2 at m2:7077"))).toBe(true);
      link.close();
    }));

  test("is not undone: the old leader does not take the epoch back, and takes over when the new one dies", () =>
    withCluster(2, async (stage, cluster) => {
      const [one, two] = cluster.masters as [StagedMaster, StagedMaster];
      await cluster.ask({});
      await stage.until("m2 leads", () => two.host.state() === "ALIVE");
      await stage.env.clock.advance(60_000);
      expect([one.host.state(), two.host.state(), two.host.epoch()]).toEqual(["STANDBY", "ALIVE", 2]);
      await stage.drive(two.host.close());
      await stage.until("m1 leads again", () => one.host.state() === "ALIVE");
      expect(one.host.epoch()).toBe(3);
    }));

  test("goes to the master that is named, by id or address, however many others stand by", () =>
    withCluster(4, async (stage, cluster) => {
      for (const [to, id] of [
        ["m3", "m3"],
        ["m4:7077", "m4"],
        ["m2", "m2"],
        ["m1:7077", "m1"],
      ] as const) {
        const before = cluster.leader().host.epoch();
        expect(await cluster.ask({ to })).toMatchObject({ handedOver: true, to: id });
        await stage.until(`${id} leads`, () => cluster.leader().address === `${id}:7077` && cluster.leader().host.epoch() > before);
        expect(cluster.leader().host.epoch(), "nobody came between").toBe(before + 1);
        await stage.until("the others follow", () => cluster.masters.every(({ host }) => host.epoch() === before + 1));
      }
    }));

  test("without a standby is refused, and so is one to an unknown master; nothing changes", () =>
    withCluster(1, async (_stage, cluster) => {
      const [one] = cluster.masters as [StagedMaster];
      const refused = await failure(cluster.ask({}));
      expect(refused).toMatchObject({ code: "NO_STANDBY", hint: expect.stringContaining("Start another master") });
      expect(one.host.state()).toBe("ALIVE");
      expect(one.host.epoch()).toBe(1);
    }));

  test("to a master that is not there is refused with the names of those that are", () =>
    withCluster(2, async (_stage, cluster) => {
      const refused = await failure(cluster.ask({ to: "m9" }));
      expect(refused).toMatchObject({ code: "NOT_FOUND", hint: "Those that do: m2 at m2:7077." });
      expect(cluster.leader().address).toBe("m1:7077");
    }));

  test("to a standby that does not answer is refused; another one that answers is taken instead", () =>
    withCluster(2, async (stage, cluster) => {
      // It is linked as a standby and never says a word, as one that is stopped.
      const silent = await stage.drive(
        dialLink("m1:7077", {
          env: stage.env,
          epoch: () => 0,
          role: "master",
          id: "m0",
          scope: "cluster",
          key: NO_SECRET,
          clusterId: null,
          incoming: {},
          requests: leaderToStandby,
          heartbeatMs: 1_000,
          silenceMs: 10_000,
          connectTimeoutMs: 1_000,
          signal: never,
        }),
      );
      const at = stage.env.clock.now();
      expect(await failure(cluster.ask({ to: "m0" }))).toMatchObject({
        code: "NO_STANDBY",
        message: expect.stringContaining("m0"),
      });
      expect(stage.env.clock.now() - at).toBeLessThan(1_500);
      expect(cluster.leader().host.epoch()).toBe(1);
      expect(await cluster.ask({})).toMatchObject({ to: "m2" });
      await stage.until("m2 leads", () => cluster.leader().address === "m2:7077");
      silent.close();
    }));

  test("asked for again for the same epoch changes nothing: a repeated call does not hand back", () =>
    withCluster(2, async (stage, cluster) => {
      await cluster.ask({ epoch: 1 });
      await stage.until("m2 leads", () => cluster.leader().host.epoch() === 2 && cluster.leader().host.state() === "ALIVE");
      expect(await cluster.ask({ epoch: 1 })).toEqual({ handedOver: false, epoch: 2, to: "m2" });
      expect(await cluster.ask({ to: "m2" })).toEqual({ handedOver: false, epoch: 2, to: "m2" });
      await stage.env.clock.advance(5_000);
      expect(cluster.leader().host.epoch()).toBe(2);
    }));

  test("whose successor ends at that moment is undone: the old leader leads again", () =>
    withCluster(2, async (stage, cluster) => {
      const [one, two] = cluster.masters as [StagedMaster, StagedMaster];
      stage.fault = (call) => (call.kind === "commit" ? { requestDelayMs: 50 } : undefined);
      await cluster.ask({ to: "m2" });
      const closing = two.host.close();
      await stage.until("m1 leads again", () => one.host.state() === "ALIVE");
      expect(one.host.epoch()).toBeGreaterThan(1);
      await stage.drive(closing);
    }));

  test("ten times in a row under load: no call fails, nothing is lost, nothing is there twice", () =>
    withCluster(3, async (stage, cluster) => {
      const ids = new Map<string, string>();
      let failed = 0;
      let over = false;
      const submit = async (lane: number) => {
        for (let count = 0; !over; count++) {
          const key = `k-${lane}-${count}`;
          const call = cluster.client.call("submit", { key, spec: programSpec() }, { signal: never, timeoutMs: 60_000 });
          await call.then(
            ({ id }) => ids.set(key, id),
            () => {
              failed += 1;
            },
          );
        }
      };
      stage.fault = (call) => (call.kind === "commit" ? { requestDelayMs: 4, replyDelayMs: 4 } : undefined);
      const lanes = [1, 2].map(submit);
      for (let turn = 0; turn < 10; turn++) {
        const epoch = cluster.leader().host.epoch();
        await stage.env.clock.advance(5);
        expect(await cluster.ask({ epoch })).toMatchObject({ handedOver: true });
        await stage.until("the next one leads", () => cluster.leader().host.epoch() === epoch + 1);
        await stage.until("all follow", () => cluster.masters.every(({ host }) => host.epoch() === epoch + 1));
      }
      over = true;
      await stage.drive(Promise.all(lanes));
      expect(failed).toBe(0);
      expect(ids.size).toBeGreaterThan(10);
      expect(new Set(ids.values()).size).toBe(ids.size);
      const { applications } = await stage.drive(cluster.client.call("list", {}, { signal: never, timeoutMs: 10_000 }));
      expect(applications.map(({ id }) => id).sort()).toEqual([...ids.values()].sort());
    }));
});
