/** Numbers counted by key, each with a long text in its state: with `state` "disk" more than the heap of an executor can hold. */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

const params = z.object({
  count: z.coerce.number().int().positive(),
  keys: z.coerce.number().int().positive(),
  chars: z.coerce.number().int().positive(),
  rate: z.coerce.number().positive(),
  output: z.string(),
});

const textOf = (key: number, chars: number): string => `${key};`.repeat(Math.ceil(chars / `${key};`.length)).slice(0, chars);

export default defineJob({
  id: "large-state",
  params,
  parallelism: 1,
  state: "disk",
  build(job, { count, keys, chars, rate, output }) {
    job
      .from("numbers", sources.numbers({ from: 0, to: count, rate }))
      .keyBy((n) => n % keys)
      .aggregate("held", {
        init: (key) => ({ count: 0, last: 0, text: textOf(key, chars) }),
        add: (held, n) => {
          held.count += 1;
          held.last = n;
          return held;
        },
        result: ({ count: seen, last, text }, key) => ({ seen, last, isWhole: text === textOf(key, chars) }),
      })
      .to("out", sinks.ndjson(output));
  },
});
