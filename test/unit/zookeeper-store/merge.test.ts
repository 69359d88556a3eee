/** Merging the log into pages: what is read afterwards, what is left behind, and a crash at every step of it. */
import { describe, expect, test } from "vitest";
import { codeOf } from "../../../src/conformance/coordination-store-tools.js";
import type { Manifest, Run } from "../../../src/zookeeper-store/codec.js";
import { isDue, isOverdue, pagesOf, runBytes, runsToKeep } from "../../../src/zookeeper-store/merge-plan.js";
import {
  bytes,
  crashInMerge,
  fill,
  isPublish,
  manifestOf,
  mergesEnded,
  put,
  sameForAll,
  staleMergerIsRefused,
  storePath,
  unusedIsRemoved,
} from "./checks.js";
import { FEW, fakeStore, live, open } from "./fake-stores.js";

const run = (from: number, to: number, sizeBytes: number): Run => ({ from, to, pages: [{ name: `p${to}`, sizeBytes }] });

describe("what is merged", () => {
  test("is due by entries or by bytes, and overdue at the log's limit", () => {
    expect(isDue({ entries: 255, bytes: 1_000 })).toBe(false);
    expect(isDue({ entries: 256, bytes: 1_000 })).toBe(true);
    expect(isDue({ entries: 2, bytes: 1_000_000 })).toBe(true);
    expect(isOverdue({ entries: 256, bytes: 1_000_000 })).toBe(false);
    expect(isOverdue({ entries: 8_192, bytes: 0 })).toBe(true);
    expect(isOverdue({ entries: 2, bytes: 64_000_000 })).toBe(true);
  });

  test("takes along what is not much larger, and leaves the rest as it is", () => {
    const runs = [run(0, 100, 1_000_000), run(100, 200, 50_000), run(200, 300, 20_000)];
    const manifest: Manifest = { to: 300, revision: 300, runs };
    expect(runsToKeep(manifest, 5_000).length).toBe(3);
    expect(runsToKeep(manifest, 15_000).length).toBe(1);
    expect(runsToKeep(manifest, 600_000).length).toBe(0);
  });

  test("writes each byte a logarithmic number of times", () => {
    let manifest: Manifest = { to: 0, revision: 0, runs: [] };
    let written = 0;
    const merges = 2_000;
    for (let merge = 1; merge <= merges; merge++) {
      const kept = runsToKeep(manifest, 1_000);
      const merged = manifest.runs.slice(kept.length).reduce((sum, each) => sum + runBytes(each), 1_000);
      written += merged;
      manifest = { to: merge, revision: merge, runs: [...kept, run(kept.at(-1)?.to ?? 0, merge, merged)] };
      expect(manifest.runs.length).toBeLessThanOrEqual(13);
    }
    expect(written / (merges * 1_000)).toBeLessThan(Math.log2(merges) + 2);
  });

  test("makes pages of bounded size, a larger record one of its own", () => {
    const state = (key: string, size: number) => ({ key, record: { key, version: 0, value: new Uint8Array(size) } });
    const pages = [...pagesOf([state("a", 400), state("b", 400), state("c", 5_000), state("d", 100)], 1_000)];
    expect(pages.map((page) => page.map(({ key }) => key))).toEqual([["a", "b"], ["c"], ["d"]]);
  });
});

