import { describe, expect, test } from "vitest";
import type { CommitManifest } from "../../../src/wire/application.js";
import { applicationRecord, EMPTY, HASH, shape, World } from "./driver-world.js";

describe("the course of a job", () => {
  test("a job runs from registration to its reported end", () => {
    const world = new World().running();
    world.finish();
    expect(world.ending).toEqual({ outcome: "finished", reason: null, result: null, restart: false });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "finished", restart: false });
  });

  test("it registers as its attempt, with its address, wanting as many executors as the job is parallel", () => {
    const world = new World();
    world.post({ kind: "started" });
    world.post({ kind: "master.found", link: 7, epoch: 3 });
    expect(world.of("register")[0]?.body).toMatchObject({
      applicationId: "app-1-1",
      attempt: 1,
      address: "127.0.0.1:1",
      wanted: 2,
      highestEpoch: 3,
    });
  });

  test("sources and sinks are prepared once a master has confirmed the attempt, not before", () => {
    const world = new World();
    world.post({ kind: "started" });
    expect(world.of("prepare")).toEqual([]);
    world.master();
    expect(world.of("prepare")).toEqual([{ kind: "prepare", try: 1, attempt: "1.1", keep: [] }]);
  });

  test("it deploys when all executors are there and the sources are enumerated, whichever comes last", () => {
    const early = new World();
    early.post({ kind: "started" });
    early.master();
    early.executor(1);
    early.executor(2);
    expect(early.told("executor.deploy")).toEqual([]);
    early.prepared();
    expect(early.told("executor.deploy")).toHaveLength(2);
    expect(new World().running().told("executor.deploy")).toHaveLength(2);
  });

  test("sub-tasks are numbered in the order in which executors came, and each is told the addresses of all", () => {
    const orders = new World().running().told("executor.deploy");
    const peers = [
      { processId: "app-1-1.d1.e1", dataAddress: "127.0.0.1:9001" },
      { processId: "app-1-1.d1.e2", dataAddress: "127.0.0.1:9002" },
    ];
    expect(orders.map(({ link, body }) => ({ link, body }))).toEqual([
      { link: 1, body: { try: 1, name: "1.1", subtask: 0, parallelism: 2, peers } },
      { link: 2, body: { try: 1, name: "1.1", subtask: 1, parallelism: 2, peers } },
    ]);
  });

  test("an executor beyond those that are needed waits for a later try", () => {
    const world = new World().running();
    world.executor(3);
    expect(world.told("executor.deploy")).toHaveLength(2);
    world.dies(1);
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    world.wake();
    world.prepared();
    expect(
      world
        .told("executor.deploy")
        .slice(2)
        .map(({ link }) => link),
    ).toEqual([2, 3]);
  });

  test("an executor of another attempt or application is sent away", () => {
    const world = new World().running();
    for (const processId of ["app-1-1.d2.e1", "app-1-2.d1.e1", "app-1-1.d1", "worker-1"]) {
      world.post({ kind: "executor.registered", link: 50, processId, pid: 1, dataAddress: "x:1", graphHash: HASH });
    }
    expect(world.told("executor.finish").map(({ link }) => link)).toEqual([50, 50, 50, 50]);
    expect(world.view.executors).toEqual(["app-1-1.d1.e1", "app-1-1.d1.e2"]);
  });

  test("an executor that built another graph ends the job, naming both graphs, without a restart", () => {
    const world = new World();
    world.post({ kind: "started" });
    world.master();
    world.executor(1, 1, "f".repeat(64));
    world.post({ kind: "cleaned" });
    const finished = world.requests("driver.finished")[0]?.body;
    expect(finished).toMatchObject({ outcome: "failed", restart: false, reason: { code: "GRAPH_MISMATCH" } });
    expect(JSON.stringify(finished)).toContain(HASH);
    expect(JSON.stringify(finished)).toContain("f".repeat(64));
  });

  test("splits are handed out on request, each once, and then null", () => {
    const world = new World().running();
    const ask = (link: number, ask: number) =>
      world.post({ kind: "executor.split", link, requestId: 9, try: 1, source: "in", ask });
    const given = [ask(1, 1), ask(2, 1), ask(1, 2), ask(2, 2), ask(1, 3)].map(([effect]) => effect);
    expect(
      given.map((effect) => (effect?.kind === "reply" ? (effect.body as { split: { id: string } | null }).split?.id : "?")),
    ).toEqual(["s0", "s1", "s2", undefined, undefined]);
  });

  test("who reads a source knows with how many others and whether splits are left, also when that changes later", () => {
    const world = new World({ application: applicationRecord({}, 2) });
    world.post({ kind: "started" });
    world.master();
    world.prepared(1, 1);
    world.executor(1);
    world.executor(2);
    const ask = (link: number, ask: number) =>
      world.post({ kind: "executor.split", link, requestId: 9, try: 1, source: "in", ask });
    // One split: whoever gets it is the only reader from the beginning.
    expect(ask(1, 1)).toMatchObject([
      { kind: "reply", body: { split: { id: "s0" }, readers: 1, more: false } },
      { kind: "tell-executor", link: 2, message: "executor.readers", body: { try: 1, source: "in", readers: 1, more: false } },
    ]);
    expect(ask(2, 1)).toMatchObject([{ kind: "reply", body: { split: null, readers: 1 } }]);

    const other = new World().running();
    const asked = (link: number, ask: number) =>
      other.post({ kind: "executor.split", link, requestId: 9, try: 1, source: "in", ask });
    for (const [link, number] of [
      [1, 1],
      [2, 1],
    ] as const) {
      expect(asked(link, number)).toMatchObject([{ kind: "reply", body: { readers: 2, more: true } }]);
    }
    // The last split is given out: the other one, which reads an earlier one, is told.
    expect(asked(1, 2)).toMatchObject([
      { kind: "reply", link: 1, body: { readers: 2, more: false } },
      { kind: "tell-executor", link: 2, message: "executor.readers", body: { readers: 2, more: false } },
    ]);
    // The second one finds nothing more: the first, which reads the last split, is told.
    expect(asked(2, 2)).toMatchObject([
      { kind: "reply", link: 2, body: { split: null, readers: 1 } },
      { kind: "tell-executor", link: 1, message: "executor.readers", body: { try: 1, source: "in", readers: 1 } },
    ]);
  });

  test("the same ask gets the same split again, so that a broken link loses none", () => {
    const world = new World().running();
    const ask = () => world.post({ kind: "executor.split", link: 1, requestId: 9, try: 1, source: "in", ask: 1 })[0];
    expect(ask()).toEqual(ask());
  });

  test("asks of an earlier try are refused", () => {
    const world = new World().running();
    const [effect] = world.post({ kind: "executor.split", link: 1, requestId: 9, try: 7, source: "in", ask: 1 });
    expect(effect).toMatchObject({ kind: "refuse", error: { code: "ABORTED" } });
  });

  test("collected records become the result, in the order of sub-tasks, each batch once", () => {
    const world = new World().running();
    const collect = (link: number, batch: number, records: unknown[]) =>
      world.post({ kind: "executor.collected", link, requestId: 1, try: 1, sink: "all", batch, records });
    collect(2, 1, ["c"]);
    collect(1, 1, ["a"]);
    collect(1, 1, ["a"]);
    collect(1, 2, ["b"]);
    world.finish();
    expect(world.ending?.result).toEqual({ all: ["a", "b", "c"] });
  });

  test("the last counts go with the decision, and a driver that only finishes it shows them", () => {
    const world = new World().running();
    for (const link of [1, 2])
      world.post({ kind: "executor.done", link, try: 1, committables: {}, progress: { ...EMPTY, recordsIn: 20, recordsOut: 7 } });
    const commit = world.requests("driver.commit")[0]?.body as CommitManifest;
    expect(commit.records).toEqual({ in: 40, out: 14 });

    const next = new World({ application: applicationRecord({ attempt: 2, commit }) });
    next.post({ kind: "started" });
    expect(next.view.progress).toMatchObject({ phase: "committing", recordsIn: 40, recordsOut: 14 });
  });

  test("the limit of a collect sink holds for all its sub-tasks together, and is named", () => {
    const world = new World({ collectLimits: new Map([["all", 3]]) }).running();
    const collect = (link: number, batch: number, records: unknown[]) =>
      world.post({ kind: "executor.collected", link, requestId: 1, try: 1, sink: "all", batch, records })[0];
    expect(collect(1, 1, ["a", "b"])).toMatchObject({ kind: "reply" });
    expect(collect(2, 1, ["c"])).toMatchObject({ kind: "reply" });
    const message = "Sink 'all' collects more than 3 records.";
    expect(collect(2, 2, ["d"])).toMatchObject({ kind: "refuse", error: { code: "LIMIT_EXCEEDED", message } });
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "failed",
      reason: { code: "LIMIT_EXCEEDED", message },
    });
  });

  test("a result that grows too large ends the job at once", () => {
    const world = new World().running();
    world.post({
      kind: "executor.collected",
      link: 1,
      requestId: 1,
      try: 1,
      sink: "all",
      batch: 1,
      records: ["x".repeat(300_000)],
    });
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    world.post({ kind: "executor.unlinked", link: 1 });
    world.post({ kind: "executor.unlinked", link: 2 });
    world.post({ kind: "cleaned" });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "LIMIT_EXCEEDED" } });
  });

  test("progress is the sum over executors, sent as often as agreed and not more", () => {
    const world = new World().running();
    const before = world.of("tell-master").length;
    for (const link of [1, 2]) {
      const operators = [{ uid: "in", kind: "source", in: 0, out: 5 }];
      world.post({ kind: "executor.progress", link, try: 1, progress: { ...EMPTY, recordsIn: 5, operators } });
    }
    expect(world.of("tell-master")).toHaveLength(before);
    world.wake();
    const last = world.of("tell-master").at(-1);
    expect(last).toMatchObject({ message: "driver.progress", body: { recordsIn: 10, totalRecords: 30, phase: "running" } });
    expect(last?.body).toMatchObject({ operators: [{ uid: "in", out: 10 }] });
    expect(world.wakeAt).toBeNull();
  });

  test("a job that can't be loaded is reported as failed, for good; a damaged bundle may fare better elsewhere", () => {
    const reported = (code: "GRAPH_MISMATCH" | "ARTIFACT_CORRUPT", changes = {}) => {
      const world = new World({ broken: shape(code), application: applicationRecord(changes) });
      world.post({ kind: "started" });
      world.post({ kind: "cleaned" });
      world.master();
      return world.requests("driver.finished")[0]?.body;
    };
    expect(reported("GRAPH_MISMATCH")).toMatchObject({ outcome: "failed", restart: false, reason: { code: "GRAPH_MISMATCH" } });
    expect(reported("ARTIFACT_CORRUPT")).toMatchObject({ outcome: "failed", restart: true });
    const commit = { attempt: 1, sinks: {}, result: null };
    expect(reported("GRAPH_MISMATCH", { attempt: 2, commit })).toMatchObject({ outcome: "failed", restart: true });
  });

  test("an application that was cancelled before its driver started is reported so", () => {
    const world = new World({ application: applicationRecord({ cancelRequested: true }) });
    world.post({ kind: "started" });
    world.post({ kind: "cleaned" });
    world.master();
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "cancelled" });
    expect(world.of("prepare")).toEqual([]);
  });
});

