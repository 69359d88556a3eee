import { setMaxListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { base64ToBytes, bytesToBase64 } from "../../../src/base/bytes.js";
import { CodedError } from "../../../src/base/errors.js";
import type { Client, ClientOptions } from "../../../src/host/client/client.js";
import { connectClient, startClient } from "../../../src/host/client/client.js";
import { followEvents, uploadArtifact, waitForEnd } from "../../../src/host/client/client-follow.js";
import type { LogChunk } from "../../../src/host/client/client-logs.js";
import { readLogs } from "../../../src/host/client/client-logs.js";
import type { Answers } from "../../support/fake-master.js";
import { NO_ANSWER, startFakeMaster, testSecret } from "../../support/fake-master.js";
import type { TestEnv } from "../../support/manual-clock.js";
import { createTestEnv, settle } from "../../support/manual-clock.js";

const never = new AbortController().signal;
setMaxListeners(0, never);
const patient = { signal: never, timeoutMs: Number.POSITIVE_INFINITY };

const options = (env: TestEnv, over: Partial<ClientOptions> = {}): ClientOptions => ({
  env,
  masterUrl: "a:1,b:1",
  readFile: () => Promise.reject(new Error("no files here")),
  secret: testSecret,
  signal: never,
  timeoutMs: 10_000,
  ...over,
});

const failure = (promise: Promise<unknown>): Promise<CodedError> =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (reason) => reason as CodedError,
  );

const summary = { applications: [] };
const list: Answers = { list: () => summary };

/** Moves time until the promise settles. */
async function drive<T>(env: TestEnv, promise: Promise<T>, limitMs = 120_000): Promise<T> {
  let done = false;
  promise.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  for (let spent = 0; !done && spent < limitMs; spent += 20) await env.clock.advance(20);
  if (!done) throw new Error(`nothing within ${limitMs} ms`);
  return promise;
}

