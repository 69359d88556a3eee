/**
 * What leadership promises, as functions that throw when it is broken: run against the real one by leadership.test.ts, and against broken
 * ones by planted-bugs.test.ts.
 */
import { expect } from "vitest";
import { codeOf } from "../../../src/conformance/coordination-store-tools.js";
import { EPOCH_KEY } from "../../../src/coordination/keys.js";
import { live, openStage, type Parts, readAll, type Stage, write } from "./leadership-stage.js";

export interface LeadershipCheck {
  readonly name: string;
  readonly run: (parts: Parts) => Promise<void>;
}

function check(name: string, run: (stage: Stage) => Promise<void>): LeadershipCheck {
  return { name, run: (parts) => run(openStage(parts)) };
}

/** Longer than any check. */
const NEVER_MS = 1e9;

export const deposedIsFenced = check("a deposed leader's write is never applied, and it stays deposed", async (stage) => {
  const process = stage.process("first");
  const first = await process.lead();
  await first.commit([write("a", "first")], live);
  // No watch tells it: only the fence is left.
  process.store.loseWatches(NEVER_MS);
  const second = await stage.process("second").lead({ takeOver: true });
  expect(second.epoch).toBeGreaterThan(first.epoch);
  for (const attempt of ["one", "two"]) {
    expect(await codeOf(stage.pump(first.commit([write("a", attempt)], live)))).toBe("FENCED");
    expect(stage.look("a")?.value).toBe("first");
    expect(first.active()).toBe(false);
  }
  expect((await first.ended).code).toBe("FENCED");
  await second.commit([write("a", "second")], live);
  expect(stage.look("a")).toEqual({ value: "second", version: 1 });
});

export const deposedInFlightIsFenced = check(
  "what a leader has in flight while it is deposed is applied before the take-over or never",
  async (stage) => {
    const process = stage.process("first");
    const first = await process.lead();
    process.store.loseWatches(NEVER_MS);
    const commits = Array.from({ length: 30 }, (_, index) =>
      first.commit([write(`w/${index}`, "x")], live).then(
        () => index,
        () => -1,
      ),
    );
    const second = await stage.process("second").lead({ takeOver: true });
    const acknowledged = (await stage.pump(Promise.all(commits))).filter((index) => index >= 0);
    const read = Object.keys(await readAll(second, "w/"));
    for (const index of acknowledged) expect(read).toContain(`w/${index}`);
    const takeOver = stage.history.findLastIndex(({ transaction }) =>
      transaction.writes.some((item) => "put" in item && item.put === EPOCH_KEY),
    );
    const after = stage.history.slice(takeOver + 1).flatMap(({ transaction }) => transaction.writes);
    expect(after.filter((item) => "put" in item && item.put.startsWith("records/"))).toEqual([]);
  },
);

export const oneEpochEach = check(
  "contenders that campaign at once lead one after another, each with an epoch of its own",
  async (stage) => {
    const processes = ["a", "b", "c"].map((name) => stage.process(name));
    const campaigns = processes.map((process) => process.startCampaign({ takeOver: true }));
    const epochs = (
      await stage.pump(
        Promise.all(
          campaigns.map(async (campaign) => {
            const leadership = await campaign;
            const { epoch } = leadership;
            await leadership.resign();
            return epoch;
          }),
        ),
      )
    ).sort();
    expect(epochs).toEqual([1, 2, 3]);
  },
);

export const acknowledgedIsDurable = check("nothing is acknowledged before it is in the store", async (stage) => {
  const process = stage.process("first");
  const leadership = await process.lead();
  await leadership.commit([write("a", "1")], live);
  expect(stage.look("a")?.value).toBe("1");
  process.store.failNextCommit("unknown-not-applied");
  await stage.pump(leadership.commit([write("b", "1")], live));
  expect(stage.look("b")?.value).toBe("1");
  process.store.failNextCommit("disk-failed-not-applied");
  expect(await codeOf(stage.pump(leadership.commit([write("c", "1")], live)))).toBe("DISK_FAILED");
  expect(stage.look("c")).toBeUndefined();
  expect((await leadership.ended).code).toBe("DISK_FAILED");
});

export const unknownIsSettled = check("a commit of unknown outcome is applied exactly once", async (stage) => {
  const process = stage.process("first");
  const leadership = await process.lead();
  for (const outcome of ["unknown-applied", "unknown-not-applied", "connection-lost"] as const) {
    process.store.failNextCommit(outcome);
    await stage.pump(leadership.commit([write(outcome, "1")], live));
    expect(stage.look(outcome), outcome).toEqual({ value: "1", version: 0 });
  }
  await stage.pump(leadership.commit([write("after", "1")], live));
  expect(leadership.active()).toBe(true);
});

export const LEADERSHIP_CHECKS: readonly LeadershipCheck[] = [
  deposedIsFenced,
  deposedInFlightIsFenced,
  oneEpochEach,
  acknowledgedIsDurable,
  unknownIsSettled,
];
