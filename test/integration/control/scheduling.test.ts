/** Who runs where and when, with real workers: placement, first come first served, back-fill that delays nobody, restarts in a window. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { type Stage, scenario } from "../../support/scenario.js";

const MIB = 1024 * 1024;
const forEver = ["sh", "-c", "while :; do sleep 0.2; done"];
const cores = (count: number) => ({ driver: { cores: count, memoryBytes: 64 * MIB } });

/** Submits one after the other; the answer is the worker of each, when all run. */
async function workersOf(stage: Stage, count: number): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(await stage.program(forEver, cores(1)));
  await Promise.all(ids.map((id) => stage.runs(id)));
  return Promise.all(ids.map(async (id) => (await stage.status(id)).driver?.worker ?? ""));
}

scenario("--placement spread uses all workers, pack one after the other", async (stage) => {
  const sizes = async (args: readonly string[]) => {
    const master = stage.master({ args });
    stage.workers(2, { cores: 4 });
    await stage.valid(1, 2);
    const used = await workersOf(stage, 4);
    const counts = [...new Set(used)].map((worker) => used.filter((one) => one === worker).length).sort();
    const inUse = (await stage.workerViews()).map((worker) => worker.cores.used).sort();
    return { counts, inUse, master };
  };
  const packed = await sizes(["--placement", "pack"]);
  expect(packed).toMatchObject({ counts: [4], inUse: [0, 4] });
  // The same workers under a master that spreads: only new ones are placed by it.
  const client = await stage.client();
  for (const { id } of (await client.call("list", {})).applications) await client.call("cancel", { application: id });
  await until("room", async () => (await stage.workerViews()).every((worker) => worker.cores.used === 0));
  packed.master.signal("SIGTERM");
  await packed.master.exited;
  stage.master({ args: ["--placement", "spread"] });
  await stage.valid(1, 2);
  expect([...(await workersOf(stage, 4))].sort()).toEqual((await stage.workerViews()).flatMap(({ id }) => [id, id]).sort());
});

scenario("first come, first served; smaller ones go ahead only where they delay nobody", async (stage) => {
  stage.master();
  stage.worker({ cores: 4 });
  await stage.valid(1, 1);
  const states = async (ids: readonly string[]) => Promise.all(ids.map(async (id) => (await stage.status(id)).state));
  const first = await stage.program(stage.gated(0), cores(3));
  await stage.runs(first);
  const large = await stage.program(["true"], cores(4));
  // There is room for it now, but it could hold up the large one.
  const behind = await stage.program(["true"], cores(1));
  const impossible = await stage.program(["true"], cores(64));
  expect(await states([large, behind])).toEqual(["waiting", "waiting"]);
  stage.worker({ cores: 1 });
  await stage.valid(1, 2);
  // On the worker that is too small for the large one it is in nobody's way.
  expect(await stage.ended(behind)).toMatchObject({ state: "finished" });
  const next = await stage.program(["sh", "-c", "sleep 0.2"], cores(2));
  const small = await stage.ended(await stage.program(["true"], cores(1)));
  expect(small.state).toBe("finished");
  expect(await states([first, large, next, impossible])).toEqual(["running", "waiting", "waiting", "waiting"]);
  expect((await stage.command(["list"])).stdout.match(/waiting/g)).toHaveLength(3);
  expect((await stage.status(impossible)).reason).toMatchObject({
    code: "UNPLACEABLE",
    message: expect.stringMatching(/64 cores.*4 cores/),
  });
  expect((await stage.status(large)).reason).toBeNull();

  stage.openGate();
  const [largeView, nextView] = [await stage.ended(large), await stage.ended(next)];
  expect([largeView.state, nextView.state]).toEqual(["finished", "finished"]);
  expect(Date.parse(largeView.startedAt ?? "")).toBeLessThan(Date.parse(nextView.startedAt ?? ""));
  expect(await states([impossible])).toEqual(["waiting"]);
});

scenario(
  "restarts count within their window only: what fails now and then goes on, what fails at once is given up",
  async (stage) => {
    stage.master();
    stage.worker({ cores: 2 });
    await stage.valid(1, 1);
    const restart = { maxRestarts: 2, windowMs: 1_500, minBackoffMs: 100, maxBackoffMs: 400 };
    const slow = await stage.program(["sh", "-c", "sleep 1; exit 1"], { supervise: true, restart, ...cores(1) });
    const fast = await stage.program(["sh", "-c", "exit 9"], {
      supervise: true,
      restart: { ...restart, windowMs: 60_000 },
      ...cores(1),
    });
    const givenUp = await stage.ended(fast);
    expect(givenUp).toMatchObject({
      state: "failed",
      attempt: 3,
      restarts: 2,
      exitCode: 9,
      reason: { code: "RESTARTS_EXHAUSTED" },
    });
    expect(givenUp.attempts.map(({ exitCode }) => exitCode)).toEqual([9, 9, 9]);
    const { events } = await (await stage.client()).call("events", { after: null, limit: 1000, waitMs: 0 });
    const delays = events
      .filter((event) => event.kind === "application.restarting" && event.subject === fast)
      .map((event) => Number(/in ([0-9]+) ms/.exec(event.message)?.[1]));
    expect(delays).toEqual([100, 200]);
    await until("more restarts than the limit", async () => (await stage.status(slow)).restarts > 3);
    expect((await stage.status(slow)).state).toMatch(/running|restarting/);
    // Asked to stop, it is not started again.
    expect(await stage.command(["cancel", slow])).toMatchObject({ exitCode: 0 });
    const { attempt } = await stage.ended(slow);
    await stage.ended(await stage.program(["sleep", "1"], cores(1)));
    expect(await stage.status(slow)).toMatchObject({ state: "cancelled", attempt });
  },
);
