/** Applications of every kind come and go, and nothing is left but the bounded history; `npm run chaos -- --clean` plays any number of them. */
import { expect, test } from "vitest";
import { playClean } from "../../chaos/clean/clean.js";

const APPLICATIONS = 30;

test(`after ${APPLICATIONS} applications with kills, records in a directory, store and directories are as before`, {
  timeout: 300_000,
}, async () => {
  const { problems, kills } = await playClean({ applications: APPLICATIONS, seed: 1, store: "directory", say: () => {} });
  expect(problems).toEqual([]);
  expect(kills).toBeGreaterThan(0);
});
