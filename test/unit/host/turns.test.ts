import { describe, expect, test } from "vitest";
import type { Core, Now, RecordChange, Turn } from "../../../src/base/core.js";
import { CodedError } from "../../../src/base/errors.js";
import type { TurnsOptions } from "../../../src/host/turns/turns.js";
import { MAX_TURN_EVENTS, MAX_TURN_WRITES, runTurns } from "../../../src/host/turns/turns.js";
import { createManualClock, settle } from "../../support/manual-clock.js";

type Event =
  | { readonly kind: "wake" }
  | { readonly kind: "do"; readonly name: string; readonly writes: number; readonly effects: number };
const act = (name: string, writes = 0, effects = 1): Event => ({ kind: "do", name, writes, effects });
const key = (name: string) => ({ key: name, value: new Uint8Array(0) });

function world(
  options: {
    readonly wakeAt?: (steps: number) => number | null;
    readonly onStep?: (event: Event) => void;
    readonly commits?: boolean;
  } = {},
) {
  const clock = createManualClock();
  const log: string[] = [];
  let steps = 0;
  const core: Core<Event, string> = {
    step(event: Event, _now: Now, turn: Turn<string>) {
      steps += 1;
      options.onStep?.(event);
      if (event.kind === "wake") {
        log.push("wake");
        return;
      }
      for (let index = 0; index < event.writes; index += 1) turn.writes.push(key(event.name));
      for (let index = 0; index < event.effects; index += 1) turn.effects.push(event.name);
    },
    nextWakeAt: () => options.wakeAt?.(steps) ?? null,
  };
  const commits: { readonly writes: readonly RecordChange[]; resolve(): void; reject(reason: unknown): void }[] = [];
  const turnsOptions: TurnsOptions<Event, string> = {
    core,
    clock,
    commit:
      options.commits === false
        ? null
        : (writes) => new Promise((resolve, reject) => commits.push({ writes: [...writes], resolve: () => resolve(), reject })),
    act: (effect) => log.push(effect),
    wakeUp: { kind: "wake" },
  };
  return { clock, log, commits, turns: runTurns(turnsOptions), steps: () => steps };
}

