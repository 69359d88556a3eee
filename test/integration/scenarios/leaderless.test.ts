/** `holdfast cluster` while nobody leads: every master that whoever is asked can know of, each with state and epoch, and since when nobody leads. */
import { mkdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect } from "vitest";
import type { ClusterView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { PATIENT, type Stage, scenario } from "../../support/scenario.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { newPath } from "../stores/zookeeper-support.js";

let zooKeeper: ZooKeeperServers;
beforeAll(async () => {
  zooKeeper = await startZooKeeper();
}, 90_000);
afterAll(() => zooKeeper?.close());

const addressOf = (master: ClusterProcess): string => /listens at ([^ ]+:[0-9]+)/.exec(master.log())?.[1] ?? "";

async function listening(master: ClusterProcess): Promise<string> {
  await until("it to listen", () => addressOf(master) !== "");
  return addressOf(master);
}

/** As the master at the address tells, and nobody else: it is the only one that is named. */
async function viewAt(stage: Stage, address: string): Promise<ClusterView> {
  const ran = await stage.command(["cluster", "--json", "--timeout", "30s", "--master", address]);
  expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
  return JSON.parse(ran.stdout) as ClusterView;
}

const addresses = (masters: readonly { readonly address: string }[]): readonly string[] =>
  masters.map(({ address }) => address).sort();

scenario(
  "file: while the leader is stopped a standby shows itself, the other one, and who is silent; so does one that came later",
  async (stage) => {
    const masters = stage.masters(3);
    const before = await stage.valid(3, 0);
    const frozen = masters.find((master) => master.servingPid() === before.leader?.pid);
    const standbys = masters.filter((master) => master !== frozen);
    const frozenAt = Date.now();
    frozen?.freeze();
    const asked = await listening(standbys[0] as ClusterProcess);
    let view = await viewAt(stage, asked);
    // Until their links to the leader have been silent for long enough, both still hold it.
    await until("the leader to be missed", async () => {
      view = await viewAt(stage, asked);
      return view.leaderless !== null && view.silentMasters.length === 1;
    });
    const all = { epoch: before.epoch, state: "STANDBY" };
    expect(view).toMatchObject({ ...all, leader: null, leaderless: { last: before.leader } });
    expect(addresses(view.masters)).toEqual(
      addresses(await Promise.all(standbys.map(async (one) => ({ address: await listening(one) })))),
    );
    for (const master of view.masters) expect(master).toMatchObject({ ...all, pid: expect.any(Number), build: expect.any(String) });
    expect(view.silentMasters).toEqual([{ ...before.leader, epoch: before.epoch }]);
    // It was heard until a heartbeat before it was stopped.
    expect(Date.parse(view.leaderless?.since ?? "") - frozenAt).toBeGreaterThan(-2_000);
    expect(Date.parse(view.leaderless?.since ?? "") - frozenAt).toBeLessThan(1_000);

    const late = await listening(stage.master());
    const ofLate = await viewAt(stage, late);
    expect(addresses(ofLate.masters)).toEqual([...addresses(view.masters), late].sort());
    expect(addresses(ofLate.silentMasters)).toEqual([before.leader?.address]);

    const shown = await stage.command(["cluster", "--master", asked]);
    expect(shown.stdout).toMatch(/^leader {8}none heard since 20[0-9-]+T[0-9:.]+Z \([0-9.]+ (m?s|min)\)$/m);
    expect(shown.stdout).toMatch(new RegExp(`^leader {8}the last was ${before.leader?.id} at ${before.leader?.address} `, "m"));
    expect(shown.stdout.match(/ STANDBY /g)).toHaveLength(3);
    expect(shown.stdout).toMatch(/ no answer /);
    expect(shown.stdout).not.toContain("workers");
    for (const line of shown.stdout.split("\n")) expect(line.length, line).toBeLessThanOrEqual(80);
    const doctor = await stage.command(["doctor", "--json"]);
    expect(doctor.stdout).toMatch(/nobody leads since/);

    frozen?.thaw();
    await stage.valid(4, 0);
  },
);

scenario(
  "file: after a full restart on another port the lines of dead masters in the advertise file are shown as silent, not as masters",
  async (stage) => {
    const masters = stage.masters(2);
    const before = await stage.valid(2, 0);
    const file = stage.masterUrl.slice("file://".length);
    const leader = masters.find((master) => master.servingPid() === before.leader?.pid);
    await until("both to have written where they are", () => readFileSync(file, "utf8").trim().split("\n").length === 2);
    leader?.freeze();
    const late = await listening(stage.master());
    const view = await viewAt(stage, late);
    expect(view).toMatchObject({ leader: null, masters: [{ state: "STANDBY" }, { state: "STANDBY" }] });
    expect(view.silentMasters).toEqual([{ address: before.leader?.address, id: null, pid: null, epoch: null }]);
    leader?.thaw();
    await stage.valid(3, 0);
  },
  { deadlines: PATIENT },
);

function onZooKeeper(stage: Stage, ...more: readonly string[]): () => ClusterProcess {
  const blobs = stage.cluster.file("blobs");
  mkdirSync(blobs);
  stage.recovery = `zk://${zooKeeper.connectString}${newPath()}`;
  return () => stage.master({ args: ["--storage", `file:${blobs}`, ...more] });
}

scenario("ZooKeeper is gone: all masters stand by, and each of them shows all, with the epoch that was", async (stage) => {
  const start = onZooKeeper(stage, "--session-timeout", "4s");
  const masters = [start(), start(), start()];
  const before = await stage.valid(3, 0);
  const [server] = zooKeeper.servers;
  await server?.kill();
  const goneAt = Date.now();
  for (const master of masters) {
    const address = await listening(master);
    let view = await viewAt(stage, address);
    await until("nobody to lead", async () => {
      view = await viewAt(stage, address);
      return view.leaderless !== null && view.masters.length === 3;
    });
    expect(view).toMatchObject({ leader: null, epoch: before.epoch, silentMasters: [] });
    expect(addresses(view.masters)).toEqual(addresses(before.masters));
    for (const one of view.masters) expect(one).toMatchObject({ state: "STANDBY", epoch: before.epoch });
    expect(view.leaderless?.last).toEqual(before.leader);
    expect(Date.parse(view.leaderless?.since ?? "")).toBeGreaterThan(goneAt - 2_000);
  }
  server?.start();
  await server?.serving();
  expect((await stage.valid(3, 0)).epoch).toBeGreaterThan(before.epoch);
});

scenario("ZooKeeper: a newcomer learns of the others from the candidates there, though the leader is stopped", async (stage) => {
  const start = onZooKeeper(stage, "--session-timeout", "60s");
  const masters = [start(), start()];
  const before = await stage.valid(2, 0);
  const leader = masters.find((master) => master.servingPid() === before.leader?.pid);
  leader?.freeze();
  // No advertise file: it knows nothing but the store.
  const late = stage.start([
    ...["master", "--listen", "127.0.0.1:0", "--session-timeout", "60s", "--recovery", stage.recovery ?? ""],
    ...["--storage", `file:${stage.cluster.file("blobs")}`],
  ]);
  await until("it to stand by", () => /Standing by behind the master at/.test(late.stderr()));
  const address = /listens at ([^ ]+:[0-9]+)/.exec(late.stderr())?.[1] ?? "";
  const view = await viewAt(stage, address);
  expect(view).toMatchObject({ leader: null, state: "STANDBY" });
  expect(addresses(view.masters)).toEqual(
    [...addresses(before.masters.filter(({ state }) => state === "STANDBY")), address].sort(),
  );
  expect(addresses(view.silentMasters)).toEqual([before.leader?.address]);
  leader?.thaw();
  await stage.valid(3, 0);
  late.signal("SIGTERM");
  await late.ended;
});