describe("a client", () => {
  test("calls operations at the leader", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1", { state: "STANDBY", answers: {} });
    const leader = await startFakeMaster(env, "b:1", { answers: list });
    const client = await connectClient(options(env));
    expect(await client.call("list", {}, { signal: never, timeoutMs: 1_000 })).toEqual(summary);
    expect(leader.calls).toEqual([{ name: "list", input: {} }]);
    await client.close();
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("whose leader's machine is lost is answered by the next one long before the silence would end its link", async () => {
    const env = createTestEnv();
    const leader = await startFakeMaster(env, "a:1", { answers: { list: () => NO_ANSWER } });
    const standby = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1", answers: list });
    const client = await connectClient(options(env));
    const startedAt = env.clock.now();
    const call = client.call("list", {}, { signal: never, timeoutMs: 60_000 });
    await settle();
    env.transport.freeze("a:1");
    await env.clock.advance(2_000);
    expect(standby.calls).toEqual([]);
    Object.assign(standby, { state: "ALIVE", leader: null, epoch: 2 });
    standby.announce();
    expect(await drive(env, call)).toEqual(summary);
    expect(env.clock.now() - startedAt).toBeLessThan(2_500);
    expect(leader.calls).toHaveLength(1);
    env.transport.thaw("a:1");
    await client.close();
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("stays with a leader that was silent for a while, and stops asking around", async () => {
    const env = createTestEnv();
    const leader = await startFakeMaster(env, "a:1", { answers: list });
    const standby = await startFakeMaster(env, "b:1", { state: "STANDBY", leader: "a:1", answers: {} });
    const client = await connectClient(options(env));
    const before = standby.links.length;
    env.transport.freeze("a:1");
    await env.clock.advance(4_000);
    expect(standby.links.length).toBeGreaterThan(before);
    env.transport.thaw("a:1");
    await env.clock.advance(2_000);
    const links = standby.links.length;
    await env.clock.advance(10_000);
    expect(standby.links.length).toBe(links);
    expect(await client.call("list", {}, { signal: never, timeoutMs: 1_000 })).toEqual(summary);
    expect(leader.links).toHaveLength(1);
    await client.close();
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("gives back an error that no retry can heal", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1", {
      answers: {
        cancel: () => {
          throw new CodedError("NOT_FOUND", "there is no application app-1-1", { hint: "Look at holdfast list." });
        },
      },
    });
    const client = await connectClient(options(env));
    const error = await failure(client.call("cancel", { application: "app-1-1" }, { signal: never, timeoutMs: 1_000 }));
    expect(error.toShape()).toEqual({
      code: "NOT_FOUND",
      message: "there is no application app-1-1",
      hint: "Look at holdfast list.",
    });
  });

  test("sends a call again whose outcome is unknown because the leader died, to the next one", async () => {
    const env = createTestEnv();
    const first = await startFakeMaster(env, "a:1", { answers: { submit: () => NO_ANSWER } });
    const client = await connectClient(options(env));
    const answer = { id: "app-2-1", name: "j", kind: "process", state: "submitted", created: false };
    const submitting = client.call("submit", submission, { signal: never, timeoutMs: 60_000 });
    await settle();
    expect(first.calls).toHaveLength(1);
    await first.kill();
    await env.clock.advance(3_000);
    const second = await startFakeMaster(env, "b:1", { answers: { submit: () => answer } });
    expect(await drive(env, submitting)).toEqual(answer);
    expect(second.calls[0]?.input).toEqual(first.calls[0]?.input);
  });

  test("leaves a master that says NOT_LEADER, and retries what the store could not do now", async () => {
    const env = createTestEnv();
    let refusals = 0;
    const first = await startFakeMaster(env, "a:1", {
      answers: {
        list: () => {
          first.state = "STANDBY";
          throw new CodedError("NOT_LEADER", "deposed");
        },
      },
    });
    const client = await connectClient(options(env));
    await startFakeMaster(env, "b:1", {
      answers: {
        list: () => {
          refusals += 1;
          if (refusals < 3) throw new CodedError("OUTCOME_UNKNOWN", "the store did not answer");
          return summary;
        },
      },
    });
    expect(await drive(env, client.call("list", {}, { signal: never, timeoutMs: 30_000 }))).toEqual(summary);
    expect([first.calls.length, refusals]).toEqual([1, 3]);
  });

  test("says NO_MASTER after its time, with what was tried and what to do", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "b:1", { state: "STANDBY" });
    const error = await drive(env, failure(connectClient(options(env, { timeoutMs: 2_500 }))));
    expect(error.code).toBe("NO_MASTER");
    expect(error.message).toContain("within 2.5 s");
    expect(error.message).toContain("a:1");
    expect(error.message).toContain("b:1 is a standby");
    expect(error.hint).toContain("standby");
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("says NO_MASTER when the leader does not answer in time", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1", { answers: { list: () => NO_ANSWER } });
    const client = await connectClient(options(env));
    const error = await drive(env, failure(client.call("list", {}, { signal: never, timeoutMs: 500 })));
    expect(error.code).toBe("NO_MASTER");
    expect(error.message).toContain("list was not answered");
  });

  test("fails at once when the secret is wrong, instead of waiting", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1");
    const error = await drive(env, failure(connectClient(options(env, { masterUrl: "a:1", secret: null }))), 1_000);
    expect(error.code).toBe("UNAUTHENTICATED");
    expect(error.hint).toContain("--secret-file");
  });

  test("asks a standby what any master may answer when nobody leads", async () => {
    const env = createTestEnv();
    const cluster = {
      clusterId: "c1",
      epoch: 3,
      state: "STANDBY",
      leader: null,
      leaderless: { since: "2026-01-01T00:00:00.000Z", last: null },
      masters: [],
      silentMasters: [],
      workers: { alive: 0, suspect: 0, lost: 0, draining: 0, gone: 0 },
      applications: { waiting: 0, running: 0 },
      recovery: null,
      removals: null,
      quarantined: [],
    };
    const standby = await startFakeMaster(env, "b:1", { state: "STANDBY", answers: { cluster: () => cluster } });
    const client = startClient(options(env));
    await env.clock.advance(100);
    for (let calls = 0; calls < 10; calls += 1)
      expect(await drive(env, client.call("cluster", {}, { signal: never, timeoutMs: 1_000 }))).toEqual(cluster);
    await settle();
    let open = standby.links.length;
    for (const link of standby.links) void link.ended.then(() => (open -= 1));
    await settle();
    // The finder's own, which hears when that standby leads; those of the calls ended with them.
    expect(open).toBe(1);
    await client.close();
    await settle();
    expect(env.clock.timers()).toBe(0);
  });

  test("stops a call at its signal, and all calls when it closes", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1", { answers: { list: () => NO_ANSWER } });
    const client = await connectClient(options(env));
    const control = new AbortController();
    const first = failure(client.call("list", {}, { signal: control.signal, timeoutMs: 60_000 }));
    const second = failure(client.call("list", {}, { signal: never, timeoutMs: 60_000 }));
    await settle();
    const reason = new Error("enough");
    control.abort(reason);
    expect(await first).toBe(reason);
    await client.close();
    expect((await second).code).toBe("CLOSED");
    expect((await failure(client.call("list", {}, { signal: never, timeoutMs: 60_000 }))).code).toBe("CLOSED");
  });

  test("refuses an answer that its schema does not allow", async () => {
    const env = createTestEnv();
    await startFakeMaster(env, "a:1", { answers: { list: () => ({ applications: "many" }) } });
    const client = await connectClient(options(env));
    expect((await failure(client.call("list", {}, { signal: never, timeoutMs: 1_000 }))).code).toBe("PROTOCOL_VIOLATION");
  });
});

