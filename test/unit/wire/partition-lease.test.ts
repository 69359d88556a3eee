/** The times of leases, for every pair of wrong clocks: what must not run twice has ended before the master may start it elsewhere. */
import { describe, expect, test } from "vitest";
import { DEFAULT_MASTER_SETTINGS } from "../../../src/master/settings.js";
import {
  CLOCK_RATE_ERROR,
  fenceMsFor,
  LEASE_GRACE_MS,
  LEASE_POLL_MS,
  LEASE_SLACK_MS,
  leaseMsFor,
  MIN_LEASE_MS,
} from "../../../src/wire/partition-lease.js";

const RATES = [1 - CLOCK_RATE_ERROR, 0.95, 1, 1.05, 1 + CLOCK_RATE_ERROR];
const DEADLINES = [200, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000];

interface Clocks {
  /** Milliseconds that the clock counts in a true millisecond. */
  readonly worker: number;
  readonly master: number;
}

/** True time from the confirmed question to the end of the process, at the latest: the keeper looks just too early, and the kill is late. */
function endsAfter(leaseMs: number, { worker }: Clocks): number {
  return (leaseMs + LEASE_POLL_MS + LEASE_GRACE_MS + LEASE_SLACK_MS) / worker;
}

/** True time from the last thing that the master heard, which is no earlier than the question, to the start elsewhere, at the earliest. */
const startsAfter = (deadlineMs: number, fenceMs: number, { master }: Clocks): number => (deadlineMs + fenceMs) / master;

describe("a lease", () => {
  test("is over before the master may act, whatever the two clocks do within their bound", () => {
    let pairs = 0;
    for (const deadlineMs of DEADLINES) {
      for (const least of [0, 8_000, 14_000]) {
        const fenceMs = Math.max(DEFAULT_MASTER_SETTINGS.programFenceMs, fenceMsFor(deadlineMs, least));
        const leaseMs = leaseMsFor(deadlineMs, fenceMs);
        expect(leaseMs).toBeGreaterThanOrEqual(Math.max(MIN_LEASE_MS, least));
        for (const worker of RATES) {
          for (const master of RATES) {
            pairs += 1;
            expect(endsAfter(leaseMs, { worker, master })).toBeLessThanOrEqual(
              startsAfter(deadlineMs, fenceMs, { worker, master }),
            );
          }
        }
      }
    }
    expect(pairs).toBe(DEADLINES.length * 3 * RATES.length ** 2);
  });

  test("a second longer would not be (so the bound is no wider than it has to be)", () => {
    const clocks = { worker: 1 - CLOCK_RATE_ERROR, master: 1 + CLOCK_RATE_ERROR };
    const { workerDeadlineMs, programFenceMs } = DEFAULT_MASTER_SETTINGS;
    const leaseMs = leaseMsFor(workerDeadlineMs, programFenceMs);
    expect(endsAfter(leaseMs + 1_000, clocks)).toBeGreaterThan(startsAfter(workerDeadlineMs, programFenceMs, clocks));
  });

  test("without the bound on clocks would be too long: the bug that it guards against", () => {
    const { workerDeadlineMs, programFenceMs } = DEFAULT_MASTER_SETTINGS;
    const careless = workerDeadlineMs + programFenceMs - LEASE_POLL_MS - LEASE_GRACE_MS - LEASE_SLACK_MS;
    const clocks = { worker: 1 - CLOCK_RATE_ERROR, master: 1 + CLOCK_RATE_ERROR };
    expect(endsAfter(careless, clocks)).toBeGreaterThan(startsAfter(workerDeadlineMs, programFenceMs, clocks));
  });
});
