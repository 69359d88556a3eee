/** A job that follows directories, while files come and grow and its executor and driver die: each record stands in the output once. */
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { readRows } from "../../support/output.js";
import { killPid, scenario } from "../../support/scenario.js";

scenario(
  "what appears in a directory, and what is appended, is written once through the loss of an executor and of the driver",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const [incoming, logs, output] = ["incoming", "growing", "out"].map((name) => stage.cluster.file(name)) as [
      string,
      string,
      string,
    ];
    for (const directory of [incoming, logs]) mkdirSync(directory);
    const job = await stage.job({ name: "follow", params: { incoming, logs, output }, args: ["--checkpoint-interval", "200ms"] });
    let written = 0;
    const line = () => `${JSON.stringify({ n: written++ })}\n`;
    /** A file of 50, renamed into place, and 50 appended to one of three, the last line in two pieces. */
    const come = (round: number) => {
      const hidden = path.join(incoming, `.${round}`);
      writeFileSync(hidden, Array.from({ length: 50 }, line).join(""));
      renameSync(hidden, path.join(incoming, `${round}.ndjson`));
      const log = path.join(logs, `${round % 3}.ndjson`);
      const text = Array.from({ length: 50 }, line).join("");
      appendFileSync(log, text.slice(0, -4));
      setTimeout(() => appendFileSync(log, text.slice(-4)), 30);
    };
    const all = async (what: string) =>
      until(`all of ${what} to be visible`, () => (readRows(output) as { n: number }[]).length >= written);
    for (let round = 0; round < 12; round++) {
      come(round);
      if (round === 3) {
        await all("the first rounds");
        killPid((await stage.status(job)).executors.find(({ state }) => state === "running")?.pid);
      }
      if (round === 7) {
        await until("the next try", async () => (await stage.status(job)).progress?.restored?.try === "1.2");
        await all("the rounds until then");
        killPid((await stage.status(job)).driver?.pid);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await all("it");
    const { attempt } = await stage.status(job);
    expect(attempt).toBe(2);
    const found = (readRows(output) as { n: number }[]).map(({ n }) => n).sort((a, b) => a - b);
    expect(found).toEqual(Array.from({ length: written }, (_, n) => n));
    expect((await stage.command(["cancel", job])).exitCode).toBe(0);
    await stage.ended(job);
  },
  { timeoutMs: 240_000 },
);
