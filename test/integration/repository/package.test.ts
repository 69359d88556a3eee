import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "../../..");
const JOB = `
import { defineJob, sinks, sources } from "holdfast";
export default defineJob({
  id: "evens",
  build(job) {
    job.from("numbers", sources.numbers({ from: 0, to: 10 })).filter((n) => n % 2 === 0).map((n) => ({ n, text: String(n) })).to("result", sinks.collect());
  },
});
`;

let project = "";
beforeAll(async () => {
  project = await mkdtemp(path.join(os.tmpdir(), "holdfast-package-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", project, "--ignore-scripts"], { cwd: root });
  const [packed] = JSON.parse(stdout) as { filename: string }[];
  await writeFile(path.join(project, "package.json"), '{ "name": "empty-project", "private": true, "type": "module" }\n');
  // As a user would: no script of any package is needed.
  await run("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", `./${packed?.filename}`], { cwd: project });
  await writeFile(path.join(project, "job.ts"), JOB);
});
afterAll(() => rm(project, { recursive: true, force: true }));

describe("the package, installed from its tarball in an empty project", () => {
  test("runs a job with npx holdfast run", async () => {
    const { stdout } = await run("npx", ["--no-install", "holdfast", "run", "job.ts", "--json", "--parallelism", "2"], {
      cwd: project,
    });
    const answer = JSON.parse(stdout) as { state: string; result: { result: { n: number }[] } };
    expect(answer.state).toBe("finished");
    expect(answer.result.result.map((row) => row.n).sort((a, b) => a - b)).toEqual([0, 2, 4, 6, 8]);
  });

  test("gives its types to a strict TypeScript project, and errors where types do not fit", async () => {
    await mkdir(path.join(project, "src"));
    const config = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        module: "NodeNext",
        moduleResolution: "NodeNext",
        target: "ES2023",
        skipLibCheck: false,
        types: [] as string[],
        lib: ["ES2023", "DOM"],
      },
      files: ["job.ts"],
    };
    await writeFile(path.join(project, "tsconfig.json"), JSON.stringify(config));
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    await run(process.execPath, [tsc, "-p", project]);
    await writeFile(path.join(project, "job.ts"), JOB.replace("n % 2 === 0", "n.length === 0"));
    await expect(run(process.execPath, [tsc, "-p", project])).rejects.toMatchObject({
      stdout: expect.stringContaining("Property 'length' does not exist on type 'number'"),
    });
    await writeFile(path.join(project, "job.ts"), JOB);
  });

  test("runs the same job in a test of the user's, in process", async () => {
    await writeFile(
      path.join(project, "in-process.mjs"),
      `import { defineJob, sinks, sources } from "holdfast"; import { runJob } from "holdfast/testing";
       const job = defineJob({ id: "j", build(b) { b.from("n", sources.numbers({ from: 0, to: 4 })).map((n) => n * n).to("out", sinks.collect()); } });
       console.log(JSON.stringify((await runJob(job, {})).collected));`,
    );
    const { stdout } = await run(process.execPath, ["in-process.mjs"], { cwd: project });
    expect(JSON.parse(stdout)).toEqual({ out: [0, 1, 4, 9] });
  });

  test("gives the client library, the ZooKeeper client, and the conformance suite of coordination stores", async () => {
    await writeFile(
      path.join(project, "exports.mjs"),
      `import { connect } from "holdfast/client"; import { connectZooKeeper } from "holdfast/zookeeper"; import { readFileSync } from "node:fs";
       const failed = await connect({ master: "127.0.0.1:1", timeoutMs: 50 }).catch((thrown) => thrown.code);
       const zk = connectZooKeeper({ servers: "127.0.0.1:1", sessionTimeoutMs: 1_000 });
       await zk.close();
       console.log(typeof connect, failed, (await zk.ended).code, readFileSync(new URL(import.meta.resolve("holdfast/conformance"))).includes("coordinationStoreSuite"));`,
    );
    const { stdout } = await run(process.execPath, ["exports.mjs"], { cwd: project });
    expect(stdout).toBe("function NO_MASTER CLOSED true\n");
  });

  test("needs no install script, and its lock names no compiler", async () => {
    const manifest = JSON.parse(await readFile(path.join(project, "node_modules/holdfast/package.json"), "utf8")) as {
      dependencies: Record<string, string>;
      scripts?: Record<string, string>;
    };
    expect(Object.keys(manifest.dependencies).length).toBeLessThanOrEqual(10);
    expect(Object.values(manifest.dependencies).every((version) => /^[0-9]/.test(version))).toBe(true);
    expect(Object.keys(manifest.scripts ?? {}).filter((name) => /install|prepare/.test(name))).toEqual([]);
  });
});