describe("turns", () => {
  test("act only after their commit, in order, and gather what arrives meanwhile for the next one", async () => {
    const { turns, commits, log } = world();
    turns.post(act("a", 1));
    turns.post(act("b"));
    await settle();
    expect([commits.length, log]).toEqual([1, []]);
    turns.post(act("c", 1));
    turns.post(act("d", 1));
    await settle();
    expect(commits).toHaveLength(1);
    commits[0]?.resolve();
    await settle();
    expect(log).toEqual(["a", "b"]);
    expect(commits[1]?.writes.map((write) => write.key)).toEqual(["c", "d"]);
    commits[1]?.resolve();
    await settle();
    expect(log).toEqual(["a", "b", "c", "d"]);
  });

  test("without writes act at once, and without a commit function may not write", async () => {
    const { turns, log } = world({ commits: false });
    turns.post(act("a"));
    await settle();
    expect(log).toEqual(["a"]);
    turns.post(act("b", 1));
    expect((await turns.ended)?.code).toBe("INTERNAL");
    expect(log).toEqual(["a"]);
  });

  test("are cut by the number of writes and of events", async () => {
    const { turns, commits, steps } = world();
    for (let index = 0; index < MAX_TURN_WRITES + 1; index += 1) turns.post(act("w", 1, 0));
    await settle();
    expect(commits[0]?.writes).toHaveLength(MAX_TURN_WRITES);
    commits[0]?.resolve();
    await settle();
    expect(commits[1]?.writes).toHaveLength(1);
    for (let index = 0; index < MAX_TURN_EVENTS + 10; index += 1) turns.post(act("e", index === 0 ? 1 : 0, 0));
    const before = steps();
    commits[1]?.resolve();
    await settle();
    expect(steps() - before).toBe(MAX_TURN_EVENTS);
    commits[2]?.resolve();
    await settle();
    expect(steps() - before).toBe(MAX_TURN_EVENTS + 10);
  });

  test("never act again after a failed commit", async () => {
    const { turns, commits, log, steps } = world();
    turns.post(act("a", 1));
    await settle();
    turns.post(act("b"));
    commits[0]?.reject(new CodedError("FENCED", "deposed"));
    expect((await turns.ended)?.code).toBe("FENCED");
    turns.post(act("c"));
    await settle();
    expect([log, steps()]).toEqual([[], 1]);
  });

  test("end with what a core throws", async () => {
    const { turns, log } = world({
      onStep: () => {
        throw new Error("broken");
      },
    });
    turns.post(act("a"));
    expect(await turns.ended).toMatchObject({ code: "INTERNAL", message: "broken" });
    expect(log).toEqual([]);
  });

  test("closed during a commit do not act on it, and close waits for it", async () => {
    const { turns, commits, log, clock } = world({ wakeAt: () => 5_000 });
    turns.post(act("a", 1));
    await settle();
    let closed = false;
    const closing = turns.close().then(() => {
      closed = true;
    });
    await settle();
    expect(closed).toBe(false);
    commits[0]?.resolve();
    await closing;
    expect(log).toEqual([]);
    expect(clock.timers()).toBe(0);
    expect(await turns.ended).toBeNull();
  });

  test("closed during a commit without effects leave no timer behind", async () => {
    const { turns, commits, clock } = world({ wakeAt: () => 5_000 });
    turns.post(act("a", 1, 0));
    await settle();
    const closing = turns.close();
    commits[0]?.resolve();
    await closing;
    expect(clock.timers()).toBe(0);
  });

  test("closed by an effect act on nothing after it", async () => {
    const clock = createManualClock();
    const log: string[] = [];
    const turns = runTurns<string, string>({
      core: { step: (event, _now, turn) => void turn.effects.push(event), nextWakeAt: () => null },
      clock,
      commit: null,
      act: (effect) => {
        log.push(effect);
        if (effect === "close") turns.close();
      },
      wakeUp: "wake",
    });
    for (const event of ["a", "close", "b"]) turns.post(event);
    await turns.ended;
    await settle();
    expect(log).toEqual(["a", "close"]);
  });

  test("wake the core at its deadline, once, and at an earlier one when it changes its mind", async () => {
    const { turns, clock, log } = world({ wakeAt: (steps) => (steps === 1 ? 5_000 : steps === 2 ? 3_000 : null) });
    turns.post(act("a"));
    await clock.advance(100);
    turns.post(act("b"));
    await clock.advance(1_800);
    expect(log).toEqual(["a", "b"]);
    await clock.advance(200);
    expect(log).toEqual(["a", "b", "wake"]);
    await clock.advance(10_000);
    expect(log).toEqual(["a", "b", "wake"]);
    expect(clock.timers()).toBe(0);
  });
});

test("a turn that takes long is cut, and timers that are due come before the next one", async () => {
  let now = 0;
  const said: string[] = [];
  const turns = runTurns<number, string>({
    core: {
      step: (event, _now, turn) => {
        now += 20;
        turn.effects.push(`event ${event}`);
      },
      nextWakeAt: () => null,
    },
    clock: {
      now: () => now,
      wallNow: () => now,
      at: (_at, run) => {
        const timer = setTimeout(run, 0);
        return { cancel: () => clearTimeout(timer) };
      },
    },
    commit: null,
    act: (effect) => void said.push(effect),
    wakeUp: 0,
  });
  for (let event = 1; event <= 7; event++) turns.post(event);
  setTimeout(() => said.push("a timer"), 0);
  while (said.length < 8) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(said.indexOf("a timer")).toBe(3);
  expect(said.filter((text) => text !== "a timer")).toEqual([1, 2, 3, 4, 5, 6, 7].map((event) => `event ${event}`));
  await turns.close();
});
