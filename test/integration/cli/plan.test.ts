/** `holdfast plan`: what it shows, and that a job which promises less than it asks for is refused by plan and submit alike. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { holdfast, ROOT } from "../../support/holdfast.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(path.join(ROOT, "test/integration/jobs/.plan-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function job(guarantee: string): Promise<string> {
  const file = path.join(folder, `${guarantee}.ts`);
  await writeFile(
    file,
    `import { defineJob, sinks, sources } from "holdfast";
     export default defineJob({
       id: "promises",
       checkpoint: { every: "5s"${guarantee === "none" ? "" : `, guarantee: "${guarantee}"`} },
       build(job) {
         const numbers = job.from("numbers", sources.numbers({ to: 10 }));
         numbers.to("kept", sinks.ndjson("kept"));
         numbers.to("newest", sinks.idempotent({ id: (n) => String(n), open: () => ({ writeIdempotent() {} }) }));
       },
     });`,
  );
  return file;
}

const GUARANTEES = [
  { source: "numbers", sink: "kept", guarantee: "exactly-once", limit: null },
  { source: "numbers", sink: "newest", guarantee: "effectively-once", limit: { operator: "newest", reason: expect.any(String) } },
];

test("shows operators, checkpoints and the guarantee of each path as JSON, without a cluster", async () => {
  const ran = await holdfast(["plan", await job("none"), "--parallelism", "2", "--json"]);
  expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(ran.stdout)).toMatchObject({
    job: "promises",
    bounded: true,
    parallelism: 2,
    checkpoint: { intervalMs: 5_000 },
    operators: [
      { uid: "numbers", kind: "source", subtasks: 2, chain: 1, inputs: [] },
      { uid: "kept", inputs: [{ from: "numbers", exchange: "forward", side: null }] },
      { uid: "newest" },
    ],
    guarantees: GUARANTEES,
    failover: { restarts: "slice", parts: [{ operators: ["numbers", "kept", "newest"], executors: 2, joinedBy: null }] },
  });
});

test("a job that asks for more than an end gives is refused with its name, after plan has shown everything", async () => {
  const planned = await holdfast(["plan", await job("exactly-once"), "--json"]);
  expect(planned.exitCode).toBe(2);
  expect(JSON.parse(planned.stdout)).toMatchObject({ guarantees: GUARANTEES });
  const run = await holdfast(["run", await job("exactly-once"), "--json"]);
  expect(run).toMatchObject({ exitCode: 2, stdout: "" });
  for (const { stderr } of [planned, run]) {
    expect(JSON.parse(stderr)).toMatchObject({
      error: {
        code: "GUARANTEE_UNSUPPORTED",
        message: expect.stringContaining("'newest'"),
        details: { operator: "newest", sink: "newest" },
      },
    });
  }
  expect(await holdfast(["plan", await job("effectively-once"), "--json"])).toMatchObject({ exitCode: 0 });
});
