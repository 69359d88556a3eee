/** Masters found through ZooKeeper by workers, drivers, commands and clients; and the password of the URL, which nobody else gets to see. */
import { chmodSync, existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { openClient } from "../../../src/cli/client/cluster-client.js";
import type { EventView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import { expectBuckets, jobFile, jobWords, kill, PATIENT, type Stage, scenario } from "../../support/scenario.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";

const PASSWORD = "s3cret-0f-zookeeper";
let zooKeeper: ZooKeeperServers;
let paths = 0;

beforeAll(async () => {
  zooKeeper = await startZooKeeper();
}, 90_000);
afterAll(() => zooKeeper?.close());

/** The URL stands in a file that only its owner can read, and nowhere else. */
function throughZooKeeper(stage: Stage): { readonly url: string; readonly file: string } {
  const url = `zk://holdfast:${PASSWORD}@${zooKeeper.connectString}/finding/${process.pid}-${++paths}`;
  const file = stage.cluster.file("zookeeper-url");
  writeFileSync(file, `${url}\n`, { mode: 0o600 });
  stage.masterUrl = `file://${file}`;
  stage.recovery = `file://${file}`;
  return { url, file };
}

const storage = (stage: Stage) => ({ args: ["--storage", `file:${stage.cluster.file("blobs")}`] });

scenario(
  "a job, its driver and every command go on across masters, and no process, file, log or answer shows the password",
  async (stage) => {
    const { file } = throughZooKeeper(stage);
    stage.master(storage(stage));
    stage.master(storage(stage));
    const worker = stage.worker({ cores: 4, args: ["--log-level", "debug"] });
    await stage.valid(2, 1);
    const id = await stage.slowJob("out", 12_000, 1_000);
    const before = await stage.footprint(id);
    const told = await stage.program(["sh", "-c", "env; tr '\\0' ' ' </proc/$PPID/cmdline; ls -l /proc/$PPID/fd"]);
    await stage.ended(told);
    const logs = await stage.command(["logs", told]);
    expect(logs).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("HOLDFAST_APPLICATION=") });
    expect(logs.stdout).not.toMatch(/HOLDFAST_MASTER|zk:/);
    for (const process of before.processes) {
      const pid = Number(process.split("@")[0]);
      expect(visibleOf(pid), process).not.toMatch(new RegExp(`${PASSWORD}|HOLDFAST_MASTER|zk://`));
    }
    await stage.killLeader();
    await stage.undisturbed(id, before);
    const shown = await stage.command(["cluster", "--json"]);
    expect(shown, shown.stderr).toMatchObject({ exitCode: 0 });
    await stage.ended(id);
    expectBuckets(stage.cluster.file("out"), 12_000);
    expect(worker.log()).not.toContain(PASSWORD);
    for (const [name, text] of filesIn(stage.cluster.directory))
      if (name !== file) expect(text.includes(PASSWORD), name).toBe(false);
    // The list that drivers read: addresses for this user only.
    const list = stage.cluster.file("worker-1", "masters");
    expect(readFileSync(list, "utf8")).toMatch(/^(127\.0\.0\.1:\d+\n)+$/);
    expect(statSync(list).mode & 0o077).toBe(0);
  },
);

scenario("a driver whose worker is dead follows to a master that neither of them had heard of when it began", async (stage) => {
  throughZooKeeper(stage);
  // The worker is away for the whole scenario, and must not be declared lost for it.
  const patient = { args: [...storage(stage).args, "--worker-deadline", "2m", "--driver-deadline", "2m"] };
  const first = stage.master(patient);
  const worker = stage.worker({ cores: 4 });
  await stage.valid(1, 1);
  const id = await stage.slowJob("out", 20_000, 1_000);
  const before = await stage.footprint(id);
  await kill(worker);
  // Every link of the leader is told of the newcomer at one moment, this client's like the driver's.
  let masters: readonly string[] = [];
  const onMasters = (addresses: readonly string[]) => {
    masters = addresses;
  };
  await using _witness = await openClient({ master: stage.masterUrl, timeout: "20s", json: true }, stage.signal, { onMasters });
  stage.master(patient);
  await until("the newcomer to be told of", () => masters.length === 2);
  await kill(first);
  await until("the driver to be known to it", async () => {
    const view = await stage.status(id);
    return view.driver?.state === "running" && (view.progress?.recordsIn ?? 0) > 0;
  });
  stage.worker({ cores: 4, workDirectory: stage.cluster.file("worker-1") });
  await stage.undisturbed(id, before);
  await stage.command(["cancel", id]);
  await stage.ended(id);
});

