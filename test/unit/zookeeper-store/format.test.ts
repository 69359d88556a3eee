/** Whose path it is, what is refused at the start, and a start without an ensemble. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { checkRoot } from "../../../src/zookeeper-store/layout.js";
import { createCoordinationStore } from "../../../src/zookeeper-store/store.js";
import { createManualClock } from "../../support/manual-clock.js";
import { bytes, put, read, storePath } from "./checks.js";
import { FakeTree } from "./fake-ensemble.js";
import { fakeStore, live, open, ROOT } from "./fake-stores.js";

async function refusal(store: CoordinationStore): Promise<CodedError> {
  const thrown = await open(store).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await store.close();
  if (thrown instanceof CodedError) return thrown;
  throw new Error(`a refusal was expected, got ${String(thrown)}`);
}

const znode = (text: string) => ({ data: bytes(text), version: 0, owner: undefined });

describe("the path of a cluster", () => {
  test("is made whole where nothing is, by one of several that begin at once", async () => {
    const tree = new FakeTree();
    const stores = [fakeStore(tree), fakeStore(tree), fakeStore(tree)];
    const sessions = await Promise.all(stores.map(open));
    await Promise.all(sessions.map((session, index) => put(session, `k/${index}`, "x")));
    for (const session of sessions) for (const index of [0, 1, 2]) expect(await read(session, `k/${index}`)).toBe("x");
    expect(tree.childrenOf(ROOT).length).toBe(2);
    for (const store of stores) await store.close();
  });

  test("with something else in it is refused, and left as it is", async () => {
    const tree = new FakeTree();
    for (const path of ["/holdfast", ROOT, `${ROOT}/precious`]) tree.znodes.set(path, znode("x"));
    const before = [...tree.znodes.keys()];
    const error = await refusal(fakeStore(tree));
    expect(error).toMatchObject({ code: "STORE_UNUSABLE" });
    expect(error.message).toContain("precious");
    expect([...tree.znodes.keys()]).toEqual(before);
  });

  test("of a newer format is refused, and so is one that cannot be read", async () => {
    for (const [text, code] of [
      ['{"format":2,"store":"a"}', "STORE_FORMAT"],
      ['{"format":1}', "STORE_UNUSABLE"],
      ['{"format":1,"store":"../a"}', "STORE_UNUSABLE"],
      ["null", "STORE_UNUSABLE"],
      ["not json", "STORE_UNUSABLE"],
    ] as const) {
      const tree = new FakeTree();
      for (const path of ["/holdfast", ROOT]) tree.znodes.set(path, znode(""));
      tree.znodes.set(`${ROOT}/format`, znode(text));
      expect((await refusal(fakeStore(tree))).code, text).toBe(code);
      expect(tree.childrenOf(ROOT)).toEqual(["format"]);
    }
  });

  test("that is open to everybody is refused to a master with a user", async () => {
    const tree = new FakeTree();
    await (await open(fakeStore(tree))).close();
    const error = await refusal(
      createCoordinationStore({
        root: ROOT,
        isProtected: true,
        address: "zk://fake",
        clock: createNodeClock(),
        random: tree.random,
        connect: () => Object.assign(tree.connect(), { isOpenToAll: async () => true }),
      }),
    );
    expect(error).toMatchObject({ code: "STORE_UNUSABLE" });
    expect(error.message).toContain("without a password");
  });

  test.each(["", "/", "a", "/a//b", "/a/", "/zookeeper/x", "/a/../b", "/a b", `/${"x".repeat(300)}`])(
    "is refused as %j",
    (root) => {
      expect(() => checkRoot(root)).toThrow(CodedError);
    },
  );
});

describe("a store that was there", () => {
  for (const [what, remove] of [
    ["emptied", (tree: FakeTree) => tree.removeBelow("/holdfast")],
    ["lost but for its path", (tree: FakeTree) => tree.removeBelow(storePath(tree))],
  ] as const) {
    test(`and is ${what} under a running process ends its sessions, and is not begun anew`, async () => {
      const store = fakeStore();
      const session = await open(store);
      await put(session, "a", "1");
      remove(store.tree);
      const znodes = store.tree.znodes.size;
      await expect(put(session, "a", "2")).rejects.toBeInstanceOf(CodedError);
      expect((await session.ended).code).toBe("SESSION_ENDED");
      expect(await refusal(store)).toMatchObject({ code: "STORE_UNUSABLE" });
      expect(store.tree.znodes.size).toBe(znodes);
    });
  }

  test("and was replaced by another under a running process is refused by that process", async () => {
    const store = fakeStore();
    const session = await open(store);
    await put(session, "a", "1");
    store.tree.removeBelow("/holdfast");
    const other = fakeStore(store.tree);
    const theirs = await open(other);
    await put(theirs, "a", "other");
    await expect(put(session, "a", "2")).rejects.toBeInstanceOf(CodedError);
    expect((await refusal(store)).message).toContain("another store");
    expect(await read(theirs, "a")).toBe("other");
    await other.close();
  });
});

describe("a start without an ensemble", () => {
  const storeWithout = (options: { readonly firstOpenTimeoutMs?: number }) => {
    const tree = new FakeTree();
    const clock = createManualClock();
    const store = createCoordinationStore({
      root: ROOT,
      isProtected: false,
      address: "zk://fake:2181/holdfast/test",
      clock,
      random: tree.random,
      connect: () => {
        const ensemble = tree.connect();
        ensemble.cut();
        return ensemble;
      },
      ...options,
    });
    return { tree, clock, store };
  };

  test("says what it waits for, and goes on when it is there", async () => {
    const { tree, clock, store } = storeWithout({});
    const reasons: string[] = [];
    const opening = store.openSession({
      ttlMs: 6_000,
      signal: live.signal,
      candidate: "c",
      onWaiting: ({ owner, reason }) => reasons.push(`${owner}: ${reason}`),
    });
    await clock.advance(3_000);
    expect(reasons).toEqual(["undefined: no ZooKeeper server answers at fake:2181"]);
    for (const ensemble of tree.ensembles) ensemble.heal();
    expect(await put(await opening, "a", "1")).toMatchObject({ ok: true });
    await store.close();
  });

  test("ends with NO_STORE after its timeout, when it has one", async () => {
    const { tree, clock, store } = storeWithout({ firstOpenTimeoutMs: 2_000 });
    const failed = open(store).catch((thrown: unknown) => thrown);
    await clock.advance(1_999);
    expect(tree.ensembles.size).toBe(1);
    await clock.advance(1);
    expect(await failed).toMatchObject({ code: "NO_STORE" });
    expect(tree.ensembles.size).toBe(0);
    await store.close();
  });

  test("ends with the signal's reason, and with CLOSED when the store is closed", async () => {
    const { store } = storeWithout({});
    const control = new AbortController();
    const opening = store.openSession({ ttlMs: 6_000, signal: control.signal, candidate: "c" });
    const reason = new Error("enough");
    control.abort(reason);
    await expect(opening).rejects.toBe(reason);
    const second = open(store).catch((thrown: unknown) => thrown);
    await store.close();
    expect(await second).toMatchObject({ code: "CLOSED" });
  });
});

describe("the limit of all records together", () => {
  test("refuses what would go past it, alone, and takes what makes it smaller", async () => {
    const store = fakeStore(new FakeTree(), { maxStoreBytes: 10_000 });
    const session = await open(store);
    const write = (key: string, size: number) =>
      session.commit({ guards: [], writes: [{ put: key, value: new Uint8Array(size) }] }, live).then(
        (result) => result.ok,
        (thrown: CodedError) => thrown.code,
      );
    expect(await write("a", 6_000)).toBe(true);
    expect(await Promise.all([write("b", 6_000), write("c", 1_000), write("a", 9_900), write("a", 100)])).toEqual([
      "LIMIT_EXCEEDED",
      true,
      "LIMIT_EXCEEDED",
      true,
    ]);
    expect(await write("b", 6_000)).toBe(true);
    const again = await open(store);
    expect((await again.list({ prefix: "", limit: 10 }, live)).records.map(({ key, value }) => `${key}:${value.length}`)).toEqual([
      "a:100",
      "b:6000",
      "c:1000",
    ]);
    await store.close();
  });
});
