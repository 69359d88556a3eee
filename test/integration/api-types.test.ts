/**
 * What the compiler knows of a job. The expectations are checked by tsc, which this test runs over this very file; each
 * `@ts-expect-error` is a mistake of a user that has to fail to compile.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import {
  type BadRecord,
  defineJob,
  type Job,
  type Keyed,
  type Stream,
  sinks,
  sources,
  state,
  type,
  type Windowed,
  windows,
} from "../../src/api/index.js";
import { runJob } from "../../src/testing/index.js";

interface Order {
  readonly id: number;
  readonly customer: string;
  readonly amount: number;
}

const typed = defineJob({
  id: "typed",
  params: z.object({ input: z.string(), limit: z.coerce.number() }),
  build(job, p) {
    expectTypeOf(p).toEqualTypeOf<{ input: string; limit: number }>();
    const orders = job.from("orders", sources.ndjson<Order>(p.input, { onError: "side" }));
    expectTypeOf(orders.map((order) => order)).toEqualTypeOf<Stream<Order>>();
    expectTypeOf(orders.side("errors")).toEqualTypeOf<Stream<BadRecord>>();
    expectTypeOf(orders.map(async (order) => order.amount)).toEqualTypeOf<Stream<number>>();
    expectTypeOf(orders.mapAsync(async (order) => ({ order }))).toEqualTypeOf<Stream<{ order: Order }>>();
    expectTypeOf(orders.flatMap((order) => order.customer.split(" "))).toEqualTypeOf<Stream<string>>();
    expectTypeOf(
      orders.flatMap(async function* (order) {
        yield order.id;
      }),
    ).toEqualTypeOf<Stream<number>>();
    const mixed = orders.map((order) => (order.amount > 1 ? order.customer : null));
    expectTypeOf(mixed.filter((value): value is string => value !== null)).toEqualTypeOf<Stream<string>>();
    expectTypeOf(mixed.filter((value) => value !== null)).toEqualTypeOf<Stream<string>>();
    expectTypeOf(mixed.filter(async (value) => value !== null)).toEqualTypeOf<Stream<string | null>>();
    expectTypeOf(orders.union(mixed)).toEqualTypeOf<Stream<Order | string | null>>();

    const byCustomer = orders.keyBy((order) => order.customer);
    const totals = byCustomer.aggregate("totals", {
      init: () => ({ n: 0 }),
      add: (a, order) => ({ n: a.n + order.amount }),
      merge: (a, b) => ({ n: a.n + b.n }),
    });
    expectTypeOf(totals).toEqualTypeOf<Stream<Keyed<string, { n: number }>>>();
    const means = byCustomer.aggregate("means", {
      init: () => 0,
      add: (a, order) => a + order.amount,
      result: async (a, key) => `${key} ${a}`,
    });
    expectTypeOf(means).toEqualTypeOf<Stream<Keyed<string, string>>>();
    expectTypeOf(byCustomer.reduce("largest", (a, b) => (a.amount > b.amount ? a : b))).toEqualTypeOf<
      Stream<Keyed<string, Order>>
    >();
    const pair = orders.keyBy((order) => [order.customer, order.id]).aggregate("pairs", { init: () => 0, add: (a) => a + 1 });
    expectTypeOf(pair).toEqualTypeOf<Stream<Keyed<readonly [string, number], number>>>();

    const processed = byCustomer.process("process", {
      state: { seen: state.value<number>(), last: state.list<Order>(), days: state.map<string, number>() },
      sides: { late: type<Order>() },
      onElement(order, ctx, out) {
        expectTypeOf(ctx.key).toEqualTypeOf<string>();
        expectTypeOf(ctx.state.seen.get()).toEqualTypeOf<number | undefined>();
        expectTypeOf(ctx.state.last.get()).toEqualTypeOf<readonly Order[]>();
        expectTypeOf(ctx.state.days.get("x")).toEqualTypeOf<number | undefined>();
        out.side("late", order);
        // @ts-expect-error a side output takes what was declared
        out.side("late", 1);
        // @ts-expect-error there is no such side output
        out.side("early", order);
        return [{ id: order.id }];
      },
    });
    expectTypeOf(processed.map((r) => r)).toEqualTypeOf<Stream<{ id: number }>>();
    expectTypeOf(processed.side("late")).toEqualTypeOf<Stream<Order>>();
    const emitted = byCustomer.process("emits", {
      output: type<number>(),
      onElement(_order, _ctx, out) {
        out.emit(1);
        // @ts-expect-error the output was declared to be a number
        out.emit("1");
      },
    });
    expectTypeOf(emitted.map((r) => r)).toEqualTypeOf<Stream<number>>();

    const timed = job.from("timed", sources.ndjson<Order>(p.input), {
      eventTime: {
        time(order) {
          expectTypeOf(order).toEqualTypeOf<Order>();
          return order.id;
        },
        outOfOrderness: "5s",
      },
    });
    // @ts-expect-error a time is a number
    job.from("untimed", sources.ndjson<Order>(p.input), { eventTime: { time: (order) => order.customer } });
    const perMinute = timed
      .keyBy((order) => order.customer)
      .window("per-minute", {
        window: windows.tumbling("1m"),
        time: (order) => order.id,
        init: () => ({ n: 0 }),
        add: (a, order) => ({ n: a.n + order.amount }),
        allowedLateness: "10s",
      });
    expectTypeOf(perMinute.map((r) => r)).toEqualTypeOf<Stream<Windowed<string, { n: number }>>>();
    expectTypeOf(perMinute.side("late")).toEqualTypeOf<Stream<Order>>();
    // @ts-expect-error a window has one side output
    perMinute.side("early");
    const sessions = timed
      .keyBy((order) => [order.customer, order.id])
      .window("sessions", {
        window: windows.session("30s"),
        time: (order) => order.id,
        init: () => 0,
        add: (a, order) => a + order.amount,
        merge: (a, b) => a + b,
        result: async (a, key, window) => `${key[0]} ${window.start} ${a}`,
      });
    expectTypeOf(sessions.map((r) => r)).toEqualTypeOf<Stream<Windowed<readonly [string, number], string>>>();
    const near = timed
      .keyBy((order) => order.customer)
      .intervalJoin(
        "near",
        perMinute.keyBy(({ key }) => key),
        {
          lower: "-1m",
          upper: 0,
          leftTime: (order) => order.id,
          rightTime: ({ window }) => window.end - 1,
          select: (order, { value }) => ({ id: order.id, n: value.n }),
        },
      );
    expectTypeOf(near.map((r) => r)).toEqualTypeOf<Stream<{ id: number; n: number }>>();
    expectTypeOf(near.side("lateRight")).toEqualTypeOf<Stream<Windowed<string, { n: number }>>>();
    const alarms = timed
      .keyBy((order) => order.customer)
      .process("alarms", {
        state: { seen: state.value<number>() },
        onElement: (order, ctx) => ctx.timers.eventTime(order.id + 10),
        onTimer(timer, ctx) {
          expectTypeOf(timer.kind).toEqualTypeOf<"event" | "processing">();
          expectTypeOf(ctx.key).toEqualTypeOf<string>();
          expectTypeOf(ctx.watermark).toEqualTypeOf<number>();
          return [{ seen: ctx.state.seen.get(), at: timer.at }];
        },
        onEnd: (key) => [key],
      });
    expectTypeOf(alarms.map((r) => r)).toEqualTypeOf<Stream<string | { seen: number | undefined; at: number }>>();

    const airports = job.from("airports", sources.csv("airports.csv", { types: { lat: "number" }, fields: ["iata", "lat"] }));
    expectTypeOf(airports.map((r) => r)).toEqualTypeOf<Stream<{ readonly iata: string; readonly lat: number | null }>>();
    const options = { leftKey: (order: Order) => order.customer, rightKey: (airport: { readonly iata: string }) => airport.iata };
    const inner = orders.join("inner", airports, { ...options, select: (order, airport) => ({ id: order.id, lat: airport.lat }) });
    expectTypeOf(inner).toEqualTypeOf<Stream<{ id: number; lat: number | null }>>();
    const left = orders.join("left", airports, {
      ...options,
      type: "left",
      select: (order, airport) => ({ id: order.id, lat: airport?.lat }),
    });
    expectTypeOf(left).toEqualTypeOf<Stream<{ id: number; lat: number | null | undefined }>>();
    const small = orders.broadcastJoin("small", airports, {
      leftKey: (o) => o.customer,
      rightKey: (a) => a.iata,
      select: (o, a) => [o.id, a.lat] as const,
    });
    expectTypeOf(small).toEqualTypeOf<Stream<readonly [number, number | null]>>();

    const loose = job.from("loose", sources.parquet(p.input));
    loose.filter((flight) => flight.delay > 0).keyBy((flight) => flight.origin as string);
    const fewer = job.from("fewer", sources.parquet<Order>(p.input, { fields: ["id", "customer", "amount"] }));
    expectTypeOf(fewer.map((r) => r)).toEqualTypeOf<Stream<Order>>();
    // @ts-expect-error an order has no such field
    sources.parquet<Order>(p.input, { fields: ["price"] });
    // @ts-expect-error only these fields are read
    job.from("fields", sources.parquet(p.input, { fields: ["id", "amount"] })).map((r) => r.customer);
    const checked = job.from("checked", sources.ndjson(p.input, { schema: z.object({ at: z.coerce.date() }) }));
    expectTypeOf(checked.map((r) => r.at)).toEqualTypeOf<Stream<Date>>();

    totals.sort("sorted", { by: (r) => [r.value.n, r.key], order: ["desc", "asc"], limit: p.limit }).to("top", sinks.collect());
    orders.distinct("distinct", (order) => order.id).to("orders-out", sinks.parquet("orders"));

    // @ts-expect-error an order has no such field
    orders.map((order) => order.price);
    // @ts-expect-error a function is no key
    orders.keyBy((order) => () => order);
    // @ts-expect-error the accumulator is a number
    byCustomer.aggregate("wrong", { init: () => 0, add: (a: number, order) => `${a}${order.amount}` });
    // @ts-expect-error rows of Parquet are objects
    orders.map((order) => order.id).to("numbers", sinks.parquet("numbers"));
    // @ts-expect-error a state that was not declared
    byCustomer.process("state", { state: { seen: state.value<number>() }, onElement: (_order, ctx) => void ctx.state.other });
    // @ts-expect-error there is no such side output
    orders.side("late");
  },
});

/** Params are typed where the job is run. */
async function params(): Promise<void> {
  expectTypeOf(typed).toExtend<Job<{ input: string; limit: unknown }>>();
  await runJob(typed, { input: "x", limit: "3" });
  // @ts-expect-error input is missing
  await runJob(typed, { limit: "3" });
}

test("the functions above are never called", () => {
  expect([typed.id, params.name]).toEqual(["typed", "params"]);
});

test("types flow from sources to sinks without annotations, and mistakes do not compile", { timeout: 120_000 }, () => {
  const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
  const directory = mkdtempSync(path.join(os.tmpdir(), "holdfast-types-"));
  try {
    const config = path.join(directory, "tsconfig.json");
    const compilerOptions = {
      composite: false,
      noEmit: true,
      incremental: false,
      types: ["node"],
      typeRoots: [path.join(root, "node_modules/@types")],
      rootDir: "/",
    };
    writeFileSync(
      config,
      JSON.stringify({ extends: path.join(root, "tsconfig.base.json"), compilerOptions, files: [fileURLToPath(import.meta.url)] }),
    );
    const run = () =>
      execFileSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", config], {
        encoding: "utf8",
        stdio: "pipe",
      });
    expect(run).not.toThrow();
  } catch (thrown) {
    console.error((thrown as { stdout?: string }).stdout);
    throw thrown;
  } finally {
    rmSync(directory, { recursive: true });
  }
});
