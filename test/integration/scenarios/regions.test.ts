/** A job whose executors exchange nothing: one that is killed restarts its own slice, and the others notice nothing. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { checkpointAfter } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { killPid, scenario } from "../../support/scenario.js";

const COUNT = 8_000;
const RATE = 2_000;

interface Row {
  readonly n: number;
  readonly subtask: number;
  readonly attempt: string;
}

const linesOf = (file: string): string[] => readFileSync(file, "utf8").trim().split("\n");

const rowsOf = (directory: string): Row[] =>
  readdirSync(directory)
    .filter((name) => name.startsWith("part-"))
    .flatMap((name) => linesOf(path.join(directory, name)))
    .map((line) => JSON.parse(line) as Row);

scenario(
  "of four executors one is killed: its slice goes on from the checkpoint, the others never stop and read nothing twice",
  async (stage) => {
    stage.master();
    stage.worker({ cores: 8 });
    await stage.valid(1, 1);
    const [output, read] = [stage.cluster.file("out"), stage.cluster.file("read")];
    mkdirSync(read);
    const params = { count: COUNT, rate: RATE, output, read };
    const job = await stage.job({ name: "apart", params, parallelism: 4, args: ["--checkpoint-interval", "200ms"] });
    await stage.reads(job, 4);
    const before = await checkpointAfter(stage, job, 0);
    const { processes } = await stage.footprint(job);
    const killed = (await stage.status(job)).executors.filter(({ state }) => state === "running").at(1)?.pid ?? 0;
    killPid(killed);

    let slice = -1;
    await until("its slice to go on", async () => {
      const restored = (await stage.status(job)).progress?.restored;
      slice = restored?.slice ?? -1;
      return restored?.try === "1.2" && restored.checkpoint >= before.id;
    });
    await until("four executors to run again", async () => (await stage.footprint(job)).processes.length === processes.length);
    const after = await stage.footprint(job);
    // The driver and the other three are the processes that they were.
    expect(processes.filter((one) => !after.processes.includes(one)).map((one) => one.split("@")[0])).toEqual([`${killed}`]);

    const ended = await stage.ended(job);
    expect(ended).toMatchObject({ state: "finished", attempt: 1, progress: { recordsIn: COUNT, jobRestarts: 1 } });
    const rows = rowsOf(output);
    expect(rows.map(({ n }) => n).sort((a, b) => a - b)).toEqual(Array.from({ length: COUNT }, (_, n) => n));
    expect([...new Set(rows.filter(({ subtask }) => subtask !== slice).map(({ attempt }) => attempt))]).toEqual(["1.1"]);
    expect([...new Set(rows.filter(({ subtask }) => subtask === slice).map(({ attempt }) => attempt))].sort()).toEqual([
      "1.1",
      "1.2",
    ]);
    for (const subtask of [0, 1, 2, 3].filter((one) => one !== slice)) {
      const lines = linesOf(path.join(read, `${subtask}`));
      expect(new Set(lines).size, `what subtask ${subtask} read`).toBe(lines.length);
    }
  },
);
