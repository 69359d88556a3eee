/** Driver and executor hosts over a memory transport: what only shows when messages really travel. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { SinkConnector, SourceConnector } from "../../../src/dataflow/connector.js";
import type { SliceOrder } from "../../../src/executor/core/executor-events.js";
import { type RunningDriver, startDriver } from "../../../src/host/job/driver-host.js";
import { type RunningExecutor, type SliceCalls, type StartedSlice, startExecutor } from "../../../src/host/job/executor-host.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { deriveApplicationKey } from "../../../src/host/link/link-keys.js";
import { listenLinks } from "../../../src/host/link/link-listener.js";
import { restartRules } from "../../../src/job/restart-strategy.js";
import { driverNotices, driverRequests } from "../../../src/wire/driver-messages.js";
import { applicationScope } from "../../../src/wire/handshake.js";
import { createTestEnv, settle, type TestEnv } from "../../support/manual-clock.js";
import { applicationRecord, EMPTY, HASH } from "../job/driver-world.js";

const DRIVER = "driver:1";
const SPLITS = 40;

interface Slice {
  readonly order: SliceOrder;
  readonly splits: string[];
}

class Stage {
  readonly env: TestEnv = createTestEnv();
  readonly key = deriveApplicationKey(this.env.digest, null, "app-1-1");
  readonly asked: string[] = [];
  readonly committed: unknown[] = [];
  readonly cleaned: (string | null)[] = [];
  readonly slices: Slice[] = [];
  readonly executors: RunningExecutor[] = [];
  /** Between two splits of a slice. */
  pause: () => Promise<void> = () => settle();
  masterLink: Link | null = null;

  readonly source: SourceConnector<unknown> = {
    bounded: true,
    enumerate: async () => ({
      splits: Array.from({ length: SPLITS }, (_, index) => ({ id: `s${index}`, sizeHint: 1 })),
      totalRecords: SPLITS,
      totalBytes: null,
    }),
    open: () => Promise.reject(new Error("not opened here")),
  };
  readonly sink: SinkConnector<unknown> = {
    open: () => Promise.reject(new Error("not opened here")),
    commit: async (committables, { attempt }) => {
      this.committed.push({ committables, attempt });
    },
    cleanUp: async ({ keepAttempt }) => {
      this.cleaned.push(keepAttempt);
    },
  };

  async master(): Promise<void> {
    await listenLinks({
      env: this.env,
      address: "master:1",
      role: "master",
      id: "m",
      roles: ["driver"],
      clusterId: () => "c",
      keyFor: () => this.key,
      facts: () => ({}),
      epoch: () => 1,
      incoming: driverNotices,
      requests: driverRequests,
      heartbeatMs: 1_000,
      silenceMs: 1e9,
      onLink: (link) => {
        this.masterLink = link;
        link.onMessage(({ kind, requestId }) => {
          if (requestId === null) return;
          this.asked.push(kind);
          link.reply(requestId, { clusterId: "c", heartbeatMs: 1, deadlineMs: 1, application: applicationRecord() });
        });
      },
    });
  }

  driver(): Promise<RunningDriver> {
    const { env, key } = this;
    return startDriver({
      env,
      application: applicationRecord(),
      attempt: 1,
      processId: "app-1-1.d1",
      pid: 1,
      applicationKey: key,
      listenAddress: DRIVER,
      graphHash: HASH,
      restart: restartRules(null),
      job: {
        sources: new Map([["in", { connector: this.source, parallelism: 2 }]]),
        sinks: new Map([["out", { connector: this.sink, parallelism: 2 }]]),
      },
      followMaster: ({ epoch, incoming, onLink }) => {
        const signal = new AbortController().signal;
        const scope = applicationScope("app-1-1");
        const settings = {
          env,
          epoch,
          incoming,
          heartbeatMs: 1_000,
          silenceMs: 1e9,
          connectTimeoutMs: 1_000,
          signal,
          clusterId: null,
        };
        void dialLink("master:1", { ...settings, role: "driver", id: "app-1-1.d1", scope, key }).then(onLink);
        return { close: () => undefined };
      },
    });
  }

  async executor(number: number): Promise<void> {
    const address = `e${number}:1`;
    await this.env.transport.listen(address, (connection) => connection.destroy());
    this.executors.push(
      startExecutor({
        env: this.env,
        applicationId: "app-1-1",
        applicationKey: this.key,
        processId: `app-1-1.d1.e${number}`,
        pid: number,
        driverAddress: DRIVER,
        dataAddress: address,
        graphHash: HASH,
        startSlice: (order, calls) => this.slice(order, calls),
      }),
    );
  }

  /** Reads all the splits that it can get. */
  private slice(order: SliceOrder, calls: SliceCalls): StartedSlice {
    const slice: Slice = { order, splits: [] };
    this.slices.push(slice);
    const stop = new AbortController();
    const run = async () => {
      for (;;) {
        const next = await calls.nextSplit("in", stop.signal);
        if (next === null) break;
        const { split } = next;
        slice.splits.push(split.id);
        await calls.collect("few", [split.id]);
        await this.pause();
        stop.signal.throwIfAborted();
      }
      return { committables: { out: [slice.splits.length] }, progress: EMPTY };
    };
    const done = run();
    return { done, progress: () => EMPTY, cancel: async (reason: CodedError) => stop.abort(reason) };
  }

  /** Lets virtual time pass until the driver has ended. */
  async ended(driver: RunningDriver) {
    let ending: Awaited<RunningDriver["ended"]> | undefined;
    void driver.ended.then((value) => {
      ending = value;
    });
    for (let turn = 0; turn < 2_000 && ending === undefined; turn++) await this.env.clock.advance(20);
    return ending;
  }
}

