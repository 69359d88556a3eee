import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AbortListeners } from "../../../src/zookeeper/abort.js";
import { type Call, CallQueue } from "../../../src/zookeeper/call-queue.js";
import { JuteError } from "../../../src/zookeeper/jute.js";
import { existsRequest } from "../../../src/zookeeper/requests.js";
import { MAX_PAUSE_MS, ServerRing } from "../../../src/zookeeper/server-ring.js";

const SERVERS = ["one", "two", "three", "four", "five"].map((host, index) => ({ host, port: index + 1 }));

/** A small generator of chance, seeded. */
function seeded(seed: number) {
  let state = seed;
  return {
    fraction: () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    },
  };
}

describe("the ring of servers", () => {
  test("begins with each of them equally often, and tries all before one again", () => {
    const firsts = new Map<string, number>();
    for (let seed = 1; seed <= 2_000; seed++) {
      const ring = new ServerRing(SERVERS, seeded(seed * 7_919));
      const round = SERVERS.map(() => ring.next().host);
      expect(new Set(round).size).toBe(SERVERS.length);
      expect(SERVERS.map(() => ring.next().host)).toEqual(round);
      firsts.set(round[0] ?? "", (firsts.get(round[0] ?? "") ?? 0) + 1);
    }
    for (const { host } of SERVERS) expect(firsts.get(host)).toBeGreaterThan(2_000 / SERVERS.length / 2);
  });

  test("pauses hardly before the second server, and longer in each round, within bounds", () => {
    const anything = fc.record({ seed: fc.integer({ min: 1, max: 1e6 }), tries: fc.integer({ min: 0, max: 200 }) });
    fc.assert(
      fc.property(
        anything,
        fc.integer({ min: 100, max: 100_000 }),
        fc.integer({ min: 1, max: 5 }),
        ({ seed, tries }, sessionMs, count) => {
          const ring = new ServerRing(SERVERS.slice(0, count), seeded(seed));
          for (let turn = 0; turn < tries; turn++) ring.next();
          const pauseMs = ring.pauseMs(sessionMs);
          expect(pauseMs).toBeGreaterThanOrEqual(tries < count ? 0 : 25);
          expect(pauseMs).toBeLessThanOrEqual(tries < count ? 20 : Math.min(MAX_PAUSE_MS, Math.max(50, sessionMs / 6)));
          for (const hasSession of [false, true]) expect(ring.attemptMs(sessionMs, hasSession)).toBeGreaterThanOrEqual(250);
          expect(ring.attemptMs(sessionMs, false)).toBeLessThanOrEqual(Math.max(sessionMs, 1_000));
        },
      ),
    );
  });

  test("gives a server that never answers no more than half of a session, however many tries were refused before", () => {
    for (const count of [1, 3]) {
      const ring = new ServerRing(SERVERS.slice(0, count), seeded(count));
      for (let turn = 0; turn < 100; turn++) {
        ring.next();
        expect(ring.attemptMs(60_000, true)).toBeLessThanOrEqual(30_000);
      }
      expect(ring.attemptMs(60_000, false)).toBe(60_000);
    }
  });
});

const call = (path = "/a"): Call => ({
  name: "exists",
  path,
  changes: false,
  frame: existsRequest(path, false),
  answered: () => {},
  failed: () => {},
  state: "waiting",
  sentAt: 0,
  xid: 0,
});

describe("the queue of calls", () => {
  const limits = { maxInFlight: 4, maxInFlightBytes: 1_000, maxWaiting: 10, maxWaitingBytes: 1_000 };

  test("keeps nothing of calls that were given up, however long there is no connection", () => {
    const queue = new CallQueue(limits);
    for (let turn = 0; turn < 10_000; turn++) {
      const given = call();
      expect(queue.add(given)).toBeNull();
      queue.abandon(given);
      expect(queue.kept).toBeLessThan(100);
    }
    expect(queue.waiting).toBe(0);
    const last = call();
    queue.add(last);
    expect(queue.next(0)).toBe(last);
  });

  test("sends in order within its bounds, and gives each answer to the oldest, whatever is given up in between", () => {
    const step = fc.constantFrom("add", "send", "answer", "abandon-first", "abandon-last");
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new CallQueue(limits);
        const waiting: Call[] = [];
        const sent: Call[] = [];
        let highest = 0;
        for (const what of steps) {
          if (what === "add") {
            const added = call();
            if (queue.add(added) === null) waiting.push(added);
            else expect(waiting.length).toBe(limits.maxWaiting);
          } else if (what === "send") {
            const next = queue.next(1);
            expect(next).toBe(sent.length < limits.maxInFlight ? waiting[0] : undefined);
            if (next === undefined) continue;
            sent.push(next);
            waiting.shift();
            expect(next.xid).toBe(++highest);
            expect(next.frame.readInt32BE(4)).toBe(next.xid);
          } else if (what === "answer" && sent.length > 0) {
            const [oldest] = sent.splice(0, 1);
            expect(queue.answered(oldest?.xid ?? 0)).toBe(oldest);
          } else if (what === "abandon-first" || what === "abandon-last") {
            const given = what === "abandon-first" ? waiting.shift() : waiting.pop();
            if (given !== undefined) expect(queue.abandon(given)).toBe(false);
          }
          expect(queue.inFlight).toBe(sent.length);
          expect(queue.waiting).toBe(waiting.length);
        }
        const broken = queue.breakOff();
        expect(broken.sent).toEqual(sent);
        expect(broken.waiting).toEqual(waiting);
        expect(queue.kept).toBe(0);
      }),
    );
  });

  test("an answer out of order loses no call", () => {
    const queue = new CallQueue(limits);
    const [a, b] = [call("/a"), call("/b")];
    for (const added of [a, b]) {
      queue.add(added);
      queue.next(0);
    }
    expect(() => queue.answered(2)).toThrow(JuteError);
    expect(queue.breakOff().sent).toEqual([a, b]);
  });
});

test("many calls of one signal are one listener, and none when they are done", () => {
  const aborted: string[] = [];
  const listeners = new AbortListeners<string>((item) => aborted.push(item));
  const leaving = new AbortController();
  let open = 0;
  const { signal } = leaving;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...words: Parameters<typeof add>) => {
    open++;
    add(...words);
  };
  signal.removeEventListener = (...words: Parameters<typeof remove>) => {
    open--;
    remove(...words);
  };
  for (const item of ["a", "b", "c"]) listeners.add(signal, item);
  expect(open).toBe(1);
  for (const item of ["a", "b", "c"]) listeners.remove(signal, item);
  expect(open).toBe(0);
  listeners.add(signal, "d");
  listeners.add(signal, "e");
  leaving.abort();
  expect(aborted).toEqual(["d", "e"]);
});
