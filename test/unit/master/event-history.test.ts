/** Events across leaders: durable before they are seen, continued by the next leader, bounded. */
import { describe, expect, test } from "vitest";
import type { Turn } from "../../../src/base/core.js";
import { EventHistory, MAX_BATCH_EVENTS, MAX_EVENT_BATCHES } from "../../../src/master/event-history.js";
import { EVENT_DELAY_MS, MAX_MESSAGE_CHARACTERS } from "../../../src/master/events.js";
import { batchOf, decodeEvents, eventsKey } from "../../../src/wire/event-records.js";
import type { EventView } from "../../../src/wire/views.js";
import { programSpec, TestMaster, TestWorker } from "./harness.js";

const all = (master: TestMaster) => master.ask("events", { after: null, limit: 1000, waitMs: 0 }).events;
const name = ({ epoch, seq, kind }: EventView) => `${epoch}.${seq} ${kind}`;
const event = (seq: number, epoch = 1): EventView => ({ at: "", epoch, seq, kind: "k", subject: "s", message: "m" });

function history(store: Map<string, Uint8Array>, maxEvents = 10_000) {
  const stored = [...store].map(([key, value]) => ({ batch: batchOf(key) ?? 0, value }));
  const made = new EventHistory({ maxEvents, recorded: true, stored });
  const turn = (...events: readonly EventView[]) => {
    const writes: Turn<unknown> = { writes: [], effects: [] };
    for (const one of events) {
      made.emit(one);
      made.write(writes);
    }
    for (const { key, value } of writes.writes) {
      if (value === null) store.delete(key);
      else store.set(key, value);
    }
    return writes.writes.length;
  };
  return { made, turn };
}

describe("the events of a leader", () => {
  test("are told by the next one too, in order, each once, before its own", () => {
    const first = new TestMaster();
    new TestWorker(first, "w1").launch();
    first.submit("k", programSpec());
    const told = all(first).map(name);
    const second = first.failover();
    second.submit("k2", programSpec());
    const again = all(second).map(name);
    expect(again.slice(0, told.length)).toEqual(told);
    expect(again.slice(told.length)).toEqual(["8.1 leader.elected", "8.2 application.submitted"]);
    expect(all(second.failover()).map(name).slice(0, again.length)).toEqual(again);
  });

  test("that nobody had fetched when it was killed are fetched from the next one, after the last one seen", () => {
    const first = new TestMaster();
    const seen = all(first).at(-1);
    const ids = Array.from({ length: 100 }, (_, index) => first.submit(`k${index}`, programSpec()));
    const second = first.failover();
    const after = second.ask("events", { after: { epoch: seen?.epoch ?? 0, seq: seen?.seq ?? 0 }, limit: 1000, waitMs: 0 }).events;
    expect(after.filter(({ kind }) => kind === "application.submitted").map(({ subject }) => subject)).toEqual(ids);
    expect(new Set(after.map(name)).size).toBe(after.length);
  });

  test("are durable before they are seen, whether they are asked for or waited for", () => {
    const master = new TestMaster();
    const durable = () => {
      const records = [...master.store].filter(([key]) => batchOf(key) !== null).map(([, value]) => decodeEvents(value));
      return records.flatMap((decoded) => (decoded.ok ? decoded.record.map(name) : ["unreadable"]));
    };
    const link = master.link("client", "c");
    const wait = (seq: number) => master.requestLater(link, "events", { after: { epoch: 7, seq }, limit: 10, waitMs: 5_000 });
    const registered = wait(2);
    expect(durable()).toEqual(["7.1 leader.elected", "7.2 recovery.completed"]);
    const worker = new TestWorker(master, "w1");
    expect(master.answer(registered)).not.toBeNull();
    expect(durable().at(-1)).toBe("7.3 worker.registered");
    // It changes no record, so it is written for the sake of the one who waits.
    const suspect = wait(3);
    master.close(worker.linkId);
    expect(master.answer(suspect)?.body).toMatchObject({ events: [{ kind: "worker.suspect" }] });
    expect(durable().at(-1)).toBe("7.4 worker.suspect");
  });

  test("that change no record wait for the next write, and not for long", () => {
    const master = new TestMaster();
    const records = () => [...master.store.keys()].filter((key) => batchOf(key) !== null).length;
    expect(records()).toBe(0);
    master.pass(EVENT_DELAY_MS - 1);
    expect(records()).toBe(0);
    master.pass(1);
    expect(records()).toBe(1);
  });

  test("end with it in recovery mode none, and nothing is written", () => {
    const master = new TestMaster({ mode: "none" });
    master.submit("k", programSpec());
    master.pass(1_000);
    expect(all(master).length).toBeGreaterThan(2);
    expect([...master.store.keys()].filter((key) => batchOf(key) !== null)).toEqual([]);
  });

  test("are cut where they are very long", () => {
    const master = new TestMaster();
    master.submit("k", programSpec({ name: "n".repeat(128) }));
    const worker = new TestWorker(master, "w".repeat(100));
    worker.launch();
    for (const { message } of all(master)) expect(message.length).toBeLessThanOrEqual(MAX_MESSAGE_CHARACTERS);
  });

  test("whose record cannot be read are missing, and all others are there", () => {
    const first = new TestMaster();
    first.submit("k", programSpec());
    all(first);
    first.submit("k2", programSpec());
    const damaged = eventsKey(1);
    first.store.set(damaged, new Uint8Array([1, 2, 3]));
    const second = first.failover();
    expect(all(second).map(name)).toContain("7.4 application.submitted");
    expect(second.logs.join("\n")).toContain(damaged);
    expect(second.ask("cluster", {}).quarantined).toEqual([]);
  });
});

