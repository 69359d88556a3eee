/** What must hold of the store on ZooKeeper beyond the conformance suite, as functions: tests run them, and see them fail for planted bugs. */
import { expect } from "vitest";
import type { CommitResult, CoordinationSession, CoordinationStore } from "../../../src/env/coordination-store.js";
import { decodeManifest } from "../../../src/zookeeper-store/codec.js";
import type { Call, FakeTree } from "./fake-ensemble.js";
import { type FakeStore, FEW, fakeStore, live, open, ROOT } from "./fake-stores.js";

export type Prepare = (tree: FakeTree) => void;

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

export function put(session: CoordinationSession, key: string, value: string, ephemeral = false): Promise<CommitResult> {
  return session.commit({ guards: [], writes: [{ put: key, value: bytes(value), ephemeral }] }, live);
}

export async function read(session: CoordinationSession, key: string): Promise<string | undefined> {
  return text((await session.get(key, live))?.value);
}

export async function contentOf(session: CoordinationSession): Promise<Map<string, string>> {
  const content = new Map<string, string>();
  let after: string | undefined;
  do {
    const page = await session.list({ prefix: "", limit: 1_000, ...(after === undefined ? {} : { after }) }, live);
    for (const record of page.records) content.set(record.key, `${record.version}:${text(record.value)}`);
    after = page.next;
  } while (after !== undefined);
  return content;
}

export const storePath = (tree: FakeTree): string => {
  const id = tree.childrenOf(ROOT).find((name) => name !== "format");
  return `${ROOT}/${id}`;
};

export function manifestOf(tree: FakeTree) {
  const path = `${storePath(tree)}/manifest`;
  const znode = tree.znodes.get(path);
  if (znode === undefined) throw new Error("no manifest");
  return decodeManifest(znode.data, path);
}

export const isCommit = (call: Call): boolean =>
  call.kind === "multi" && call.operations.some(({ op, path }) => op === "create" && path.includes("/log/"));
export const isPublish = (call: Call): boolean =>
  call.kind === "multi" && call.path.endsWith("/manifest") && call.operations[0]?.op === "set";

/** A commit whose answer was lost before it was carried out, and whose place in the log another session took: it is not taken for applied. */
export async function lostPlaceIsNoticed(prepare: Prepare): Promise<void> {
  const store = fakeStore();
  prepare(store.tree);
  try {
    const [one, other] = [await open(store), await open(store)];
    await put(one, "a", "0");
    let lost = false;
    store.tree.fate = (call) => {
      if (lost || !isCommit(call) || call.sessionId !== one.id) return undefined;
      lost = true;
      return "lost-before";
    };
    // The other's commit is in before the first one looks.
    store.tree.before = async (call) => {
      if (!lost || call.sessionId !== one.id) return;
      store.tree.before = () => {};
      await put(other, "a", "other");
    };
    const guards = [{ key: "a", version: 0 }];
    const result = await one.commit({ guards, writes: [{ put: "a", value: bytes("one") }] }, live);
    expect(lost).toBe(true);
    expect(result.ok).toBe(false);
    expect(await read(other, "a")).toBe("other");
  } finally {
    await store.close();
  }
}

/** A guard on an ephemeral record whose session has ended without a word of it does not hold. */
export async function goneOwnerIsNoticed(prepare: Prepare): Promise<void> {
  const store = fakeStore();
  prepare(store.tree);
  try {
    const [one, other] = [await open(store), await open(store)];
    await put(one, "seat", "one", true);
    expect(await read(other, "seat")).toBe("one");
    for (const [path, { owner }] of [...store.tree.znodes]) if (owner === one.id) store.tree.znodes.delete(path);
    const guards = [{ key: "seat", version: 0 }];
    expect(await other.commit({ guards, writes: [{ put: "a", value: bytes("x") }] }, live)).toMatchObject({ ok: false });
    expect(Object.fromEntries(await sameForAll(store, [other]))).toEqual({});
  } finally {
    await store.close();
  }
}

