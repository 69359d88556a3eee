import { expect, test } from "vitest";
import { createLeaderSuspicion } from "../../../src/host/master/leader-suspicion.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const LEADER = "a:1";

function suspicious(pauseMs: number) {
  const { clock } = createTestEnv();
  const world = { clock, isLinked: false, pauseMs };
  const { signal } = new AbortController();
  const suspicion = createLeaderSuspicion({ clock, signal, pauseMs: () => world.pauseMs, holds: () => !world.isLinked });
  return { world, clock, suspicion };
}

test("a suspicion without a pause is acted upon at once", () => {
  const { suspicion } = suspicious(0);
  const campaign = suspicion.forCampaign();
  expect(suspicion.raise(LEADER)).toBe(true);
  expect(campaign.aborted).toBe(true);
});

test("one that has to wait is acted upon after its pause, once", async () => {
  const { suspicion, clock } = suspicious(5_000);
  const campaign = suspicion.forCampaign();
  expect(suspicion.raise(LEADER)).toBe(true);
  expect(suspicion.raise(LEADER)).toBe(false);
  await clock.advance(4_999);
  expect(campaign.aborted).toBe(false);
  await clock.advance(1);
  expect(campaign.aborted).toBe(true);
});

test("a leader that was seen meanwhile is not deposed for an old refusal, though its link be lost again when the pause is over", async () => {
  const { suspicion, clock, world } = suspicious(5_000);
  const campaign = suspicion.forCampaign();
  suspicion.raise(LEADER);
  await clock.advance(1_000);
  world.isLinked = true;
  suspicion.withdraw();
  await clock.advance(1_000);
  // A cut that drops: nobody has refused anything since.
  world.isLinked = false;
  await clock.advance(60_000);
  expect(campaign.aborted).toBe(false);
  // The next refusal counts, and waits for its own pause.
  expect(suspicion.raise(LEADER)).toBe(true);
  await clock.advance(5_000);
  await settle();
  expect(campaign.aborted).toBe(true);
});
