import { describe, expect, test } from "vitest";
import { type Duration, type JobBuilder, sinks, sources } from "../../../../src/api/index.js";
import { collect, later, sorted } from "../support.js";
import { handFed } from "./hand-fed.js";

interface Click {
  readonly key: string | { readonly id: string };
  readonly at: number;
  readonly n: number;
}

const joined = (lower: Duration, upper: Duration, maxRecords?: number) => (job: JobBuilder) => {
  const clicks = (uid: string) =>
    job.from(uid, sources.collection<Click>([]), { eventTime: { time: ({ at }) => at } }).keyBy(({ key }) => key);
  clicks("left")
    .intervalJoin("op", clicks("right"), {
      lower,
      upper,
      leftTime: ({ at }) => at,
      rightTime: ({ at }) => at,
      select: (left, right) => [left.n, right.n],
      ...(maxRecords === undefined ? {} : { maxRecords }),
    })
    .to("out", sinks.collect());
};

describe("an interval join", () => {
  test("holds a record exactly as long as a partner may come", async () => {
    const fed = await handFed(joined(-5, 0), 1);
    await fed.feed(0, "a", { key: "a", at: 10, n: 0 });
    await fed.feed(0, "a", { key: "a", at: 11, n: 1 });
    await fed.watermark(10);
    await fed.feed(1, "a", { key: "a", at: 11, n: 2 });
    expect(fed.taken().out).toEqual([[1, 2]]);
    await fed.watermark(15);
    await fed.feed(0, "a", { key: "a", at: 16, n: 3 });
    expect(fed.taken().out).toEqual([[3, 2]]);
    await fed.watermark(16);
    expect(fed.held()).toBe(0);
  });

  test("finds partners of equal keys that are objects, also after a restore with another parallelism", async () => {
    const before = await handFed(joined(-5, 5), 2);
    for (const id of ["a", "b", "c"]) await before.feed(0, { id }, { key: { id }, at: 10, n: 0 });
    const fed = await before.restored(3);
    for (const [n, id] of ["a", "b", "c"].entries()) await fed.feed(1, { id }, { key: { id }, at: 12, n });
    expect(sorted(fed.taken().out ?? [])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
    ]);
  });

  test("restores a key with more records than one entry of a checkpoint holds", async () => {
    const before = await handFed(joined(-1_000, 1_000), 1);
    for (let n = 0; n < 600; n++) await before.feed(0, "a", { key: "a", at: n, n });
    const fed = await before.restored(2);
    await fed.feed(1, "a", { key: "a", at: 300, n: -1 });
    expect(fed.taken().out).toEqual(Array.from({ length: 600 }, (_, n) => [n, -1]));
  });

  test("past its limit fails by name", async () => {
    const fed = await handFed(joined(-5, 5, 2), 1);
    for (const n of [1, 2]) await fed.feed(0, "a", { key: "a", at: n, n });
    await expect(fed.feed(1, "a", { key: "a", at: 3, n: 3 })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringMatching(/'op'.*more than 2 records/),
    });
  });

  test.each([1, 3])("selects with promises, too, with parallelism %i", async (parallelism) => {
    const COUNT = 4_000;
    const build = (select: (left: number, right: number) => unknown) => (job: JobBuilder) => {
      const numbers = (uid: string) =>
        job.from(uid, sources.numbers({ to: COUNT }), {
          eventTime: { time: (n) => n, splits: "in-order", watermarkEvery: 0 },
        });
      numbers("left")
        .filter((n) => n % 3 === 0)
        .keyBy((n) => n % 2)
        .intervalJoin(
          "near",
          numbers("right").keyBy((n) => n % 2),
          { lower: -4, upper: 4, leftTime: (n) => n, rightTime: (n) => n, select },
        )
        .to("out", sinks.collect());
    };
    const expected: number[][] = [];
    for (let left = 0; left < COUNT; left += 3) {
      for (const apart of [-4, -2, 0, 2, 4]) {
        const right = left + apart;
        if (right >= 0 && right < COUNT) expected.push([left, right]);
      }
    }
    const pair = (left: number, right: number) => [left, right];
    for (const select of [pair, later(pair)])
      expect(sorted(await collect(build(select), { parallelism, creditsPerChannel: 2 }))).toEqual(sorted(expected));
  });
});
