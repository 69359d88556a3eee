/**
 * The three kinds of sinks of one's own over files: each number once in `two-phase`, once under its name in `idempotent`, and at least once in
 * `at-least-once`, whatever dies.
 */
import { appendFile, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { defineJob, type Sink, sinks, sources } from "holdfast";
import { z } from "zod";

interface Staged {
  readonly name: string;
  readonly attempt: string;
}

function twoPhase(directory: string): Sink<number> {
  const staging = path.join(directory, "staging");
  return sinks.twoPhase<number, Staged & { readonly [field: string]: string }>({
    begin: async () => void (await mkdir(staging, { recursive: true })),
    open: ({ attempt, subtask }) => {
      let held: number[] = [];
      let parts = 0;
      return {
        write: (records) => void held.push(...records),
        prepare: async () => {
          const name = `${attempt}-${subtask}-${parts++}.json`;
          await writeFile(path.join(staging, name), JSON.stringify(held), { flush: true });
          held = [];
          return { name, attempt };
        },
      };
    },
    commit: async ({ name }) => {
      // Gone: committed before.
      await rename(path.join(staging, name), path.join(directory, name)).catch((thrown: NodeJS.ErrnoException) => {
        if (thrown.code !== "ENOENT") throw thrown;
      });
    },
    abort: async ({ keepAttempt, isOver }) => {
      for (const name of await readdir(staging).catch(() => [])) {
        const [attempt = ""] = name.split("-");
        if (attempt !== keepAttempt && isOver?.(attempt) === true) await rm(path.join(staging, name), { force: true });
      }
    },
  });
}

function idempotent(directory: string): Sink<number> {
  return sinks.idempotent<number>({
    id: (n) => String(n),
    open: async () => {
      await mkdir(directory, { recursive: true });
      let names: string[] = [];
      return {
        writeIdempotent: (_n, id) => void names.push(id),
        flush: async () => {
          for (const name of names) await writeFile(path.join(directory, name), "");
          names = [];
        },
      };
    },
  });
}

function atLeastOnce(directory: string): Sink<number> {
  return sinks.atLeastOnce<number>({
    open: async ({ subtask }) => {
      await mkdir(directory, { recursive: true });
      let lines = "";
      return {
        write: (n) => {
          lines += `${n}\n`;
        },
        flush: async () => {
          const text = lines;
          lines = "";
          await appendFile(path.join(directory, String(subtask)), text);
        },
      };
    },
  });
}

export default defineJob({
  id: "own-sinks",
  params: z.object({ directory: z.string(), count: z.coerce.number(), rate: z.coerce.number() }),
  parallelism: 2,
  build(job, { directory, count, rate }) {
    const numbers = job.from("numbers", sources.numbers({ to: count, rate }));
    numbers.to("two-phase", twoPhase(path.join(directory, "two-phase")));
    numbers.to("idempotent", idempotent(path.join(directory, "idempotent")));
    numbers.to("at-least-once", atLeastOnce(path.join(directory, "at-least-once")));
  },
});
