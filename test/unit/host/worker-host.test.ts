import { createHash } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { UNUSED_KEPT_MS } from "../../../src/host/worker/worker-artifacts.js";
import type { WorkerHost } from "../../../src/host/worker/worker-host.js";
import { runnerStart } from "../../../src/wire/runner-start.js";
import { createFakeRegistry } from "../../support/fake-registry.js";
import { application, order } from "../worker/worker-bench.js";
import { createTestEnv, fakeFiles, fakeLauncher, fakeMaster, SECRET, settle, startWorker } from "./worker-stage.js";

const END = { exitCode: 3, signal: null, reason: null };
let worker: WorkerHost | undefined;
afterEach(async () => {
  await worker?.close({ leave: true });
  worker = undefined;
});

const bundle = new Uint8Array(2_500).map((_, index) => index % 251);
const sha256 = createHash("sha256").update(bundle).digest("hex");

function jobOrder(processId: string, role: "driver" | "executor", artifact = sha256) {
  const app = application();
  const job = { artifact, graphHash: "0".repeat(64), params: {}, parallelism: 1, executor: app.spec.driver };
  return {
    ...order(processId, role),
    driverAddress: role === "executor" ? "d:5" : null,
    application: { ...app, spec: { ...app.spec, kind: "job", process: null, job } },
  };
}

describe("following the master", () => {
  test("a worker registers, launches what it is told to, and reports the end until it is acknowledged", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    worker = await startWorker(env, { launcher });
    expect(master.bodies("worker.register")).toMatchObject([
      { workerId: "w", incarnation: 1, pid: 77, address: worker.address, inventory: [] },
    ]);
    await master.order("worker.launch", order("app-1-1.d1"));
    expect(launcher.launched).toMatchObject([
      {
        processId: "app-1-1.d1",
        command: { kind: "program", argv: ["true"], env: { HOLDFAST_APPLICATION: "app-1-1", HOLDFAST_ATTEMPT: "1" } },
        endsWithoutLeaderMs: 6_000,
      },
    ]);
    launcher.end("app-1-1.d1", END);
    await settle();
    expect(master.bodies("worker.report").map(({ end }) => end)).toEqual([null, END]);
    await master.order("worker.acknowledge", { processIds: ["app-1-1.d1"] });
    expect(launcher.calls).toEqual(["forget app-1-1.d1"]);
  });

  test("an end that came while no master was there is told to the next one, and its epoch is kept", async () => {
    const env = createTestEnv();
    const first = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    const files = fakeFiles();
    worker = await startWorker(env, { launcher, files });
    await first.order("worker.launch", order("app-1-1.d1"));
    await first.stop();
    launcher.end("app-1-1.d1", END);
    await env.clock.advance(60_000);
    expect(launcher.calls).toEqual([]);
    const second = await fakeMaster(env, "m:1", new Map(), 4);
    await env.clock.advance(2_000);
    expect(second.bodies("worker.register")).toMatchObject([
      { incarnation: 1, highestEpoch: 1, inventory: [{ processId: "app-1-1.d1", end: END }] },
    ]);
    expect(files.saved.map(({ highestEpoch }) => highestEpoch)).toEqual([1, 4]);
  });

  test("a launch that fails is reported with its sentence", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    worker = await startWorker(env);
    const app = application();
    const missing = { ...app, spec: { ...app.spec, process: { argv: ["missing"], env: {}, cwd: null } } };
    await master.order("worker.launch", { ...order("app-1-1.d1"), application: missing });
    expect(master.bodies("worker.report")).toMatchObject([
      { processId: "app-1-1.d1", end: null, launchFailed: "cannot run missing" },
    ]);
  });

  test("a worker whose identity cannot be kept ends by itself, leaves its processes, and says why", async () => {
    const env = createTestEnv();
    await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    const saveIdentity = () => Promise.reject(new Error("the disk is full"));
    const broken = await startWorker(env, { launcher, files: { ...fakeFiles(), saveIdentity } });
    expect((await broken.ended)?.message).toBe("the disk is full");
    expect(launcher.calls).toEqual(["close leave"]);
  });
});

