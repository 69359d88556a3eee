/** Windows are written down while they change: each complete checkpoint restores to the moment of its barrier, from all and from what changed since. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { WindowFunctions } from "../../../../src/api/built.js";
import type { Chain } from "../../../../src/executor/run/chain.js";
import type { ChainNode } from "../../../../src/executor/run/chain-nodes.js";
import type { StateEntry } from "../../../../src/executor/run/keyed-state.js";
import type { OpenSnapshot } from "../../../../src/executor/run/state/open-snapshot.js";
import { FixedWindowUnit } from "../../../../src/executor/run/time/fixed-window-unit.js";
import { SessionWindowUnit } from "../../../../src/executor/run/time/session-window-unit.js";

type WindowsUnit = FixedWindowUnit | SessionWindowUnit;

interface Sums {
  of: number[];
}

/** Changes accumulators in place; whoever gets one changes it, too. */
function unitOf(kind: "sliding" | "session", latenessMs: number): WindowsUnit {
  const chain = {
    stop: false,
    waitFor: () => undefined,
    settle: async () => undefined,
    breathe: async () => undefined,
    emitBatch: async (_outlet: unknown, records: readonly { readonly value: Sums }[]) => {
      for (const { value } of records) value.of.push(-1);
    },
  } as unknown as Chain;
  const node = {
    spec: { uid: "sums", config: { latenessMs } },
    sides: [],
    main: {},
    context: { metrics: { count: () => undefined } },
  } as unknown as ChainNode;
  const functions = {
    kind: "window",
    key: () => null,
    time: (record: { readonly at: number }) => record.at,
    init: (): Sums => ({ of: [] }),
    add: (sums: Sums, record: { readonly at: number }) => {
      sums.of.push(record.at);
      return sums;
    },
    merge: (left: Sums, right: Sums): Sums => ({ of: [...left.of, ...right.of] }),
    result: (sums: Sums) => (latenessMs > 0 ? { of: [...sums.of] } : sums),
  } as unknown as WindowFunctions;
  return kind === "session"
    ? new SessionWindowUnit(chain, node, functions, { kind: "session", gapMs: 5 })
    : new FixedWindowUnit(chain, node, functions, { kind: "sliding", sizeMs: 10, everyMs: 4, offsetMs: 0 });
}

/** All of it as it is, by the unit's own tables. */
function pictureOf(unit: WindowsUnit): string {
  type Slots = { readonly slots: { values(): Iterable<{ readonly id: unknown; readonly value: unknown }> } };
  const held = unit as unknown as { readonly open?: ReadonlyMap<number, { readonly table: Slots }>; readonly table?: Slots };
  const rows: string[] = [];
  for (const [start, { table }] of held.open ?? [])
    for (const { id, value } of table.slots.values()) rows.push(JSON.stringify([id, start, value]));
  for (const { id, value } of held.table?.slots.values() ?? []) {
    const { sessions } = value as { readonly sessions: readonly { start: number; end: number; accumulator: unknown }[] };
    rows.push(JSON.stringify([id, sessions.map(({ start, end, accumulator }) => [start, end, accumulator])]));
  }
  return rows.sort().join("\n");
}

const step = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({ kind: fc.constant("record" as const), key: fc.nat(6), ahead: fc.integer({ min: -4, max: 20 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("watermark" as const), by: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("encode" as const), limit: fc.integer({ min: 1, max: 25 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("barrier" as const), isFull: fc.nat(9).map((n) => n === 9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("give up" as const) }) },
);

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

async function check(kind: "sliding" | "session", latenessMs: number, steps: readonly Step[]) {
  const unit = unitOf(kind, latenessMs);
  unit.track();
  let watermarkMs = 0;
  let complete: readonly string[] | null = null;
  let open: { readonly snapshot: OpenSnapshot; readonly picture: string; readonly blobs: string[] } | null = null;
  const settle = (isComplete: boolean): void => {
    unit.settle(isComplete);
    if (isComplete && open !== null) complete = open.blobs;
    open = null;
  };
  const encode = (limit: number): void => {
    if (open === null) return;
    const entries = open.snapshot.take(limit);
    if (entries.length > 0) {
      open.blobs.push(JSON.stringify(entries));
      return;
    }
    const fresh = unitOf(kind, latenessMs);
    fresh.restore(open.blobs.flatMap((blob) => JSON.parse(blob) as StateEntry[]));
    expect(pictureOf(fresh)).toBe(open.picture);
    settle(true);
  };
  for (const one of steps) {
    if (one.kind === "record") unit.element({ at: watermarkMs + one.ahead }, `key ${one.key}`, `key ${one.key}`);
    else if (one.kind === "watermark") {
      watermarkMs += one.by;
      await unit.onWatermark(watermarkMs);
    } else if (one.kind === "encode") encode(one.limit);
    else if (one.kind === "give up") settle(false);
    else {
      settle(false);
      const isFull: boolean = one.isFull || complete === null || unit.needsFull;
      open = { picture: pictureOf(unit), snapshot: unit.snapshot(isFull, 128), blobs: isFull ? [] : [...(complete ?? [])] };
    }
  }
  for (let i = 0; open !== null && i < 1_000; i++) encode(3);
}

test.each(["sliding", "session"] as const)(
  "%s windows: whatever comes between barriers, steps and checkpoints that are given up",
  { timeout: 60_000 },
  async (kind) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 9),
        fc.array(step, { minLength: 100, maxLength: 250, size: "max" }),
        (latenessMs, steps) => check(kind, latenessMs, steps),
      ),
      { numRuns: 150 },
    );
  },
);
