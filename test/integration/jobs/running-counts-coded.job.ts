/** running-counts, up to a last number, whose state has a codec: version 1 wrote text, version 2 writes a pair and reads both; and one whose state became a list. */
import { defineJob, type StateCodec, sinks, sources, state } from "holdfast";
import { z } from "zod";

interface Seen {
  readonly count: number;
  readonly last: number;
}

const version1: StateCodec<Seen> = {
  version: 1,
  encode: ({ count, last }) => `${count}/${last}`,
  decode: (data) => ofText(data as string),
};
const version2: StateCodec<Seen> = {
  version: 2,
  encode: ({ count, last }) => [last, count],
  decode: (data, version) => (version === 1 ? ofText(data as string) : ofPair(data as readonly [number, number])),
};
const ofPair = ([last, count]: readonly [number, number]): Seen => ({ count, last });

function ofText(text: string): Seen {
  const [count, last] = text.split("/").map(Number);
  if (count === undefined || last === undefined) throw new Error(`'${text}' is no state of version 1`);
  return { count, last };
}

export default defineJob({
  id: "running-counts-coded",
  params: z.object({
    output: z.string(),
    rate: z.coerce.number().positive(),
    count: z.coerce.number().int().positive(),
    version: z.enum(["v1", "v2", "list"]),
  }),
  build(job, { output, rate, count, version }) {
    const keyed = job.from("numbers", sources.numbers({ rate, to: count })).keyBy((n) => n % 10);
    const counted =
      version === "list"
        ? keyed.process("count", {
            state: { seen: state.list<number>() },
            onElement: (n, { state: { seen } }) => {
              seen.add(n);
              return [{ n, count: seen.get().length }];
            },
          })
        : keyed.process("count", {
            state: { seen: state.value<Seen>({ codec: version === "v1" ? version1 : version2 }) },
            onElement: (n, { state: { seen } }) => {
              const now = { count: (seen.get()?.count ?? 0) + 1, last: n };
              seen.set(now);
              return [{ n, count: now.count }];
            },
          });
    counted.to("out", sinks.ndjson(output));
  },
});
