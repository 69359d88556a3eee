/** Repeats what failed for a passing reason (the connection broke, no answer came), with a growing pause. */
import { hasCode } from "../base/errors.js";
import { type Clock, sleep } from "../env/clock.js";

export interface PatienceOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly maxAttempts: number;
}

export interface Patience {
  /** `attempt` must be repeatable. Rejects with its last error after `maxAttempts`, with any other error at once. */
  keepTrying<T>(attempt: () => Promise<T>): Promise<T>;
  /** The pause before attempt number `failures + 1`. */
  pause(failures: number): Promise<void>;
}

const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 500;

export function createPatience(options: PatienceOptions): Patience {
  const pause = (failures: number) =>
    sleep(options.clock, Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS), options.signal);
  return {
    pause,
    async keepTrying(attempt) {
      for (let failures = 1; ; failures++) {
        try {
          return await attempt();
        } catch (thrown) {
          if (!isPassing(thrown) || failures >= options.maxAttempts) throw thrown;
        }
        await pause(failures);
      }
    },
  };
}

/** The session may still live and the next try may succeed. */
export function isPassing(thrown: unknown): boolean {
  return hasCode(thrown, "CONNECTION_LOST") || hasCode(thrown, "TIMEOUT") || hasCode(thrown, "OUTCOME_UNKNOWN");
}