describe("job bundles", () => {
  test("are fetched once for all launches that need them, verified, and named to the runner", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1", new Map([[sha256, bundle]]));
    const launcher = fakeLauncher();
    const files = fakeFiles();
    worker = await startWorker(env, { launcher, files });
    void master.order("worker.launch", jobOrder("app-1-1.d1", "driver"));
    await master.order("worker.launch", jobOrder("app-1-1.d1.e1", "executor"));
    expect(launcher.launched.map(({ processId }) => processId)).toEqual(["app-1-1.d1", "app-1-1.d1.e1"]);
    expect(
      master.heard.filter(({ kind }) => kind === "artifact.get").map(({ body }) => (body as { offset: number }).offset),
    ).toEqual([0, 1_000, 2_000]);
    expect(files.kept.get(sha256)).toEqual(bundle);
    const command = launcher.launched[1]?.command;
    const start = runnerStart.parse(JSON.parse(command?.kind === "runner" ? command.start : ""));
    expect(start).toMatchObject({
      role: "executor",
      processId: "app-1-1.d1.e1",
      driverAddress: "d:5",
      artifactPath: `/artifacts/${sha256}`,
      masterUrl: "",
      listenHost: "w",
      epoch: 1,
    });
    // No lease: drivers and executors judge by themselves.
    expect(launcher.launched[0]?.endsWithoutWorkerMs).toBeUndefined();
    expect(launcher.launched[0]?.endsWithoutLeaderMs).toBeUndefined();
    await master.order("worker.launch", jobOrder("app-1-1.d1.e2", "executor"));
    expect(master.heard.filter(({ kind }) => kind === "artifact.get").length).toBe(3);
  });

  test("that no process runs any more go after a while, and are fetched again when they are needed", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1", new Map([[sha256, bundle]]));
    const launcher = fakeLauncher();
    const files = fakeFiles();
    files.kept.set("c".repeat(64), bundle);
    worker = await startWorker(env, { launcher, files });
    expect([...files.kept.keys()]).toEqual([]);
    const end = async (processId: string) => {
      launcher.end(processId, END);
      await settle();
      await master.order("worker.acknowledge", { processIds: [processId] });
    };
    await master.order("worker.launch", jobOrder("app-1-1.d1", "driver"));
    await master.order("worker.launch", jobOrder("app-1-1.d1.e1", "executor"));
    await end("app-1-1.d1.e1");
    await env.clock.advance(UNUSED_KEPT_MS + 1);
    expect([...files.kept.keys()]).toEqual([sha256]);
    await end("app-1-1.d1");
    await env.clock.advance(UNUSED_KEPT_MS - 1_000);
    // It is started again in time.
    await master.order("worker.launch", jobOrder("app-1-1.d2", "driver"));
    await env.clock.advance(2_000);
    expect([...files.kept.keys()]).toEqual([sha256]);
    await end("app-1-1.d2");
    await env.clock.advance(UNUSED_KEPT_MS + 1);
    expect([...files.kept.keys()]).toEqual([]);
    await master.order("worker.launch", jobOrder("app-1-1.d3", "driver"));
    expect(launcher.launched.at(-1)?.processId).toBe("app-1-1.d3");
    expect([...files.kept.keys()]).toEqual([sha256]);
  });

  test("with other bytes than named are refused", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1", new Map([["a".repeat(64), bundle]]));
    const launcher = fakeLauncher();
    worker = await startWorker(env, { launcher });
    await master.order("worker.launch", jobOrder("app-1-1.d1", "driver", "a".repeat(64)));
    await master.order("worker.launch", jobOrder("app-1-2.d1", "driver", "b".repeat(64)));
    expect(launcher.launched).toEqual([]);
    expect(new Map(master.bodies("worker.report").map(({ processId, launchFailed }) => [processId, launchFailed]))).toEqual(
      new Map([
        ["app-1-1.d1", "the job bundle aaaaaaaaaaaa arrived damaged from the master 2 times"],
        ["app-1-2.d1", "no such bundle"],
      ]),
    );
  });

  test("half fetched when the master dies are fetched from the next one, without another order", async () => {
    const env = createTestEnv();
    const first = await fakeMaster(env, "m:1", new Map([[sha256, bundle]]));
    first.parts = 1;
    const launcher = fakeLauncher();
    worker = await startWorker(env, { launcher });
    await first.order("worker.launch", jobOrder("app-1-1.d1", "driver"));
    expect(first.heard.filter(({ kind }) => kind === "artifact.get").length).toBe(2);
    await first.stop();
    const next = await fakeMaster(env, "m:1", new Map([[sha256, bundle]]), 2);
    await env.clock.advance(2_000);
    // It is being launched: no process yet, but not missing either.
    expect(next.bodies("worker.register")).toMatchObject([{ inventory: [{ processId: "app-1-1.d1", pid: 0, end: null }] }]);
    expect(launcher.launched.map(({ processId }) => processId)).toEqual(["app-1-1.d1"]);
    expect(next.bodies("worker.report")).toMatchObject([{ processId: "app-1-1.d1", pid: 1_001 }]);
  });

  test("that nobody can give hold a launch up until it is stopped", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    const never = new Promise<null>(() => {});
    worker = await startWorker(env, { launcher, files: { ...fakeFiles(), artifactPath: () => never } });
    await master.order("worker.launch", jobOrder("app-1-1.d1", "driver"));
    await master.order("worker.stop", { processId: "app-1-1.d1", graceMs: 5, reason: "cancelled" });
    expect(master.bodies("worker.report")).toMatchObject([{ launchFailed: "stopped before it started: cancelled" }]);
    expect(launcher.launched).toEqual([]);
  });
});

