import { expect, test } from "vitest";
import { createEpochGuard } from "../../../src/host/turns/epoch-guard.js";

test("orders of a lower epoch than the highest seen are refused, before and after a restart", () => {
  const guard = createEpochGuard();
  expect([0, 3, 3, 2, 0, 5, 4].map((epoch) => guard.admit(epoch))).toEqual([true, true, true, false, false, true, false]);
  expect(guard.highest()).toBe(5);
  expect(createEpochGuard(5).admit(4)).toBe(false);
});