const submission = {
  key: "k1",
  spec: {
    name: "j",
    kind: "process" as const,
    deployMode: "cluster" as const,
    supervise: false,
    restart: { maxRestarts: 0, windowMs: 1, minBackoffMs: 0, maxBackoffMs: 0 },
    driver: { cores: 1, memoryBytes: 1 },
    job: null,
    process: { argv: ["true"], env: {}, cwd: null },
  },
};

async function connected(
  answers: Answers,
): Promise<{ env: TestEnv; client: Client; master: Awaited<ReturnType<typeof startFakeMaster>> }> {
  const env = createTestEnv();
  const master = await startFakeMaster(env, "a:1", { answers });
  return { env, master, client: await connectClient(options(env)) };
}

const view = (state: string) => ({
  id: "app-1-1",
  name: "j",
  kind: "process",
  state,
  reason: null,
  attempt: 1,
  restarts: 0,
  exitCode: state === "finished" ? 0 : null,
  submittedAt: "2024-01-01T00:00:00Z",
  startedAt: null,
  endedAt: null,
  driver: null,
  executors: [],
  records: null,
  checkpoint: null,
  result: null,
  submissionKey: "k1",
  progress: null,
  attempts: [],
});

describe("following", () => {
  test("an application shows each change once and ends with its final state, across a failover", async () => {
    const states = ["waiting", "running", "finished"];
    const asked: unknown[] = [];
    const status = (input: never) => {
      asked.push(input);
      return { version: `v${states.length}`, application: view(states.shift() as string) };
    };
    const { env, client, master } = await connected({ status });
    const seen: string[] = [];
    const waiting = waitForEnd(client, "k1", { ...patient, onProgress: (application) => seen.push(application.state) });
    await env.clock.advance(10);
    expect(seen).toEqual(["waiting"]);
    await master.kill();
    await startFakeMaster(env, "b:1", { answers: { status } });
    expect((await drive(env, waiting)).exitCode).toBe(0);
    expect(seen).toEqual(["waiting", "running", "finished"]);
    expect(asked).toEqual([
      { application: "k1", after: null, waitMs: 0 },
      { application: "k1", after: "v3", waitMs: 10_000 },
      { application: "k1", after: "v2", waitMs: 10_000 },
    ]);
  });

  test("events go on after the last one seen", async () => {
    const event = (seq: number) => ({
      at: "2024-01-01T00:00:00Z",
      epoch: 1,
      seq,
      kind: "leader.elected",
      subject: "m1",
      message: "m1 leads",
    });
    const pages = [[event(1), event(2)], [], [event(3)]];
    const cursors: unknown[] = [];
    const { env, client } = await connected({
      events: (input: never) => {
        cursors.push((input as { after: unknown }).after);
        return { events: pages.shift() ?? [] };
      },
    });
    const seen: number[] = [];
    await drive(
      env,
      (async () => {
        for await (const { seq } of followEvents(client, { ...patient, after: null })) {
          seen.push(seq);
          if (seq === 3) break;
        }
      })(),
    );
    expect(seen).toEqual([1, 2, 3]);
    expect(cursors).toEqual([null, { epoch: 1, seq: 2 }, { epoch: 1, seq: 2 }]);
  });

  test("an upload goes on where the cluster says, also when a new master has nothing of it", async () => {
    const bytes = new Uint8Array(2.5 * 1024 * 1024).map((_, index) => index * 7);
    let got = new Uint8Array(0);
    let forgets = true;
    const { client, env } = await connected({
      "artifact.put": (input: never) => {
        const part = input as { offset: number; base64: string; totalBytes: number };
        if (part.offset === 2 * 1024 * 1024 && forgets) {
          forgets = false;
          got = new Uint8Array(0);
        }
        if (part.offset === got.length) got = new Uint8Array(Buffer.concat([got, base64ToBytes(part.base64)]));
        return { complete: got.length === part.totalBytes, nextOffset: got.length };
      },
    });
    const sha256 = await uploadArtifact(client, bytes, { signal: never, timeoutMs: 10_000 });
    expect(sha256).toBe(env.digest.sha256Hex(bytes));
    expect(env.digest.sha256Hex(got)).toBe(sha256);
    expect((await failure(uploadArtifact(client, new Uint8Array(0), patient))).code).toBe("LIMIT_EXCEEDED");
  });

  test("logs come in order, each byte once, also when their worker breaks and comes back at another address", async () => {
    const log = new TextEncoder().encode("line 1\nline 2\nline 3\n");
    const offsets: number[] = [];
    let ended = false;
    const read = (input: never) => {
      const { offset } = input as { offset: number };
      offsets.push(offset);
      return { base64: bytesToBase64(log.subarray(offset, offset + 7)), sizeBytes: log.length, ended };
    };
    let address = "w:1";
    let final = false;
    const { env, client } = await connected({
      "logs.locate": () => ({
        id: "app-1-1",
        processes: [{ processId: "app-1-1.d1", worker: "w1", address, state: "running" }],
        final,
      }),
    });
    const worker = await startFakeMaster(env, "w:1", {
      answers: { "logs.read": (input: never) => (offsets.length === 2 ? NO_ANSWER : read(input)) },
    });
    const chunks: LogChunk[] = [];
    const unreachable: string[] = [];
    const reading = readLogs(client, {
      ...patient,
      application: "k1",
      streams: ["stdout"],
      follow: true,
      onChunk: (chunk) => void chunks.push(chunk),
      onUnreachable: (_, error) => unreachable.push(error.code),
    });
    await env.clock.advance(500);
    await worker.kill();
    address = "w:2";
    await startFakeMaster(env, "w:2", { answers: { "logs.read": read } });
    await env.clock.advance(3_000);
    ended = true;
    final = true;
    await drive(env, reading);
    expect(chunks.map(({ bytes }) => new TextDecoder().decode(bytes)).join("")).toBe("line 1\nline 2\nline 3\n");
    expect(chunks.map(({ offset }) => offset)).toEqual([0, 7, 14]);
    expect(unreachable).toEqual(["CONNECTION_LOST"]);
    await client.close();
    await settle();
    expect(env.clock.timers()).toBeLessThanOrEqual(1);
  });

  test("logs without following give what is there now, and name processes whose worker is away", async () => {
    const { env, client } = await connected({
      "logs.locate": () => ({
        id: "app-1-1",
        processes: [
          { processId: "app-1-1.d1", worker: "w1", address: "w:1", state: "running" },
          { processId: "app-1-1.d1.e1", worker: "w2", address: "w:2", state: "running" },
        ],
        final: false,
      }),
    });
    const worker = await startFakeMaster(env, "w:1", { answers: {} });
    worker.answers = {
      "logs.read": (input: never) => ({
        base64: bytesToBase64(Uint8Array.of(65, 66).subarray((input as { offset: number }).offset)),
        sizeBytes: 2,
        ended: false,
      }),
    };
    const chunks: string[] = [];
    const unreachable: string[] = [];
    await drive(
      env,
      readLogs(client, {
        signal: never,
        timeoutMs: 5_000,
        application: "k1",
        streams: ["stdout", "stderr"],
        follow: false,
        onChunk: (chunk) => void chunks.push(`${chunk.processId} ${chunk.stream} ${new TextDecoder().decode(chunk.bytes)}`),
        onUnreachable: (processId, error) => unreachable.push(`${processId} ${error.code}`),
      }),
    );
    expect(chunks.sort()).toEqual(["app-1-1.d1 stderr AB", "app-1-1.d1 stdout AB"]);
    expect(unreachable).toContain("app-1-1.d1.e1 CONNECTION_REFUSED");
  });
});
