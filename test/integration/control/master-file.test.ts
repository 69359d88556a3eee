/** `--master file:///path`: read anew at every attempt; whoever looks says for what, since when, and what went wrong last. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { jobFile, jobWords, kill, scenario } from "../../support/scenario.js";

async function addressOf(master: ClusterProcess): Promise<string> {
  const listens = () => /listens at (\S+:[0-9]+)/.exec(master.log())?.[1] ?? "";
  await until("the master to listen", () => listens() !== "");
  return listens();
}

scenario(
  "workers, drivers and clients follow a file that names the masters, in any of its forms, and say what they look for",
  async (stage) => {
    const file = stage.cluster.file("where");
    const first = stage.master();
    const address = await addressOf(first);
    writeFileSync(file, `# our masters\n${address}\n`);
    const worker = stage.worker({ cores: 4, master: `file://${file}` });
    await stage.valid(1, 1);
    const [output, hold] = [stage.cluster.file("out"), stage.cluster.file("never")];
    const words = jobWords({ params: { count: 60_000, rate: 2_000, hold, output } });
    const submitted = await stage.command(["submit", jobFile("buckets"), "--id", "job", ...words, "--master", `file://${file}`]);
    expect(submitted).toMatchObject({ exitCode: 0 });
    await stage.reads("job");
    const before = await stage.footprint("job");
    const driver = stage.cluster.file("worker-1", "processes", "app-1-1.d1", "stderr");

    await kill(first);
    await until("the worker to say what it looks for", () =>
      new RegExp(`looking for a leading master for .*${address}`).test(worker.log()),
    );
    rmSync(file);
    const client = stage.start(["list", "--master", `file://${file}`, "--timeout", "60s"]);
    await until(
      "the driver to say that the file is missing",
      () => /looking for a leading master.*ENOENT|ENOENT.*looking for a leading master/.test(readFileSync(driver, "utf8")),
      60_000,
    );
    expect(readFileSync(driver, "utf8")).toMatch(/"forMs":[0-9]{2,}/);
    await until("the client too", () => /Looking for a leading master for [0-9.]+ s/.test(client.stderr()));

    // The next master listens elsewhere, and the file names it by URL, behind one where nobody listens.
    const second = stage.master();
    writeFileSync(file, `holdfast://127.0.0.1:1,${await addressOf(second)}\n`);
    expect(await client.ended).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("buckets") });
    await stage.valid(1, 1);
    await stage.undisturbed("job", before);
    await (await stage.client()).call("cancel", { application: "job" });
    expect((await stage.ended("job")).state).toBe("cancelled");
  },
);