async function open(): Promise<{ readonly stage: Stage; readonly driver: RunningDriver }> {
  const stage = new Stage();
  await stage.master();
  const driver = await stage.driver();
  await stage.executor(1);
  await stage.executor(2);
  return { stage, driver };
}

const all = Array.from({ length: SPLITS }, (_, index) => `s${index}`).sort();

describe("driver and executor hosts", () => {
  test("splits are read once each, the commit is asked for before sinks commit, and the result is what was collected", async () => {
    const { stage, driver } = await open();
    const ending = await stage.ended(driver);
    expect(ending).toMatchObject({ outcome: "finished" });
    expect(stage.slices.flatMap(({ splits }) => splits).sort()).toEqual(all);
    expect(stage.asked).toEqual(["driver.register", "driver.commit", "driver.finished"]);
    expect(stage.committed).toEqual([{ committables: stage.slices.map(({ splits }) => splits.length), attempt: "1.1" }]);
    expect([...((ending?.result ?? {}) as { few: string[] }).few].sort()).toEqual(all);
    for (const executor of stage.executors) expect(await executor.ended).toMatchObject({ exitCode: 0 });
  });

  test("connections that break again and again lose no split, give none twice, and restart nothing", async () => {
    const { stage, driver } = await open();
    let pauses = 0;
    stage.pause = async () => {
      pauses += 1;
      if (pauses % 7 === 0) stage.env.transport.breakConnections(DRIVER);
      await settle();
    };
    const ending = await stage.ended(driver);
    expect(ending).toMatchObject({ outcome: "finished" });
    expect(stage.slices).toHaveLength(2);
    expect(stage.slices.flatMap(({ splits }) => splits).sort()).toEqual(all);
    expect([...((ending?.result ?? {}) as { few: string[] }).few].sort()).toEqual(all);
  });

  test("an executor whose address refuses connections is replaced without waiting for any deadline", async () => {
    const { stage, driver } = await open();
    const stuck = new Promise<void>(() => undefined);
    stage.pause = () => (stage.slices.length > 2 ? settle() : stuck);
    await stage.env.clock.advance(100);
    expect(stage.slices).toHaveLength(2);
    const before = stage.env.clock.now();
    // As by kill -9, of both: nobody listens, connections break.
    for (const executor of stage.executors) executor.crashed(new CodedError("OPERATOR_FAILED", "gone"));
    await stage.env.clock.advance(1_000);
    await stage.executor(3);
    await stage.executor(4);
    expect(await stage.ended(driver)).toMatchObject({ outcome: "finished" });
    expect(stage.env.clock.now() - before).toBeLessThan(8_000);
    expect(stage.committed).toMatchObject([{ attempt: "1.2" }]);
    expect(stage.cleaned).toEqual(["1.1", "1.2", null]);
  });

  test("after its end a driver listens no more and has no timers", async () => {
    const { stage, driver } = await open();
    await stage.ended(driver);
    await expect(
      stage.env.transport.connect(DRIVER, { signal: new AbortController().signal, timeoutMs: 100 }),
    ).rejects.toMatchObject({
      code: "CONNECTION_REFUSED",
    });
    stage.masterLink?.destroy();
    await settle();
    expect(stage.env.clock.timers()).toBe(0);
  });
});
