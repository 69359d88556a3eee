import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { parseZooKeeperUrl, secretsOf } from "../../../src/coordination/zookeeper-url.js";

describe("a ZooKeeper URL", () => {
  test("names servers, with the default port, and a path", () => {
    expect(parseZooKeeperUrl("zk://a,b:2182,[::1]:2183/holdfast/production/")).toEqual({
      servers: ["a:2181", "b:2182", "[::1]:2183"],
      path: "/holdfast/production",
      credentials: null,
      address: "zk://a:2181,b:2182,[::1]:2183/holdfast/production",
    });
  });

  test("may hold a user and a password with every character, and is shown without them", () => {
    const url = parseZooKeeperUrl("zk://ops:p%40ss%3A%2Fw%C3%B6rd@a:2181/c");
    expect(url.credentials).toEqual({ user: "ops", password: "p@ss:/wörd" });
    expect(url.address).toBe("zk://a:2181/c");
    expect(secretsOf(url)).toEqual(["p@ss:/wörd", "p%40ss%3A%2Fw%C3%B6rd"]);
    expect(secretsOf(parseZooKeeperUrl("zk://a/c"))).toEqual([]);
  });

  test.each([
    "zk://ops:hunter2@a:2181",
    "zk://ops:hunter2@a:2181/",
    "zk://ops:hunter2@:2181/c",
    "zk://ops:hunter2@a:99999/c",
    "zk://ops:hunter2@a b/c",
    "zk://ops:hunter2%zz@a/c",
    "zk://hunter2@a/c",
    "zk://:hunter2@a/c",
    "zk://ops:hunter2@@/c",
    "zookeeper://ops:hunter2@a/c",
  ])("that cannot be read is refused without a word of the password: %s", (text) => {
    let thrown: unknown;
    try {
      parseZooKeeperUrl(text);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(CodedError);
    const error = thrown as CodedError;
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(JSON.stringify([error.message, error.hint, error.details])).not.toContain("hunter2");
  });
});
