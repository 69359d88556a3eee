/** What operators read while leaders change: plain sentences with the epoch in the logs, and commands that follow across failovers. */
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { isRoot, kill, PATIENT, scenario } from "../../support/scenario.js";

interface Line {
  readonly msg: string;
  readonly level: number;
  readonly epoch?: number;
}

const linesOf = (process: ClusterProcess): readonly Line[] =>
  process
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);

/** The line with the sentence; fails with all sentences when there is none. */
function lineOf(process: ClusterProcess, sentence: RegExp, epoch: number): Line {
  const lines = linesOf(process);
  const found = lines.find((line) => sentence.test(line.msg) && line.epoch === epoch);
  if (found === undefined) expect.fail(`no ${sentence} of epoch ${epoch} in:\n${lines.map((line) => line.msg).join("\n")}`);
  return found;
}

scenario(
  "masters tell an election, a recovery, lost workers, restarts and their own fall in sentences with the epoch",
  async (stage) => {
    const disk = stage.smallDisk("disk", 40);
    const options = { recovery: `file:${disk}/state`, args: ["--log-format", "json"] };
    const first = stage.master(options);
    stage.workers(2, { cores: 4 });
    await stage.valid(1, 2);
    const second = stage.master(options);
    const program = await stage.ticker();
    const job = await stage.slowJob("out", 600_000, 1_000);
    await stage.valid(2, 2);
    lineOf(first, /^Elected leader with epoch 1\.$/, 1);
    lineOf(first, /^Recovering 0 applications and 0 workers \(epoch 1\)\.$/, 1);
    lineOf(first, /^Worker worker-\S+ registered: 4 cores\.$/, 1);

    await kill(first);
    await stage.valid(1, 2);
    const views = await stage.workerViews();
    lineOf(second, /^Elected leader with epoch 2\.$/, 2);
    lineOf(second, /^Recovering 2 applications and 2 workers \(epoch 2\)\.$/, 2);
    for (const { id } of views) lineOf(second, new RegExp(`^Worker ${id} re-attached( and runs [0-9]+ process(es)?)?\\.$`), 2);
    lineOf(second, new RegExp(`^The driver of ${job} re-attached \\(attempt 1\\)\\.$`), 2);
    lineOf(second, /^Recovery complete \(epoch 2\): 2 applications and 2 workers in [0-9]+ ms\.$/, 2);

    const home = (await stage.status(program)).driver?.worker ?? "";
    await kill(stage.process(views.find(({ id }) => id === home)?.pid));
    await stage.runs(program, 2);
    expect(lineOf(second, new RegExp(`^Worker ${home} is lost: nothing heard for 2000 ms; [0-9]+ process`), 2).level).toBe(40);
    lineOf(
      second,
      new RegExp(`^Application ${program} is to be restarted in [0-9]+ ms: worker ${home}, on which attempt 1 ran, is lost\\.$`),
      2,
    );
    lineOf(second, new RegExp(`^Application ${program} restarted: attempt 2 on worker \\S+\\.$`), 2);

    // A leader that cannot write any more is deposed: it says so, and stands in line again.
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(path.join(disk, "filler"), Buffer.alloc(bavail * bsize));
    // Free space is looked at again half a second after the last look at the latest: if the submission comes before, the end of its program does not.
    const submitted = stage.start(["submit", "--timeout", "60s", "--wait", "--", "sleep", "1"]);
    await until("the leader to be deposed", () => /Deposed from epoch 2/.test(second.log()));
    rmSync(path.join(disk, "filler"));
    expect(await submitted.ended).toMatchObject({ exitCode: 0 });
    expect(lineOf(second, /^Deposed from epoch 2: .*(disk|space)/i, 2).level).toBeGreaterThanOrEqual(40);
    lineOf(second, /^Elected leader with epoch [34]\.$/, (await stage.view()).epoch);

    second.signal("SIGTERM");
    expect(await second.exited).toBe(0);
    lineOf(second, /^Resigned from epoch [34]: /, Number(/Resigned from epoch ([0-9]+)/.exec(second.log())?.[1]));
    // Every sentence of a leader names its epoch in its text or beside it.
    const unmarked = linesOf(second).filter(
      (line) => /re-attached|registered|is lost|restart|Recover|Elected/.test(line.msg) && line.epoch === undefined,
    );
    expect(unmarked).toEqual([]);
    stage.master(options);
    await (await stage.client()).call("cancel", { application: job });
    expect((await stage.ended(job)).state).toBe("cancelled");
  },
  { skip: !isRoot("mounts a small disk"), timeoutMs: 150_000, mayLeave: () => true },
);

scenario(
  "logs -f, events -f and submit --wait go on across failovers; nothing is told twice",
  async (stage) => {
    stage.masters(2);
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const count = "i=0; while [ $i -lt 80 ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 3";
    const waiting = stage.start(["submit", "--wait", "--id", "counter", "--", "sh", "-c", count]);
    await until("the counter to be known", () =>
      stage.runs("counter").then(
        () => true,
        () => false,
      ),
    );
    const logs = stage.start(["logs", "counter", "-f"]);
    const events = stage.start(["events", "-f", "--json"]);
    await until("lines and events", () => /line 5\n/.test(logs.stdout()) && /"epoch":1/.test(events.stdout()));
    await stage.killLeader();
    stage.master();
    await stage.valid(2, 1);
    // Events live in the memory of their leader: those that nobody has fetched die with it.
    await until("the next epoch's events", () => /"epoch":2.*"kind":"recovery.completed"/.test(events.stdout()));
    await stage.killLeader();
    await stage.valid(1, 1);
    await until("the last epoch's events", () => /"epoch":3.*"kind":"recovery.completed"/.test(events.stdout()));

    expect(await waiting.ended).toMatchObject({ exitCode: 3 });
    expect(await logs.ended).toMatchObject({ exitCode: 0, stdout: Array.from({ length: 80 }, (_, i) => `line ${i}\n`).join("") });
    await until("the end", () => /application\.failed/.test(events.stdout()));
    events.signal("SIGINT");
    await events.ended;
    const told = events
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { epoch: number; seq: number; kind: string });
    const names = told.map(({ epoch, seq }) => `${epoch}.${seq}`);
    expect(new Set(names).size).toBe(names.length);
    for (const epoch of [1, 2, 3]) {
      const seqs = told.filter((event) => event.epoch === epoch).map(({ seq }) => seq);
      expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    }
    expect(told.map(({ epoch }) => epoch)).toEqual([...told.map(({ epoch }) => epoch)].sort());
    expect(told.filter(({ kind }) => kind === "leader.elected").map(({ epoch }) => epoch)).toEqual([1, 2, 3]);
  },
  { deadlines: PATIENT },
);
