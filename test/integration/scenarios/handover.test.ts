/** Planned hand-overs between real masters, by the command and by SIGTERM, while clients ask without a pause. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { programSpec, type Stage, scenario } from "../../support/scenario.js";

/** Submits without a pause until it is ended; each answer is kept, each failure counted. */
async function load(stage: Stage) {
  const client = await stage.client();
  const ids = new Map<string, string>();
  const failures: unknown[] = [];
  let over = false;
  const lane = async (number: number) => {
    for (let count = 0; !over; count++) {
      const key = `lane-${number}-${count}`;
      // More than any worker has: it waits, so that this is about masters only.
      const spec = programSpec(["true"], { driver: { cores: 1_000, memoryBytes: 1 } });
      try {
        ids.set(key, (await client.call("submit", { key, spec })).id);
      } catch (thrown) {
        failures.push(thrown);
      }
    }
  };
  const lanes = [0, 1].map(lane);
  return {
    ids,
    failures,
    end: async () => {
      over = true;
      await Promise.all(lanes);
    },
  };
}

scenario(
  "ten hand-overs under load: no call fails, nothing is lost, nothing is there twice, what follows goes on",
  async (stage) => {
    const masters = stage.masters(2);
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const lines = 60;
    const script = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo line $i; sleep 0.1; done`;
    const program = await stage.program(["sh", "-c", script]);
    const ticker = await stage.ticker();
    await stage.runs(program);
    const before = await stage.footprint(ticker);
    const pids = masters.map((master) => master.servingPid());
    const waiting = stage.start(["submit", "--wait", "--timeout", "30s", "--", "sh", "-c", "sleep 4; exit 3"]);
    const logs = stage.start(["logs", program, "-f", "--timeout", "30s"]);
    const events = stage.start(["events", "-f", "--json", "--timeout", "30s"]);
    await until("logs and events to come", () => /line 1\n/.test(logs.stdout()) && /leader.elected/.test(events.stdout()));
    const { epoch } = await stage.view();
    const traffic = await load(stage);

    for (let turn = 1; turn <= 10; turn++) {
      const ran = await stage.command(["handover", "--json"]);
      expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
      const answer = JSON.parse(ran.stdout) as { epoch: number; leader: { id: string }; previous: { leader: { id: string } } };
      expect(answer.epoch, "nobody came between, nobody took it back").toBe(epoch + turn);
      expect(answer.leader.id).not.toBe(answer.previous.leader.id);
      await stage.valid(2, 1);
    }
    await traffic.end();
    expect(traffic.failures).toEqual([]);
    expect(traffic.ids.size).toBeGreaterThan(10);
    expect(new Set(traffic.ids.values()).size).toBe(traffic.ids.size);
    const { applications } = await (await stage.client()).call("list", {});
    const known = new Set(applications.map(({ id }) => id));
    expect([...traffic.ids.values()].filter((id) => !known.has(id))).toEqual([]);
    expect(applications.filter(({ state }) => state === "waiting")).toHaveLength(traffic.ids.size);

    // Nobody died for it, nothing that runs noticed, and whoever followed has everything once.
    expect(masters.map((master) => master.servingPid())).toEqual(pids);
    await stage.undisturbed(ticker, before);
    expect(await waiting.ended).toMatchObject({ exitCode: 3 });
    expect((await logs.ended).stdout).toBe(Array.from({ length: lines }, (_, at) => `line ${at + 1}\n`).join(""));
    await until("the last leader's events", () => events.stdout().includes(`"epoch":${epoch + 10},`));
    const seen = events
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { epoch: number; seq: number });
    expect(new Set(seen.map((event) => `${event.epoch}.${event.seq}`)).size).toBe(seen.length);
    events.signal("SIGINT");
    await events.ended;
  },
  { timeoutMs: 90_000 },
);

scenario(
  "handover --to names the successor; without a standby it is refused with exit code 4, and nothing changes",
  async (stage) => {
    const first = stage.master();
    const { epoch, leader } = await stage.valid(1, 0);
    const refused = await stage.command(["handover"]);
    expect(refused).toMatchObject({ exitCode: 4, stdout: "" });
    expect(refused.stderr).toMatch(/no other master stands by.*\[NO_STANDBY\]\n {2}Start another master/);
    expect(await stage.view()).toMatchObject({ epoch, leader });

    stage.masters(2);
    const { masters } = await stage.valid(3, 0);
    const unknown = await stage.command(["handover", "--to", "master-nobody"]);
    expect(unknown).toMatchObject({ exitCode: 4 });
    expect(unknown.stderr).toMatch(/no master master-nobody stands by.*\[NOT_FOUND\]/);
    const target = masters.filter((master) => master.state === "STANDBY").at(-1);
    const named = await stage.command(["handover", "--to", target?.address ?? ""]);
    expect(named, named.stderr).toMatchObject({ exitCode: 0 });
    expect(named.stdout).toMatch(
      new RegExp(`^${target?.id} at ${target?.address} \\(pid ${target?.pid}\\) leads with epoch ${epoch + 1}`),
    );
    const back = await stage.command(["handover", "--to", leader?.id ?? "", "--json"]);
    expect(JSON.parse(back.stdout)).toMatchObject({ epoch: epoch + 2, leader, previous: { leader: { id: target?.id } } });
    expect(await stage.command(["handover", "--to", leader?.id ?? ""])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/leads already/),
    });
    expect((await stage.view()).leader?.pid).toBe(first.servingPid());
  },
);

scenario("a leader that gets SIGTERM under load: no call fails, and the standby has everything", async (stage) => {
  stage.masters(2);
  const { epoch } = await stage.valid(2, 0);
  const traffic = await load(stage);
  for (let turn = 1; turn <= 3; turn++) {
    const leader = await stage.leader();
    const next = stage.master();
    await stage.valid(3, 0);
    leader.signal("SIGTERM");
    expect(await leader.exited).toBe(0);
    await stage.valid(2, 0);
    expect((await stage.view()).epoch).toBe(epoch + turn);
    expect(next.servingPid()).not.toBeNull();
  }
  await traffic.end();
  expect(traffic.failures).toEqual([]);
  const { applications } = await (await stage.client()).call("list", {});
  expect(applications.map(({ id }) => id).sort()).toEqual([...traffic.ids.values()].sort());
});
