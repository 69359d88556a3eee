/** A job whose user code does, at one record, what user code should not do. */
import { existsSync, writeFileSync } from "node:fs";
import os from "node:os";
import { defineJob, type RestartStrategy, type SourceConnector, sinks, sources } from "holdfast";
import { z } from "zod";

/** Keeps the event loop busy, as a long computation does. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

function act(trouble: string, blockMs: number): void {
  if (trouble === "throw") throw new TypeError("500 is not a number that I like");
  if (trouble === "throw-text") throw "just a text";
  if (trouble === "exit") process.exit(7);
  if (trouble === "crash") crash();
  if (trouble === "uncaught") setTimeout(() => lateFailure(), 0);
  if (trouble === "unhandled") void Promise.reject(new RangeError("nobody waits for me"));
  if (trouble === "memory") {
    const hoard: unknown[] = [];
    for (;;) hoard.push(new Array(10_000).fill(hoard.length));
  }
  if (trouble === "block") block(blockMs);
}

/** As a native module does that writes where it should not. The signal may come to another thread: this one goes no further. */
function crash(): never {
  process.kill(process.pid, "SIGSEGV");
  for (;;);
}

function lateFailure(): never {
  throw new Error("too late to be caught");
}

/** A source that keeps its driver busy before it says what there is to read. */
function busyInDriver(blockMs: number): SourceConnector<number> {
  return {
    bounded: true,
    enumerate: async () => {
      block(blockMs);
      return { splits: [{ id: "only", sizeHint: 1 }], totalRecords: 1, totalBytes: null };
    },
    open: async () => {
      let given = false;
      return {
        next: (out) => {
          if (given) return 0;
          given = true;
          out[0] = -1;
          return 1;
        },
        position: () => given,
        progress: () => (given ? 1 : 0),
        close: async () => undefined,
      };
    },
  };
}

const params = z.object({
  trouble: z.string(),
  output: z.string(),
  /** When given: the trouble happens once, and this file exists afterwards. */
  flag: z.string().optional(),
  at: z.coerce.number().default(500),
  blockMs: z.coerce.number().default(0),
  driverBlockMs: z.coerce.number().default(0),
});

export const troubled = (restart?: RestartStrategy) =>
  defineJob({
    id: "troubled",
    params,
    ...(restart === undefined ? {} : { restart }),
    parallelism: 2,
    build(job, { trouble, output, flag, at, blockMs, driverBlockMs }) {
      const numbers = job.from("numbers", sources.numbers({ to: 1_000 }));
      const extra = driverBlockMs > 0 ? [job.from("busy", sources.custom(busyInDriver(driverBlockMs)))] : [];
      // On the machine of the test a worker's processes have an environment of their own.
      const stranger = trouble === "machine" ? `-${process.env.HOLDFAST_TROUBLE ?? os.hostname()}` : "";
      numbers
        .union(...extra)
        .rebalance()
        .map((n) => {
          if (n === at && (flag === undefined || !existsSync(flag))) {
            if (flag !== undefined) writeFileSync(flag, "");
            console.log("trouble ahead");
            act(trouble, blockMs);
          }
          return { n };
        })
        .keyBy(({ n }) => n % 10)
        .aggregate(`counted${stranger}`, { init: () => 0, add: (count) => count + 1 })
        .to("out", sinks.ndjson(output));
    },
  });