describe("the history of events", () => {
  test("puts the events of a turn into one record, and of a long turn into a few", () => {
    const store = new Map<string, Uint8Array>();
    const { turn } = history(store);
    expect(turn(...Array.from({ length: 5 }, (_, index) => event(index + 1)))).toBe(1);
    expect(turn(...Array.from({ length: 2 * MAX_BATCH_EVENTS + 1 }, (_, index) => event(index + 6)))).toBe(3);
    expect(store.size).toBe(4);
  });

  test("keeps the newest records and deletes the others, also across leaders", () => {
    const store = new Map<string, Uint8Array>();
    const first = history(store);
    for (let seq = 1; seq <= MAX_EVENT_BATCHES + 50; seq++) first.turn(event(seq));
    const second = history(store);
    for (let seq = 1; seq <= 50; seq++) second.turn(event(seq, 2));
    expect(store.size).toBe(MAX_EVENT_BATCHES);
    const kept = history(store).made.after(null, 10_000);
    expect(kept).toHaveLength(MAX_EVENT_BATCHES);
    expect(kept[0]).toEqual(event(101));
    expect(kept.at(-1)).toEqual(event(50, 2));
  });

  test("gives page by page every event once, from any cursor", () => {
    const store = new Map<string, Uint8Array>();
    const expected: EventView[] = [];
    for (let epoch = 1; epoch <= 4; epoch++) {
      const { turn } = history(store);
      for (let seq = 1; seq <= 70; seq += 2) {
        expected.push(event(seq, epoch), event(seq + 1, epoch));
        turn(event(seq, epoch), event(seq + 1, epoch));
      }
    }
    for (let from = -1; from < expected.length; from += 13) {
      const { made } = history(store);
      const got: EventView[] = [];
      for (let cursor = expected[from] ?? null; ; cursor = got.at(-1) ?? null) {
        const page = made.after(cursor, 9);
        if (page.length === 0) break;
        got.push(...page);
      }
      expect(got).toEqual(expected.slice(from + 1));
    }
  });

  test("holds no more in memory than it is told to", () => {
    const { made, turn } = history(new Map(), 100);
    for (let seq = 1; seq <= 500; seq++) turn(event(seq));
    const kept = made.after(null, 1_000);
    expect(kept.length).toBeLessThanOrEqual(110);
    expect(kept.at(-1)?.seq).toBe(500);
  });

  test("a writer that showed events before they are written would lose them (a test of the tests)", () => {
    const store = new Map<string, Uint8Array>();
    const shown = new EventHistory({ maxEvents: 10, recorded: false, stored: [] });
    shown.emit(event(1));
    expect(shown.after(null, 10)).toHaveLength(1);
    expect(history(store).made.after({ epoch: 1, seq: 0 }, 10)).toEqual([]);
  });
});
