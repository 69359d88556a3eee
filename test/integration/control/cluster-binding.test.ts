import { rm } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { holdfast, PROGRAM, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

let cluster: ProcessCluster;
beforeEach(async () => {
  cluster = await processCluster(PROGRAM);
});
afterEach(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
});

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("a master that came back without its records does not get the workers of the cluster, whose programs run on", async () => {
  const ask = (args: readonly string[]) => holdfast([args[0] ?? "", "--master", cluster.masterUrl, ...args.slice(1)]);
  const master = cluster.startMaster("master-1");
  const worker = cluster.startWorker("worker-1");
  expect(await ask(["submit", "--id", "runs", "--", "sleep", "600"])).toMatchObject({ exitCode: 0 });
  let pid = 0;
  await until("the program to run", async () => {
    const view = JSON.parse((await ask(["status", "runs", "--json"])).stdout) as {
      driver: { pid: number | null; state: string } | null;
    };
    pid = view.driver?.state === "running" ? (view.driver.pid ?? 0) : 0;
    return pid > 0;
  });
  master.signal("SIGKILL");
  await master.exited;
  await rm(cluster.file("state"), { recursive: true });

  cluster.startMaster("master-2");
  await until("the worker to say that it belongs elsewhere", () => worker.log().includes("WRONG_CLUSTER"));
  expect(isAlive(pid)).toBe(true);

  // Also the next worker on the same directory keeps to its cluster.
  worker.signal("SIGKILL");
  await worker.exited;
  const again = cluster.startWorker("worker-1");
  await until(
    "the next worker to say so too",
    () =>
      again.log().split("WRONG_CLUSTER").length > worker.log().split("WRONG_CLUSTER").length - 1 && /adopted=1/.test(again.log()),
  );
  expect(isAlive(pid)).toBe(true);
  expect(JSON.parse((await ask(["workers", "--json"])).stdout)).toEqual({ workers: [] });
});
