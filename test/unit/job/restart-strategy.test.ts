import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideRestart,
  LOST_STRATEGY,
  NO_FAILURES,
  type RestartHistory,
  type RestartStrategy,
  restartRules,
  USER_STRATEGY,
} from "../../../src/job/restart-strategy.js";

const strategies: fc.Arbitrary<RestartStrategy> = fc.oneof(
  fc.constant<RestartStrategy>({ kind: "none" }),
  fc.record({ kind: fc.constant("fixed-delay" as const), attempts: fc.nat(5), delayMs: fc.nat(10_000) }),
  fc.record({
    kind: fc.constant("exponential" as const),
    initialMs: fc.nat(1_000),
    maxMs: fc.integer({ min: 1_000, max: 60_000 }),
    multiplier: fc.double({ min: 1, max: 4, noNaN: true }),
    resetAfterMs: fc.integer({ min: 1, max: 100_000 }),
    attempts: fc.option(fc.nat(5)),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.record({
    kind: fc.constant("failure-rate" as const),
    failures: fc.integer({ min: 1, max: 5 }),
    intervalMs: fc.integer({ min: 1, max: 100_000 }),
    delayMs: fc.nat(10_000),
  }),
);

function run(strategy: RestartStrategy, gaps: readonly number[], chance = 0) {
  let history: RestartHistory = NO_FAILURES;
  let now = 1_000;
  return gaps.map((gap) => {
    now += gap;
    const decision = decideRestart(strategy, history, now, chance);
    history = decision.history;
    return { gap, delayMs: decision.delayMs, row: history.row };
  });
}

describe("restart strategies", () => {
  test("`none` never restarts", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100_000)), (gaps) => run({ kind: "none" }, gaps).every(({ delayMs }) => delayMs === null)),
    );
  });

  test("a delay is finite, not negative and never above its bound", () => {
    fc.assert(
      fc.property(strategies, fc.array(fc.nat(200_000), { maxLength: 200 }), (strategy, gaps) => {
        const bound = strategy.kind === "none" ? 0 : strategy.kind === "exponential" ? strategy.maxMs : strategy.delayMs;
        for (const { delayMs } of run(strategy, gaps, 0.9)) {
          if (delayMs !== null) expect(Number.isFinite(delayMs) && delayMs >= 0 && delayMs <= bound).toBe(true);
        }
      }),
    );
  });

  test("at most `attempts` restarts are granted in a row, then none until the row ends", () => {
    fc.assert(
      fc.property(strategies, fc.array(fc.nat(200_000), { maxLength: 100 }), (strategy, gaps) => {
        if (strategy.kind === "none" || strategy.kind === "failure-rate" || strategy.attempts === null) return;
        let granted = 0;
        for (const [index, { gap, delayMs }] of run(strategy, gaps).entries()) {
          if (strategy.kind === "exponential" && index > 0 && gap >= strategy.resetAfterMs) granted = 0;
          if (delayMs === null) expect(granted).toBe(strategy.attempts);
          else granted += 1;
          expect(granted).toBeLessThanOrEqual(strategy.attempts);
        }
      }),
    );
  });

  test("within a row the delays of an exponential strategy never shrink", () => {
    fc.assert(
      fc.property(strategies, fc.array(fc.nat(200_000), { maxLength: 100 }), (strategy, gaps) => {
        if (strategy.kind !== "exponential") return;
        let last = 0;
        for (const { gap, delayMs } of run(strategy, gaps)) {
          if (gap >= strategy.resetAfterMs) last = 0;
          if (delayMs === null) continue;
          expect(delayMs).toBeGreaterThanOrEqual(last);
          last = delayMs;
        }
      }),
    );
  });

  test("jitter leaves out up to its share of each wait, and never makes it longer", () => {
    const jittered: RestartStrategy = { ...LOST_STRATEGY, jitter: 0.5 } as RestartStrategy;
    expect(run(jittered, [0, 0, 0], 0).map(({ delayMs }) => delayMs)).toEqual([50, 100, 200]);
    expect(run(jittered, [0, 0, 0], 0.5).map(({ delayMs }) => delayMs)).toEqual([38, 75, 150]);
  });

  test("a failure rate allows so many failures within any span, for ever", () => {
    const rate: RestartStrategy = { kind: "failure-rate", failures: 2, intervalMs: 1_000, delayMs: 5 };
    expect(run(rate, [0, 100, 100]).map(({ delayMs }) => delayMs)).toEqual([5, 5, null]);
    expect(run(rate, new Array(100).fill(500)).every(({ delayMs }) => delayMs === 5)).toBe(true);
    fc.assert(
      fc.property(fc.array(fc.nat(2_000), { maxLength: 100 }), (gaps) => {
        let now = 0;
        const granted: number[] = [];
        for (const { gap, delayMs } of run(rate, gaps)) {
          now += gap;
          if (delayMs !== null) granted.push(now);
        }
        return granted.every((at, index) => index < 2 || at - (granted[index - 2] ?? 0) >= 1_000);
      }),
    );
  });

  test("lost executors are survived for ever, a failing operator is tried three times in all", () => {
    expect(run(LOST_STRATEGY, new Array(1_000).fill(10)).every(({ delayMs }) => delayMs !== null)).toBe(true);
    expect(run(USER_STRATEGY, [0, 0, 0]).map(({ delayMs }) => delayMs)).toEqual([500, 1_000, null]);
  });

  test("a strategy that the job names holds for both kinds of failure", () => {
    const named: RestartStrategy = { kind: "fixed-delay", attempts: 1, delayMs: 5 };
    expect(restartRules(named)).toEqual({ lost: named, user: named });
    expect(restartRules(null)).toEqual({ lost: LOST_STRATEGY, user: USER_STRATEGY });
  });
});