scenario("client mode: the driver in the caller's tree follows too, and sees neither URL nor password", async (stage) => {
  throughZooKeeper(stage);
  stage.master(storage(stage));
  stage.master(storage(stage));
  stage.workers(2);
  await stage.valid(2, 2);
  const words = jobWords({ params: { count: 6_000, rate: 1_000, output: stage.cluster.file("out") } });
  const command = stage.start(["submit", jobFile("buckets"), "--id", "here", "--deploy-mode", "client", ...words]);
  await until("the job", async () => (await (await stage.client()).call("list", {})).applications.length === 1);
  await stage.reads("here");
  const driver = stage.cluster.leftovers().find((line) => line.includes("client-driver"));
  expect(driver).toBeDefined();
  expect(visibleOf(Number(driver?.split(" ")[0]))).not.toMatch(new RegExp(`${PASSWORD}|HOLDFAST_MASTER|zk://`));
  await stage.killLeader();
  expect(await command.ended).toMatchObject({ exitCode: 0 });
  expectBuckets(stage.cluster.file("out"), 6_000);
});

scenario(
  "whoever follows events sees each once, in order, across leaders that are killed, and the next one knows them all",
  async (stage) => {
    throughZooKeeper(stage);
    for (let count = 0; count < 3; count++) stage.master(storage(stage));
    stage.worker({ cores: 4 });
    await stage.valid(3, 1);
    const seen: EventView[] = [];
    const client = await stage.client();
    const following = (async () => {
      for await (const event of client.events({ once: false })) seen.push(event);
    })().catch(() => {});
    const ids: string[] = [];
    for (let round = 1; round <= 2; round++) {
      const submitting = Promise.all(Array.from({ length: 40 }, (_, index) => stage.program(["true"], {}, `r${round}-${index}`)));
      await stage.killLeader();
      ids.push(...(await submitting));
    }
    for (const id of ids) await stage.ended(id);
    const submitted = () => seen.filter(({ kind }) => kind === "application.submitted").map(({ subject }) => subject);
    const finished = () => seen.filter(({ kind }) => kind === "application.finished").map(({ subject }) => subject);
    await until("all events", () => submitted().length >= ids.length && finished().length >= ids.length);
    expect([...submitted()].sort()).toEqual([...ids].sort());
    expect([...finished()].sort()).toEqual([...ids].sort());
    const places = seen.map(({ epoch, seq }) => epoch * 1e6 + seq);
    expect(places).toEqual([...new Set(places)].sort((a, b) => a - b));
    // From every epoch without a hole, and the present leader tells the same from the beginning.
    for (const epoch of new Set(seen.map((event) => event.epoch))) {
      const seqs = seen.filter((event) => event.epoch === epoch).map(({ seq }) => seq);
      expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    }
    const again: EventView[] = [];
    for await (const event of client.events({ once: true })) again.push(event);
    expect(again.slice(0, seen.length)).toEqual(seen);
    expect(new Set(seen.map((event) => event.epoch)).size).toBe(3);
    void following;
  },
  { deadlines: PATIENT },
);

scenario(
  "without ZooKeeper everything runs on and nobody leads; when it is back the leader has a higher epoch, and is obeyed",
  async (stage) => {
    throughZooKeeper(stage);
    stage.master(storage(stage));
    stage.master(storage(stage));
    stage.worker({ cores: 4 });
    const { epoch } = await stage.valid(2, 1);
    const id = await stage.slowJob("out", 100_000, 500);
    const before = await stage.footprint(id);
    const leader = await stage.leader();
    const [server] = zooKeeper.servers;
    await server?.stop();
    try {
      await until("nobody to lead", () => leader.log().includes(`Deposed from epoch ${epoch}`));
      const ran = await stage.command(["list", "--timeout", "1s"]);
      expect(ran).toMatchObject({ exitCode: 3, stderr: expect.not.stringContaining(PASSWORD) });
      for (const process of before.processes) expect(existsSync(`/proc/${process.split("@")[0]}`), process).toBe(true);
    } finally {
      server?.cont();
    }
    await until("a leader again", async () => (await stage.view()).state === "ALIVE", 40_000);
    expect((await stage.view()).epoch).toBeGreaterThan(epoch);
    await stage.undisturbed(id, before);
    await stage.command(["cancel", id]);
    await stage.ended(id);
  },
  { timeoutMs: 120_000, deadlines: PATIENT },
);

