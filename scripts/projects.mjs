// The drawn direction of imports: each folder of src/ and the folders it may import. `node scripts/projects.mjs` writes the
// tsconfig.json of every folder from this table, so that an import against the direction fails to compile (TS6059/TS6307).
// kind: pure (no platform at all), neutral (AbortSignal and text codecs only), node (Node's types).
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const PROJECTS = {
  base: { kind: "pure", uses: [] },
  wire: { kind: "pure", uses: ["base"] },
  scheduler: { kind: "pure", uses: ["base"] },
  dataflow: { kind: "pure", uses: ["base"] },
  master: { kind: "pure", uses: ["base", "wire", "scheduler"] },
  worker: { kind: "pure", uses: ["base", "wire"] },
  checkpoint: { kind: "pure", uses: ["base", "wire", "dataflow"] },
  job: { kind: "pure", uses: ["base", "wire", "dataflow", "checkpoint"] },
  "executor/core": { kind: "pure", uses: ["base", "wire", "dataflow"] },
  env: { kind: "neutral", uses: ["base"] },
  coordination: { kind: "neutral", uses: ["base", "env"] },
  // On an interface of its own to ZooKeeper (ensemble.ts), so that the simulator can run it.
  "zookeeper-store": { kind: "neutral", uses: ["base", "env", "coordination"] },
  api: { kind: "neutral", uses: ["base", "dataflow"] },
  "executor/run": { kind: "neutral", uses: ["base", "wire", "dataflow", "env", "api", "executor/core"] },
  host: {
    kind: "neutral",
    uses: [
      "base",
      "wire",
      "env",
      "coordination",
      "scheduler",
      "dataflow",
      "checkpoint",
      "master",
      "worker",
      "job",
      "executor/core",
    ],
  },
  sim: {
    kind: "neutral",
    uses: [
      "base",
      "wire",
      "env",
      "coordination",
      "zookeeper-store",
      "scheduler",
      "dataflow",
      "master",
      "worker",
      "job",
      "api",
      "executor/core",
      "executor/run",
      "host",
    ],
  },
  // Useful by itself: exported as holdfast/zookeeper, and imports nothing from the rest.
  zookeeper: { kind: "node", uses: [] },
  conformance: { kind: "node", uses: ["base", "env"] },
  connectors: { kind: "node", uses: ["base", "dataflow", "env", "api"] },
  // Exported as holdfast/postgres, and bundled with the jobs that import it; needs the package pg of the job's project.
  postgres: { kind: "node", uses: ["base", "dataflow", "api"] },
  node: { kind: "node", uses: ["base", "wire", "env", "coordination", "zookeeper-store", "dataflow", "host", "zookeeper"] },
  testing: {
    kind: "node",
    uses: ["base", "wire", "dataflow", "env", "api", "executor/core", "executor/run", "connectors", "node"],
  },
  cli: {
    kind: "node",
    uses: [
      "base",
      "wire",
      "dataflow",
      "checkpoint",
      "env",
      "coordination",
      "scheduler",
      "master",
      "worker",
      "job",
      "api",
      "executor/core",
      "executor/run",
      "host",
      "connectors",
      "node",
      "zookeeper",
      "zookeeper-store",
      "testing",
      "sim",
    ],
  },
};

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");

function configOf(name, project) {
  const up = "../".repeat(name.split("/").length + 1);
  const options = {
    rootDir: ".",
    outDir: `${up}dist/${name}`,
    tsBuildInfoFile: `${up}dist/.tsc/${name.replace("/", "-")}.tsbuildinfo`,
  };
  if (project.kind === "node") options.types = ["node"];
  return {
    extends: `${up}tsconfig.base.json`,
    compilerOptions: options,
    include: project.kind === "neutral" ? ["**/*.ts", `${up}types/neutral.d.ts`] : ["**/*.ts"],
    exclude: ["**/*.test.ts"],
    references: project.uses.map((use) => ({ path: path.posix.relative(`src/${name}`, `src/${use}`) })),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, project] of Object.entries(PROJECTS)) {
    mkdirSync(path.join(root, "src", name), { recursive: true });
    writeFileSync(path.join(root, "src", name, "tsconfig.json"), `${JSON.stringify(configOf(name, project), null, 2)}\n`);
  }
  const solution = { files: [], references: Object.keys(PROJECTS).map((name) => ({ path: `src/${name}` })) };
  writeFileSync(path.join(root, "tsconfig.json"), `${JSON.stringify(solution, null, 2)}\n`);
}
