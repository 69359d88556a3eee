import { describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import { MAX_MASTER_ADDRESSES, parseMasterFile, parseMasterUrl, readMasterAddresses } from "../../../src/host/master-url.js";

const codeOf = (act: () => unknown): string => {
  try {
    act();
    return "fine";
  } catch (thrown) {
    return (thrown as CodedError).code;
  }
};

describe("a master URL", () => {
  test("is a list with or without scheme, with 7077 as the default port, each address once", () => {
    expect(parseMasterUrl("holdfast://h1:1,h2:2")).toEqual({ kind: "list", addresses: ["h1:1", "h2:2"] });
    expect(parseMasterUrl("h1:1, h2 ,h1:1")).toEqual({ kind: "list", addresses: ["h1:1", "h2:7077"] });
    expect(parseMasterUrl(" holdfast://[::1]:7 ")).toEqual({ kind: "list", addresses: ["[::1]:7"] });
  });

  test("or a file by its absolute path", () => {
    expect(parseMasterUrl("file:///var/lib/my%20masters")).toEqual({ kind: "file", path: "/var/lib/my masters" });
  });

  test("is refused with INVALID_ARGUMENT when it is neither", () => {
    const many = Array.from({ length: MAX_MASTER_ADDRESSES + 1 }, (_, index) => `h${index}:1`).join(",");
    for (const bad of [
      "",
      "holdfast://",
      "h1:0",
      "h1:99999",
      "h1:x",
      "h1:1,,h2:2",
      "http://h1:1",
      "zk://h:2181/x",
      "file://relative",
      "file:///",
      "file:///%zz",
      "a b:1",
      "::1",
      many,
    ]) {
      expect([bad, codeOf(() => parseMasterUrl(bad))]).toEqual([bad, "INVALID_ARGUMENT"]);
    }
  });

  test("file holds URLs or addresses with comments; the newest line comes first; lines that are neither are left out", () => {
    expect(parseMasterFile("# masters\nh1:1 # m1\n\n  holdfast://h2:2,h3:3  \n", "/f")).toEqual(["h2:2", "h3:3", "h1:1"]);
    expect(parseMasterFile("h1:1\nh2:2\nh1:1\n", "/f")).toEqual(["h1:1", "h2:2"]);
    expect(parseMasterFile("h1:1\nh2:", "/f")).toEqual(["h1:1"]);
    expect(codeOf(() => parseMasterFile("# nobody\n", "/f"))).toBe("NO_MASTER");
    expect(codeOf(() => parseMasterFile("file:///other\n", "/f"))).toBe("NO_MASTER");
    expect(codeOf(() => parseMasterFile("\0\0\0", "/f"))).toBe("NO_MASTER");
    expect(parseMasterFile(Array.from({ length: 100 }, (_, index) => `h${index}:1`).join("\n"), "/f")).toHaveLength(
      MAX_MASTER_ADDRESSES,
    );
  });

  test("file that cannot be read is NO_MASTER, a state that may pass", async () => {
    const reading = readMasterAddresses({ kind: "file", path: "/f" }, () => Promise.reject(new Error("ENOENT")));
    await expect(reading).rejects.toMatchObject({ code: "NO_MASTER", message: expect.stringContaining("/f") });
  });
});
