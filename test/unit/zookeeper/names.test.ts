import { describe, expect, test } from "vitest";
import { addressText, parseConnectString } from "../../../src/zookeeper/connect-string.js";
import { ancestorsOf, pathProblem, toClientPath, toServerPath } from "../../../src/zookeeper/path.js";

describe("a list of servers", () => {
  test.each([
    ["one", ["one:2181"], ""],
    ["one:1,two:2", ["one:1", "two:2"], ""],
    [" one:1 , two ", ["one:1", "two:2181"], ""],
    ["[::1]:2182,[fe80::1%eth0],10.0.0.1:5", ["[::1]:2182", "[fe80::1%eth0]:2181", "10.0.0.1:5"], ""],
    ["one:1,two:2/a/b", ["one:1", "two:2"], "/a/b"],
    ["one/", ["one:2181"], ""],
  ])("%s", (text, servers, chroot) => {
    const parsed = parseConnectString(text);
    expect(parsed.servers.map(addressText)).toEqual(servers);
    expect(parsed.chroot).toBe(chroot);
  });

  test.each(["", ",", "one:0", "one:65536", "one:x", "::1:2181", "[::1", "one two", "one/a/", "one//a", "one/../a", "one:1,"])(
    "refuses %j",
    (text) => {
      expect(() => parseConnectString(text)).toThrow(/list of ZooKeeper servers is not valid/);
    },
  );

  test("never repeats a password that somebody wrote into it", () => {
    try {
      parseConnectString("user:secret@one:2181/a");
      expect.unreachable();
    } catch (thrown) {
      expect(String(thrown)).not.toContain("secret");
    }
  });
});

describe("a path", () => {
  test.each(["/", "/a", "/a/b", "/ä/€", "/a.b/..c"])("may be %s", (path) => expect(pathProblem(path)).toBeNull());
  test.each(["", "a", "/a/", "//", "/a//b", "/.", "/a/..", "/a\u0000", "/a\u001f", "/\u{1f600}"])("is not %j", (path) =>
    expect(pathProblem(path)).not.toBeNull(),
  );
  test("of a sequential node may end in a slash", () => {
    expect(pathProblem("/a/", true)).toBeNull();
    expect(pathProblem("/a//", true)).not.toBeNull();
  });
  test("goes below the chroot and comes back", () => {
    expect(toServerPath("/root", "/")).toBe("/root");
    expect(toServerPath("/root", "/a")).toBe("/root/a");
    expect(toServerPath("", "/a")).toBe("/a");
    expect(toClientPath("/root", "/root")).toBe("/");
    expect(toClientPath("/root", "/root/a")).toBe("/a");
    expect(toClientPath("/root", "/rootless")).toBeNull();
  });
  test("has ancestors up to the root", () => {
    expect([...ancestorsOf("/a/b/c")]).toEqual(["/a/b", "/a", "/"]);
    expect([...ancestorsOf("/")]).toEqual([]);
  });
});
