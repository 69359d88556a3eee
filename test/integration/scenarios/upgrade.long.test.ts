/** Masters of one build replaced one by one by masters of another, as docs/operating-zookeeper.md says, while a job and a program run on. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import type { ClusterView } from "../../../src/wire/views.js";
import { ROOT, until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { readRows, type Stage, scenario } from "../../support/scenario.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { newPath } from "../stores/zookeeper-support.js";

const NEXT_BUILD = "next+12345678";
/** Programs that nobody runs from an installation. */
const LEFT_OUT = /^(?:demo|bench|sim|chaos)\.|\.map$/;

let place = "";
let ensemble: ZooKeeperServers;
beforeAll(async () => {
  place = mkdtempSync(path.join(os.tmpdir(), "holdfast-upgrade-"));
  ensemble = await startZooKeeper();
});
afterAll(async () => {
  await ensemble.close();
  rmSync(place, { recursive: true });
});

/** An installation of its own, as an operator puts it beside the old one: the same programs, another build. */
function installNext(): string {
  const home = path.join(place, "next");
  const bin = path.join(home, "dist/bin");
  if (!existsSync(bin)) {
    mkdirSync(bin, { recursive: true });
    const from = path.join(ROOT, "dist/bin");
    for (const file of readdirSync(from)) if (!LEFT_OUT.test(file)) cpSync(path.join(from, file), path.join(bin, file));
    cpSync(path.join(ROOT, "package.json"), path.join(home, "package.json"));
    symlinkSync(path.join(ROOT, "node_modules"), path.join(home, "node_modules"));
    writeFileSync(path.join(bin, "build-id"), `${NEXT_BUILD}\n`);
  }
  return path.join(bin, "holdfast.mjs");
}

type Options = Parameters<Stage["master"]>[0];

const buildsOf = (view: ClusterView): readonly string[] => view.masters.map(({ build }) => build ?? "unknown").sort();
const count = (view: ClusterView, build: string): number => buildsOf(view).filter((other) => other === build).length;

/** A standby of the old build is stopped in order and one of the next build started: nobody but a standby was replaced. */
async function replaceStandby(stage: Stage, old: ClusterProcess, options: Options): Promise<ClusterProcess> {
  old.signal("SIGTERM");
  expect(await old.exited).toBe(0);
  const next = stage.master({ ...options, program: installNext() });
  const view = await stage.valid(2, 1);
  expect(view.leader?.pid).not.toBe(next.servingPid());
  return next;
}

async function upgrade(stage: Stage, options: Options): Promise<void> {
  const [one, two] = [stage.master(options), stage.master(options)];
  stage.worker({ cores: 4 });
  const first = await stage.valid(2, 1);
  const before = buildsOf(first)[0] ?? "";
  expect(buildsOf(first)).toEqual([before, before]);
  expect(before).toMatch(/^\d+\.\d+\.\d+\+[0-9a-f]{8}$/);

  const gates = stage.cluster.file("gates");
  mkdirSync(gates);
  const job = await stage.job({
    name: "gated",
    params: { count: 1_000, output: stage.cluster.file("out"), gates },
    parallelism: 1,
  });
  await stage.reads(job, 1);
  const program = await stage.ticker();
  const footprints = await Promise.all([job, program].map((id) => stage.footprint(id)));
  const undisturbed = async () => {
    for (const [at, id] of [job, program].entries()) await stage.undisturbed(id, footprints[at] ?? expect.fail());
  };
  const leader = await stage.leader();
  const standby = leader === one ? two : one;

  await replaceStandby(stage, standby, options);
  const half = await stage.view();
  expect([count(half, before), count(half, NEXT_BUILD)]).toEqual([1, 1]);
  await undisturbed();

  expect(await stage.command(["handover", "--json"])).toMatchObject({ exitCode: 0 });
  const led = await stage.valid(2, 1);
  expect(led.masters.find(({ id }) => id === led.leader?.id)?.build).toBe(NEXT_BUILD);
  expect(led.epoch).toBe(first.epoch + 1);
  await undisturbed();

  await replaceStandby(stage, leader, options);
  const last = await stage.view();
  expect(buildsOf(last)).toEqual([NEXT_BUILD, NEXT_BUILD]);
  expect(last.epoch, "the leader was not replaced again").toBe(led.epoch);
  await undisturbed();
  expect((await stage.command(["cluster"])).stdout).toContain(NEXT_BUILD);

  for (const gate of ["prepare", "commit"]) writeFileSync(path.join(gates, gate), "");
  expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1 });
  await until("the commit to be seen", () => stage.text("gates", "committed") === "+");
  expect(readRows(stage.cluster.file("out"))).toHaveLength(1_000);
  await stage.usable("after-the-upgrade");
}

scenario(
  "masters with records in ZooKeeper are replaced one by one by those of another build: a job and a program run on, and the job commits once",
  async (stage) => {
    const recovery = `zk://${ensemble.connectString}${newPath()}`;
    await upgrade(stage, { recovery, args: ["--storage", `file:${stage.cluster.file("blobs")}`] });
  },
);

scenario("the same with records in a directory", (stage) => upgrade(stage, {}));
