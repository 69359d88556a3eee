import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { codeOf, live, put, read, TTL_MS, watching } from "../../../src/conformance/coordination-store-tools.js";
import { DEFAULT_LIMITS } from "../../../src/coordination/limits.js";
import { type Journal, LocalStore } from "../../../src/coordination/local-store.js";
import { type Change, compareKeys, RecordTable } from "../../../src/coordination/record-table.js";
import { settle } from "../../support/manual-clock.js";

/** A journal whose writes end when the test says so. */
function slowJournal() {
  const writes: { readonly changes: readonly Change[]; readonly end: (error?: Error) => void }[] = [];
  const journal: Journal = {
    write: (changes) =>
      new Promise((resolve, reject) => {
        writes.push({ changes, end: (error) => (error === undefined ? resolve() : reject(error)) });
      }),
  };
  return { journal, writes };
}

function open() {
  const { journal, writes } = slowJournal();
  const store = new LocalStore({ limits: DEFAULT_LIMITS, table: new RecordTable([], 0), journal, sessionIdPrefix: "s" });
  const session = () => store.openSession({ ttlMs: TTL_MS, candidate: "c", ...live });
  return { store, session, writes };
}

const keys = (changes: readonly Change[]) => changes.map((change) => change.key);

describe("the store of one process", () => {
  test("writes what comes during a write of the journal together, in order", async () => {
    const { session, writes } = open();
    const writer = session();
    const commits = ["a", "b", "c"].map((key) => put(writer, key, "x"));
    await settle();
    expect(writes.map((write) => keys(write.changes))).toEqual([["a"]]);
    writes[0]?.end();
    await settle();
    expect(writes.map((write) => keys(write.changes))).toEqual([["a"], ["b", "c"]]);
    writes[1]?.end();
    expect((await Promise.all(commits)).every((result) => result.ok)).toBe(true);
  });

  test("shows nobody what is not durable yet: not to readers, watchers, or those whose guard fails because of it", async () => {
    const { session, writes } = open();
    const [writer, reader] = [session(), session()];
    const seen = watching(reader, "a");
    const answered: string[] = [];
    const commit = put(writer, "a", "x").then(() => answered.push("commit"));
    const get = read(reader, "a").then((value) => answered.push(`read ${value}`));
    const refused = reader
      .commit({ guards: [{ key: "a", absent: true }], writes: [] }, live)
      .then(({ ok }) => answered.push(`guard ${ok}`));
    await settle();
    expect([answered, seen.events]).toEqual([[], []]);
    writes[0]?.end();
    await Promise.all([commit, get, refused]);
    expect(answered.sort()).toEqual(["commit", "guard false", "read x"]);
    await seen.until((events) => events.length === 1);
  });

  test("after a failed write ends every session with the reason, and never writes again", async () => {
    const { store, session, writes } = open();
    const [writer, other] = [session(), session()];
    const outcomes = [codeOf(put(writer, "a", "x")), codeOf(put(writer, "b", "x")), codeOf(other.get("a", live))];
    await settle();
    writes[0]?.end(new CodedError("DISK_FAILED", "the disk is gone"));
    expect(await Promise.all(outcomes)).toEqual(["DISK_FAILED", "DISK_FAILED", "DISK_FAILED"]);
    expect([(await writer.ended).code, (await other.ended).code]).toEqual(["DISK_FAILED", "DISK_FAILED"]);
    expect(await codeOf(put(other, "c", "x"))).toBe("SESSION_ENDED");
    await writer.close();
    await store.close();
    expect(writes.length).toBe(1);
  });

  test("copies values, also those of Node's buffers, whose slices share their bytes", () => {
    const table = new RecordTable([], 0);
    const value = Buffer.from("before");
    table.apply({ guards: [], writes: [{ put: "a", value }] }, "s");
    value.write("after!");
    expect(new TextDecoder().decode(table.get("a")?.value)).toBe("before");
  });

  test("orders keys as their UTF-8 bytes", () => {
    const some = ["", "a", "a/", "a/b", "b", "é", "\ud7ff", "\ue000", "\uffee", "😀", "😁", "a😀", "a\uffee"];
    const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
    for (const a of some) for (const b of some) expect(Math.sign(compareKeys(a, b)), `${a} ${b}`).toBe(byBytes(a, b));
  });
});
