import { expect, test } from "vitest";
import { SliceLedger } from "../../../src/executor/core/slice-ledger.js";
import { MAX_OFFERED_SPLITS } from "../../../src/wire/executor-messages.js";

const ORDER = { try: 3, name: "1.3", subtask: 0, parallelism: 1, peers: [{ processId: "app-1-1.d1.e1", dataAddress: "x:1" }] };
const split = (id: string) => ({ id, sizeHint: 1 });

function given(ledger: SliceLedger, count: number, from = 1): void {
  for (let ask = from; ask < from + count; ask++) ledger.given("in", ask, split(`s${ask}`));
}
const ids = (ledger: SliceLedger) => ((ledger.offer(1, false).sources.in?.given ?? []) as { id: string }[]).map(({ id }) => id);

test("every split is offered with how many asks were answered, and an ask that is answered again is noted once", () => {
  const ledger = new SliceLedger(ORDER);
  given(ledger, 2);
  ledger.given("in", 2, split("s2"));
  expect(ledger.offer(1, false)).toMatchObject({
    driver: 1,
    order: ORDER,
    isDone: false,
    sources: { in: { asks: 2, isEnded: false, before: 0, given: [split("s1"), split("s2")] } },
    marks: [],
    confirmed: 0,
  });
  ledger.given("in", 3, null);
  expect(ledger.offer(1, false).sources.in).toMatchObject({ asks: 3, isEnded: true, given: [{ id: "s1" }, { id: "s2" }] });
});

test("what a complete checkpoint has behind it is forgotten, but for the split that it may stand in", () => {
  const ledger = new SliceLedger(ORDER);
  given(ledger, 3);
  ledger.took(5, { in: { taken: 2, reading: [{ nth: 1, position: 7 }] } });
  expect(ids(ledger)).toEqual(["s1", "s2", "s3"]);
  ledger.confirm(5);
  expect(ids(ledger)).toEqual(["s2", "s3"]);
  expect(ledger.offer(1, false)).toMatchObject({ confirmed: 5, sources: { in: { before: 1, asks: 3 } }, marks: [{ id: 5 }] });
});

test("the newest complete checkpoint and the newest that was answered are remembered, others are not", () => {
  const ledger = new SliceLedger(ORDER);
  given(ledger, 4);
  ledger.took(5, { in: { taken: 1, reading: [] } });
  ledger.confirm(5);
  for (const id of [6, 7]) ledger.took(id, { in: { taken: id - 4, reading: [] } });
  expect(ledger.offer(1, false).marks.map(({ id }) => id)).toEqual([5, 7]);
  ledger.confirm(7);
  expect(ledger.offer(1, false).marks.map(({ id }) => id)).toEqual([7]);
});

test("a checkpoint that it has not taken itself may be complete: it knows so, and where it stood at none", () => {
  const ledger = new SliceLedger(ORDER);
  ledger.took(5, {});
  ledger.confirm(6);
  expect(ledger.offer(1, false)).toMatchObject({ confirmed: 6, marks: [{ id: 5 }] });
});

test("of very many splits the newest are remembered, and that some are missing shows", () => {
  const ledger = new SliceLedger(ORDER);
  given(ledger, MAX_OFFERED_SPLITS + 2);
  expect(ledger.offer(1, false).sources.in).toMatchObject({ before: 2, asks: MAX_OFFERED_SPLITS + 2 });
  expect(ids(ledger)).toHaveLength(MAX_OFFERED_SPLITS);
});
