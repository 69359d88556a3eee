/**
 * Spark's seven FaultToleranceTest scenarios (spark.md, 4.1.1 FaultToleranceTest.scala), with processes that are really killed and without its
 * sleeps: beyond "one ALIVE, the others STANDBY, all workers listed, a job gives the right answer" a program and a job that ran
 * before must go on untouched.
 */
import { expect } from "vitest";
import { expectBuckets, kill, PATIENT, type Stage, scenario } from "../../support/scenario.js";

const COUNT = 4_000;
const RATE = 1_000;

/** A supervised program and a job that run through the scenario; `check` after each fault, `finish` at the end. */
async function runThrough(stage: Stage) {
  const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", COUNT, RATE)]);
  const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
  let round = 0;
  const finish = async () => {
    const ended = await stage.ended(job);
    expect(ended).toMatchObject({ state: "finished", attempt: 1, restarts: 0 });
    // Counters are not durable: a leader that came after the end does not know them.
    expect(ended.progress?.jobRestarts ?? 0).toBe(0);
    expectBuckets(stage.cluster.file("through"), COUNT);
    await stage.undisturbed(program, ofProgram);
  };
  const check = async (masters: number, workers: number) => {
    const view = await stage.valid(masters, workers);
    await stage.undisturbed(program, ofProgram);
    const { state } = await stage.status(job);
    if (state === "running") await stage.undisturbed(job, ofJob);
    round += 1;
    await stage.usable(`round-${round}`);
    return view;
  };
  return { check, finish };
}

scenario(
  "sanity-basic: one master and one worker serve a program and a job",
  async (stage) => {
    stage.master();
    stage.worker({ cores: 4 });
    const { check, finish } = await runThrough(stage);
    await check(1, 1);
    await finish();
  },
  { deadlines: PATIENT },
);

scenario(
  "sanity-many-masters: of three masters one leads and two stand by",
  async (stage) => {
    stage.masters(3);
    stage.workers(3);
    const { check, finish } = await runThrough(stage);
    await check(3, 3);
    await finish();
  },
  { deadlines: PATIENT },
);

scenario(
  "single-leader-halt: a standby takes over, and nothing that runs notices",
  async (stage) => {
    stage.masters(3);
    stage.workers(2);
    const { check, finish } = await runThrough(stage);
    const { epoch } = await check(3, 2);
    await stage.killLeader();
    expect((await check(2, 2)).epoch).toBeGreaterThan(epoch);
    await finish();
  },
  { deadlines: PATIENT },
);

scenario(
  "single-leader-restart: the only master is killed and started anew, twice",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const { check, finish } = await runThrough(stage);
    let { epoch } = await stage.valid(1, 2);
    for (let time = 0; time < 2; time++) {
      await stage.killLeader();
      stage.master();
      const view = await check(1, 2);
      expect(view.epoch).toBeGreaterThan(epoch);
      epoch = view.epoch;
    }
    await finish();
  },
  { deadlines: PATIENT },
);

scenario(
  "cluster-failure: all masters and workers are killed and started anew on the same directories",
  async (stage) => {
    const masters = stage.masters(2);
    const places = [stage.cluster.file("place-1"), stage.cluster.file("place-2")];
    const workers = places.map((workDirectory) => stage.worker({ workDirectory }));
    const { check, finish } = await runThrough(stage);
    await stage.valid(2, 2);
    await Promise.all([...masters, ...workers].map(kill));
    stage.masters(2);
    for (const workDirectory of places) stage.worker({ workDirectory });
    await check(2, 2);
    await finish();
  },
  { deadlines: PATIENT },
);

scenario(
  "all-but-standby-failure: leader and all workers are killed; new machines do the work of the lost ones",
  async (stage) => {
    stage.masters(2);
    const workers = stage.workers(2);
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", COUNT, RATE)]);
    await stage.valid(2, 2);
    await Promise.all([stage.killLeader(), ...workers.map(kill)]);
    stage.workers(2);
    await stage.valid(1, 2);
    // The old workers are lost for good, so what they ran runs elsewhere: a program in its second attempt, a job with the right answer.
    await stage.runs(program, 2);
    expect((await stage.ended(job, 40_000)).state).toBe("finished");
    expectBuckets(stage.cluster.file("through"), COUNT);
    await stage.usable("new");
  },
  { timeoutMs: 150_000 },
);

scenario(
  "rolling-outage: leaders are killed one after the other while new masters are started",
  async (stage) => {
    stage.masters(3);
    stage.workers(2);
    const { check, finish } = await runThrough(stage);
    let { epoch } = await stage.valid(3, 2);
    for (let time = 0; time < 3; time++) {
      await stage.killLeader();
      stage.master();
      const view = await check(3, 2);
      expect(view.epoch).toBeGreaterThan(epoch);
      epoch = view.epoch;
    }
    await finish();
  },
  { deadlines: PATIENT },
);
