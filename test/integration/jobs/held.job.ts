/**
 * Everything that holds records in one job: a full join whose second input is read slowly, a broadcast join, distinct, a keyed process with a time to live that never
 * ends, a sort, and a result that is collected. Its result is known from its count.
 */
import { defineJob, sinks, sources, state } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "held",
  params: z.object({ count: z.coerce.number().int().positive(), rate: z.coerce.number().positive() }),
  parallelism: 2,
  build(job, { count, rate }) {
    const names = job.from("names", sources.numbers({ to: 10 })).map((n) => ({ n, name: `name ${n}` }));
    const right = job.from("right", sources.numbers({ from: count / 2, to: count + count / 2, rate }));
    const pairs = job
      .from("left", sources.numbers({ to: count, rate }))
      .join("pairs", right, {
        type: "full",
        leftKey: (n) => n,
        rightKey: (n) => n,
        select: (left, other) => ({ left: left ?? -1, right: other ?? -1 }),
      })
      .distinct("once", ({ left, right: other }) => `${left} ${other}`);
    pairs
      .broadcastJoin("named", names, {
        leftKey: ({ left, right: other }) => Math.max(left, other) % 10,
        rightKey: ({ n }) => n,
        select: (pair, { name }) => ({ ...pair, name }),
      })
      .keyBy(({ name }) => name)
      .process("counts", {
        state: { count: state.value<number>({ ttl: "10h" }), alone: state.map<string, number>({ ttl: "10h" }) },
        onElement: ({ left, right: other }, { state: { count: all, alone } }) => {
          all.set((all.get() ?? 0) + 1);
          const side = left < 0 ? "right" : other < 0 ? "left" : "both";
          alone.set(side, (alone.get(side) ?? 0) + 1);
        },
        onEnd: (name, { state: { count: all, alone } }) => [
          { name, count: all.get(), left: alone.get("left"), right: alone.get("right"), both: alone.get("both") },
        ],
      })
      .sort("in-order", { by: ({ name }) => name })
      .to("result", sinks.collect());
  },
});
