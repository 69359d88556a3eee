/** A cluster whose storage is S3: bundles, checkpoints and their removal, through the loss of the driver and of the leader. */
import { afterAll, beforeAll, expect } from "vitest";
import { runningExecutors, takenOver } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { type S3Server, startS3 } from "../../support/s3.js";
import { expectBuckets, killPid, scenario } from "../../support/scenario.js";

let server: S3Server;
beforeAll(async () => {
  server = await startS3();
}, 120_000);
afterAll(() => server?.close());

scenario(
  "a job goes on from checkpoints in S3 after its driver and the leader died, and its state there is removed at the end",
  async (stage) => {
    const env = { HOME: server.home() };
    const args = ["--storage", server.url("cluster")];
    stage.master({ env, args });
    stage.master({ env, args });
    stage.workers(2, { env });
    await stage.valid(2, 2);
    const output = stage.cluster.file("out");
    const count = 30_000;
    const job = await stage.job({ params: { count, rate: 3_000, output }, args: ["--checkpoint-interval", "300ms"] });
    const checkpointed = async (after: number): Promise<number> => {
      let id = 0;
      await until(`a checkpoint after ${after}`, async () => {
        const { checkpoint } = await stage.status(job);
        id = checkpoint !== null && checkpoint.records.in > 0 ? checkpoint.id : 0;
        return id > after;
      });
      return id;
    };
    const first = await checkpointed(0);
    const states = async () => (await server.files()).filter((name) => name.includes(`state/${job}/`));
    expect((await states()).length).toBeGreaterThan(0);
    const executors = await runningExecutors(stage, job);
    killPid((await stage.status(job)).driver?.pid);
    await takenOver(stage, job, 2, executors);
    const second = await checkpointed(first + 1);
    await stage.killLeader();
    await checkpointed(second + 1);
    expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", attempt: 2, progress: { recordsIn: count } });
    expectBuckets(output, count);
    const all = async () => (await server.files()).filter((name) => name.startsWith("cluster/"));
    await until("its state and its bundle to be removed", async () => (await all()).length === 0);
  },
  { timeoutMs: 240_000 },
);

scenario("a worker without credentials for the storage is named when a job would take checkpoints there", async (stage) => {
  stage.master({ env: { HOME: server.home() }, args: ["--storage", server.url("without")] });
  stage.worker({ env: { HOME: stage.cluster.file("nobody"), AWS_EC2_METADATA_DISABLED: "true" } });
  const job = await stage.job({
    params: { count: 1_000, output: stage.cluster.file("out") },
    parallelism: 1,
    args: ["--checkpoint-interval", "300ms", "--max-restarts", "0"],
  });
  const { state, reason } = await stage.ended(job);
  expect({ state, code: reason?.code }).toEqual({ state: "failed", code: "CHECKPOINT_STORAGE" });
  expect(reason?.hint).toContain("credentials");
});
