/** Disks that are full or cannot be written, at the start and in flight, under records, work directories and output. Small disks need root. */
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { FAST, isRoot, jobFile, jobWords, mount, PATIENT, readProc, scenario } from "../../support/scenario.js";

const needsRoot = { skip: !isRoot("mounts small disks") };
/** Until not a byte is left. */
function fill(disk: string): void {
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(path.join(disk, "filler"), Buffer.alloc(bavail * bsize));
}

const free = (disk: string): void => rmSync(path.join(disk, "filler"));

scenario("a directory that cannot be: master, worker and sink each say which and why, with their exit codes", async (stage) => {
  const file = stage.cluster.file("a-file");
  writeFileSync(file, "");
  const below = path.join(file, "below");
  const unusable = stage.master({ recovery: `file:${below}` });
  expect(await unusable.exited).toBe(4);
  expect(unusable.log()).toMatch(/a-file\/below.*\[(STORE_UNUSABLE|DISK_FAILED)\]/);
  const worker = stage.worker({ workDirectory: below });
  expect(await worker.exited).toBe(4);
  expect(worker.log()).toMatch(/a-file\/below.*\[DISK_FAILED\]/);
  // Nothing can be made below /proc, and the kernel's answer is ENOENT.
  const nowhere = [stage.master({ recovery: "file:/proc/no-such-place" }), stage.worker({ workDirectory: "/proc/no-such-place" })];
  expect(await Promise.all(nowhere.map((process) => process.exited))).toEqual([4, 4]);
  for (const process of nowhere) expect(process.log()).toMatch(/no-such-place.*\[DISK_FAILED\]/);

  stage.master();
  stage.worker();
  const job = await stage.job({ params: { count: 1_000_000, rate: 10, output: below } });
  const ended = await stage.ended(job);
  expect(ended).toMatchObject({
    state: "failed",
    reason: { code: "RESTARTS_EXHAUSTED", message: expect.stringContaining("a-file") },
  });
});

scenario(
  "a full disk at the start is named by master, worker and job",
  async (stage) => {
    const disk = stage.smallDisk("disk", 4);
    fill(disk);
    const unusable = stage.master({ recovery: `file:${disk}/state` });
    expect(await unusable.exited).toBe(4);
    expect(unusable.log()).toMatch(/disk.*(full|room|space|free).*\[(STORE_UNUSABLE|DISK_FAILED)\]/i);
    const worker = stage.worker({ workDirectory: path.join(disk, "place") });
    expect(await worker.exited).toBe(4);
    expect(worker.log()).toMatch(/(full|room|space).*\[DISK_FAILED\]/i);
    stage.master();
    stage.worker();
    const job = await stage.job({ params: { count: 1_000_000, rate: 10, output: path.join(disk, "out") } });
    expect(await stage.ended(job)).toMatchObject({
      state: "failed",
      reason: { code: "RESTARTS_EXHAUSTED", message: expect.stringMatching(/full|space/i) },
    });
  },
  needsRoot,
);

scenario(
  "the records' disk fills up: nobody leads, what runs runs on, and with room again nothing acknowledged is missing",
  async (stage) => {
    const disk = stage.smallDisk("disk", 40);
    const recovery = `file:${disk}/state`;
    const masters = [stage.master({ recovery }), stage.master({ recovery })];
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const program = await stage.ticker();
    const before = await stage.footprint(program);
    const gated = await stage.program(stage.gated(4));
    await stage.runs(gated);
    fill(disk);
    // The store looks at its disk twice a second: what is submitted before that look is still written.
    const hasSteppedDown = () => masters.some((master) => /DISK_FAILED/.test(master.log()));
    const early: Promise<string>[] = [];
    while (!hasSteppedDown()) {
      const submitted = stage.program(["true"]);
      early.push(submitted);
      await Promise.race([submitted.then(() => delay(200)), until("the leader to step down", hasSteppedDown)]);
    }
    const refused = stage.start(["submit", "--id", "during", "--timeout", "60s", "--wait", "--", "true"]);
    stage.openGate();
    await until("both masters to have tried", () => masters.every((master) => /DISK_FAILED|STORE_UNUSABLE/.test(master.log())));
    await until("the client to say what it waits for", () => /Looking for a leading master/.test(refused.stderr()));
    free(disk);
    expect(await refused.ended).toMatchObject({ exitCode: 0 });
    await stage.valid(2, 1);
    await stage.undisturbed(program, before);
    expect(await stage.ended(gated)).toMatchObject({ state: "failed", exitCode: 4, attempt: 1 });
    for (const id of ["during", ...(await Promise.all(early))])
      expect(await stage.ended(id)).toMatchObject({ state: "finished", attempt: 1 });
  },
  { ...needsRoot, deadlines: PATIENT, timeoutMs: 150_000 },
);

