import { describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import {
  MAX_MASTER_ADDRESSES,
  parseMasterFile,
  parseMasterUrl,
  readMasterFile,
  showMasterUrl,
} from "../../../src/host/finding/master-url.js";

const codeOf = (act: () => unknown): string => {
  try {
    act();
    return "fine";
  } catch (thrown) {
    return (thrown as CodedError).code;
  }
};

const addressesIn = (text: string) => {
  const url = parseMasterFile(text, "/f");
  return url.kind === "list" ? url.addresses : [];
};

describe("a master URL", () => {
  test("or an ensemble that lists the masters, by the URL of their --recovery", () => {
    expect(parseMasterUrl("zk://me:pa%2Fss@z1,z2:2182/holdfast/one")).toMatchObject({
      kind: "zookeeper",
      url: { servers: ["z1:2181", "z2:2182"], path: "/holdfast/one", credentials: { user: "me", password: "pa/ss" } },
    });
    expect(parseMasterFile("# ours\nzk://me:pa#ss@z1/x\n", "/f")).toMatchObject({
      kind: "zookeeper",
      url: { credentials: { password: "pa#ss" } },
    });
  });

  test("is shown, and complained about, without user and password, however malformed", () => {
    const password = "s3cret!";
    for (const url of [
      `zk://me:${password}@z1/x`,
      `zk://me:${password}@z1`,
      `zk://me:${password}@z1:99999/x`,
      `zk:/me:${password}@z1/x`,
      `holdfast://me:${password}@z1`,
      `me:${password}@z1:1`,
      `http://me:${password}@z1`,
      `file://me:${password}@z1/x`,
      `file:///%zz/me:${password}@x`,
      `zk://me:${password}/@@z1/x`,
    ]) {
      expect(showMasterUrl(url), url).not.toContain(password);
      try {
        parseMasterUrl(url);
      } catch (thrown) {
        const { message, hint, details } = thrown as CodedError;
        expect(JSON.stringify([message, hint, details]), url).not.toContain(password);
      }
      try {
        parseMasterFile(url, "/f");
      } catch (thrown) {
        expect((thrown as CodedError).message, url).not.toContain(password);
      }
    }
    expect(showMasterUrl("h1:1,h2:2")).toBe("h1:1,h2:2");
    expect(showMasterUrl("file:///etc/masters")).toBe("file:///etc/masters");
    expect(showMasterUrl(`zk://me:${password}@z1/x`)).toBe("zk://z1:2181/x");
  });

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
      "zk://h:2181",
      "zk://user@h:2181/x",
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
    expect(addressesIn("# masters\nh1:1 # m1\n\n  holdfast://h2:2,h3:3  \n")).toEqual(["h2:2", "h3:3", "h1:1"]);
    expect(addressesIn("h1:1\nh2:2\nh1:1\n")).toEqual(["h1:1", "h2:2"]);
    expect(addressesIn("h1:1\nh2:")).toEqual(["h1:1"]);
    expect(codeOf(() => parseMasterFile("# nobody\n", "/f"))).toBe("NO_MASTER");
    expect(codeOf(() => parseMasterFile("file:///other\n", "/f"))).toBe("NO_MASTER");
    expect(codeOf(() => parseMasterFile("\0\0\0", "/f"))).toBe("NO_MASTER");
    expect(addressesIn(Array.from({ length: 100 }, (_, index) => `h${index}:1`).join("\n"))).toHaveLength(MAX_MASTER_ADDRESSES);
  });

  test("file that cannot be read is NO_MASTER, a state that may pass", async () => {
    const reading = readMasterFile("/f", () => Promise.reject(new Error("ENOENT")));
    await expect(reading).rejects.toMatchObject({ code: "NO_MASTER", message: expect.stringContaining("/f") });
  });
});