/** Counting from several sessions, with every kind of lost answer: what was acknowledged was applied, once, and nothing else. */
export async function countIsExact(prepare: Prepare, seed: number): Promise<void> {
  const random = seeded(seed);
  const store = fakeStore();
  const { tree } = store;
  prepare(tree);
  try {
    const sessions = [await open(store), await open(store), await open(store)];
    const first = sessions[0] as CoordinationSession;
    await put(first, "count", "0");
    tree.fate = (call) => {
      if (tree.calls.length % 7 === 0) tree.releaseLate();
      if (random() > (call.kind === "multi" ? 0.25 : 0.03)) return undefined;
      return call.kind === "multi" ? (["lost-before", "lost-after", "late"] as const)[Math.floor(random() * 3)] : "lost-before";
    };
    let acknowledged = 0;
    const count = async (session: CoordinationSession) => {
      for (let tries = 0; tries < 12; tries++) {
        const record = await session.get("count", live);
        const version = record?.version ?? -1;
        const value = bytes(String(Number(text(record?.value)) + 1));
        const writes = [
          { put: "count", value },
          { put: `by/${session.id}/${tries}`, value, ephemeral: random() < 0.5 },
        ];
        if ((await session.commit({ guards: [{ key: "count", version }], writes }, live)).ok) acknowledged++;
      }
    };
    await Promise.all(sessions.map(count));
    tree.fate = () => undefined;
    tree.releaseLate();
    expect(await read(first, "count"), `seed ${seed}`).toBe(String(acknowledged));
    expect([...(await contentOf(first)).keys()].filter((key) => key.startsWith("by/")).length, `seed ${seed}`).toBe(acknowledged);
    await sameForAll(store, sessions);
  } finally {
    await store.close();
  }
}

/** Every session, and one that begins now, see the same. */
export async function sameForAll(store: CoordinationStore, sessions: readonly CoordinationSession[]): Promise<Map<string, string>> {
  const fresh = await open(store);
  const content = await contentOf(fresh);
  await fresh.close();
  for (const session of sessions) expect(await contentOf(session)).toEqual(content);
  return content;
}

/** Enough commits for `merges` merges, with changes and deletions; the model is what must be there. */
export async function fill(session: CoordinationSession, model: Map<string, string>, commits: number, from = 0): Promise<void> {
  for (let index = from; index < from + commits; index++) {
    const key = `k/${index % 90}`;
    if (index % 7 === 3) {
      await session.commit({ guards: [], writes: [{ delete: key }] }, live);
      model.delete(key);
      continue;
    }
    const version = model.has(key) ? Number(model.get(key)?.split(":")[0]) + 1 : 0;
    await put(session, key, String(index));
    model.set(key, `${version}:${index}`);
  }
}

/** Waits for the merges that are under way. */
export async function mergesEnded(store: FakeStore): Promise<void> {
  for (let quiet = 0; quiet < 20; quiet++) {
    const before = store.tree.calls.length;
    await new Promise((resolve) => setImmediate(resolve));
    if (store.tree.calls.length !== before) quiet = 0;
  }
}

export function seeded(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 3_266_489_917) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

/**
 * The process that merges dies at its call number `step`. Nothing is lost, and after later merges nothing of it is left. False: its merge
 * has fewer steps.
 */
