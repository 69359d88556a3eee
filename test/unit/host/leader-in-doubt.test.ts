/** A leader whose session's local deadline has passed: the store may have given it up already, so it says and does nothing as the leader. */
import { describe, expect, test } from "vitest";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import type { Link } from "../../../src/host/link/link.js";
import { OPERATIONS, type OperationName } from "../../../src/wire/operations.js";
import { programSpec } from "../master/harness.js";
import { type MasterStage, never, openMasterStage } from "./master-stage.js";

const TTL_MS = 9_000;
/** Past 2/3 of the session, before its end at the store. */
const IN_DOUBT_MS = 7_000;
const SHA256 = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

/** What clients may ask of a leader; bundles have their sha-256 as their name, so any master may hand them out. */
const ASKED: Partial<Record<OperationName, unknown>> = {
  "artifact.put": { sha256: SHA256, offset: 0, totalBytes: 2, base64: "aGk=" },
  submit: { key: "new", spec: programSpec() },
  status: { application: "known", after: null, waitMs: 0 },
  list: {},
  cancel: { application: "known" },
  forget: { application: "app-9-9" },
  checkpoint: { application: "known", key: "k", savepoint: null },
  checkpoints: { application: "known" },
  resume: { application: "known", choice: { kind: "fresh" } },
  workers: {},
  drain: { worker: "w1" },
  gone: { worker: "w1" },
  removals: { decision: null },
  handover: { epoch: 1, to: null },
  events: { after: null, limit: 10, waitMs: 0 },
  "logs.locate": { application: "known" },
};

/** The planted bug: a leader that trusts its session for ever. */
const trusting = (store: CoordinationStore): CoordinationStore => ({
  limits: store.limits,
  nudge: () => store.nudge(),
  close: () => store.close(),
  openSession: async (open) => {
    const session = await store.openSession(open);
    return Object.assign(Object.create(session) as typeof session, {
      deadline: () => Number.POSITIVE_INFINITY,
      id: session.id,
      ended: session.ended,
      get: session.get.bind(session),
      list: session.list.bind(session),
      commit: session.commit.bind(session),
      watch: session.watch.bind(session),
      close: session.close.bind(session),
    });
  },
});

interface Doubt {
  readonly stage: MasterStage;
  /** Of a client that was connected before. */
  readonly link: Link;
  ask(name: string, input: unknown): Promise<string>;
}

async function inDoubt(act: (doubt: Doubt) => Promise<void>, wrap: (store: CoordinationStore) => CoordinationStore = (s) => s) {
  const stage = openMasterStage();
  try {
    const { createFaultyStore } = await import("../../../src/coordination/faulty-store.js");
    const faulty = createFaultyStore(stage.memory, { clock: stage.env.clock, decide: () => undefined });
    const master = await stage.master("m1", { store: wrap(faulty), sessionTtlMs: TTL_MS });
    await stage.until("m1 leads", () => master.host.state() === "ALIVE");
    const link = await stage.link("m1:7077");
    const ask = (name: string, input: unknown): Promise<string> =>
      stage.drive(
        link.request(name, input, { signal: never, timeoutMs: 1_000 }).then(
          () => "answered",
          (thrown) => String(thrown.code),
        ),
      );
    expect(await ask("submit", { key: "known", spec: programSpec() })).toBe("answered");
    faulty.disconnect("hang");
    await stage.env.clock.advance(IN_DOUBT_MS);
    await act({ stage, link, ask });
    faulty.reconnect();
    await stage.until("it leads (again)", () => master.host.state() === "ALIVE");
  } finally {
    await stage.close();
  }
}

describe("a leader in doubt about its session", () => {
  test("answers no operation as the leader, neither what changes state nor what reads it", () =>
    inDoubt(async ({ ask }) => {
      const answers = new Map<string, string>();
      for (const [name, input] of Object.entries(ASKED)) answers.set(name, await ask(name, input));
      for (const [name, answer] of answers) expect(`${name}: ${answer}`).toBe(`${name}: NOT_LEADER`);
      const leaders = Object.entries(OPERATIONS).filter(([, operation]) => operation.answeredBy === "leader");
      expect([...answers.keys()].sort(), "every operation of the leader is asked for").toEqual(
        leaders.map(([name]) => name).sort(),
      );
    }));

  test("does not say that it leads, to those it knows or to those who come", () =>
    inDoubt(async ({ stage, link }) => {
      const view = (await stage.drive(link.request("cluster", {}, { signal: never, timeoutMs: 1_000 }))) as { state: string };
      expect(view).toMatchObject({ state: "STANDBY", leader: null });
      const other = await stage.link("m1:7077", "worker", "w1");
      expect(other.peer.facts).toMatchObject({ state: "STANDBY", leader: null });
    }));

  test("sends and launches nothing: what its core decides meanwhile ends the leadership instead", () =>
    inDoubt(async ({ stage }) => {
      const worker = await stage.link("m1:7077", "worker", "w1");
      worker.send("worker.register", {
        workerId: "w1",
        incarnation: 1,
        address: "w1:9",
        pid: 10,
        resources: { cores: 4, memoryBytes: 2 ** 30 },
        highestEpoch: 0,
        inventory: [],
      });
      await stage.env.clock.advance(1_000);
      expect(worker.messages).toEqual([]);
    }));

  test("one that trusts its session for ever (a planted bug) answers reads and says that it leads: the tests above would notice", () =>
    inDoubt(async ({ stage, ask }) => {
      expect(await ask("list", {})).toBe("answered");
      expect(await ask("status", ASKED.status)).toBe("answered");
      expect((await stage.link("m1:7077", "worker", "w2")).peer.facts).toMatchObject({ state: "ALIVE" });
    }, trusting));
});
