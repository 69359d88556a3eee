import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { bundleJob } from "../../../src/node/planning/bundle.js";
import { type Plan, planInChild } from "../../../src/node/planning/plan-in-child.js";
import { buildPrograms, jobFile } from "./runner-support.js";

const { signal } = new AbortController();
let folder: string;

beforeAll(() => {
  buildPrograms();
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-bundle-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Files of a project of its own, with zod installed. */
function project(name: string, files: Readonly<Record<string, string>>): string {
  const root = path.join(folder, name);
  mkdirSync(path.join(root, "node_modules"), { recursive: true });
  writeFileSync(path.join(root, "package.json"), '{ "type": "module" }');
  symlinkSync(path.join(import.meta.dirname, "../../../node_modules/zod"), path.join(root, "node_modules/zod"));
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), text);
  }
  return root;
}

let projects = 0;
async function plan(text: string, params: unknown = {}, timeoutMs?: number): Promise<Plan> {
  const root = project(`plan-${projects++}`, { "job.ts": text });
  const { bytes } = await bundleJob(path.join(root, "job.ts"));
  return planInChild({ bundle: bytes, fileName: "job.ts", params, signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
}

async function failure(promise: Promise<unknown>): Promise<CodedError> {
  const thrown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(CodedError);
  return thrown as CodedError;
}

const JOB = (body: string, before = "") => `
  import { defineJob, sinks, sources } from "holdfast";
  import { z } from "zod";
  ${before}
  export default defineJob({ id: "tried", params: z.object({ n: z.coerce.number().default(3) }), build(job, p) { ${body} } });
`;
const GRAPH = `job.from("in", sources.numbers({ from: 0, to: p.n })).to("out", sinks.console());`;

describe("bundling a job", () => {
  test("a TypeScript job with a local import and a package becomes one module that plans without either", async () => {
    const bundle = await bundleJob(jobFile("buckets"));
    expect(bundle.warnings).toEqual([]);
    const { graph, settings, params } = await planInChild({
      bundle: bundle.bytes,
      params: { count: "10", output: "/tmp/x" },
      signal,
    });
    expect(graph.operators.map(({ kind }) => kind)).toEqual(["source", "map", "keyBy", "aggregate", "sink"]);
    expect(graph).toMatchObject({ jobId: "buckets", bounded: true, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(settings.parallelism).toBe(2);
    expect(params).toEqual({ count: "10", output: "/tmp/x" });
  });

  test("the same files give the same bytes, wherever they lie, and no path of this machine is in them", async () => {
    const first = project("here", { "src/job.ts": JOB(GRAPH), "package.json": '{ "type": "module" }' });
    const second = path.join(folder, "some/where/else");
    cpSync(first, second, { recursive: true, verbatimSymlinks: true });
    const [one, again, two] = [
      await bundleJob(path.join(first, "src/job.ts")),
      await bundleJob(path.join(first, "src/job.ts")),
      await bundleJob(path.join(second, "src/job.ts")),
    ];
    expect(again.sha256).toBe(one.sha256);
    expect(two.sha256).toBe(one.sha256);
    const text = Buffer.from(one.bytes).toString("utf8");
    const map = Buffer.from(/sourceMappingURL=data:[^,]*,(\S+)/.exec(text)?.[1] ?? "", "base64").toString("utf8");
    expect(map).toContain("src/job.ts");
    for (const leaked of [folder, import.meta.dirname, "/work/"])
      expect(text.includes(leaked) || map.includes(leaked), leaked).toBe(false);
  });

  test("zod's other languages are left out, unless the job names them", async () => {
    const root = project("locales", {
      "plain.ts": JOB(GRAPH),
      "french.ts": JOB(GRAPH, "z.config(z.locales.fr());"),
      "german.ts": JOB(GRAPH, 'import { locales } from "zod"; z.config(locales.de());'),
    });
    const size = async (file: string) => (await bundleJob(path.join(root, file))).bytes.length;
    const plain = await size("plain.ts");
    expect(await size("french.ts")).toBeGreaterThan(plain * 1.5);
    const { bytes } = await bundleJob(path.join(root, "german.ts"));
    const error = await failure(planInChild({ bundle: bytes, params: { n: "x" }, signal }));
    expect(error.message).toMatch(/Ungültige Eingabe/);
  });

  test("a package that is not installed is named, with file, line and the command that helps", async () => {
    const root = project("unresolved", { "job.ts": '\n  import { x } from "@no/such-package/part";\n  export default x;\n' });
    const error = await failure(bundleJob(path.join(root, "job.ts")));
    expect(error).toMatchObject({ code: "BUNDLE_FAILED", hint: expect.stringContaining("npm install @no/such-package") });
    expect(error.message).toContain('job.ts:2:21: Could not resolve "@no/such-package/part"');
  });

  test("a native addon is refused, with file and line", async () => {
    const root = project("native", { "job.ts": 'import addon from "./fast.node";\nexport default addon;\n', "fast.node": "" });
    const error = await failure(bundleJob(path.join(root, "job.ts")));
    expect(error.code).toBe("BUNDLE_FAILED");
    expect(error.message).toContain("job.ts:1:19");
    expect(error.message).toContain("native addon");
  });

  test("a syntax error is shown with its line", async () => {
    const root = project("syntax", { "job.ts": "export default\n  {{{\n" });
    const error = await failure(bundleJob(path.join(root, "job.ts")));
    expect(error).toMatchObject({ code: "BUNDLE_FAILED", message: expect.stringMatching(/job\.ts:\d+:\d+: /) });
  });

  test("a job file that is not there is NOT_FOUND", async () => {
    expect((await failure(bundleJob(path.join(folder, "nothing.ts")))).code).toBe("NOT_FOUND");
  });

  test("a CommonJS package that requires Node's modules works", async () => {
    const root = project("commonjs", {
      "job.ts": JOB(GRAPH, 'import { basename } from "./old.cjs"; if (basename("/a/b") !== "b") throw new Error("no");'),
      "old.cjs": 'const path = require("path"); exports.basename = path.basename;',
    });
    const { bytes } = await bundleJob(path.join(root, "job.ts"));
    expect((await planInChild({ bundle: bytes, params: {}, signal })).graph.jobId).toBe("tried");
  });
});

describe("planning a job in a child process", () => {
  test("params are checked by the schema of the job, and issues named", async () => {
    const error = await failure(plan(JOB(GRAPH), { n: "many" }));
    expect(error).toMatchObject({ code: "INVALID_PARAMS", message: expect.stringContaining("n:") });
  });

  test("a file without a default export says so", async () => {
    const error = await failure(plan("export const job = 1;"));
    expect(error).toMatchObject({
      code: "INVALID_JOB",
      message: expect.stringContaining("no default export"),
      hint: expect.stringContaining("defineJob"),
    });
  });

  test("a default export that is no job says so", async () => {
    expect((await failure(plan("export default { id: 'x' };"))).code).toBe("INVALID_JOB");
  });

  test("a build function that throws is PLAN_FAILED with its reason", async () => {
    const error = await failure(plan(JOB('throw new Error("no luck");')));
    expect(error).toMatchObject({ code: "PLAN_FAILED", message: expect.stringContaining("no luck") });
  });

  test("a duplicate uid is refused, naming the operator", async () => {
    const error = await failure(plan(JOB(`${GRAPH} ${GRAPH}`)));
    expect(error).toMatchObject({ code: "PLAN_FAILED", details: { operator: "in" } });
  });

  test.each([
    ["the clock", "Date.now()"],
    ["the clock", "new Date().getTime()"],
    ["chance", "Math.random()"],
  ])("a graph that depends on %s (%s) is refused, naming the operator", async (_, expression) => {
    const error = await failure(plan(JOB(`job.from("in", sources.collection([${expression}])).to("out", sinks.console());`)));
    expect(error).toMatchObject({ code: "PLAN_FAILED", details: { operator: "in" } });
  });

  test("a module that fails while it loads is PLAN_FAILED", async () => {
    const error = await failure(plan(JOB(GRAPH, 'throw new Error("at load");')));
    expect(error).toMatchObject({ code: "PLAN_FAILED", message: expect.stringContaining("job.ts could not be loaded: at load") });
  });

  test("what never ends is ended, and said so", async () => {
    const error = await failure(plan(JOB("for (;;) {}"), {}, 1_000));
    expect(error).toMatchObject({ code: "PLAN_FAILED", message: expect.stringContaining("longer than 1000 ms") });
  });

  test("a job file that ends the process is PLAN_FAILED", async () => {
    const error = await failure(plan(JOB("process.exit(3);")));
    expect(error).toMatchObject({ code: "PLAN_FAILED", message: expect.stringContaining("exit code 3") });
  });

  test("an aborted signal ends it", async () => {
    const abort = new AbortController();
    const { bytes } = await bundleJob(path.join(project("aborted", { "job.ts": JOB("for (;;) {}") }), "job.ts"));
    const planned = planInChild({ bundle: bytes, params: {}, signal: abort.signal });
    abort.abort(new CodedError("ABORTED", "enough"));
    expect((await failure(planned)).code).toBe("ABORTED");
  });

  test("handles that a job file leaves open do not delay the answer", async () => {
    expect((await plan(JOB(GRAPH, "setInterval(() => {}, 1000);"))).graph.operators).toHaveLength(2);
  });
});