describe("a store whose log was merged", () => {
  test("reads the same as before, in every session and in a new one, over many merges", async () => {
    const store = fakeStore();
    const [writer, standby] = [await open(store), await open(store)];
    const model = new Map<string, string>();
    for (let part = 0; part < 8; part++) {
      await fill(writer, model, 150, part * 150);
      expect(await sameForAll(store, [writer, standby])).toEqual(model);
    }
    await mergesEnded(store);
    const manifest = manifestOf(store.tree);
    expect(manifest.to).toBeGreaterThan(1_100);
    await store.close();
  });

  test("keeps no more than a bounded log and the pages of two manifests", async () => {
    const store = fakeStore();
    const writer = await open(store);
    await fill(writer, new Map(), 12 * FEW);
    await mergesEnded(store);
    const path = storePath(store.tree);
    expect(store.tree.childrenOf(`${path}/log`).length).toBeLessThanOrEqual(3 * FEW);
    expect(store.tree.childrenOf(`${path}/pages`).length).toBeLessThanOrEqual(20);
    expect(store.tree.childrenOf(path).sort()).toEqual(["ephemerals", "head", "log", "manifest", "pages"]);
    await store.close();
  });

  test("forgets what was deleted, and ephemeral records that have ended", async () => {
    const store = fakeStore();
    const writer = await open(store);
    const ending = await open(store);
    await put(ending, "e", "x", true);
    for (let index = 0; index < 2 * FEW; index++) await put(writer, `k/${index}`, "x");
    for (let index = 0; index < 2 * FEW; index++) await writer.commit({ guards: [], writes: [{ delete: `k/${index}` }] }, live);
    await ending.close();
    for (let index = 0; index < 3 * FEW; index++) await put(writer, "only", String(index));
    await mergesEnded(store);
    expect([...(await sameForAll(store, [writer])).keys()]).toEqual(["only"]);
    const pages = manifestOf(store.tree).runs.flatMap((each) => each.pages);
    expect(pages.reduce((sum, page) => sum + page.sizeBytes, 0)).toBeLessThan(6_000);
    await store.close();
  });

  test("is read by a session whose place in the log was merged away", async () => {
    const store = fakeStore();
    const [behind, writer] = [await open(store), await open(store)];
    store.ensembles[0]?.cut();
    const model = new Map<string, string>();
    await fill(writer, model, 5 * FEW);
    await mergesEnded(store);
    const events: string[] = [];
    behind.watch("k/", (event) => events.push(event.kind));
    store.ensembles[0]?.heal();
    expect(await sameForAll(store, [behind])).toEqual(model);
    expect(events).toContain("lost");
    await put(behind, "k/new", "x");
    expect(await sameForAll(store, [writer])).toEqual(model.set("k/new", "0:x"));
    await store.close();
  });

  test("is refused, never read in part, when a page or a log entry is missing or damaged", async () => {
    const store = fakeStore();
    await fill(await open(store), new Map(), 2 * FEW);
    await mergesEnded(store);
    await store.close();
    const path = storePath(store.tree);
    const page = `${path}/pages/${store.tree.childrenOf(`${path}/pages`)[0]}`;
    const entry = `${path}/log/${store.tree.childrenOf(`${path}/log`).at(-1)}`;
    for (const victim of [page, entry]) {
      const znode = store.tree.znodes.get(victim);
      if (znode === undefined) throw new Error(`${victim} is not there`);
      for (const data of [undefined, znode.data.slice(0, -3), znode.data.map((byte, at) => (at === 12 ? byte ^ 1 : byte))]) {
        if (data === undefined) store.tree.znodes.delete(victim);
        else store.tree.znodes.set(victim, { ...znode, data });
        const fresh = fakeStore(store.tree);
        expect(await codeOf(open(fresh)), victim).toBe("STORE_UNUSABLE");
        await fresh.close();
        store.tree.znodes.set(victim, znode);
      }
    }
    const newer = store.tree.znodes.get(entry)?.data.slice() ?? bytes("");
    newer[3] = 99;
    store.tree.znodes.set(entry, { data: newer, version: 0, owner: undefined });
    const fresh = fakeStore(store.tree);
    expect(await codeOf(open(fresh))).toBe("STORE_FORMAT");
    await fresh.close();
  });
});

describe("a merge that is interrupted", () => {
  test("loses nothing wherever it is, and what it left goes with a later one", async () => {
    let steps = 0;
    for (let step = 0; ; step++) {
      if (!(await crashInMerge(() => {}, step))) break;
      steps++;
    }
    // Lock, read, a page at least, publish, list, remove, unlock.
    expect(steps).toBeGreaterThanOrEqual(7);
  });

  test("cannot publish pages that another one has removed, nor over a newer manifest", () => staleMergerIsRefused(() => {}));

  test("leaves pages that the next one removes, and nothing that is in use", () => unusedIsRemoved(() => {}));

  test("is done once when its publication's answer is lost", async () => {
    for (const fate of ["lost-before", "lost-after", "late"] as const) {
      const store = fakeStore();
      let lost = 0;
      store.tree.fate = (call) => (isPublish(call) && lost++ === 0 ? fate : undefined);
      const writer = await open(store);
      const model = new Map<string, string>();
      await fill(writer, model, 3 * FEW);
      store.tree.releaseLate();
      await mergesEnded(store);
      expect(lost).toBeGreaterThan(1);
      expect(await sameForAll(store, [writer])).toEqual(model);
      await store.close();
    }
  });

  test("stops commits at the log's limit only until it is done", async () => {
    const store = fakeStore();
    let held = true;
    store.tree.fate = (call) => (held && isPublish(call) ? "lost-before" : undefined);
    const writer = await open(store);
    const value = new Uint8Array(900_000);
    const big = (index: number) => writer.commit({ guards: [], writes: [{ put: `big/${index % 3}`, value }] }, live);
    let refused = false;
    for (let index = 0; index < 100 && !refused; index++) refused = (await codeOrOk(big(index))) === "LIMIT_EXCEEDED";
    expect(refused).toBe(true);
    held = false;
    expect(await codeOrOk(big(0))).toBe("ok");
    await store.close();
  });
});

const codeOrOk = async (commit: Promise<unknown>): Promise<string> =>
  commit.then(
    () => "ok",
    (thrown: { readonly code?: string }) => thrown.code ?? String(thrown),
  );
