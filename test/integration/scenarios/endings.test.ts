/** How applications end that do not end well: cancelled, restarted until the limit, out of memory, never placed, submitted twice. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { kill, type Stage, scenario } from "../../support/scenario.js";

const GONE_WITHIN_MS = 10_000;

/** Ignores polite signals, and so does a grandchild that has left for a session of its own. */
const STUBBORN = [
  "sh",
  "-c",
  "trap '' TERM HUP INT; setsid sh -c \"trap '' TERM HUP INT; while :; do sleep 0.2; done\" & while :; do sleep 0.2; done",
] as const;

async function stubborn(stage: Stage): Promise<string> {
  const id = await stage.program(STUBBORN, { supervise: true });
  await stage.runs(id);
  await until("the grandchild to run", () => stage.processesOf(id).length >= 4);
  return id;
}

async function goneIn10s(stage: Stage, ids: readonly string[], since: number): Promise<void> {
  const living = () => ids.flatMap((id) => stage.processesOf(id));
  const leftMs = GONE_WITHIN_MS - (performance.now() - since);
  await until("nothing to live", () => living().length === 0, leftMs).catch(() => {});
  expect(living()).toEqual([]);
}

scenario(
  "nothing of a cancelled application lives 10 s later: not what ignores signals, not a grandchild in its own session",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const [program, job] = [await stubborn(stage), await stage.slowJob("out", 60_000, 500)];
    expect(stage.processesOf(job).length).toBeGreaterThanOrEqual(3);
    const since = performance.now();
    const cancelled = await Promise.all([program, job].map((id) => stage.command(["cancel", id])));
    expect(cancelled.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    await goneIn10s(stage, [program, job], since);
    // Supervised, and asked to stop: not started again.
    for (const id of [program, job]) expect(await stage.status(id)).toMatchObject({ state: "cancelled", attempt: 1, restarts: 0 });
    expect(stage.staged("out")).toBe(false);
  },
);

scenario("the same, when the leader dies as soon as it has acknowledged the cancel", async (stage) => {
  stage.masters(2);
  stage.workers(2);
  const [program, job] = [await stubborn(stage), await stage.slowJob("out", 60_000, 500)];
  await stage.valid(2, 2);
  const [client, leader] = [await stage.client(), await stage.leader()];
  const since = performance.now();
  await Promise.all([program, job].map((application) => client.call("cancel", { application })));
  await kill(leader);
  await goneIn10s(stage, [program, job], since);
  for (const id of [program, job]) expect(await stage.ended(id)).toMatchObject({ state: "cancelled", attempt: 1 });
});

scenario("a program that always fails is restarted with growing pauses, then given up as RESTARTS_EXHAUSTED", async (stage) => {
  stage.masters(2);
  stage.workers(2);
  await stage.valid(2, 2);
  const restart = { maxRestarts: 4, windowMs: 60_000, minBackoffMs: 100, maxBackoffMs: 1_000 };
  const id = await stage.program(["sh", "-c", "echo out; exit 6"], { supervise: true, restart });
  await until("the second restart", async () => (await stage.status(id)).attempt >= 3);
  // Counted across a failover.
  await stage.killLeader();
  const ended = await stage.ended(id);
  expect(ended).toMatchObject({ state: "failed", attempt: 5, restarts: 4, exitCode: 6, reason: { code: "RESTARTS_EXHAUSTED" } });
  const endedAt = ended.attempts.map((attempt) => Date.parse(attempt.endedAt));
  const pauses = endedAt.slice(1).map((at, index) => at - (endedAt[index] ?? 0));
  for (const [index, least] of [100, 200, 400, 800].entries()) expect(pauses[index]).toBeGreaterThanOrEqual(least - 1);
  const waited = await stage.command(["submit", "--wait", "--supervise", "--max-restarts", "1", "--", "sh", "-c", "exit 9"]);
  expect(waited).toMatchObject({ exitCode: 9, stderr: expect.stringContaining("RESTARTS_EXHAUSTED") });
});

scenario(
  "the same --id gives the same application, also after a failover, and another content under it is refused",
  async (stage) => {
    stage.masters(2);
    stage.worker();
    await stage.valid(2, 1);
    const submit = (...argv: readonly string[]) => stage.command(["submit", "--json", "--id", "nightly", "--", ...argv]);
    const file = stage.cluster.file("runs");
    const first = JSON.parse((await submit("sh", "-c", `echo ran >>${file}`)).stdout) as { id: string };
    await stage.ended(first.id);
    await stage.killLeader();
    stage.master();
    expect(JSON.parse((await submit("sh", "-c", `echo ran >>${file}`)).stdout)).toMatchObject({ id: first.id, state: "finished" });
    expect(await submit("sh", "-c", "echo other")).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('"CONFLICT"') });
    expect(stage.text("runs")).toBe("ran\n");
  },
);

scenario(
  "death by memory is named, of a program and of a job; what can never be placed says what it needs and what there is",
  async (stage) => {
    stage.master();
    stage.worker({ cores: 2, memory: "2g" });
    await stage.valid(1, 1);
    const hog =
      "const all = []; for (;;) { const b = Buffer.alloc(1 << 20, 1); all.push(b); if (all.length > 400) setInterval(() => {}, 1000), (() => { for (;;); })(); }";
    const program = await stage.program([process.execPath, "-e", hog], { driver: { cores: 1, memoryBytes: 128 * 1024 * 1024 } });
    const job = await stage.job({
      name: "tricky",
      parallelism: 1,
      params: { count: 2_000, trouble: "out-of-memory", output: stage.cluster.file("out") },
      args: ["--executor-cores", "0.5", "--max-restarts", "0"],
    });
    const large = await stage.program(["true"], { driver: { cores: 64, memoryBytes: 1024 ** 2 } });
    await until("a reason to be told", async () => (await stage.status(large)).reason !== null);
    const { state, reason } = await stage.status(large);
    expect(state).toMatch(/waiting|parked/);
    expect(reason).toMatchObject({ code: "UNPLACEABLE", message: expect.stringMatching(/64 cores.* 2 cores/) });
    expect(await stage.ended(program)).toMatchObject({ state: "failed", reason: { code: "OUT_OF_MEMORY" } });
    expect((await stage.command(["cancel", large])).exitCode).toBe(0);
    const ended = await stage.ended(job, 60_000);
    expect(ended.state).toBe("failed");
    expect(JSON.stringify(ended.reason)).toMatch(/OUT_OF_MEMORY|out of memory/);
  },
  { timeoutMs: 150_000 },
);
