/**
 * The parent of a master: it starts it again when it dies, kills it when its event loop hangs, and neither outlives the other.
 *
 * A hang is made from outside: by SIGSTOP of the master without its parent, and by a module that only these tests load into it.
 */
import path from "node:path";
import { expect } from "vitest";
import { ROOT, until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { isAlive, PATIENT, readProc, type Stage, scenario } from "../../support/scenario.js";

const HANGS = { NODE_OPTIONS: `--import ${path.join(ROOT, "test/integration/fixtures/hang-on-signal.mjs")}` };

async function servingPid(master: ClusterProcess, not: number | null = null): Promise<number> {
  await until(`${master.name} to run`, () => ![null, not].includes(master.servingPid()));
  return master.servingPid() ?? 0;
}

/** A signal is taken in at some turn of the event loop, so the hang is waited for. */
async function hang(master: ClusterProcess, pid: number): Promise<void> {
  const before = master.log().split("stands still").length;
  process.kill(pid, "SIGUSR2");
  await until("the event loop to stand still", () => master.log().split("stands still").length > before);
}

const killed = (master: ClusterProcess, pid: number): RegExp =>
  new RegExp(`supervisor ${master.pid} {2}WARN The master, process ${pid}, has not proved its life for [0-9]+ ms: it is killed`);

/** A program and a job that no death of a master may disturb. */
async function running(stage: Stage) {
  const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("through", 60_000, 500)]);
  const [ofProgram, ofJob] = await Promise.all([stage.footprint(program), stage.footprint(job)]);
  return {
    undisturbed: async () => {
      await stage.undisturbed(program, ofProgram);
      await stage.undisturbed(job, ofJob);
    },
    end: async () => {
      await (await stage.client()).call("cancel", { application: job });
      await stage.ended(job);
    },
  };
}

scenario("cluster shows the pid of the master itself, whose parent is the command", async (stage) => {
  const master = stage.master();
  const { leader } = await stage.valid(1, 0);
  expect(leader?.pid).not.toBe(master.pid);
  expect(leader?.pid).toBe(master.servingPid());
});

scenario(
  "a master that is killed is started again by its parent, with pauses that grow; a single one leads again",
  async (stage) => {
    const master = stage.master();
    stage.worker({ cores: 4 });
    await stage.valid(1, 1);
    const work = await running(stage);
    let pid = await servingPid(master);
    for (let turn = 1; turn <= 3; turn++) {
      process.kill(pid, "SIGKILL");
      pid = await servingPid(master, pid);
      const { leader, epoch } = await stage.valid(1, 1);
      expect(leader?.pid).toBe(pid);
      expect(epoch).toBe(turn + 1);
      await work.undisturbed();
    }
    const pauses = [...master.log().matchAll(/The master was ended by SIGKILL\. It is started again in ([0-9]+) ms/g)];
    expect(pauses.map(([, ms]) => Number(ms))).toEqual([100, 200, 400]);
    await stage.usable("new");
    await work.end();
  },
);

for (const [what, signal, env] of [
  ["a busy event loop", "SIGUSR2", { ...HANGS, HOLDFAST_TEST_HANG_MS: "10000" }],
  ["SIGSTOP of the master", "SIGSTOP", {}],
] as const) {
  scenario(
    `a leader that hangs (${what}) is killed by its parent: a standby leads, and nothing that runs notices`,
    async (stage) => {
      const leading = stage.master({ env });
      await stage.valid(1, 0);
      const standby = stage.master({ env });
      stage.workers(2);
      const { epoch } = await stage.valid(2, 2);
      const work = await running(stage);
      const pid = await servingPid(leading);
      if (signal === "SIGSTOP") process.kill(pid, signal);
      else await hang(leading, pid);
      // Asked while nobody leads: it waits for the next one, long before the ten seconds are over.
      const id = await stage.program(["true"], {}, "while-it-hangs");
      const view = await stage.view();
      expect(view).toMatchObject({ epoch: epoch + 1, leader: { pid: standby.servingPid() } });
      expect(await stage.ended(id)).toMatchObject({ state: "finished", attempt: 1 });
      expect(leading.log()).toMatch(killed(leading, pid));
      expect(isAlive(pid)).toBe(false);
      // The parent has started the next one: it stands by.
      await stage.valid(2, 2);
      await work.undisturbed();
      await work.end();
    },
    { deadlines: PATIENT },
  );
}

scenario("a standby that hangs is killed too, and the leader does not change", async (stage) => {
  stage.master();
  await stage.valid(1, 0);
  const standby = stage.master();
  const { leader, epoch } = await stage.valid(2, 0);
  const pid = await servingPid(standby);
  process.kill(pid, "SIGSTOP");
  await servingPid(standby, pid);
  expect(await stage.valid(2, 0)).toMatchObject({ leader, epoch });
});

