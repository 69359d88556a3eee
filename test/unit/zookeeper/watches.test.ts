import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { setWatchesRequest } from "../../../src/zookeeper/requests.js";
import { splitWatchPaths, WatchRegistry } from "../../../src/zookeeper/watches.js";

const registry = () => {
  const watches = new WatchRegistry();
  const events: string[] = [];
  const hear = (name: string) => (type: string, path: string) => void events.push(`${name}: ${type} ${path}`);
  const notify = (type: "created" | "deleted" | "changed" | "children", path: string) => {
    events.length = 0;
    for (const heard of watches.heardBy({ type, path })) heard(type, path);
    return [...events];
  };
  return { watches, hear, notify };
};

describe("one-shot watches", () => {
  test("hear once, and of what they asked for", () => {
    const { watches, hear, notify } = registry();
    watches.addOneShot("data", "/a", hear("data"));
    watches.addOneShot("children", "/a", hear("children"));
    watches.addOneShot("exists", "/b", hear("exists"));
    expect(notify("changed", "/other")).toEqual([]);
    expect(notify("changed", "/a")).toEqual(["data: changed /a"]);
    expect(notify("changed", "/a")).toEqual([]);
    expect(notify("deleted", "/a")).toEqual(["children: deleted /a"]);
    expect(notify("created", "/b")).toEqual(["exists: created /b"]);
    expect(watches.size()).toBe(0);
  });
});

describe("persistent watches", () => {
  test("hear again and again; a recursive one also of all below, and never of lists of children", () => {
    const { watches, hear, notify } = registry();
    watches.addPersistent("/a", "persistent", hear("p"));
    watches.addPersistent("/a/b", "persistent-recursive", hear("r"));
    expect(notify("children", "/a")).toEqual(["p: children /a"]);
    expect(notify("children", "/a/b")).toEqual([]);
    expect(notify("created", "/a/b/c/d")).toEqual(["r: created /a/b/c/d"]);
    expect(notify("created", "/a/bc")).toEqual([]);
    expect(notify("changed", "/a")).toEqual(["p: changed /a"]);
  });

  test("keep a one-shot watch on the same path from the server, which would forget the persistent one for it", () => {
    const { watches, hear } = registry();
    expect(watches.ask("data", "/a")).toBe(true);
    watches.settled("/a");
    watches.addPersistent("/a", "persistent", hear("p"));
    watches.addPersistent("/r", "persistent-recursive", hear("r"));
    for (const kind of ["data", "exists", "children"] as const) expect(watches.ask(kind, "/a")).toBe(false);
    expect(watches.ask("data", "/r")).toBe(false);
    expect(watches.ask("children", "/r")).toBe(true);
    expect(watches.conflict("/a", "persistent-recursive")).toBe("persistent");
    expect(watches.conflict("/a", "persistent")).toBeNull();
  });

  test("are taken from the server only when no one-shot watch of the path needs them", () => {
    const { watches, hear, notify } = registry();
    const p = hear("p");
    watches.addPersistent("/a", "persistent", p);
    watches.ask("data", "/a");
    expect(watches.removePersistent("/a", p)).toBe(false);
    watches.addOneShot("data", "/a", hear("one"));
    watches.settled("/a");
    // The server still reports, so it is still not asked.
    expect(watches.ask("data", "/a")).toBe(false);
    watches.settled("/a");
    expect(notify("changed", "/a")).toEqual(["one: changed /a"]);
    watches.forgetConnection();
    expect(watches.ask("data", "/a")).toBe(true);
  });

  test("are restored only when the server had confirmed them", () => {
    const { watches, hear } = registry();
    const p = hear("p");
    watches.addPersistent("/a", "persistent", p);
    expect(watches.paths().persistent).toEqual([]);
    watches.confirm("/a", p);
    expect(watches.paths().persistent).toEqual(["/a"]);
    expect(watches.persistentListeners()).toHaveLength(1);
  });
});

describe("watches to restore", () => {
  test("are split below the bound, none is lost, and persistent ones come last", () => {
    const paths = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 300 }).map((text) => `/${text}`));
    const lists = fc.record({ data: paths, exists: paths, children: paths, persistent: paths, recursive: paths });
    fc.assert(
      fc.property(lists, (all) => {
        const parts = splitWatchPaths(all, 2_000);
        for (const kind of ["data", "exists", "children", "persistent", "recursive"] as const)
          expect(parts.flatMap((part) => part[kind])).toEqual(all[kind]);
        for (const part of parts) expect(setWatchesRequest(1n, part).length).toBeLessThan(2_000 + 100);
        const firstPersistent = parts.findIndex((part) => part.persistent.length + part.recursive.length > 0);
        const lastOneShot = parts.findLastIndex((part) => part.data.length + part.exists.length + part.children.length > 0);
        if (firstPersistent >= 0) expect(lastOneShot).toBeLessThanOrEqual(firstPersistent);
      }),
    );
  });

  test("1.5 MB of them are requests that a server takes", () => {
    const data = Array.from({ length: 15_000 }, (_, index) => `/${"x".repeat(90)}/${index}`);
    const parts = splitWatchPaths({ data, exists: [], children: [], persistent: [], recursive: [] });
    expect(parts.length).toBeGreaterThan(10);
    for (const part of parts) expect(setWatchesRequest(1n, part).length).toBeLessThan(1_048_575);
  });
});
