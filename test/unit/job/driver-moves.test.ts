/** A driver whose executors are to leave draining workers. */
import { describe, expect, test } from "vitest";
import { applicationRecord, shape, World } from "./driver-world.js";

const id = (number: number): string => `app-1-1.d1.e${number}`;

function view(world: World, draining: readonly number[], all: readonly number[]): void {
  const executors = all.map((number) => ({
    processId: id(number),
    workerId: `w${number}`,
    pid: number,
    state: "running" as const,
    reason: null,
    ...(draining.includes(number) ? { draining: true } : {}),
  }));
  world.post({ kind: "master.executors", epoch: 1, executors });
}

const finished = (world: World): number[] => world.told("executor.finish").map(({ link }) => link);

describe("executors on a draining worker", () => {
  test("run on until as many others have come; then the next try runs on those, at once, and the old ones are given back", () => {
    const world = new World().running();
    view(world, [1], [1, 2]);
    expect(world.told("executor.cancel")).toEqual([]);
    world.executor(3);
    view(world, [1], [1, 2, 3]);
    expect(
      world
        .told("executor.cancel")
        .map(({ link }) => link)
        .sort(),
    ).toEqual([1, 2]);
    world.post({ kind: "executor.cancelled", link: 1, try: 1 });
    expect(finished(world)).toEqual([]);
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(finished(world)).toEqual([1]);
    expect(world.view).toMatchObject({ phase: "gathering", try: 2 });
    world.prepared(2);
    expect(world.view).toMatchObject({ phase: "running", executors: [id(2), id(3)] });
    expect(world.view.progress.failedTries ?? []).toEqual([]);
  });

  test("are left also when the master's view of the others comes before these do", () => {
    const world = new World().running();
    view(world, [1], [1, 2, 3]);
    expect(world.told("executor.cancel")).toEqual([]);
    world.executor(3);
    expect(world.told("executor.cancel")).toHaveLength(2);
  });

  test("are left although the job allows itself no restart", () => {
    const world = new World({ restart: { kind: "none" } }).running();
    world.executor(3);
    world.executor(4);
    view(world, [1, 2], [1, 2, 3, 4]);
    // Their exchanges break meanwhile: that is no failure.
    world.failed(1, shape("CONNECTION_LOST"));
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(world.view).toMatchObject({ phase: "gathering", try: 2 });
    expect(finished(world).sort()).toEqual([1, 2]);
  });

  test("are left too when one of them fails by itself meanwhile", () => {
    const world = new World().running();
    world.executor(3);
    world.executor(4);
    view(world, [1, 2], [1, 2, 3, 4]);
    world.failed(1, shape("OPERATOR_FAILED"));
    world.post({ kind: "executor.cancelled", link: 2, try: 1 });
    expect(world.view.phase).toBe("backing-off");
    world.wake();
    world.prepared(2);
    expect(world.view.phase).toBe("running");
    expect(finished(world).sort()).toEqual([1, 2]);
  });

  test("that are one too many are given back, also when they come after the view that shows them", () => {
    const world = new World().running();
    view(world, [], [1, 2, 3]);
    expect(finished(world)).toEqual([]);
    world.executor(3);
    expect(finished(world)).toEqual([3]);
  });

  test("do the work as long as others are too few", () => {
    const world = new World({ application: applicationRecord({}, 2) });
    world.post({ kind: "started" });
    world.master();
    world.prepared();
    view(world, [1], [1]);
    world.executor(1);
    world.executor(2);
    expect(world.view.phase).toBe("running");
  });

  test("stay when the drain is cancelled: those that came in their place are given back", () => {
    const world = new World().running();
    view(world, [1, 2], [1, 2, 3]);
    world.executor(3);
    view(world, [], [1, 2, 3]);
    expect(world.view.phase).toBe("running");
    expect(finished(world)).toEqual([3]);
  });
});
