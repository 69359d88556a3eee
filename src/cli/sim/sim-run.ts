/** One seed in this process: the event loop drains microtasks, and whatever is not deterministic is out of reach meanwhile. */
import type { CrashRunOptions } from "../../sim/crash/crash-run.js";
import { MUTANTS } from "../../sim/mutants/all.js";
import { type RunOptions, type RunResult, runSeed } from "../../sim/scenario.js";
import type { World } from "../../sim/world.js";

/** What a run may not touch: everything comes from its seed. */
const TRAPPED = ["setTimeout", "setInterval", "Date"] as const;

let current: World | null = null;

/** Once a process. A rejection that nobody handles would end a real process; a signal with more than ten listeners is one that somebody never leaves. */
export function prepareProcess(): void {
  process.on("warning", (warning) => {
    if (warning.name === "MaxListenersExceededWarning") current?.fail(new Error("a signal gathers listeners", { cause: warning }));
  });
  process.on("unhandledRejection", (reason) => {
    if (current === null) throw reason;
    current.fail(new Error("a rejection that nobody handles", { cause: reason }));
  });
}

/** All microtasks run. */
export const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Nothing in it may touch what is not deterministic. */
export async function trapped<T>(act: () => Promise<T>): Promise<T> {
  const restore = trap();
  try {
    return await act();
  } finally {
    restore();
  }
}

const watchWorld = (world: World): void => {
  current = world;
};

export async function runOne(seed: number, mutantName: string | null, options: Partial<RunOptions> = {}): Promise<RunResult> {
  const mutant = mutantName === null ? undefined : MUTANTS.find(({ name }) => name === mutantName);
  try {
    return await trapped(() =>
      runSeed(seed, {
        drain,
        ...(mutant === undefined ? {} : { mutant }),
        ...options,
        onWorld: (world) => {
          watchWorld(world);
          options.onWorld?.(world);
        },
      }),
    );
  } finally {
    current = null;
  }
}

export function crashOptions(mutant: string | null): CrashRunOptions {
  const planted = MUTANTS.find(({ name }) => name === mutant);
  return { drain, onWorld: watchWorld, ...(planted === undefined ? {} : { mutant: planted }) };
}

function trap(): () => void {
  const globals = globalThis as unknown as Record<string, unknown>;
  const { random } = Math;
  const kept = TRAPPED.map((name) => [name, globals[name]] as const);
  const forbidden = (name: string) => () => {
    throw new Error(`${name} was used in a simulation`);
  };
  Math.random = forbidden("Math.random");
  for (const name of TRAPPED)
    globals[name] =
      name === "Date"
        ? class {
            static now = forbidden("Date.now");
            constructor() {
              forbidden("Date")();
            }
          }
        : forbidden(name);
  return () => {
    Math.random = random;
    for (const [name, value] of kept) globals[name] = value;
  };
}
