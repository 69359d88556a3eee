import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameSplitter } from "../../../src/zookeeper/frames.js";
import { JuteError, JuteReader, JuteWriter } from "../../../src/zookeeper/jute.js";
import { multiRequest, setWatchesRequest, writeRequest } from "../../../src/zookeeper/requests.js";
import * as responses from "../../../src/zookeeper/responses.js";
import { readStat } from "../../../src/zookeeper/stat.js";
import { writeStat } from "./fake-server.js";

const path = "/a";

describe("jute", () => {
  test("gives back what was written", () => {
    const record = fc.record({
      int: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      long: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      text: fc.string({ unit: "grapheme" }),
      bytes: fc.uint8Array({ maxLength: 2_000 }),
      flag: fc.boolean(),
      list: fc.array(fc.string()),
    });
    fc.assert(
      fc.property(record, (value) => {
        const writer = new JuteWriter(1).int(value.int).long(value.long).string(value.text).buffer(value.bytes).boolean(value.flag);
        writer.vector(value.list, (item) => void writer.string(item));
        const reader = new JuteReader(writer.bytes());
        const read = {
          int: reader.int(),
          long: reader.long(),
          text: reader.string(),
          bytes: reader.buffer(),
          flag: reader.boolean(),
          list: reader.vector(() => reader.string()),
        };
        expect(read).toEqual(value);
        expect(reader.left).toBe(0);
      }),
    );
  });

  test("answers that are random bytes end in JuteError, and in nothing else", () => {
    const readers = [
      responses.readConnectResponse,
      responses.readReplyHeader,
      responses.readNotification,
      responses.readPathAndStat,
      responses.readData,
      responses.readChildren,
      responses.readAclAndStat,
      responses.readMulti,
      readStat,
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(...readers), (bytes, read) => {
        try {
          read(new JuteReader(Buffer.from(bytes)));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(JuteError);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test.each([
    ["a string longer than the message", (writer: JuteWriter) => writer.int(1_000_000), (reader: JuteReader) => reader.string()],
    [
      "a vector of more items than bytes",
      (writer: JuteWriter) => writer.int(2 ** 31 - 1),
      (reader: JuteReader) => reader.vector(() => 1),
    ],
    ["a negative length", (writer: JuteWriter) => writer.int(-2), (reader: JuteReader) => reader.buffer()],
    [
      "a text that is not UTF-8",
      (writer: JuteWriter) => writer.buffer(Buffer.from([0xff, 0xfe])),
      (reader: JuteReader) => reader.string(),
    ],
  ])("%s is refused", (_, write, read) => {
    expect(() => read(new JuteReader(write(new JuteWriter()).bytes()))).toThrow(JuteError);
  });

  test("data does not keep the received chunk alive", () => {
    const bytes = new JuteWriter().buffer(Buffer.from("abc")).bytes();
    const data = new JuteReader(bytes).buffer();
    bytes.fill(0);
    expect(Buffer.from(data).toString()).toBe("abc");
    expect(data.buffer.byteLength).toBe(3);
  });
});

describe("frames", () => {
  test("are the same however the stream is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.array(fc.integer({ min: 1, max: 40 })), (messages, cuts) => {
        const stream = Buffer.concat(messages.map((message) => new JuteWriter().buffer(message).bytes()));
        const splitter = new FrameSplitter(50);
        const seen: Buffer[] = [];
        let at = 0;
        for (let turn = 0; at < stream.length; turn++) {
          const end = at + (cuts[turn % Math.max(1, cuts.length)] ?? 7);
          splitter.push(stream.subarray(at, end), (message) => seen.push(Buffer.from(message)));
          at = end;
        }
        expect(seen.map((message) => [...message])).toEqual(messages.map((message) => [...message]));
      }),
    );
  });

  test.each([-1, 51, 2 ** 31 - 1, -(2 ** 31)])("of %d bytes are refused before a byte of them is kept", (length) => {
    const splitter = new FrameSplitter(50);
    const bytes = new JuteWriter().int(length).bytes();
    expect(() => splitter.push(bytes, () => {})).toThrow(/where at most 50 are allowed/);
    const inParts = new FrameSplitter(50);
    inParts.push(bytes.subarray(0, 2), () => {});
    expect(() => inParts.push(bytes.subarray(2), () => {})).toThrow(JuteError);
  });
});

describe("requests", () => {
  /** The last number of the body. */
  const lastInt = (frame: Buffer, fromEnd = 0) => frame.readInt32BE(frame.length - 4 - fromEnd);
  /** Of a multi: after the last operation stands a header of nine bytes. */
  const MULTI_END = 9;

  test.each([0, 1, 7, 2 ** 31 - 1, -1])("send version %d as it is, alone and in a multi", (version) => {
    expect(lastInt(writeRequest({ op: "setData", path, data: new Uint8Array(), version }, []))).toBe(version);
    expect(lastInt(writeRequest({ op: "delete", path, version }, []))).toBe(version);
    expect(lastInt(multiRequest([{ op: "check", path, version }], []), MULTI_END)).toBe(version);
    expect(lastInt(multiRequest([{ op: "delete", path, version }], []), MULTI_END)).toBe(version);
    expect(lastInt(multiRequest([{ op: "setData", path, data: new Uint8Array([1]), version }], []), MULTI_END)).toBe(version);
  });

  test.each([undefined, null, Number.NaN, 0.5, -2, 2 ** 31, "0"])("refuse the version %s instead of meaning any", (version) => {
    const operation = { op: "check", path, version } as unknown as Parameters<typeof writeRequest>[0];
    expect(() => writeRequest(operation, [])).toThrow(/version .* is none/);
    expect(() => multiRequest([operation], [])).toThrow(/version .* is none/);
  });

  test("for watches are in the old form where no persistent watch is among them", () => {
    const none = { data: [path], exists: [], children: [], persistent: [], recursive: [] };
    expect(setWatchesRequest(5n, none).readInt32BE(8)).toBe(101);
    expect(setWatchesRequest(5n, { ...none, recursive: ["/b"] }).readInt32BE(8)).toBe(105);
  });
});

test("a stat tells the owner of an ephemeral node from the marks of containers and of nodes with a time to live", () => {
  const owner = (value: bigint) => {
    const writer = new JuteWriter().long(1n).long(1n).long(0n).long(0n).int(0).int(0).int(0).long(value).int(0).int(0).long(1n);
    return readStat(new JuteReader(writer.bytes())).ephemeralOwner;
  };
  expect(owner(0n)).toBeNull();
  expect(owner(-(2n ** 63n))).toBeNull();
  expect(owner(BigInt.asIntN(64, 0xff00_0000_0000_1388n))).toBeNull();
  expect(owner(0x100_0020_2d7e_0000n)).toBe("0x10000202d7e0000");
  expect(owner(BigInt.asIntN(64, 0x8100_0000_0000_0001n))).toBe("0x8100000000000001");
  expect(readStat(new JuteReader(writeStat(new JuteWriter(), 4).bytes())).version).toBe(4);
});
