/** What the tests of the runner share: built programs, a bundled job, a folder that disappears. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { bundleJob } from "../../../src/node/planning/bundle.js";
import { planInChild } from "../../../src/node/planning/plan-in-child.js";
import { type ApplicationRecord, submittedApplication } from "../../../src/wire/application.js";
import { SmallMaster } from "./runner-master.js";

const root = path.join(import.meta.dirname, "../../..");

/** The programs are started as what users get: bundles made from the present sources. */
export function buildPrograms(): void {
  execFileSync(process.execPath, [path.join(root, "scripts/bundle.mjs"), "runner", "planner", "api"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

export const jobFile = (name: string): string => path.join(root, "test/integration/jobs", `${name}.job.ts`);

export interface Stage {
  readonly folder: string;
  readonly master: SmallMaster;
  close(): Promise<void>;
}

export interface StageOptions {
  readonly job: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly parallelism?: number;
  readonly change?: (application: ApplicationRecord) => ApplicationRecord;
}

/** A job, submitted to a small master; its driver is not started yet. `OUT` in params stands for the folder. */
export async function openStage({ job, params, parallelism = 2, change = (record) => record }: StageOptions): Promise<Stage> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-runner-"));
  const given = JSON.parse(JSON.stringify(params).replaceAll("OUT", folder)) as Record<string, unknown>;
  const bundle = await bundleJob(jobFile(job));
  const plan = await planInChild({ bundle: bundle.bytes, params: given, signal: new AbortController().signal });
  const file = path.join(folder, "job.mjs");
  writeFileSync(file, bundle.bytes);
  const application = change(recordOf(bundle.sha256, plan.graph.hash, given, parallelism));
  const master = new SmallMaster(folder, file, application);
  await master.listen();
  return {
    folder,
    master,
    close: async () => {
      await master.stopAll();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function recordOf(artifact: string, graphHash: string, params: unknown, parallelism: number): ApplicationRecord {
  const record = submittedApplication({
    id: "app-1-1",
    submissionKey: "key",
    contentHash: "c",
    spec: {
      name: "job",
      kind: "job",
      deployMode: "cluster",
      supervise: true,
      restart: { maxRestarts: 3, windowMs: 1_000, minBackoffMs: 1, maxBackoffMs: 10 },
      driver: { cores: 1, memoryBytes: 1 },
      job: { artifact, graphHash, params, parallelism, executor: { cores: 1, memoryBytes: 1 } },
      process: null,
    },
    submittedAt: 0,
    order: 0,
  });
  return { ...record, state: "running", attempt: 1, startedAt: 0 };
}

/** All records of an NDJSON output, a file or a directory of parts. */
export function readRecords(output: string): unknown[] {
  if (!existsSync(output)) return [];
  const files = statSync(output).isDirectory() ? partsOf(output) : [output];
  return files
    .flatMap((file) =>
      readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== ""),
    )
    .map((line) => JSON.parse(line) as unknown);
}

export const partsOf = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith("part-"))
    .sort()
    .map((name) => path.join(folder, name));

/** Every file below a folder, hidden ones too. */
export function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}
