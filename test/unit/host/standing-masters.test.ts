/** Real masters, and a real worker that keeps links to all of them: over failovers, hand-overs of leadership to and fro, and strangers. */
import { expect, test } from "vitest";
import { STANDING_SPREAD_MS } from "../../../src/host/finding/standing-links.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import type { Role } from "../../../src/wire/envelope.js";
import { applicationScope, NO_SECRET, STANDING, STANDING_PACE } from "../../../src/wire/handshake.js";
import type { WorkerView } from "../../../src/wire/views.js";
import { masterToWorker } from "../../../src/wire/worker-messages.js";
import { type MasterStage, never, openMasterStage, type StagedMaster } from "./master-stage.js";
import { fakeLauncher, settle, startWorker } from "./worker-stage.js";

const HEARTBEAT_MS = 1_000;

async function onStage(play: (stage: MasterStage) => Promise<void>): Promise<void> {
  const stage = openMasterStage();
  try {
    await play(stage);
  } finally {
    await stage.close();
  }
}

async function leaderAndStandby(stage: MasterStage): Promise<readonly [StagedMaster, StagedMaster]> {
  const one = await stage.master("m1");
  await stage.until("m1 leads", () => one.host.state() === "ALIVE");
  const two = await stage.master("m2");
  await stage.until("m2 follows", () => two.host.epoch() === 1);
  return [one, two];
}

async function kill(stage: MasterStage, master: StagedMaster): Promise<void> {
  master.store.crash(60_000);
  void master.host.close();
  await settle();
  stage.env.transport.breakConnections(master.address);
}

function dialStanding(stage: MasterStage, address: string, role: Role, id: string, clusterId: string | null = null): Promise<Link> {
  return stage.drive(
    dialLink(address, {
      env: stage.env,
      epoch: () => 0,
      role,
      id,
      scope: role === "driver" ? applicationScope("app-1-1") : "cluster",
      key:
        role === "driver"
          ? stage.env.digest.hmacSha256(NO_SECRET, new TextEncoder().encode("holdfast/application/app-1-1"))
          : NO_SECRET,
      clusterId,
      facts: { [STANDING]: 1 },
      incoming: masterToWorker,
      ...STANDING_PACE,
      connectTimeoutMs: 1_000,
      signal: never,
    }),
  );
}

test("a worker goes over to each next leader on the link that stood there, and nothing that runs notices", () =>
  onStage(async (stage) => {
    const [one, two] = await leaderAndStandby(stage);
    const dialled: string[] = [];
    const transport = {
      ...stage.env.transport,
      connect: (address: string, options: Parameters<typeof stage.env.transport.connect>[1]) => {
        dialled.push(address);
        return stage.env.transport.connect(address, options);
      },
    };
    const launcher = fakeLauncher();
    const masterUrl = "holdfast://m1:7077,m2:7077";
    const env = { ...stage.env, transport } as unknown as typeof stage.env;
    const worker = await startWorker(env, { launcher, masterUrl, secret: null });
    try {
      const stateAt = async (master: StagedMaster) => {
        const link = await stage.link(master.address);
        const { workers } = (await stage.drive(link.request("workers", {}, { signal: never, timeoutMs: 5_000 }))) as {
          readonly workers: readonly WorkerView[];
        };
        link.close();
        return workers.map(({ state }) => state);
      };
      await stage.env.clock.advance(2 * STANDING_SPREAD_MS);
      expect(await stateAt(one)).toEqual(["alive"]);
      let [leader, standby] = [one, two];
      for (let epoch = 2; epoch <= 4; epoch += 1) {
        dialled.length = 0;
        // It is fenced by what it has lost, ends its links, and stands in line again.
        leader.store.expireSessions();
        await stage.until("the standby leads", () => standby.host.state() === "ALIVE");
        expect(standby.host.epoch()).toBe(epoch);
        await stage.until("the worker is there", () => standby.logs.some((line) => line.startsWith("Worker w re-attached")));
        expect(dialled).not.toContain(standby.address);
        expect(await stateAt(standby)).toEqual(["alive"]);
        standby.logs.length = 0;
        [leader, standby] = [standby, leader];
        await stage.env.clock.advance(3 * STANDING_SPREAD_MS);
      }
      expect(launcher.calls).toEqual([]);
    } finally {
      await stage.drive(worker.close({ leave: true }));
    }
  }));

test("a standby beats slowly on links that wait for it, and as a leader once it leads", () =>
  onStage(async (stage) => {
    const [one, two] = await leaderAndStandby(stage);
    const link = await dialStanding(stage, two.address, "worker", "w1");
    const longestGapMs = async (forMs: number) => {
      let longest = 0;
      const end = stage.env.clock.now() + forMs;
      while (stage.env.clock.now() < end) {
        await stage.env.clock.advance(100);
        longest = Math.max(longest, stage.env.clock.now() - link.lastHeardAt());
      }
      return longest;
    };
    expect(await longestGapMs(25_000)).toBeGreaterThan(STANDING_PACE.heartbeatMs - 200);
    await kill(stage, one);
    await stage.until("it says that it leads", () => link.peer.facts.state !== "STANDBY");
    expect(link.peer.epoch).toBe(2);
    link.pace({ heartbeatMs: HEARTBEAT_MS, silenceMs: 10_000 });
    expect(await longestGapMs(5_000)).toBeLessThanOrEqual(HEARTBEAT_MS);
  }));

test("a standby that takes over does not tell those of another cluster, whom it could not refuse before", () =>
  onStage(async (stage) => {
    const [one, two] = await leaderAndStandby(stage);
    const own = await dialStanding(stage, two.address, "worker", "w1");
    const stranger = await dialStanding(stage, two.address, "worker", "w2", "another-cluster").catch(() => null);
    const heard: unknown[] = [];
    stranger?.onAnnounced(() => heard.push(stranger.peer.facts));
    await kill(stage, one);
    await stage.until("it says that it leads", () => own.peer.facts.state !== "STANDBY");
    await stage.env.clock.advance(100);
    let isOver = stranger === null;
    void stranger?.ended.then(() => {
      isOver = true;
    });
    await settle();
    expect(isOver).toBe(true);
    expect(heard).toEqual([]);
  }));

test("a standby that takes over tells everybody who waits, however many there are, and clients before workers", () =>
  onStage(async (stage) => {
    const [one, two] = await leaderAndStandby(stage);
    const told: string[] = [];
    const note = (link: Link, who: string) => link.onAnnounced(() => void (link.peer.facts.state !== "STANDBY" && told.push(who)));
    // More than are told in one go.
    // Strangers are few at a time.
    for (let number = 0; number < 600; number += 60) {
      const dials = Array.from({ length: 60 }, (_, at) => dialStanding(stage, two.address, "worker", `w${number + at}`));
      for (const link of await Promise.all(dials)) note(link, "worker");
    }
    note(await dialStanding(stage, two.address, "driver", "app-1-1.d1"), "driver");
    note(await stage.link(two.address), "client");
    await kill(stage, one);
    await stage.until("all are told", () => told.length === 602);
    expect(told.slice(0, 2).sort()).toEqual(["client", "driver"]);
  }));
