/**
 * Windows and interval joins against plain models, for random records, watermarks, lateness, parallelism and restores: every result and every late record,
 * exactly.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, type WindowKind, windows } from "../../../../src/api/index.js";
import { sorted } from "../support.js";
import { type HandFed, handFed } from "./hand-fed.js";

interface Click {
  readonly key: string;
  readonly at: number;
  readonly n: number;
}

type Step =
  | { readonly kind: "record"; readonly key: string; readonly at: number; readonly input: 0 | 1 }
  | { readonly kind: "watermark"; readonly by: number }
  | { readonly kind: "restore"; readonly parallelism: number };

/** `latest` and `by` say how near to each other times are. */
const stepsOf = (latest: number, by: number): fc.Arbitrary<Step[]> =>
  fc.array(stepOf(latest, by), { minLength: 1, maxLength: 50, size: "max" });
const stepOf = (latest: number, by: number): fc.Arbitrary<Step> =>
  fc.oneof(
    {
      weight: 10,
      arbitrary: fc.record({
        kind: fc.constant("record" as const),
        key: fc.constantFrom("a", "b", "c"),
        at: fc.integer({ min: -30, max: latest }),
        input: fc.constantFrom(0 as const, 1 as const),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("watermark" as const), by: fc.integer({ min: 1, max: by }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restore" as const), parallelism: fc.integer({ min: 1, max: 3 }) }) },
  );
const steps = stepsOf(120, 40);
const parallelism = fc.integer({ min: 1, max: 3 });

interface Model {
  record(input: 0 | 1, click: Click, watermark: number): void;
  watermark(ms: number): void;
  readonly out: unknown[];
  readonly late: unknown[];
}

/** Feeds both the same; compares after each step what they gave. */
async function compare(subtasks: HandFed, model: Model, all: readonly Step[]): Promise<void> {
  let fed = subtasks;
  let watermark = Number.NEGATIVE_INFINITY;
  let n = 0;
  for (const each of all) {
    if (each.kind === "record") {
      const click = { key: each.key, at: each.at, n: n++ };
      await fed.feed(each.input, click.key, click);
      model.record(each.input, click, watermark);
    } else if (each.kind === "watermark") {
      watermark = Math.max(watermark, -30) + each.by;
      await fed.watermark(watermark);
      model.watermark(watermark);
    } else fed = await fed.restored(each.parallelism);
    const { out = [], late = [], lateLeft = [], lateRight = [] } = fed.taken();
    expect(sorted(out)).toEqual(sorted(model.out.splice(0)));
    expect(sorted([...late, ...lateLeft, ...lateRight])).toEqual(sorted(model.late.splice(0)));
  }
  await fed.end();
  model.watermark(Number.POSITIVE_INFINITY);
  expect(sorted(fed.taken().out ?? [])).toEqual(sorted(model.out));
  expect(fed.held()).toBe(0);
}

interface Held {
  readonly key: string;
  start: number;
  end: number;
  clicks: number[];
}

/** `place`: the windows of a record among those that are held, after it was put into them; null where it is late for one. */
function windowModel(
  latenessMs: number,
  place: (held: Held[], click: Click, isOver: (end: number) => boolean) => (Held | null)[],
): Model {
  let held: Held[] = [];
  let reached = Number.NEGATIVE_INFINITY;
  const out: unknown[] = [];
  const late: unknown[] = [];
  const give = ({ key, start, end, clicks }: Held) =>
    out.push({ key, window: { start, end }, value: [...clicks].sort((a, b) => a - b) });
  return {
    out,
    late,
    record: (_input, click, watermark) => {
      const placed = place(held, click, (end) => end - 1 + latenessMs <= watermark);
      const taken = placed.filter((each) => each !== null);
      if (taken.length === 0) late.push(click);
      for (const each of taken) if (each.end - 1 <= watermark) give(each);
    },
    watermark: (ms) => {
      for (const each of [...held].sort((a, b) => a.end - b.end)) if (each.end - 1 > reached && each.end - 1 <= ms) give(each);
      reached = ms;
      held = held.filter(({ end }) => end - 1 + latenessMs > ms);
    },
  };
}

function fixedModel(sizeMs: number, everyMs: number, latenessMs: number): Model {
  return windowModel(latenessMs, (held, { key, at, n }, isOver) => {
    const placed: (Held | null)[] = [];
    for (let start = -200; start <= 200; start++) {
      if (((start % everyMs) + everyMs) % everyMs !== 0 || at < start || at >= start + sizeMs) continue;
      const end = start + sizeMs;
      if (isOver(end)) {
        placed.push(null);
        continue;
      }
      const known = held.find((each) => each.key === key && each.start === start);
      const window = known ?? { key, start, end, clicks: [] };
      if (known === undefined) held.push(window);
      window.clicks.push(n);
      placed.push(window);
    }
    return placed;
  });
}

function sessionModel(gapMs: number, latenessMs: number): Model {
  return windowModel(latenessMs, (held, { key, at, n }, isOver) => {
    let [start, end] = [at, at + gapMs];
    let joined: Held[] = [];
    for (;;) {
      const more = held.filter((each) => each.key === key && !joined.includes(each) && each.start <= end && each.end >= start);
      if (more.length === 0) break;
      joined = [...joined, ...more];
      start = Math.min(start, ...more.map((each) => each.start));
      end = Math.max(end, ...more.map((each) => each.end));
    }
    if (isOver(end)) return [null];
    for (const each of joined) held.splice(held.indexOf(each), 1);
    const window = { key, start, end, clicks: [...joined.flatMap(({ clicks }) => clicks), n] };
    held.push(window);
    return [window];
  });
}

const windowJob = (window: WindowKind, allowedLateness: number) => (job: JobBuilder) => {
  const results = job
    .from("clicks", sources.collection<Click>([]), { eventTime: { time: ({ at }) => at } })
    .keyBy(({ key }) => key)
    .window("op", {
      window,
      time: ({ at }) => at,
      allowedLateness,
      init: (): number[] => [],
      // Changes what it was given: what was emitted must not change with it.
      add: (all, { n }) => {
        all.push(n);
        return all;
      },
      merge: (left, right) => [...left, ...right],
      result: (all) => [...all].sort((a, b) => a - b),
    });
  results.side("late").to("late", sinks.collect());
  results.to("out", sinks.collect());
};

describe("windows give exactly what a plain model gives", () => {
  test("tumbling and sliding", { timeout: 120_000 }, async () => {
    const shape = fc
      .integer({ min: 1, max: 40 })
      .chain((sizeMs) => fc.tuple(fc.constant(sizeMs), fc.integer({ min: 1, max: sizeMs })));
    await fc.assert(
      fc.asyncProperty(shape, fc.nat(30), parallelism, steps, async ([sizeMs, everyMs], latenessMs, subtasks, all) => {
        const window = sizeMs === everyMs ? windows.tumbling(sizeMs) : windows.sliding(sizeMs, everyMs);
        await compare(await handFed(windowJob(window, latenessMs), subtasks), fixedModel(sizeMs, everyMs, latenessMs), all);
      }),
      { numRuns: 150 },
    );
  });

  test("sessions", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 25 }),
        fc.nat(30),
        parallelism,
        steps,
        async (gapMs, latenessMs, subtasks, all) => {
          await compare(
            await handFed(windowJob(windows.session(gapMs), latenessMs), subtasks),
            sessionModel(gapMs, latenessMs),
            all,
          );
        },
      ),
      { numRuns: 150 },
    );
  });
});