scenario("bad URLs: what is wrong is said, with the exit code of its kind, and without the password", async (stage) => {
  const { url, file } = throughZooKeeper(stage);
  const list = (master: string, ...words: readonly string[]) =>
    stage.command(["list", "--timeout", "2s", ...words], { env: { HOLDFAST_MASTER: master } });
  const expected: readonly (readonly [string, number, RegExp])[] = [
    [url, 3, /no cluster is at zk:\/\/127/],
    [url.replace(/@[^/]*/, "@127.0.0.1:1"), 3, /no ZooKeeper server of 127\.0\.0\.1:1 gives a session/],
    [url.replace(/\/finding.*/, ""), 2, /has no path/],
    [url.replace(/:\d+\//, ":x/"), 2, /INVALID_ARGUMENT/],
  ];
  for (const [master, exitCode, text] of expected) {
    for (const words of [[], ["--json"]]) {
      const ran = await list(master, ...words);
      expect(ran, master).toMatchObject({ exitCode, stderr: expect.stringMatching(text) });
      expect(ran.stdout + ran.stderr).not.toContain(PASSWORD);
    }
  }
  // A worker waits and says so; when the first master has made the path it goes on.
  const worker = stage.worker({ cores: 1 });
  await until("the worker to say what it waits for", () => /no cluster is at/.test(worker.log()));
  stage.master(storage(stage));
  await stage.valid(1, 1);
  const wrong = await list(url.replace(PASSWORD, "wrong-password"));
  expect(wrong).toMatchObject({
    exitCode: 4,
    stderr: expect.stringMatching(/does not let user "holdfast" read .*UNAUTHENTICATED/s),
  });
  expect(await list(url.replace(/holdfast:[^@]*@/, ""))).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining("without a password"),
  });
  expect(await list(url)).toMatchObject({ exitCode: 0, stderr: "" });
  // On the command line it is warned of, and hidden from other users as soon as the program runs.
  const warned = await stage.command(["list", "--master", url]);
  expect(warned).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("every user of this machine") });
  const following = stage.start(["events", "-f", "--master", url]);
  await until("events", () => following.stdout().includes("leader.elected"));
  expect(readFileSync(`/proc/${following.pid}/cmdline`, "utf8")).not.toContain(PASSWORD);
  following.signal("SIGINT");
  await following.ended;
  chmodSync(file, 0o644);
  expect(await list(`file://${file}`)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("INSECURE_SECRET") });
  chmodSync(file, 0o600);
});

/** What a process was given, holds open, and has of files of its own: environment, command line, descriptors, start file. */
function visibleOf(pid: number): string {
  const proc = (name: string) => readFileSync(`/proc/${pid}/${name}`, "utf8");
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "";
    }
  });
  const folder = readlinkSync(`/proc/${pid}/cwd`);
  const words = proc("cmdline").split("\0");
  const start = words.filter(
    (word) => word.startsWith("/") && existsSync(word) && statSync(word).isFile() && word.endsWith(".json"),
  );
  const texts = [...start, ...open.filter((name) => existsSync(name) && statSync(name).isFile())].map((name) =>
    readFileSync(name, "utf8"),
  );
  const own = folder.includes("/processes/") ? filesIn(folder).map(([, text]) => text) : [];
  return [proc("environ"), proc("cmdline"), ...open, ...texts, ...own].join("\n");
}

function filesIn(directory: string): readonly (readonly [string, string])[] {
  return (readdirSync(directory, { recursive: true }) as string[])
    .map((name) => path.join(directory, name))
    .flatMap((file) => {
      try {
        return statSync(file).isFile() ? [[file, readFileSync(file, "latin1")] as const] : [];
      } catch {
        // Removed meanwhile: workers sweep what has ended.
        return [];
      }
    });
}
