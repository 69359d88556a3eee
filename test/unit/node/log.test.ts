import { describe, expect, test } from "vitest";
import type { LogOptions } from "../../../src/node/log.js";
import { createLog } from "../../../src/node/log.js";

function capture(options: Partial<LogOptions> = {}) {
  let text = "";
  const log = createLog({
    format: "json",
    stream: {
      write: (line: string) => {
        text += line;
      },
    },
    role: "master",
    id: "m1",
    ...options,
  });
  return { log, text: () => text };
}

describe("a log", () => {
  test("in JSON has one object a line, with role, id, message and fields", () => {
    const { log, text } = capture();
    log.info("elected", { epoch: 7, app: undefined });
    log.error("disk full", { code: "DISK_FAILED" });
    const lines = text()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ level: 30, role: "master", id: "m1", msg: "elected", epoch: 7 });
    expect(lines[1]).toMatchObject({ level: 50, msg: "disk full", code: "DISK_FAILED" });
    expect("app" in lines[0]).toBe(false);
  });

  test("as text is a sentence with its fields", () => {
    const { log, text } = capture({ format: "text" });
    log.warn("worker w1 is late", { worker: "w1" });
    expect(text()).toMatch(/^\d\d:\d\d:\d\d\.\d{3} master m1 {2}WARN worker w1 is late {2}\(worker=w1\)\n$/);
  });

  test("writes control characters, terminal escapes and direction marks as escapes, so that one call is one line", () => {
    for (const format of ["json", "text"] as const) {
      const { log, text } = capture({ format });
      log.info("a\nb\u001b[31mred\u202e\u0085", { name: "x\r\u009b1m" });
      expect(text().split("\n")).toHaveLength(2);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there.
      expect(text().trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
      expect(text()).toContain("u001b[31mred");
    }
  });

  test("never shows a known secret, nor a field that is named like one", () => {
    for (const format of ["json", "text"] as const) {
      const { log, text } = capture({ format, secrets: ["5ec4e7"] });
      log.info("got 5ec4e7 from there", { applicationKey: "abc1", clusterSecret: "abc2", other: "x5ec4e7y" });
      expect(text()).not.toMatch(/5ec4e7|abc1|abc2/);
      expect(text()).toContain("[redacted]");
    }
  });

  test("bounds long texts, leaves out what is below its level, and survives a stream that throws", () => {
    const { log, text } = capture();
    log.debug("not this");
    expect(text()).toBe("");
    log.info("x".repeat(1_000_000));
    expect(text().length).toBeLessThan(20_000);
    const broken = createLog({
      format: "text",
      stream: {
        write: () => {
          throw new Error("closed");
        },
      },
      role: "master",
      id: "m1",
    });
    broken.info("hello");
  });
});
