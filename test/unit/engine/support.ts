/** Short forms for tests of operators: a job from a build function, and its collected records. */
import { defineJob, type JobBuilder } from "../../../src/api/index.js";
import { type RunJobOptions, runJob } from "../../../src/testing/index.js";

export function jobOf(build: (job: JobBuilder) => void) {
  return defineJob({ id: "test", build: (job) => build(job) });
}

/** Runs the build function as a job; what its sink "out" collected. */
export async function collect<T = unknown>(build: (job: JobBuilder) => void, options: RunJobOptions = {}): Promise<readonly T[]> {
  const { collected } = await runJob(jobOf(build), {}, options);
  return (collected.out ?? []) as readonly T[];
}

export function sorted<T>(values: readonly T[]): T[] {
  return [...values].sort((a, b) => {
    const [left, right] = [JSON.stringify(a) ?? "", JSON.stringify(b) ?? ""];
    return left < right ? -1 : left > right ? 1 : 0;
  });
}

/** An async twin of a sync function; every second call really waits. */
export function later<A extends unknown[], R>(run: (...args: A) => R): (...args: A) => R | Promise<R> {
  let calls = 0;
  return (...args) => {
    calls++;
    if (calls % 2 === 0) return run(...args);
    return new Promise((resolve, reject) => {
      queueMicrotask(() => {
        try {
          resolve(run(...args));
        } catch (thrown) {
          reject(thrown);
        }
      });
    });
  };
}
