import { describe, expect, test } from "vitest";
import { committedOrder, type LoggedOperation, type LoggedTransaction, readLogFile } from "../../support/zookeeper-log.js";
import { logFile } from "./log-writer.js";

const create = (path: string): LoggedOperation => ({ op: "create", path, data: Buffer.from("x"), ephemeral: false });

describe("ZooKeeper's transaction log", () => {
  const operations: readonly LoggedOperation[] = [
    create("/a"),
    { op: "set", path: "/a", data: Buffer.from("new"), version: 3 },
    { op: "delete", path: "/b" },
    { op: "check", path: "/c" },
  ];

  test("gives operations alone and in a multi, with their paths, bytes and versions", () => {
    const file = logFile([
      { zxid: 1n, operations: operations.slice(0, 1) },
      { zxid: 2n, operations },
    ]);
    expect(readLogFile(file)).toEqual([
      { zxid: 1n, session: 0x1234n, at: 1_700_000_000_000, operations: operations.slice(0, 1) },
      { zxid: 2n, session: 0x1234n, at: 1_700_000_000_000, operations },
    ]);
  });

  test("a multi that was refused did nothing", () => {
    expect(readLogFile(logFile([{ zxid: 1n, operations, refused: true }]))).toMatchObject([{ zxid: 1n, operations: [] }]);
  });

  test("ends before zeros, before a record that is cut off at any byte, and before one whose checksum is wrong", () => {
    const [first, both] = [logFile([{ zxid: 1n, operations }]), logFile([1n, 2n].map((zxid) => ({ zxid, operations })))];
    expect(readLogFile(Buffer.concat([first, Buffer.alloc(1_000)]))).toHaveLength(1);
    for (let end = first.length; end < both.length; end++) expect(readLogFile(both.subarray(0, end))).toHaveLength(1);
    const damaged = Buffer.from(both);
    damaged[both.length - 10] = (damaged[both.length - 10] ?? 0) ^ 1;
    expect(readLogFile(damaged)).toHaveLength(1);
  });

  test("is refused when it is something else", () => {
    expect(() => readLogFile(Buffer.alloc(100))).toThrow("not a transaction log");
  });
});

describe("the order of three servers", () => {
  const entry = (zxid: bigint, version: number): LoggedTransaction => ({
    ...{ zxid, session: 1n, at: 0 },
    operations: [{ op: "set", path: "/head", data: Buffer.from("x"), version }],
  });
  const zxids = (order: readonly LoggedTransaction[]) => order.map(({ zxid }) => zxid);

  test("what one server got as a snapshot is in the logs of the others", () => {
    const [first, second, third] = [entry(1n, 1), entry(2n, 2), entry(3n, 3)];
    expect(zxids(committedOrder([[first, third], [first, second, third], [first]]))).toEqual([1n, 2n, 3n]);
  });

  test("a proposal that only one server logged was given up where another has its place", () => {
    const lost = entry(3n, 2);
    const [first, second, third] = [entry(1n, 1), entry(0x1_0000_0001n, 2), entry(0x1_0000_0002n, 3)];
    const logs = [
      [first, lost, third],
      [first, second, third],
      [first, second, third],
    ];
    expect(zxids(committedOrder(logs))).toEqual([1n, 0x1_0000_0001n, 0x1_0000_0002n]);
  });

  test("what two servers logged is never left out: ZooKeeper itself would be wrong, and the checker has to see it", () => {
    const [one, other] = [entry(1n, 2), entry(2n, 2)];
    expect(zxids(committedOrder([[one], [one, other], [other]]))).toEqual([1n, 2n]);
  });
});
