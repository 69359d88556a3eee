import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { answeredError, codeOf, ZOOKEEPER_ERROR_CODES, ZooKeeperError } from "../../../src/zookeeper/errors.js";
import { parseMonitor } from "../../../src/zookeeper/four-letter.js";

test("every code stands in the documentation, and no other", () => {
  const text = readFileSync("docs/zookeeper-client.md", "utf8");
  const rows = [...text.matchAll(/^\| ((?:`[A-Z_]+` ?)+)\|/gm)].flatMap(([, cell = ""]) => cell.match(/[A-Z_]+/g) ?? []);
  expect(rows.sort()).toEqual(Object.keys(ZOOKEEPER_ERROR_CODES).sort());
});

test("what the server says leaves a change unknown only where it may have been made", () => {
  const change = { name: "create", path: "/a", changes: true };
  expect(answeredError(-103, change)).toMatchObject({ code: "BAD_VERSION", outcome: "none" });
  expect(answeredError(-7, change)).toMatchObject({ code: "BUSY", outcome: "unknown", retryable: true });
  expect(answeredError(-1, change)).toMatchObject({ code: "SERVER_ERROR", outcome: "unknown", retryable: false });
  expect(answeredError(-1, { ...change, changes: false })).toMatchObject({ outcome: "none" });
  expect(codeOf(-9_999)).toBe("SERVER_ERROR");
  expect(answeredError(-9_999, change).message).toContain("-9999");
});

test("mntr is read as numbers; a server without a quorum is told from a broken one", () => {
  const text = "zk_version\t3.8.0-x, built on 2024\nzk_server_state\tleader\nzk_avg_latency\t0.25\nzk_znode_count\t7\nnoise\n";
  const monitor = parseMonitor(text, "one:1");
  expect(monitor).toMatchObject({ role: "leader", version: "3.8.0-x, built on 2024" });
  expect([...monitor.numbers]).toEqual([
    ["avg_latency", 0.25],
    ["znode_count", 7],
  ]);
  expect(() => parseMonitor("This ZooKeeper instance is not currently serving requests\n", "one:1")).toThrow(ZooKeeperError);
});
