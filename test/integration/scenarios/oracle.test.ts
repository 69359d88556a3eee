/** Twenty kills on jobs whose answer is known; `npm run chaos -- --oracle` plays any number of them. */
import { rmSync } from "node:fs";
import { expect, test } from "vitest";
import { playOracle } from "../../chaos/oracle/oracle.js";

const SEED = Number(process.env.HOLDFAST_ORACLE_SEED ?? 1);
const KILLS = 20;

test(`oracle with seed ${SEED}: after ${KILLS} kills every record is there once, with the counts and checksums of an undisturbed run`, {
  timeout: 600_000,
}, async () => {
  const told: string[] = [];
  const { kills, violations, evidence } = await playOracle({
    kills: KILLS,
    seed: SEED,
    store: "directory",
    say: (text) => void told.push(text),
  });
  if (violations.length > 0) console.log(told.join("\n"));
  if (evidence !== null) rmSync(evidence, { recursive: true, force: true });
  expect(violations).toEqual([]);
  expect(Object.values(kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(KILLS);
});
