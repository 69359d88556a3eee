/** The epoch is not exchanged in a storm: by the pace alone, and by masters that suspect each other wrongly. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { Transport } from "../../../src/env/transport.js";
import {
  createElectionPace,
  type ElectionPace,
  LONGEST_RETRY_MS,
  LONGEST_SUSPICION_MS,
  STABLE_LEADERSHIP_MS,
} from "../../../src/host/master/election-pace.js";
import { type MasterStage, onStage, type StagedMaster } from "./master-stage.js";

const steady = () => createElectionPace(() => 1);

describe("the pace of elections", () => {
  test("a leader that really died leaves no deposed master behind, so the next suspicion waits for nothing, however often", () => {
    const pace = steady();
    for (let now = 0; now < 10_000; now += 100) expect(pace.suspicionPauseMs(now)).toBe(0);
  });

  test("each deposition of a living leader makes its next suspicion later, up to a bound", () => {
    const pace = steady();
    const pauses: number[] = [];
    for (let now = 0, turn = 0; turn < 16; turn++) {
      pace.ended("deposed", 5, now);
      pauses.push(pace.suspicionPauseMs(now));
      now += 2 * (pauses.at(-1) ?? 0);
    }
    expect(pauses.slice(0, 5)).toEqual([100, 200, 400, 800, 1_600]);
    expect(Math.max(...pauses)).toBe(LONGEST_SUSPICION_MS);
    expect([...pauses].sort((a, b) => a - b)).toEqual(pauses);
  });

  test("a deposed master stands in line at once; one whose own things fail after a growing, bounded, jittered pause", () => {
    const pace = steady();
    expect(pace.ended("deposed", 0, 0)).toBe(0);
    const pauses = Array.from({ length: 10 }, (_, turn) => pace.ended("failed", 0, turn));
    expect(pauses.slice(0, 4)).toEqual([100, 200, 400, 800]);
    expect(pauses.at(-1)).toBe(LONGEST_RETRY_MS);
    expect(createElectionPace(() => 0).ended("failed", 0, 0)).toBe(50);
  });

  test("a stable leadership and a calm time make it forget; a hand-over is not counted", () => {
    const pace = steady();
    for (let turn = 0; turn < 6; turn++) pace.ended("failed", 0, turn);
    expect(pace.ended("failed", STABLE_LEADERSHIP_MS, 0)).toBe(0);
    expect(pace.ended("failed", 0, 0)).toBe(100);
    for (let turn = 0; turn < 3; turn++) pace.ended("deposed", 0, 0);
    expect(pace.ended("planned", 5, 0)).toBe(0);
    expect(pace.suspicionPauseMs(1_000)).toBe(400);
    expect(pace.suspicionPauseMs(120_000)).toBe(0);
  });
});

/** Masters that reach the store but not each other: each takes every other one for dead. */
async function rivals(stage: MasterStage, count: number, options: { readonly pace?: () => ElectionPace } = {}) {
  const network = { isCut: true };
  const connect: Transport["connect"] = (address, call) =>
    network.isCut
      ? Promise.reject(new CodedError("CONNECTION_REFUSED", `nobody listens at ${address}`))
      : stage.env.transport.connect(address, call);
  const transport: Transport = { listen: (address, onConnection) => stage.env.transport.listen(address, onConnection), connect };
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  const masters: StagedMaster[] = [];
  for (let number = 1; number <= count; number++) {
    const pace = options.pace === undefined ? {} : { pace: options.pace() };
    masters.push(await stage.master(`m${number}`, { env: { ...stage.env, transport, log: quiet }, ...pace }));
  }
  return { network, masters, epoch: () => Math.max(...masters.map(({ host }) => host.epoch())) };
}

async function exchangesWithin(stage: MasterStage, ms: number, epoch: () => number): Promise<number> {
  const before = epoch();
  await stage.env.clock.advance(ms);
  return epoch() - before;
}

describe("masters that suspect each other although all live", () => {
  test.each([2, 3])("%i of them exchange the epoch ever more slowly, and after the last fault at most once more", (count) =>
    onStage(async (stage) => {
      const { network, epoch, masters } = await rivals(stage, count);
      const first = await exchangesWithin(stage, 60_000, epoch);
      expect(first).toBeGreaterThan(1);
      expect(first).toBeLessThan(12 * count);
      expect(await exchangesWithin(stage, 120_000, epoch)).toBeLessThan(3 * count);
      network.isCut = false;
      expect(await exchangesWithin(stage, 300_000, epoch), "I21").toBeLessThanOrEqual(1);
      expect(masters.filter(({ host }) => host.state() === "ALIVE")).toHaveLength(1);
    }),
  );

  test("without the pace they exchange it in a storm: the test above would notice", () =>
    onStage(async (stage) => {
      const none: ElectionPace = { ended: () => 0, suspicionPauseMs: () => 0 };
      const { epoch } = await rivals(stage, 2, { pace: () => none });
      expect(await exchangesWithin(stage, 60_000, epoch)).toBeGreaterThan(80);
    }));

  test("standbys that come, go and stand still change nothing about the leader (I22)", () =>
    onStage(async (stage) => {
      const one = await stage.master("m1");
      await stage.until("m1 leads", () => one.host.state() === "ALIVE");
      for (let turn = 0; turn < 5; turn++) {
        const standby = await stage.master(`s${turn}`);
        await stage.env.clock.advance(200);
        standby.store.disconnect("hang");
        await stage.env.clock.advance(15_000);
        standby.store.reconnect();
        await stage.drive(standby.host.close());
      }
      expect([one.host.state(), one.host.epoch()]).toEqual(["ALIVE", 1]);
    }));
});