describe("logs", () => {
  const ask = async (env: ReturnType<typeof createTestEnv>, address: string) => {
    const never = new AbortController().signal;
    const settings = {
      env,
      epoch: () => 0,
      incoming: {},
      heartbeatMs: 1_000,
      silenceMs: 5_000,
      role: "client" as const,
      id: "c1",
      scope: "cluster",
      key: SECRET,
      clusterId: null,
      connectTimeoutMs: 1_000,
      signal: never,
    };
    const link = await dialLink(address, settings);
    return (offset: number, waitMs: number, processId = "p") =>
      link.request(
        "logs.read",
        { processId, stream: "stdout", offset, limitBytes: 100, waitMs },
        { signal: never, timeoutMs: 60_000 },
      );
  };
  const base64 = (text: string) => Buffer.from(text).toString("base64");

  test("are read by clients; a reader waits for more, and is told of the end", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    worker = await startWorker(env, { launcher });
    await master.order("worker.launch", order("p"));
    launcher.logs.set("p", "one\n");
    const read = await ask(env, worker.address);
    expect(await read(0, 0)).toEqual({ base64: base64("one\n"), sizeBytes: 4, ended: false });
    expect(await read(4, 0)).toEqual({ base64: "", sizeBytes: 4, ended: false });
    const more = read(4, 20_000);
    await env.clock.advance(1_000);
    launcher.logs.set("p", "one\ntwo\n");
    await env.clock.advance(200);
    expect(await more).toEqual({ base64: base64("two\n"), sizeBytes: 8, ended: false });
    const last = read(8, 20_000);
    await env.clock.advance(1_000);
    launcher.end("p", END);
    await env.clock.advance(200);
    expect(await last).toEqual({ base64: "", sizeBytes: 8, ended: true });
    await expect(read(0, 0, "unknown")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("close", () => {
  test("stops the processes, tells the master their ends, and then ends", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    const closing = await startWorker(env, { launcher });
    await master.order("worker.launch", order("p"));
    const closed = closing.close({ leave: false });
    await settle();
    expect(launcher.calls).toEqual(["stop p 3000"]);
    launcher.end("p", END);
    await settle();
    expect(master.bodies("worker.report").at(-1)).toMatchObject({ processId: "p", end: END });
    await master.order("worker.acknowledge", { processIds: ["p"] });
    expect(master.heard.map(({ kind }) => kind).slice(-3)).toEqual(["worker.leaving", "worker.report", "worker.left"]);
    master.link().close();
    await closed;
    expect(launcher.calls).toEqual(["stop p 3000", "forget p", "close stop"]);
    expect(await closing.ended).toBeNull();
    await settle();
    await master.stop();
    expect(env.clock.timers()).toBe(0);
  });

  test("with leave touches no process", async () => {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1");
    const launcher = fakeLauncher();
    const closing = await startWorker(env, { launcher });
    await master.order("worker.launch", order("p"));
    await closing.close({ leave: true });
    expect(launcher.calls).toEqual(["close leave"]);
  });
});

describe("where drivers look for masters", () => {
  const PASSWORD = "s3cret";
  const URL = `zk://me:${PASSWORD}@z:2181/x`;

  /** The start files of a driver and an executor, and the lists that were kept for drivers. */
  async function starts(masterUrl: string, file = "") {
    const env = createTestEnv();
    const master = await fakeMaster(env, "m:1", new Map([[sha256, bundle]]));
    const registry = createFakeRegistry(env);
    registry.set({ leader: { address: "m:1", epoch: 1 }, candidates: ["m:1", "n:1"] });
    const launcher = fakeLauncher();
    const saved: (readonly string[])[] = [];
    worker = await startWorker(env, {
      launcher,
      masterUrl,
      readFile: async () => file,
      openRegistry: () => registry.registry,
      files: { ...fakeFiles(), saveMasters: async (addresses) => void saved.push(addresses) },
    });
    await env.clock.advance(100);
    await master.order("worker.launch", jobOrder("app-1-1.d1", "driver"));
    await master.order("worker.launch", jobOrder("app-1-1.d1.e1", "executor"));
    await settle();
    const texts = launcher.launched.map(({ command }) => (command.kind === "runner" ? command.start : ""));
    expect(texts).toHaveLength(2);
    expect(texts.join()).not.toContain(PASSWORD);
    expect(JSON.stringify(launcher.launched)).not.toContain("zk:");
    return { urls: texts.map((text) => runnerStart.parse(JSON.parse(text)).masterUrl), saved };
  }

  test("is a file of addresses in the work directory when the worker's own URL may hold a password; executors need none", async () => {
    for (const given of [() => starts(URL), () => starts("file:///etc/masters", URL)]) {
      const { urls, saved } = await given();
      expect(urls).toEqual(["file:///work/masters", ""]);
      expect(saved.at(-1)).toEqual(["m:1", "n:1"]);
      await worker?.close({ leave: true });
    }
  });

  test("is what the worker was given when that is a list, or a file of addresses", async () => {
    expect((await starts("holdfast://m:1,k:1")).urls).toEqual(["holdfast://m:1,k:1", ""]);
    await worker?.close({ leave: true });
    expect((await starts("file:///etc/masters", "m:1\n")).urls).toEqual(["file:///etc/masters", ""]);
  });
});
