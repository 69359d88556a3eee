import { expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { Inbox, MAX_WAITING_BYTES_PER_LINK, MAX_WAITING_MESSAGES_PER_LINK } from "../../../src/host/turns/inbox.js";
import { runTurns } from "../../../src/host/turns/turns.js";
import { createManualClock, settle } from "../../support/manual-clock.js";

const from = (linkId: number, sizeBytes = 1) => ({ linkId, sizeBytes });

test("what waits of one link is bounded in number and bytes; others and the process itself go on", () => {
  const inbox = new Inbox<number>();
  for (let index = 0; index < MAX_WAITING_MESSAGES_PER_LINK; index += 1) expect(inbox.push(index, from(1))).toBe(true);
  expect(inbox.push(0, from(1))).toBe(false);
  expect(inbox.push(0, from(2, MAX_WAITING_BYTES_PER_LINK))).toBe(true);
  expect(inbox.push(0, from(2))).toBe(false);
  expect(inbox.push(0, from(3))).toBe(true);
  expect(inbox.push(0, null)).toBe(true);
  inbox.drop(1);
  expect(inbox.push(1, from(1))).toBe(true);
  expect(inbox.push(2, from(1))).toBe(false);
  inbox.drop(inbox.length);
  expect(inbox.push(0, from(2, MAX_WAITING_BYTES_PER_LINK))).toBe(true);
});

test("turns take events in order again after a flood, none but the refused ones missing", async () => {
  const seen: number[] = [];
  let commit: () => void = () => {};
  const turns = runTurns<number, never>({
    core: {
      step: (event, _now, turn) => {
        seen.push(event);
        if (event === 0) turn.writes.push({ key: "k", value: new Uint8Array(0) });
      },
      nextWakeAt: () => null,
    },
    clock: createManualClock(),
    commit: () =>
      new Promise((resolve) => {
        commit = resolve;
      }),
    act: () => {},
    wakeUp: -1,
  });
  turns.post(0, from(1));
  await settle();
  let taken = 0;
  while (turns.post(taken + 1, from(1))) taken += 1;
  expect(taken).toBe(MAX_WAITING_MESSAGES_PER_LINK);
  expect(turns.post(-2, from(2))).toBe(true);
  commit();
  await settle();
  expect(seen).toHaveLength(taken + 2);
  expect(seen.slice(0, taken + 1)).toEqual(Array.from({ length: taken + 1 }, (_, index) => index));
  expect(turns.post(9, from(1))).toBe(true);
  await turns.close();
  expect(turns.post(10, from(1))).toBe(true);
  await expect(turns.ended).resolves.toBeNull();
});

test("a failed commit ends the turns with its reason", async () => {
  const turns = runTurns<number, never>({
    core: { step: (_event, _now, turn) => void turn.writes.push({ key: "k", value: null }), nextWakeAt: () => null },
    clock: createManualClock(),
    commit: () => Promise.reject(new CodedError("FENCED", "another leads")),
    act: () => {},
    wakeUp: -1,
  });
  turns.post(1, from(1));
  expect((await turns.ended)?.code).toBe("FENCED");
});
