/** Processes that are stopped and go on (SIGSTOP, SIGCONT; a suspended laptop, a long pause of a virtual machine). */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { scenario } from "../../support/scenario.js";

for (const seconds of [3, 5]) {
  scenario(
    `a leader stopped for ${seconds} s, longer than every deadline and shorter than its session, holds its sleep against nobody`,
    async (stage) => {
      const master = stage.master();
      stage.workers(2);
      // What must not run twice ends by its lease when a leader is silent (registrar.test.ts).
      const program = await stage.ticker({ onPartition: "continue" });
      const job = await stage.slowJob("through", 60_000, 500);
      await stage.valid(1, 2);
      const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
      const stoppedAt = performance.now();
      master.freeze();
      await until("the time to pass", () => performance.now() - stoppedAt > seconds * 1_000);
      master.thaw();
      await stage.valid(1, 2);
      expect((await stage.workerViews()).map((worker) => worker.incarnation)).toEqual([1, 1]);
      await stage.undisturbed(program, ofProgram);
      await stage.undisturbed(job, ofJob);
      const { events } = await (await stage.client()).call("events", { after: null, limit: 1000, waitMs: 0 });
      expect(events.filter((event) => event.kind === "worker.lost")).toEqual([]);
      await stage.usable("new");
      await (await stage.client()).call("cancel", { application: job });
      await stage.ended(job);
    },
  );
}

scenario(
  "cancelled while its worker is stopped: when the worker goes on it stops what it has, and nothing lives 10 s later",
  async (stage) => {
    stage.master();
    const worker = stage.worker({ cores: 4 });
    await stage.valid(1, 1);
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("out", 60_000, 500)]);
    worker.signal("SIGSTOP");
    const client = await stage.client();
    for (const application of [program, job]) await client.call("cancel", { application });
    await until("the worker to be lost", async () => (await stage.workerViews()).every((view) => view.state === "lost"));
    for (const id of [program, job]) expect((await stage.ended(id)).state).toBe("cancelled");
    worker.signal("SIGCONT");
    await until("nothing to live", () => [program, job].every((id) => stage.processesOf(id).length === 0), 10_000);
    await until("the worker to be back", async () =>
      (await stage.workerViews()).every((view) => view.state === "alive" && view.incarnation === 2),
    );
    await stage.usable("new");
  },
);

scenario("a standby that is stopped disturbs nobody, and takes over later as if nothing had been", async (stage) => {
  const masters = stage.masters(2);
  stage.worker({ cores: 4 });
  const { leader } = await stage.valid(2, 1);
  const standby = masters.find((master) => master.servingPid() !== leader?.pid);
  const program = await stage.ticker();
  const before = await stage.footprint(program);
  standby?.freeze();
  await stage.usable("meanwhile");
  // A leader does not wait for a stopped one, nor count it for ever.
  await until("it to be no longer counted", async () => (await stage.view()).masters.length === 1);
  standby?.thaw();
  const { epoch } = await stage.valid(2, 1);
  expect((await stage.view()).leader?.pid).toBe(leader?.pid);
  await stage.killLeader();
  expect(await stage.valid(1, 1)).toMatchObject({ leader: { pid: standby?.servingPid() }, epoch: epoch + 1 });
  await stage.undisturbed(program, before);
});
