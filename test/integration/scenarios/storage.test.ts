/** Storage of checkpoints that is not what it should be: hidden from one machine, or full where a savepoint is to go. Both need root. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { checkpointAfter } from "../../support/checkpointed-jobs.js";
import { isRoot, scenario } from "../../support/scenario.js";

const OFTEN = ["--checkpoint-interval", "300ms"];

scenario(
  "a machine that does not reach the storage is found before the first record, and named",
  async (stage) => {
    const storage = stage.cluster.file("shared");
    mkdirSync(storage);
    stage.master({ args: ["--storage", `file:${storage}`] });
    // Another file system in its place, as on a machine where it is not mounted: the folder is there, and empty.
    const hide = ["unshare", "-m", "sh", "-c", `mount -t tmpfs none '${storage}' && exec "$@"`, "sh"];
    stage.worker({ cores: 2, prefix: hide });
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: 1_000_000, rate: 1_000, output }, args: OFTEN });
    const ended = await stage.ended(job);
    expect(ended).toMatchObject({ state: "failed", attempt: 1, reason: { code: "CHECKPOINT_STORAGE" } });
    expect(ended.reason?.message).toContain(storage);
    expect(ended.progress?.recordsIn ?? 0).toBe(0);
  },
  { skip: !isRoot("mounts file systems"), timeoutMs: 90_000 },
);

scenario(
  "a full disk fails a savepoint by name, and not the job, which takes its checkpoints as before",
  async (stage) => {
    const disk = stage.smallDisk("small", 1);
    stage.master();
    stage.worker({ cores: 2 });
    const output = stage.cluster.file("out");
    const job = await stage.job({ name: "running-counts", params: { rate: 2_000, output }, args: OFTEN });
    const { id } = await checkpointAfter(stage, job, 0);
    fill(disk);
    const refused = await stage.command(["savepoint", job, "--stop", "--to", disk, "--json"]);
    expect(refused).toMatchObject({ exitCode: 4 });
    expect(refused.stderr).toMatch(/DISK_FAILED.*no space/i);
    await checkpointAfter(stage, job, id + 2);
    expect(await stage.status(job)).toMatchObject({ state: "running", attempt: 1, progress: { jobRestarts: 0 } });
    const taken = await stage.command(["savepoint", job, "--stop", "--json"]);
    expect(taken, taken.stderr).toMatchObject({ exitCode: 0 });
  },
  { skip: !isRoot("mounts file systems"), timeoutMs: 90_000 },
);

/** Until the next file finds no room. */
function fill(disk: string): void {
  for (let bytes = 64 * 1024, count = 0; bytes >= 1; count++) {
    try {
      writeFileSync(path.join(disk, `filler-${count}`), Buffer.alloc(bytes));
    } catch {
      bytes >>= 2;
    }
  }
}
