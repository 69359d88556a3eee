/** Every operator of the API in one job; what each gives goes to a file of its own, in an order that does not matter or that the job makes. */
import { defineJob, sinks, sources, state, type, windows } from "holdfast";
import { z } from "zod";

interface Sale {
  readonly id: number;
  readonly city: string;
  readonly amount: number;
}

const CITIES = ["Kyiv", "Oslo", "Lima", "Rome", "Baku"] as const;
const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

export default defineJob({
  id: "operators",
  params: z.object({ sales: z.coerce.number().int().positive(), output: z.string() }),
  build(job, { sales, output }) {
    const file = (name: string) => sinks.ndjson(`${output}/${name}.ndjson`);
    const one = { parallelism: 1 } as const;

    const all = job
      .from("ids", sources.numbers({ to: sales }), { eventTime: { time: (id) => id } })
      .map((id): Sale => ({ id, city: CITIES[(id * 7) % 5] ?? "?", amount: (id * 37) % 101 }));
    const large = all.filter(async (sale) => {
      if (sale.id % 500 === 0) await pause();
      return sale.amount > 50;
    });
    large
      .flatMap((sale) => (sale.id % 3 === 0 ? [sale.id, -sale.id] : [sale.id]))
      .rebalance()
      .to("flat", file("flat"), one);

    /** Calls that have already failed or hung once, in this process. */
    const tried = new Set<number>();
    const isFirstTry = (id: number) => !tried.has(id) && tried.add(id) !== undefined;
    const checked = all
      .filter((sale) => sale.id % 40 === 0)
      .mapAsync(
        async (sale) => {
          await pause();
          if (sale.id % 120 === 0 && isFirstTry(sale.id)) throw new Error("try again");
          if (sale.id === 400 && isFirstTry(sale.id)) await new Promise(() => undefined);
          return { ...sale, checked: true };
        },
        { concurrency: 8, ordered: false, retries: 3, backoff: "1ms", timeout: "300ms" },
      );
    checked.to("checked", file("checked"), one);
    all
      .mapAsync((sale) => sale.amount, { concurrency: 4 })
      .filter((amount) => amount === 100)
      .to("ordered", file("ordered"), one);

    all
      .keyBy((sale) => sale.city)
      .aggregate("per-city", {
        init: () => ({ count: 0, sum: 0 }),
        add: (sum, sale) => ({ count: sum.count + 1, sum: sum.sum + sale.amount }),
        merge: (a, b) => ({ count: a.count + b.count, sum: a.sum + b.sum }),
        result: ({ count, sum }) => ({ count, mean: Math.round((1000 * sum) / count) }),
      })
      .to("cities", file("cities"), one);
    const time = (sale: Sale) => sale.id;
    const perCity = all.keyBy((sale) => sale.city);
    const count = { time, init: () => 0, add: (n: number) => n + 1, merge: (a: number, b: number) => a + b };
    perCity.window("sliding", { window: windows.sliding(500, 250), ...count }).to("windows", file("windows"), one);
    large
      .keyBy((sale) => sale.city)
      .window("visits", { window: windows.session(12), ...count })
      .to("sessions", file("sessions"), one);
    perCity
      .intervalJoin(
        "near",
        large.keyBy((sale) => sale.city),
        {
          lower: -5,
          upper: 5,
          leftTime: time,
          rightTime: time,
          select: (left, right) => [left.id, right.id],
        },
      )
      .to("pairs", file("pairs"), one);
    perCity
      .process("alarms", {
        onElement: (sale, { timers }) => timers.eventTime(Math.ceil((sale.id + 1) / 100) * 100),
        onTimer: ({ at }, { key }) => [{ key, at }],
      })
      .to("timers", file("timers"), one);
    const best = all
      .keyBy((sale) => [sale.city, sale.id % 3] as const)
      .reduce("best", (a, b) => (b.amount > a.amount || (b.amount === a.amount && b.id < a.id) ? b : a));
    best.to("best-out", file("best"), one);

    const counted = all
      .keyBy((sale) => sale.city)
      .process("running", {
        state: { count: state.value<number>(), last: state.list<number>(), amounts: state.map<number, number>() },
        sides: { rare: type<{ readonly city: string; readonly amount: number }>() },
        onElement: (sale, context, out) => {
          context.state.count.set((context.state.count.get() ?? 0) + 1);
          context.state.amounts.set(sale.amount, (context.state.amounts.get(sale.amount) ?? 0) + 1);
          if (sale.amount === 0) out.side("rare", { city: sale.city, amount: sale.amount });
          if (sale.id < 10) context.state.last.add(sale.id);
        },
        onEnd: (city, context) => [
          {
            city,
            count: context.state.count.get(),
            different: [...context.state.amounts.keys()].length,
            first: [...context.state.last.get()].sort((a, b) => a - b),
          },
        ],
      });
    counted.to("running-out", file("running"), one);
    counted.side("rare").to("rare-out", file("rare"), one);

    const countries = job.from(
      "countries",
      sources.collection([
        { city: "Kyiv", country: "UA" },
        { city: "Oslo", country: "NO" },
        { city: "Lima", country: "PE" },
        { city: "Bern", country: "CH" },
      ]),
    );
    const tenth = all.filter((sale) => sale.id % 10 === 0);
    tenth
      .join("joined", countries, {
        type: "full",
        leftKey: (sale) => sale.city,
        rightKey: (row) => row.city,
        select: (sale, row) => ({ id: sale?.id ?? null, city: sale?.city ?? row?.city, country: row?.country ?? null }),
      })
      .to("joined-out", file("joined"), one);
    tenth
      .broadcastJoin("placed", countries, {
        type: "left",
        leftKey: (sale) => sale.city,
        rightKey: (row) => row.city,
        select: (sale, row) => ({ id: sale.id, country: row?.country ?? null }),
      })
      .to("placed-out", file("placed"), one);

    all
      .map((sale) => sale.amount)
      .union(job.from("more", sources.numbers({ from: 90, to: 120 })))
      .distinct("different")
      .to("different-out", file("different"), one);
    all.sort("sorted", { by: (sale) => [sale.amount, sale.id], order: ["desc", "asc"] }).to("sorted-out", file("sorted"));
    all.sort("top", { by: (sale) => [sale.amount, sale.id], order: ["desc", "asc"], limit: 5 }).to("top-out", sinks.collect());
  },
});
