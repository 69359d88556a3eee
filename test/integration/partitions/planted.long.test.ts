/**
 * Tests of the tests: the masters' program is built with one mistake in it, and the ground truth has to find what comes of it. A planted mistake that
 * nobody finds is a check that checks nothing.
 */
import { expect, test } from "vitest";
import { chanceFrom } from "../../chaos/chance.js";
import { storeHistory } from "../../chaos/checks.js";
import type { Fault, Scene } from "../../chaos/faults/fault.js";
import { leaderFromMastersBy, leaderFromZooKeeper } from "../../chaos/faults/network-faults.js";
import { until } from "../../support/holdfast.js";
import { program } from "../../support/partition/applications.js";
import { type Acknowledged, checkAcknowledged } from "../../support/partition/ground-truth.js";
import { MASTERS, type Machines, startMachines } from "../../support/partition/machines.js";
import type { Plant } from "../../support/partition/planted-program.js";
import { evidencePath, missing, titled } from "./arena.js";

const TEST_MS = 180_000;
const QUIET_MS = 60_000;

/** It does not learn from a changed epoch that it was deposed; so it goes on until something refuses it. */
const NOTICES_NOTHING: Plant = {
  file: "src/coordination/fenced-leadership.ts",
  text: "if (record?.version !== this.options.epochVersion)",
  instead: "if (this.options.epochVersion < 0)",
};
const WITHOUT_FENCE: Plant = {
  file: "src/coordination/fenced-leadership.ts",
  text: "guards: [{ key: EPOCH_KEY, version: this.options.epochVersion }],",
  instead: "guards: [],",
};
const SAME_EPOCH_AGAIN: Plant = {
  file: "src/coordination/candidacy.ts",
  text: "(scene.epoch?.record.epoch ?? 0) + 1",
  instead: "(scene.epoch?.record.epoch ?? 1)",
};
const ACTS_BEFORE_COMMIT: Plant = {
  file: "src/host/turns/turns.ts",
  text: "await options.commit(turn.writes);",
  instead: "options.commit(turn.writes).catch(() => {});",
};

/** Masters with mistakes, and nobody who works: submissions are all that is needed. */
function withPlants(sentence: string, plants: readonly Plant[], body: (machines: Machines) => Promise<void>): void {
  test.skipIf(missing !== null)(
    titled(sentence),
    async () => {
      const machines = await startMachines({ plants, workers: [] });
      let failed = true;
      try {
        await machines.quiet(QUIET_MS);
        await body(machines);
        failed = false;
      } finally {
        if (failed) console.error(`evidence: ${evidencePath(sentence)}`);
        await machines.close(failed ? evidencePath(sentence) : null);
      }
    },
    TEST_MS,
  );
}

const spec = program(["true"]);

async function submit({ client }: Machines, key: string): Promise<Acknowledged> {
  const { id } = await client.call("submit", { key, spec });
  return { key, id };
}

/** As at the beginning of a round. */
async function sceneOf(machines: Machines): Promise<Scene> {
  const { leader: leading, masters } = await machines.view();
  const leader = machines.machineAt(leading?.address ?? "");
  const masterPids = new Map(masters.map(({ address, pid }) => [machines.machineAt(address), pid]));
  return { machines, chance: chanceFrom(1), leader, standbys: MASTERS.filter((name) => name !== leader), masterPids };
}

/** Resolves when the fault is in force and another has taken the epoch. */
async function deposed(machines: Machines, fault: Fault): Promise<void> {
  const before = (await storeHistory(machines)).epochs.length;
  await fault.begin(await sceneOf(machines));
  await until("another to take the epoch", async () => (await storeHistory(machines)).epochs.length > before);
}

interface Asked {
  /** Of the one that was deposed. */
  readonly epoch: number;
  readonly problems: string;
  readonly log: string;
}

/** A leader whose session lives is deposed by a suspicion, and its client goes on asking it. */
async function asksTheDeposed(machines: Machines): Promise<Asked> {
  await submit(machines, "before");
  const [{ leader }, { epoch }] = [await sceneOf(machines), await machines.view()];
  await deposed(machines, leaderFromMastersBy("reset"));
  const last = await submit(machines, "after");
  await machines.network.heal();
  const history = await storeHistory(machines);
  expect(checkAcknowledged(history, [last])).toEqual([]);
  return { epoch, problems: history.problems.join("\n"), log: machines.process(leader).log() };
}

withPlants(
  "a leader that notices nothing and commits without the fence writes into its successor's epoch: found",
  [NOTICES_NOTHING, WITHOUT_FENCE],
  async (machines) => {
    const { problems, epoch } = await asksTheDeposed(machines);
    expect(problems).toContain(`a commit of epoch ${epoch} stands after epoch ${epoch + 1}`);
    expect(problems).toMatch(new RegExp(`session \\S+ committed in epoch ${epoch + 1}, which session \\S+ has taken`));
  },
);

withPlants(
  "a leader that notices nothing is kept by the fence from writing, and learns there that it was deposed",
  [NOTICES_NOTHING],
  async (machines) => {
    const { problems, log, epoch } = await asksTheDeposed(machines);
    expect(problems).toBe("");
    expect(log).toMatch(new RegExp(`Deposed from epoch ${epoch}:.*FENCED`));
  },
);

withPlants("a master that takes the epoch without raising it: found", [SAME_EPOCH_AGAIN], async (machines) => {
  const { epoch } = await machines.view();
  const before = (await storeHistory(machines)).epochs.length;
  await machines.client.call("handover", { epoch, to: null });
  await until("another to take the epoch", async () => (await storeHistory(machines)).epochs.length > before);
  expect((await storeHistory(machines)).problems.join("\n")).toContain(`epoch ${epoch} was taken after epoch ${epoch}`);
});

withPlants(
  "a leader that answers before it has committed: what it promised while it was cut off is missed",
  [ACTS_BEFORE_COMMIT],
  async (machines) => {
    const promised = [await submit(machines, "before")];
    const before = (await storeHistory(machines)).epochs.length;
    await leaderFromZooKeeper.begin(await sceneOf(machines));
    promised.push(await submit(machines, "cut-off"));
    await until("another to take the epoch", async () => (await storeHistory(machines)).epochs.length > before);
    await machines.network.heal();
    await machines.quiet(QUIET_MS);
    expect(checkAcknowledged(await storeHistory(machines), promised)).toEqual([
      expect.stringMatching(/submitted cut-off, and was never recorded/),
    ]);
  },
);
