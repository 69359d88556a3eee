/**
 * Tests of the tests: a check that does not fail for the bug it is there for is worth nothing. Each bug is planted in a store or a leader
 * (planted-bugs.ts), and the named checks must fail for it, by an assertion, while they pass for the real thing.
 */
import { AssertionError } from "node:assert";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { runCheck, STORE_CHECKS } from "../../../src/conformance/coordination-store.js";
import type { campaign } from "../../../src/coordination/leadership.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import {
  acknowledgedIsDurable,
  deposedInFlightIsFenced,
  deposedIsFenced,
  type LeadershipCheck,
  oneEpochEach,
  unknownIsSettled,
} from "./leadership-checks.js";
import { openedMemory } from "./opened-stores.js";
import * as bugs from "./planted-bugs.js";

interface Planted {
  readonly bug: string;
  readonly wrap?: (store: CoordinationStore) => CoordinationStore;
  readonly campaign?: typeof campaign;
  /** Parts of names of checks of the conformance suite. */
  readonly storeChecks?: readonly string[];
  readonly leadershipChecks?: readonly LeadershipCheck[];
}

const PLANTED: readonly Planted[] = [
  { bug: "the fence left out", wrap: bugs.withoutFence, leadershipChecks: [deposedIsFenced] },
  {
    bug: "a version of 0 taken as any version",
    wrap: bugs.zeroMeansAny,
    storeChecks: ["version 0 means version 0", "a version holds exactly", "an old epoch cannot write"],
    leadershipChecks: [deposedIsFenced],
  },
  {
    bug: "the fence on a record that is deleted and made again",
    campaign: bugs.fencesOnLeaderRecord,
    leadershipChecks: [deposedIsFenced],
  },
  {
    bug: "acknowledge before commit, in the store",
    wrap: bugs.acknowledgesFirst,
    storeChecks: [
      "every session reads what was committed",
      "commits of one session apply in the order",
      "records, versions and the revision are kept",
    ],
    leadershipChecks: [acknowledgedIsDurable],
  },
  {
    bug: "acknowledge before commit, in leadership",
    campaign: bugs.acknowledgesBeforeCommit,
    leadershipChecks: [acknowledgedIsDurable],
  },
  { bug: "a deposed leader that goes on", wrap: bugs.goesOnWhenDeposed, leadershipChecks: [deposedIsFenced] },
  { bug: "the epoch taken without compare-and-set", wrap: bugs.epochWithoutCompare, leadershipChecks: [oneEpochEach] },
  { bug: "an unknown outcome taken for a failure", wrap: bugs.repeatsUnknown, leadershipChecks: [unknownIsSettled] },
  { bug: "an unknown outcome taken for a success", wrap: bugs.trustsUnknown, leadershipChecks: [unknownIsSettled] },
  {
    bug: "a commit that is not atomic",
    wrap: bugs.appliesOneByOne,
    storeChecks: ["a commit applies all its writes or none"],
  },
];

async function expectToFail(what: string, run: () => Promise<void>): Promise<void> {
  const thrown = await run().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (thrown === undefined) throw new Error(`the check "${what}" passes although the bug is there`);
  // It failed by looking at the outcome, not by tripping over itself.
  const byAssertion =
    thrown instanceof AssertionError ||
    (thrown instanceof Error && /assert|rejection with a CodedError was expected/i.test(`${thrown.name} ${thrown.message}`));
  expect(byAssertion || thrown instanceof CodedError, `"${what}" failed by: ${String(thrown)}`).toBe(true);
}

describe("planted bugs", () => {
  for (const planted of PLANTED) {
    test(`${planted.bug} is found`, async () => {
      const { wrap = (store) => store, campaign } = planted;
      for (const name of planted.storeChecks ?? []) {
        const check = STORE_CHECKS.find((candidate) => candidate.name.startsWith(name));
        if (check === undefined) throw new Error(`there is no check named "${name}..."`);
        await runCheck(check, async () => openedMemory((memory) => memory));
        await expectToFail(check.name, () => runCheck(check, async () => openedMemory(wrap)));
      }
      for (const check of planted.leadershipChecks ?? []) {
        await check.run({});
        await expectToFail(check.name, () => check.run({ wrap, ...(campaign === undefined ? {} : { campaign }) }));
      }
    });
  }

  test("a commit in flight at the take-over that is not fenced is found", async () => {
    await expectToFail(deposedInFlightIsFenced.name, () => deposedInFlightIsFenced.run({ wrap: bugs.withoutFence }));
  });
});
