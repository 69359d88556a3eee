/**
 * `--on-partition` against a real cut: the worker on which it all runs is cut off from every master and from ZooKeeper, past its deadline. What ran
 * when is read from what the programs themselves wrote down; all virtual machines share one clock.
 */
import { writeFileSync } from "node:fs";
import { expect } from "vitest";
import type { Fault } from "../../chaos/faults/fault.js";
import type { Arena } from "../../chaos/round.js";
import type { Submitted } from "../../chaos/workload.js";
import { until } from "../../support/holdfast.js";
import { MASTERS, type Machines, WORKERS, ZOOKEEPERS } from "../../support/partition/machines.js";
import { type Life, livesOf, overlaps, readTicks } from "../../support/partition/ticks.js";
import { isAlive } from "../../support/partition/virtual-network.js";
import { onMachines, play } from "./arena.js";

/** So many are submitted at most until one of them lies where it has to. */
const MAX_TRIES = 12;
/** After the cut is healed: registered anew, told to stop, the polite signal, the grace of 1 s, the kill; and a busy machine. */
const STOPPED_WITHIN_MS = 20_000;

onMachines("what a cut worker's programs do", ({ scene }) => {
  scene("stop: a program ends before it starts elsewhere; continue: it runs on, twice, until the cut is healed", async (arena) => {
    const { machines, workload } = arena;
    const stopping = await running(arena, await workload.submit("single", { supervise: true, onPartition: "stop" }));
    const worker = await workerOf(machines, stopping.id);
    const going = await onWorker(arena, worker, () => workload.submit("steady", { supervise: true, onPartition: "continue" }));
    let cutAtMs = 0;
    await play(arena, "stop and continue", {
      fault: cutOff(machines, worker, () => (cutAtMs = Date.now())),
      leadership: "stays",
      meanwhile: async () => {
        await until("both to run elsewhere", () => [stopping, going].every(({ file }) => livesIn(file).length === 2));
        // Both go on for a while where they are now.
        const [, second] = livesIn(going.file);
        await until("the second to go on", () => (livesIn(going.file)[1]?.toMs ?? 0) > (second?.fromMs ?? 0) + 2_000);
      },
    });
    const healedAtMs = Date.now();
    const [first, second] = livesIn(stopping.file) as [Life, Life];
    expect(first.toMs, "it ran on for a while after the cut: until its lease was old").toBeGreaterThan(cutAtMs);
    expect(first.toMs, "it ended before it started elsewhere").toBeLessThan(second.fromMs);
    expect(overlaps(livesIn(stopping.file))).toEqual([]);
    const [old, next] = livesIn(going.file) as [Life, Life];
    expect(old.toMs, "it ran on beside the second one").toBeGreaterThan(next.fromMs + 1_000);
    await until("the old one to be stopped", () => !isAlive(old.pid), STOPPED_WITHIN_MS);
    await until("the next one to go on", () => (livesIn(going.file)[1]?.toMs ?? 0) > healedAtMs + 1_000);
    for (const { id, file } of [stopping, going]) {
      expect(livesIn(file)).toHaveLength(2);
      expect(await machines.status(id)).toMatchObject({ attempt: 2, state: "running" });
      expect(await workerOf(machines, id)).not.toBe(worker);
      await machines.client.call("cancel", { application: id });
    }
  });

  scene(
    "a job whose driver and executor are cut off goes on there and elsewhere: one attempt decides the output",
    async (arena) => {
      const { machines, workload } = arena;
      let release = "";
      let worker = "";
      const job = await eventually(async (tried) => {
        release = machines.cluster.file(`release-${tried}`);
        const submitted = await workload.job({ hold: release, args: ["--parallelism", "1", "--on-partition", "continue"] });
        const found = await running(arena, submitted);
        await until("its executor", async () => (await machines.status(found.id)).executors[0]?.worker != null);
        const { driver, executors } = await machines.status(found.id);
        worker = await workerOf(machines, found.id);
        const isTogether = executors.every((executor) => executor.worker === driver?.worker);
        // One that lies otherwise ends here.
        if (!isTogether) writeFileSync(release, "");
        return isTogether ? found : null;
      });
      let pids: readonly number[] = [];
      await until("driver and executor to run", async () => {
        pids = await machines.attemptPids(worker, job.id, 1);
        return pids.length >= 2;
      });
      await play(arena, "a job cut off", {
        fault: cutOff(machines, worker),
        leadership: "stays",
        meanwhile: async () => {
          await until("the second attempt to run", async () => {
            const { attempt, executors } = await machines.status(job.id);
            return attempt === 2 && executors.some((executor) => executor.state === "running");
          });
          expect(pids.filter(isAlive), "the first attempt runs on where it is cut off").toEqual(pids);
          // Both read to their end at once now, and each wants to decide.
          writeFileSync(release, "");
          await until("the job to end", async () => (await machines.status(job.id)).state === "finished");
        },
      });
      await until("the first attempt to be gone", () => !pids.some(isAlive), STOPPED_WITHIN_MS);
      // That its output is right was checked at the end of the round: each number in it once.
      expect(await machines.status(job.id)).toMatchObject({ attempt: 2, state: "finished" });
      const decisions = machines.logs().flatMap(({ text }) => text.match(decisionOf(job.id)) ?? []);
      expect(decisions).toEqual([expect.stringContaining("by attempt 2")]);
    },
  );
});

const decisionOf = (id: string): RegExp => new RegExp(`The output of ${id} is decided by attempt [0-9]+`, "g");
const livesIn = (file: string): readonly Life[] => livesOf(readTicks(file));

/** One machine without masters and without ZooKeeper; the other workers still see it. */
const cutOff = (machines: Machines, worker: string, onCut: () => void = () => {}): Fault => ({
  name: `${worker} cut off`,
  reach: "work",
  begin: async () => {
    await machines.network.cut([worker], [...MASTERS, ...ZOOKEEPERS]);
    onCut();
    return { what: `${worker} | masters, ZooKeeper` };
  },
});

async function running({ machines }: Arena, submitted: Submitted | null): Promise<Submitted> {
  if (submitted === null) throw new Error("it was not accepted");
  await until(`${submitted.key} to run`, async () => (await machines.status(submitted.id)).state === "running");
  return submitted;
}

/** The machine on which the driver of an application is. */
async function workerOf(machines: Machines, application: string): Promise<string> {
  const { driver } = await machines.status(application);
  const { workers } = await machines.client.call("workers", {});
  const found = workers.find(({ id }) => id === driver?.worker);
  const machine = found === undefined ? undefined : WORKERS.find((name) => machines.process(name).pid === found.pid);
  if (machine === undefined) throw new Error(`${application} runs on no machine that is known`);
  return machine;
}

/** What lies elsewhere is cancelled. */
function onWorker(arena: Arena, worker: string, submit: () => Promise<Submitted | null>): Promise<Submitted> {
  const { machines } = arena;
  return eventually(async () => {
    const submitted = await running(arena, await submit());
    if ((await workerOf(machines, submitted.id)) === worker) return submitted;
    await machines.client.call("cancel", { application: submitted.id });
    return null;
  });
}

async function eventually(attempt: (tried: number) => Promise<Submitted | null>): Promise<Submitted> {
  for (let tried = 0; tried < MAX_TRIES; tried += 1) {
    const found = await attempt(tried);
    if (found !== null) return found;
  }
  throw new Error(`after ${MAX_TRIES} tries none lay where it had to`);
}