export async function crashInMerge(prepare: Prepare, step: number): Promise<boolean> {
  const store = fakeStore();
  const { tree } = store;
  prepare(tree);
  try {
    const [merging, other] = [await open(store), await open(store)];
    const model = new Map<string, string>();
    // One merge goes through, so that the next one has something to remove.
    await fill(merging, model, FEW + 10);
    await mergesEnded(store);
    let calls = -1;
    let crashed = false;
    tree.before = (call) => {
      if (call.sessionId !== merging.id || crashed) return;
      if (call.path.endsWith("/compactor") && call.operations[0]?.op === "create") calls = 0;
      else if (calls >= 0 && isOfMerge(call)) calls++;
      if (calls !== step) return;
      crashed = true;
      store.ensembles[0]?.expire();
    };
    const written = fill(merging, model, FEW + 20, 1_000).catch(() => "crashed");
    await written;
    await mergesEnded(store);
    if (!crashed) return false;
    await merging.ended;
    const left = await sameForAll(store, [other]);
    // The commit that was under way may be there or not; everything acknowledged is.
    const differs = new Set([...left.keys(), ...model.keys()].filter((key) => left.get(key) !== model.get(key)));
    expect(differs.size, `step ${step}: ${[...differs]}`).toBeLessThanOrEqual(1);
    for (const key of differs) {
      const value = left.get(key);
      if (value === undefined) model.delete(key);
      else model.set(key, value);
    }
    await fill(other, model, 3 * FEW, 2_000);
    await mergesEnded(store);
    expect(await sameForAll(store, [other])).toEqual(model);
    expectOnlyUsedPages(tree);
    return true;
  } finally {
    await store.close();
  }
}

const isOfMerge = (call: Call): boolean =>
  !isCommit(call) &&
  /\/(compactor|manifest|pages|log)(\/|$)/.test(call.path) &&
  !(call.kind === "get" && call.path.includes("/log/"));

/** The pages of the manifest and of the one before: no more than two runs' worth beside it. */
function expectOnlyUsedPages(tree: FakeTree): void {
  const named = new Set(manifestOf(tree).runs.flatMap((run) => run.pages.map((page) => page.name)));
  const pages = tree.childrenOf(`${storePath(tree)}/pages`);
  for (const name of named) expect(pages).toContain(name);
  expect(pages.length).toBeLessThanOrEqual(named.size + 3);
  expect(tree.znodes.has(`${storePath(tree)}/compactor`)).toBe(false);
}

/** A merge that stands still before it publishes, while its lock is taken away and others merge on. */
export async function staleMergerIsRefused(prepare: Prepare): Promise<void> {
  const store = fakeStore();
  const { tree } = store;
  prepare(tree);
  try {
    const [slow, other] = [await open(store), await open(store)];
    const model = new Map<string, string>();
    let goOn: () => void = () => {};
    let standsStill: () => void = () => {};
    const still = new Promise<void>((resolve) => {
      standsStill = resolve;
    });
    let held = false;
    tree.before = async (call) => {
      if (held || call.sessionId !== slow.id || !isPublish(call)) return;
      held = true;
      standsStill();
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
    };
    await fill(slow, model, FEW);
    await still;
    // What nobody may do: the lock of a living session is removed.
    tree.znodes.delete(`${storePath(tree)}/compactor`);
    await fill(other, model, 4 * FEW, 1_000);
    await mergesEnded(store);
    const before = manifestOf(tree);
    goOn();
    await mergesEnded(store);
    expect(manifestOf(tree).to).toBeGreaterThanOrEqual(before.to);
    expect(await sameForAll(store, [slow, other])).toEqual(model);
  } finally {
    await store.close();
  }
}

export async function unusedIsRemoved(prepare: Prepare): Promise<void> {
  const store = fakeStore();
  const { tree } = store;
  prepare(tree);
  try {
    const writer = await open(store);
    const model = new Map<string, string>();
    await fill(writer, model, FEW);
    await mergesEnded(store);
    for (const name of ["left-0", "left-1"])
      tree.znodes.set(`${storePath(tree)}/pages/${name}`, { data: new Uint8Array(3), version: 0, owner: undefined });
    await fill(writer, model, 3 * FEW, 1_000);
    await mergesEnded(store);
    expect(tree.childrenOf(`${storePath(tree)}/pages`).filter((name) => name.startsWith("left"))).toEqual([]);
    expect(await sameForAll(store, [writer])).toEqual(model);
  } finally {
    await store.close();
  }
}
