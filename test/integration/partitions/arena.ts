/**
 * One cluster of virtual machines for the tests of a file, with a workload around them. Between two tests it is healed and has come to rest,
 * because each round ends so.
 *
 * Where this machine has no namespaces, or no ZooKeeper, the tests are skipped, and their title says why.
 */
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chanceFrom } from "../../chaos/chance.js";
import type { Fault, Scene } from "../../chaos/faults/fault.js";
import { type Arena, type Played, playRound } from "../../chaos/round.js";
import { Workload } from "../../chaos/workload.js";
import { type Machines, type MachinesOptions, machinesMissing, startMachines } from "../../support/partition/machines.js";

const QUIET_MS = 60_000;
const TEST_MS = 240_000;
/** Session, a tick, and what the aim allows on top; printed beside what was measured. */
export const AIM_MS = 2_000 + 200 + 100;

export interface Stage {
  arena(): Arena;
  /** A test on the file's cluster, which leaves it healed and at rest. */
  scene(sentence: string, body: (arena: Arena) => Promise<void>): void;
  /** A test of one round; `meanwhile` runs while the fault is in force. */
  round(sentence: string, options: RoundTest): void;
}

export interface RoundTest {
  readonly fault: Fault;
  readonly holdMs?: number;
  readonly withJob?: boolean;
  /** What becomes of leadership: `moves` is waited for while the fault is in force. */
  readonly leadership: "stays" | "moves" | "either";
  readonly meanwhile?: (scene: Scene) => Promise<void>;
  readonly afterwards?: (scene: Scene) => Promise<void>;
}

/** Why the tests of this folder cannot run here; null: they can. */
export const missing = machinesMissing();
export const titled = (title: string): string => (missing === null ? title : `${title} [skipped: ${missing}]`);

export function onMachines(title: string, body: (stage: Stage) => void, options: MachinesOptions = {}): void {
  describe.skipIf(missing !== null)(titled(title), () => {
    let arena: Arena | null = null;
    let failed = false;
    const present = () => {
      if (arena === null) throw new Error("the cluster is not there");
      return arena;
    };
    beforeAll(async () => {
      arena = await openArena(await startMachines(options));
    }, TEST_MS);
    afterAll(async () => {
      arena?.workload.end();
      const left = await arena?.machines.close(failed ? evidencePath(title) : null);
      expect(left ?? [], "processes that outlived their cluster").toEqual([]);
    }, TEST_MS);
    const scene = (sentence: string, act: (arena: Arena) => Promise<void>) => {
      test(
        sentence,
        async ({ onTestFailed }) => {
          onTestFailed(() => {
            failed = true;
            console.error(`evidence: ${evidencePath(title)}`);
          });
          await act(present());
        },
        TEST_MS,
      );
    };
    const round = (sentence: string, options: RoundTest) =>
      scene(sentence, async (one) => void (await play(one, sentence, options)));
    body({ arena: present, scene, round });
  });
}

export const evidencePath = (title: string): string =>
  path.join(os.tmpdir(), `holdfast-evidence-${title.replaceAll(/[^A-Za-z]+/g, "-")}-${process.pid}`);

export async function openArena(machines: Machines): Promise<Arena> {
  const told: string[] = [];
  const arena: Arena = {
    machines,
    workload: new Workload(machines),
    chance: chanceFrom(1),
    ledger: { done: 0 },
    say: (text) => void told.push(text),
  };
  await machines.quiet(QUIET_MS);
  await arena.workload.begin();
  return arena;
}

export async function play(arena: Arena, sentence: string, options: RoundTest): Promise<Played> {
  const { machines } = arena;
  const { fault, holdMs = 0, withJob = false, leadership, meanwhile, afterwards } = options;
  const { epoch } = await machines.view();
  const played = await playRound(arena, {
    faults: [{ fault, afterMs: 0 }],
    holdMs,
    withJob,
    meanwhile: async (scene) => {
      if (leadership === "moves") await newLeader(arena, epoch);
      await meanwhile?.(scene);
    },
  });
  expect(played.problems).toEqual([]);
  if (leadership === "stays") expect(played.newLeaderAfterMs, "nobody took over").toBe(null);
  if (leadership === "moves") expect(played.newLeaderAfterMs, "somebody took over").not.toBe(null);
  if (played.newLeaderAfterMs !== null)
    console.log(`${sentence}: a new leader after ${played.newLeaderAfterMs} ms (aim where a session has to expire: ${AIM_MS} ms)`);
  await afterwards?.(played.before);
  return played;
}

/** What must be the same before and after a fault that nothing may notice. */
export async function footprint({ machines }: Arena, application: string): Promise<object> {
  const { attempt, restarts, driver, executors } = await machines.status(application);
  return { attempt, restarts, driver, executors: executors.map(({ id, worker, pid }) => ({ id, worker, pid })) };
}

/** While the fault is in force: another epoch is there for clients, and what they submit then is accepted. */
export async function newLeader({ machines, workload }: Arena, epoch: number): Promise<void> {
  const until = performance.now() + 45_000;
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  for (;;) {
    const view = await machines.view().catch(() => null);
    if (view !== null && view.epoch > epoch && view.state === "ALIVE") break;
    if (performance.now() > until) throw new Error(`no leader after epoch ${epoch}; seen: ${JSON.stringify(view)}`);
    await pause();
  }
  for (const before = workload.acknowledged.length; workload.acknowledged.length === before; await pause())
    if (performance.now() > until) throw new Error("the new leader accepts no submission");
}
