/** What the parent of a master decides: who gets one, whether the child hangs, when it is started again. */
import { describe, expect, test } from "vitest";
import { createRestartPace, LONGEST_PAUSE_MS, MAX_PATIENCE, STABLE_MS } from "../../../src/cli/supervisor/restart-pace.js";
import { createSilence, MAX_SILENCE_MS, TICK_MS } from "../../../src/cli/supervisor/silence.js";
import { createLines, formatUp, parseFromMaster, parseStop, wantsSupervisor } from "../../../src/cli/supervisor/supervisor-line.js";

const LIMIT_MS = 500;

/** Ticks until it is judged to hang; the instant of that, or null. */
function judge(
  silence: ReturnType<typeof createSilence>,
  from: number,
  until: number,
  step: { readonly everyMs?: number; readonly starvedMs?: number } = {},
): number | null {
  const { everyMs = TICK_MS, starvedMs = 0 } = step;
  for (let now = from + everyMs; now <= until; now += everyMs) if (silence.tick(now, starvedMs)) return now;
  return null;
}

describe("a child that proves no life", () => {
  test("is judged to hang within a tick of the limit", () => {
    const silence = createSilence(LIMIT_MS, 0);
    expect(judge(silence, 0, 10_000)).toBe(500);
  });

  test("and one that does, never", () => {
    const silence = createSilence(LIMIT_MS, 0);
    for (let now = 0; now < 60_000; now += TICK_MS) {
      silence.heard(now);
      expect(silence.tick(now + TICK_MS, 0)).toBe(false);
    }
  });

  test("while its parent was not scheduled, or the machine slept, is not judged for that time", () => {
    const silence = createSilence(LIMIT_MS, 0);
    expect(silence.tick(100, 0)).toBe(false);
    // An hour of sleep: the next tick comes before what the child said is read, and the child needs a moment as well.
    expect(silence.tick(3_600_000, 0)).toBe(false);
    expect(judge(silence, 3_600_000, 3_610_000)).toBe(3_600_500);
    // A parent whose ticks come late again and again counts each for no more than twice its length.
    const late = createSilence(1_000, 0);
    expect(judge(late, 0, 10_000, { everyMs: 450 })).toBe(5 * 450);
  });

  test("while it was ready and got no processor, is excused for that time, but not for ever", () => {
    const silence = createSilence(LIMIT_MS, 0);
    expect(judge(silence, 0, 9_000, { starvedMs: TICK_MS })).toBeNull();
    expect(judge(silence, 9_000, 20_000, { starvedMs: TICK_MS })).toBe(MAX_SILENCE_MS);
    // Half of the time without a processor: twice the limit.
    expect(judge(createSilence(LIMIT_MS, 0), 0, 9_000, { starvedMs: TICK_MS / 2 })).toBe(1_000);
  });

  test("a parent that trusts the clock alone (a planted bug) kills a healthy child after each sleep: the tests above would notice", () => {
    const naive = (limitMs: number, from: number): ReturnType<typeof createSilence> => {
      let heardAt = from;
      return {
        heard: (now) => {
          heardAt = now;
        },
        tick: (now) => now - heardAt >= limitMs,
        silentMs: () => 0,
      };
    };
    expect(naive(LIMIT_MS, 0).tick(3_600_000, 0)).toBe(true);
    expect(judge(naive(LIMIT_MS, 0), 0, 9_000, { starvedMs: TICK_MS })).toBe(500);
  });

  test("is judged anew after each proof", () => {
    const silence = createSilence(LIMIT_MS, 0);
    expect(judge(silence, 0, 400)).toBeNull();
    silence.heard(450);
    expect(judge(silence, 450, 900)).toBeNull();
    expect(judge(silence, 850, 2_000)).toBe(950);
  });
});

describe("the pace of restarts", () => {
  test("pauses double up to a bound while the child dies young, and begin anew after one that lived", () => {
    const pace = createRestartPace();
    const died = () => pace.ended({ livedMs: 10, hung: false });
    expect([died(), died(), died()]).toEqual([100, 200, 400]);
    for (let turn = 0; turn < 100; turn++) died();
    expect(died()).toBe(LONGEST_PAUSE_MS);
    expect(pace.ended({ livedMs: STABLE_MS, hung: false })).toBe(100);
  });

  test("patience doubles with each hang up to a bound, not with other deaths, and is normal again after a child that lived", () => {
    const pace = createRestartPace();
    pace.ended({ livedMs: 10, hung: false });
    expect(pace.patience()).toBe(1);
    for (let turn = 1; turn <= 10; turn++) {
      pace.ended({ livedMs: 10, hung: true });
      expect(pace.patience()).toBe(Math.min(MAX_PATIENCE, 2 ** turn));
    }
    pace.ended({ livedMs: STABLE_MS, hung: true });
    expect(pace.patience()).toBe(2);
  });
});

describe("the words between a parent and its master", () => {
  test("only a master that is not one's child already, and not asked for its help, gets a parent", () => {
    expect(wantsSupervisor(["master"], {})).toBe(true);
    expect(wantsSupervisor(["master", "--listen", "127.0.0.1:0"], {})).toBe(true);
    expect(wantsSupervisor(["master"], { HOLDFAST_SUPERVISOR_FD: "3" })).toBe(false);
    for (const word of ["--no-supervisor", "--help", "-h"]) expect(wantsSupervisor(["master", word], {})).toBe(false);
    for (const words of [[], ["worker"], ["help", "master"], ["cluster", "master"]]) expect(wantsSupervisor(words, {})).toBe(false);
  });

  test("come whole, however the pipe cuts them; what is no word is ignored", () => {
    const settings = { hungAfterMs: 500, logFormat: "json" } as const;
    const text = `${formatUp(settings)}alive\nwhat\nup {\nalive\nover\n`;
    for (let size = 1; size <= text.length; size++) {
      const said: unknown[] = [];
      const push = createLines((line) => said.push(parseFromMaster(line)));
      for (let at = 0; at < text.length; at += size) push(text.slice(at, at + size));
      expect(said).toEqual([{ word: "up", settings }, { word: "alive" }, null, null, { word: "alive" }, { word: "over" }]);
    }
    expect(["stop SIGTERM", "stop SIGINT", "stop SIGKILL", ""].map(parseStop)).toEqual(["SIGTERM", "SIGINT", null, null]);
  });
});