describe("the commit", () => {
  test("no sink commits before the master said that the decision is durable", () => {
    const world = new World().running();
    world.done(1);
    expect(world.requests("driver.commit")).toEqual([]);
    world.done(2);
    expect(world.requests("driver.commit")[0]?.body).toEqual({
      attempt: 1,
      try: 1,
      sinks: { out: ["part-1", "part-2"] },
      records: { in: 0, out: 0 },
      result: null,
    });
    expect(world.of("commit-sinks")).toEqual([]);
    world.answer("driver.commit");
    expect(world.of("commit-sinks")).toMatchObject([{ attempt: "1.1" }]);
    expect(world.requests("driver.finished")).toEqual([]);
  });

  test("committables stand in the order of sub-tasks, whoever ends first", () => {
    const world = new World().running();
    world.done(2);
    world.done(1);
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ sinks: { out: ["part-1", "part-2"] } });
  });

  test("a driver that starts with a decided commit finishes only that, without executors", () => {
    const commit = { attempt: 1, try: 4, sinks: { out: ["x"] }, result: { all: [1] } };
    const world = new World({ application: applicationRecord({ attempt: 2, commit }) });
    world.post({ kind: "started" });
    expect(world.of("commit-sinks")).toMatchObject([{ attempt: "1.4", manifest: commit }]);
    world.master(1, applicationRecord({ attempt: 2, commit }));
    expect(world.of("register")[0]?.body.wanted).toBe(0);
    world.post({ kind: "sinks.committed" });
    world.post({ kind: "cleaned" });
    world.answer("driver.finished");
    expect(world.ending).toMatchObject({ outcome: "finished", result: { all: [1] } });
    expect(world.of("prepare")).toEqual([]);
  });

  test("a commit that the driver learns of only when it registers is finished instead of its own work", () => {
    const commit = { attempt: 1, sinks: { out: ["x"] }, result: null };
    const world = new World({ application: applicationRecord({ attempt: 2 }) });
    world.post({ kind: "started" });
    world.master(1, applicationRecord({ attempt: 2, commit }));
    expect(world.of("commit-sinks")).toMatchObject([{ attempt: "1.1" }]);
    expect(world.of("prepare")).toEqual([]);
  });

  test("the commit goes to the next master with the same content when the first one dies", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    const [first] = world.requests("driver.commit");
    world.post({ kind: "master.lost", link: 100 });
    world.answer("driver.commit", shape("CONNECTION_LOST"));
    expect(world.of("commit-sinks")).toEqual([]);
    world.master(2);
    expect(world.requests("driver.commit")).toEqual([first, first]);
    world.answer("driver.commit");
    expect(world.of("commit-sinks")).toHaveLength(1);
  });

  test("a commit that the master could not answer in time is asked again", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit", shape("TIMEOUT"));
    world.wake();
    while (world.requests("driver.commit").length < 2) world.wake();
    expect(world.requests("driver.commit")).toHaveLength(2);
  });

  test("a commit that is refused fails the job and touches no output", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit", shape("LIMIT_EXCEEDED"));
    world.dies(1);
    world.dies(2);
    world.post({ kind: "cleaned" });
    expect(world.of("commit-sinks")).toEqual([]);
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({ outcome: "failed", reason: { code: "LIMIT_EXCEEDED" } });
  });

  test("a commit that is refused because another attempt is current ends the driver at once", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit", shape("SUPERSEDED"));
    expect(world.ending?.outcome).toBe("superseded");
    expect(world.of("commit-sinks")).toEqual([]);
    expect(world.of("clean-up")).toEqual([]);
  });

  test("sinks that fail to commit are asked again, then the driver asks to be started again", () => {
    const world = new World().running();
    world.done(1);
    world.done(2);
    world.answer("driver.commit");
    for (let repeat = 0; repeat < 5; repeat++) {
      world.post({ kind: "sinks.commit-failed", error: shape("SINK_FAILED") });
      while (world.of("commit-sinks").length < repeat + 2) world.wake();
    }
    world.post({ kind: "sinks.commit-failed", error: shape("SINK_FAILED") });
    expect(world.requests("driver.finished")[0]?.body).toMatchObject({
      outcome: "failed",
      restart: true,
      reason: { code: "SINK_FAILED" },
    });
  });

  test("an executor that dies after its sub-task was done costs nothing", () => {
    const world = new World().running();
    world.done(1);
    world.dies(1);
    world.done(2);
    expect(world.requests("driver.commit")[0]?.body).toMatchObject({ sinks: { out: ["part-1", "part-2"] } });
  });
});
