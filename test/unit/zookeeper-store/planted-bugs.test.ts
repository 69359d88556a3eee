/** Tests of the tests: each bug is planted in what reaches ZooKeeper, and the named check fails for it. */
import { AssertionError } from "node:assert";
import { expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import {
  countIsExact,
  crashInMerge,
  goneOwnerIsNoticed,
  isPublish,
  lostPlaceIsNoticed,
  type Prepare,
  staleMergerIsRefused,
} from "./checks.js";
import type { FakeTree, TamperedOperation } from "./fake-ensemble.js";

const SEEDS = Array.from({ length: 20 }, (_, index) => index + 1);

/** What is carried out instead of each operation. */
const instead =
  (change: (operation: TamperedOperation, tree: FakeTree) => readonly TamperedOperation[]): Prepare =>
  (tree) => {
    tree.tamper = (operations) => operations.flatMap((operation) => change(operation, tree));
  };

const isEntry = (operation: TamperedOperation): boolean => operation.op === "create" && /\/log\/[0-9]+$/.test(operation.path);

const BUGS: readonly { readonly bug: string; readonly plant: Prepare; readonly found: (plant: Prepare) => Promise<unknown> }[] = [
  {
    bug: "the compare-and-set of the head left out, and the log entry overwritten",
    plant: instead((operation) =>
      operation.path.endsWith("/head") && operation.op === "set"
        ? [{ ...operation, version: -1 }]
        : isEntry(operation)
          ? [{ ...operation, replaces: true } as TamperedOperation]
          : [operation],
    ),
    found: async (plant) => {
      for (const seed of SEEDS) await countIsExact(plant, seed);
    },
  },
  {
    bug: "the nonce ignored: any entry at the own place taken for the own one",
    plant: (tree) => {
      tree.random = { fraction: () => 0, bytes: (count) => new Uint8Array(count) };
    },
    found: lostPlaceIsNoticed,
  },
  {
    bug: "the checks of ephemeral records left out",
    plant: instead((operation) => (operation.op === "check" && operation.path.includes("/ephemerals/") ? [] : [operation])),
    found: goneOwnerIsNoticed,
  },
  {
    bug: "the log removed before a manifest covers it",
    plant: instead((operation, tree) => {
      if (operation.op !== "create" || !operation.path.includes("/pages/")) return [operation];
      const log = operation.path.replace(/\/pages\/.*/, "/log");
      return [operation, ...tree.childrenOf(log).map((name) => ({ op: "delete", path: `${log}/${name}`, version: -1 }) as const)];
    }),
    found: async (plant) => {
      for (let step = 0; await crashInMerge(plant, step); step++);
    },
  },
  {
    bug: "the manifest replaced in whatever version, and its pages not checked",
    plant: (tree) => {
      tree.tamper = (operations) => {
        const [first] = operations;
        const publishes = first !== undefined && isPublish({ kind: "multi", sessionId: "", path: first.path, operations });
        return publishes && first.op === "set" ? [{ ...first, version: -1 }] : operations;
      };
    },
    found: staleMergerIsRefused,
  },
  {
    bug: "a write whose answer was lost taken for not applied",
    plant: (tree) => {
      tree.unknownIsLost = true;
    },
    found: async (plant) => {
      for (const seed of SEEDS) await countIsExact(plant, seed);
    },
  },
];

test.each(BUGS)("found: $bug", async ({ plant, found }) => {
  await found(() => {});
  const thrown = await found(plant).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown, "no check failed").toBeDefined();
  expect(thrown instanceof AssertionError || thrown instanceof CodedError || isAssertion(thrown), String(thrown)).toBe(true);
});

const isAssertion = (thrown: unknown): boolean => thrown instanceof Error && thrown.name === "AssertionError";
