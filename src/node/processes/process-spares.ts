/**
 * Executors and drivers started in advance: the first record of a job then waits for no process start (about 100 ms of Node each).
 *
 * A spare is a runner (`node runner.mjs spare`) that waits for one line on its standard input: `{"role":"executor","startFile":"..."}`. Without
 * the line its input ends with the worker, and it ends itself; once given out it lives on without the worker like every other process.
 * Any spare could become either; drivers and executors have different memory limits, so each role has spares of its own.
 * Invariant: a spare is given out at most once, and only to a process with the memory limit that it was started with.
 */
import type { Clock, Timer } from "../../env/clock.js";
import type { Log } from "../../env/log.js";
import { isAlive } from "./proc.js";
import type { ProcessFacts } from "./process-folder.js";
import type { Kept } from "./process-keeper.js";

/** Spares are replaced when the burst of launches that used them is probably over: a process start costs the running job a core for 0.1 s. */
const REFILL_DELAY_MS = 1_000;
/** A runner that does not even start is tried again this often, not at once. */
const RETRY_DELAY_MS = 30_000;
export const MAX_SPARES = 64;

export interface Spare {
  readonly folder: string;
  readonly facts: ProcessFacts;
  readonly kept: Kept;
}

export interface SparesOptions {
  readonly count: number;
  /** What they are for, in logs. */
  readonly role: "driver" | "executor";
  /** For processes of this size until others are asked for. */
  readonly memoryBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  start(memoryBytes: number): Promise<Spare>;
  /** Ends a spare that is not needed, and removes its folder. */
  discard(spare: Spare): Promise<void>;
}

export interface Spares {
  /** Undefined: none is there for this size. Spares of the last size asked for are prepared from now on. */
  take(memoryBytes: number): Spare | undefined;
  /** Ends all spares. */
  close(): Promise<void>;
}

export function createSpares(options: SparesOptions): Spares {
  const { clock, log } = options;
  const count = Math.min(options.count, MAX_SPARES);
  let memoryBytes = options.memoryBytes;
  let ready: Spare[] = [];
  let timer: Timer | undefined;
  let closed = false;
  let filling: Promise<void> = Promise.resolve();

  const isUsable = (spare: Spare) =>
    spare.facts.memoryBytes === memoryBytes && isAlive(spare.kept.started.keeper) && spare.kept.stdin?.writable === true;

  const fill = async () => {
    const unusable = ready.filter((spare) => !isUsable(spare));
    ready = ready.filter(isUsable);
    await Promise.all(unusable.map((spare) => options.discard(spare)));
    while (!closed && ready.length < count) {
      const spare = await options.start(memoryBytes);
      if (closed) await options.discard(spare);
      else ready.push(spare);
      log.debug(`a spare ${options.role} waits`, { pid: spare.kept.started.pid });
    }
  };

  const schedule = (delayMs: number) => {
    if (closed || count === 0) return;
    timer?.cancel();
    timer = clock.at(clock.now() + delayMs, () => {
      filling = filling.then(fill).catch((thrown: unknown) => {
        log.warn(`a spare ${options.role} could not be started`, {
          reason: thrown instanceof Error ? thrown.message : String(thrown),
        });
        schedule(RETRY_DELAY_MS);
      });
    });
  };

  schedule(0);
  return {
    take: (wanted) => {
      if (closed || count === 0) return undefined;
      memoryBytes = wanted;
      const index = ready.findIndex(isUsable);
      schedule(REFILL_DELAY_MS);
      return index < 0 ? undefined : ready.splice(index, 1)[0];
    },
    close: async () => {
      closed = true;
      timer?.cancel();
      await filling;
      await Promise.all(ready.splice(0).map((spare) => options.discard(spare)));
    },
  };
}