test("an interval join makes each pair of near records once, but of late ones", { timeout: 120_000 }, async () => {
  const bounds = fc.tuple(fc.integer({ min: -12, max: 12 }), fc.nat(12));
  await fc.assert(
    fc.asyncProperty(bounds, parallelism, stepsOf(0, 4), async ([lower, width], subtasks, all) => {
      const upper = lower + width;
      const seen: [Click[], Click[]] = [[], []];
      const out: unknown[] = [];
      const late: unknown[] = [];
      const model: Model = {
        out,
        late,
        record: (input, click, watermark) => {
          if (click.at <= watermark) {
            late.push(click);
            return;
          }
          seen[input].push(click);
          for (const other of seen[input === 0 ? 1 : 0]) {
            const [left, right] = input === 0 ? [click, other] : [other, click];
            const apart = right.at - left.at;
            if (left.key === right.key && apart >= lower && apart <= upper) out.push([left.n, right.n]);
          }
        },
        watermark: () => undefined,
      };
      const build = (job: JobBuilder) => {
        const clicks = (uid: string) =>
          job.from(uid, sources.collection<Click>([]), { eventTime: { time: ({ at }) => at } }).keyBy(({ key }) => key);
        const pairs = clicks("left").intervalJoin("op", clicks("right"), {
          lower,
          upper,
          leftTime: ({ at }) => at,
          rightTime: ({ at }) => at,
          select: (left, right) => [left.n, right.n],
        });
        pairs.side("lateLeft").to("lateLeft", sinks.collect());
        pairs.side("lateRight").to("lateRight", sinks.collect());
        pairs.to("out", sinks.collect());
      };
      await compare(await handFed(build, subtasks), model, all);
    }),
    { numRuns: 150 },
  );
});