scenario(
  "a worker's disk fills up: what runs there runs on and its exit code is known; what cannot start there starts elsewhere",
  async (stage) => {
    const disk = stage.smallDisk("disk", 8);
    stage.master();
    stage.worker({ cores: 1, workDirectory: path.join(disk, "place") });
    await stage.valid(1, 1);
    const gated = await stage.program(stage.gated(4));
    await stage.runs(gated);
    fill(disk);
    // It must still have restarts when the other worker is there, however slow that is.
    const restart = { maxRestarts: 1_000, windowMs: 60_000, minBackoffMs: 50, maxBackoffMs: 500 };
    const program = await stage.program(["sh", "-c", "exit 0"], { restart });
    await until(
      "the launch to have failed",
      async () => (await stage.status(program)).restarts > 0 || (await stage.status(program)).attempts.length > 0,
    );
    expect(JSON.stringify((await stage.status(program)).attempts)).toMatch(/space|full/i);
    stage.worker({ cores: 1 });
    expect(await stage.ended(program)).toMatchObject({ state: "finished" });
    stage.openGate();
    expect(await stage.ended(gated)).toMatchObject({ state: "failed", exitCode: 4, attempt: 1 });
  },
  needsRoot,
);

scenario(
  "the output's disk fills up: the job fails with SINK_FAILED and takes away what it had staged",
  async (stage) => {
    const disk = stage.smallDisk("disk", 2);
    stage.master();
    stage.workers(2);
    const output = path.join(disk, "out");
    const job = await stage.job({ name: "tricky", params: { count: 2_000_000, output } });
    const ended = await stage.ended(job);
    expect(ended).toMatchObject({
      state: "failed",
      reason: {
        code: expect.stringMatching(/SINK_FAILED|RESTARTS_EXHAUSTED/),
        message: expect.stringMatching(/out.*(full|space)/i),
      },
    });
    await until("the disk to be empty again", () => statfsSync(disk).bavail * statfsSync(disk).bsize > 1_900_000);
  },
  needsRoot,
);

scenario(
  "a read-only disk is named by master and worker at the start; as soon as it can be written they start",
  async (stage) => {
    const disk = stage.smallDisk("disk", 40);
    mount("-o", "remount,ro", disk);
    const unusable = stage.master({ recovery: `file:${disk}/state` });
    expect(await unusable.exited).toBe(4);
    expect(unusable.log()).toMatch(/read-only|EROFS/i);
    const worker = stage.worker({ workDirectory: path.join(disk, "place") });
    expect(await worker.exited).toBe(4);
    expect(worker.log()).toMatch(/read-only|EROFS/i);

    mount("-o", "remount,rw", disk);
    stage.master({ recovery: `file:${disk}/state` });
    stage.worker({ workDirectory: path.join(disk, "place") });
    await stage.valid(1, 1);
  },
  needsRoot,
);

scenario(
  "the disk of job bundles is full: the submission is refused with the reason, and everything else goes on",
  async (stage) => {
    const disk = stage.smallDisk("disk", 4);
    stage.master({ args: ["--storage", `file:${disk}/blobs`] });
    stage.worker({ cores: 4 });
    const program = await stage.ticker();
    fill(disk);
    const words = jobWords({ params: { count: 10, output: stage.cluster.file("out") } });
    const refused = await stage.command(["submit", jobFile("buckets"), ...words]);
    expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/space.*\[DISK_FAILED\]/) });
    expect(await stage.status(program)).toMatchObject({ state: "running", attempt: 1 });
    free(disk);
    await stage.usable("out");
  },
  needsRoot,
);

scenario("a second master on the same directory stands by, names the first, and answers for it", async (stage) => {
  const first = stage.master();
  await stage.valid(1, 0);
  const second = stage.master();
  await until("it to stand by", () =>
    new RegExp(`Standing by behind the master at [^ ]+: .* is locked by process ${first.servingPid()}, which is running`).test(
      second.log(),
    ),
  );
  const address = /listens at ([^ ]+:[0-9]+)/.exec(second.log())?.[1] ?? "";
  const ran = await stage.command(["cluster", "--json", "--master", address]);
  expect(JSON.parse(ran.stdout)).toMatchObject({ state: "ALIVE", leader: { pid: first.servingPid() } });
});

scenario("whoever read the log of a master or a worker may go away: both go on", async (stage) => {
  const { masterUrl } = stage.cluster;
  const recovery = ["--recovery", `file:${stage.cluster.file("state")}`, "--advertise-file", masterUrl.slice("file://".length)];
  const master = stage.start(["master", "--listen", "127.0.0.1:0", ...FAST, ...recovery]);
  await until("the master to listen", () => /listening on/.test(master.stderr()));
  master.stopReading();
  const worker = stage.start(["worker", "--work-dir", stage.cluster.file("place"), "--cores", "2"]);
  await until("the worker to start", () => /started/.test(worker.stderr()));
  worker.stopReading();
  await stage.valid(1, 1);
  // Each of them logs several lines by this.
  expect(await stage.ended(await stage.program(["sh", "-c", "exit 3"]))).toMatchObject({ state: "failed", exitCode: 3 });
  await stage.usable("out");
  // The master is the child of its command.
  expect(
    Number(
      readProc((await stage.view()).leader?.pid ?? 0, "stat")
        .replace(/^.*\) . /s, "")
        .split(" ")[0],
    ),
  ).toBe(master.pid);
  for (const one of [worker, master]) one.signal("SIGTERM");
  expect((await Promise.all([worker.ended, master.ended])).map(({ exitCode }) => exitCode)).toEqual([0, 0]);
});
