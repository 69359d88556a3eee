/** Bundles at the leader: what a submission was told to be there stays, and what no record needs goes, whoever thinks that it leads. */
import { expect, test } from "vitest";
import { BUNDLE_IDLE_MS, createMasterArtifacts, type MasterArtifacts } from "../../../src/host/master/master-artifacts.js";
import { createNodeDigest } from "../../../src/node/env.js";
import type { BundleName } from "../../../src/wire/bundles.js";
import { createManualClock, quietLog, settle } from "../../support/manual-clock.js";
import { memoryBundles } from "../../support/memory-bundles.js";

const digest = createNodeDigest();
const BYTES = new TextEncoder().encode("export default 1;");
const SHA256 = digest.sha256Hex(BYTES);
const PART = { sha256: SHA256, offset: 0, totalBytes: BYTES.length, base64: Buffer.from(BYTES).toString("base64") };

function stage(bundles = memoryBundles(digest)) {
  const clock = createManualClock();
  const idle: BundleName[] = [];
  const artifacts = createMasterArtifacts({ bundles, digest, clock, log: quietLog });
  const lead = (epoch: number, at: MasterArtifacts = artifacts) =>
    at.lead({ folder: `c.${epoch}`, clusterId: "c", epoch, onIdle: (bundle) => void idle.push(bundle) });
  lead(7);
  const kept = () => [...bundles.kept.keys()];
  return { bundles, clock, idle, artifacts, lead, kept };
}

test("a bundle that a submission expects is not removed before the core has looked at that, and is asked about again later", async () => {
  const { artifacts, kept, clock, idle } = stage();
  await artifacts.put(PART);
  expect(await artifacts.expect(SHA256)).toBe(true);
  artifacts.remove({ folder: "c.7", sha256: SHA256 });
  await settle();
  expect(kept()).toEqual([`c.7/${SHA256}`]);
  artifacts.taken(SHA256);
  await clock.advance(BUNDLE_IDLE_MS + 1);
  expect(idle).toEqual([{ folder: "c.7", sha256: SHA256 }]);
  artifacts.remove({ folder: "c.7", sha256: SHA256 });
  await settle();
  expect(kept()).toEqual([]);
});

test("a submission that comes while its bundle is removed hears that it is gone, and an upload after that keeps it", async () => {
  const { artifacts, bundles, kept } = stage();
  await artifacts.put(PART);
  let goOn: () => void = () => {};
  bundles.beforeRemoval = () =>
    new Promise((resolve) => {
      goOn = resolve;
    });
  artifacts.remove({ folder: "c.7", sha256: SHA256 });
  const expected = artifacts.expect(SHA256);
  const uploaded = artifacts.put(PART);
  await settle();
  goOn();
  expect(await expected).toBe(false);
  expect(await uploaded).toMatchObject({ complete: true });
  expect(await artifacts.expect(SHA256)).toBe(true);
  expect(kept()).toEqual([`c.7/${SHA256}`]);
});

test("what lies in the folder of an earlier leader is copied for a submission, so that this leader's late removal takes nothing away", async () => {
  const bundles = memoryBundles(digest);
  const old = stage(bundles);
  await old.artifacts.put(PART);
  let goOn: () => void = () => {};
  bundles.beforeRemoval = () =>
    new Promise((resolve) => {
      goOn = resolve;
    });
  // Deposed without knowing it, in the middle of a removal.
  old.artifacts.remove({ folder: "c.7", sha256: SHA256 });
  const next = stage(bundles);
  next.lead(8);
  expect(await next.artifacts.put(PART)).toEqual({ complete: true, nextOffset: BYTES.length });
  expect(await next.artifacts.expect(SHA256)).toBe(true);
  goOn();
  await settle();
  expect(next.kept()).toEqual([`c.8/${SHA256}`]);
});

test("of the folders of earlier leaders of this cluster what no record needs is removed, and of no others", async () => {
  const { artifacts, bundles, kept } = stage();
  const needed = await bundles.put("c.5", BYTES);
  const other = await bundles.put("c.5", Uint8Array.of(1));
  for (const folder of ["c.7", "c.8", "d.5", "strange"]) await bundles.put(folder, BYTES);
  artifacts.sweep([{ folder: "c.5", sha256: needed }]);
  await settle();
  expect(kept().sort()).toEqual(["c.5", "c.7", "c.8", "d.5", "strange"].map((folder) => `${folder}/${SHA256}`));
  expect(kept()).not.toContain(`c.5/${other}`);
});

test("workers of earlier releases, which know no folder, find a bundle wherever it lies", async () => {
  const { artifacts, bundles } = stage();
  await bundles.put("c.5", BYTES);
  expect(await artifacts.get({ sha256: SHA256, offset: 0 })).toMatchObject({ totalBytes: BYTES.length });
  await expect(artifacts.get({ sha256: digest.sha256Hex(Uint8Array.of(1)), offset: 0 })).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
});