scenario("a pause that is shorter than the limit ends nobody, nor one in which the parent stood still too", async (stage) => {
  const master = stage.master({ env: { ...HANGS, HOLDFAST_TEST_HANG_MS: "1500" }, args: ["--hung-after", "4s"] });
  const { epoch } = await stage.valid(1, 0);
  const pid = await servingPid(master);
  await hang(master, pid);
  expect(await stage.view()).toMatchObject({ epoch, leader: { pid } });
  master.freeze();
  const at = performance.now();
  await until("6 s to pass", () => performance.now() - at > 6_000);
  master.thaw();
  expect(await stage.valid(1, 0)).toMatchObject({ epoch, leader: { pid } });
  expect(master.log()).not.toMatch(/supervisor/);
});

scenario(
  "a master whose turns take longer than the limit comes through: the parent grows more patient with each hang",
  async (stage) => {
    const master = stage.master({ env: { ...HANGS, HOLDFAST_TEST_HANG_CPU_MS: "1300" } });
    await stage.valid(1, 0);
    let pid = await servingPid(master);
    let hangs = 0;
    // Limits of 0.5, 1 and 2 s.
    for (; hangs < 5; hangs++) {
      await stage.valid(1, 0);
      await hang(master, pid);
      // Answered by the same process after its pause, or by the next one.
      await stage.view();
      if (master.servingPid() === pid) break;
      pid = await servingPid(master, pid);
    }
    expect(hangs).toBeGreaterThanOrEqual(1);
    expect(hangs).toBeLessThanOrEqual(3);
  },
);

scenario("kill -9 of the command is kill -9 of the master: no process is left, and a standby leads", async (stage) => {
  const first = stage.master();
  await stage.valid(1, 0);
  stage.master();
  const { epoch } = await stage.valid(2, 0);
  const pid = await servingPid(first);
  process.kill(first.pid, "SIGKILL");
  await until("the master to be gone", () => !isAlive(pid));
  expect((await stage.valid(1, 0)).epoch).toBe(epoch + 1);
});

scenario("SIGTERM and SIGINT to the command are a planned end of the master, with its exit code", async (stage) => {
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    const master = stage.master();
    await stage.valid(1, 0);
    const pid = await servingPid(master);
    master.signal(name);
    expect(await master.exited).toBe(0);
    expect(isAlive(pid)).toBe(false);
    expect(master.log()).toMatch(new RegExp(`stopping, asked by ${name}`));
    expect(master.log()).toMatch(/Resigned from epoch/);
    expect(master.log()).not.toMatch(/supervisor/);
  }
});

scenario("SIGTERM to the master itself is the same, and ends its parent; Ctrl-C, which reaches both, too", async (stage) => {
  for (const both of [false, true]) {
    const master = stage.master();
    await stage.valid(1, 0);
    const pid = await servingPid(master);
    if (both) master.signal("SIGINT");
    process.kill(pid, both ? "SIGINT" : "SIGTERM");
    expect(await master.exited).toBe(0);
  }
});

scenario("an error of the user's making ends the command with its exit code and message, and is not tried again", async (stage) => {
  stage.master();
  const { leader } = await stage.valid(1, 0);
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["--placement", "chance"], 2, /INVALID_ARGUMENT/],
    [["--hung-after", "1ms"], 2, /--hung-after .*INVALID_ARGUMENT/],
    [["--listen", leader?.address ?? ""], 4, /ADDRESS_IN_USE/],
    [["--listen", "127.0.0.1:0", "--recovery", "file:/dev/null/records"], 4, /DISK_FAILED|STORE_UNUSABLE/],
  ];
  for (const [words, exitCode, says] of cases) {
    const ran = await stage.command(["master", ...words], { timeoutMs: 20_000 });
    expect(ran, ran.stderr).toMatchObject({ exitCode });
    expect(ran.stderr).toMatch(says);
    expect(ran.stderr).not.toMatch(/supervisor/);
  }
});

scenario("with --no-supervisor the command is the master itself, in text and in its logs", async (stage) => {
  const master = stage.master({ args: ["--no-supervisor"] });
  expect((await stage.valid(1, 0)).leader?.pid).toBe(master.pid);
  expect(readProc(master.pid, "environ")).not.toMatch(/HOLDFAST_SUPERVISOR_FD/);
});

scenario("the log of the parent has the form of the master's", async (stage) => {
  const master = stage.master({ args: ["--log-format", "json"] });
  await stage.valid(1, 0);
  process.kill(await servingPid(master), "SIGKILL");
  await until("it to say so", () => /"role":"supervisor"/.test(master.log()));
  const lines = master
    .log()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { role: string; level: number; msg: string });
  const said = lines.filter(({ role }) => role === "supervisor");
  expect(said.map(({ level }) => level)).toEqual([40]);
  expect(said[0]?.msg).toMatch(/ended by SIGKILL/);
});
