import { describe, expect, test } from "vitest";
import { type Claim, createLedger, type HeldKey, type OnceContext, type OnceStore } from "../../../src/api/once.js";
import { CodedError } from "../../../src/base/errors.js";
import type { JsonValue } from "../../../src/base/json.js";

interface Entry {
  owner: number;
  result: JsonValue | undefined;
}

/** As PostgreSQL keeps it, without fences: `dieAt` plays the death of a process at that point. */
function memoryStore() {
  const entries = new Map<string, Entry>();
  const events: string[] = [];
  let calls = 0;
  let dieAt: "claim" | "note" | null = null;
  const dead = () => new CodedError("LEDGER_FAILED", "the process died");
  const store: OnceStore = {
    hold: async (_context, key): Promise<HeldKey> => {
      const owner = ++calls;
      return {
        signal: new AbortController().signal,
        claim: async (): Promise<Claim> => {
          const entry = entries.get(key);
          if (entry === undefined) {
            entries.set(key, { owner, result: undefined });
            if (dieAt === "claim") throw dead();
            return { kind: "new" };
          }
          return entry.result === undefined ? { kind: "intended" } : { kind: "done", result: entry.result };
        },
        takeOver: async () => {
          events.push("take over");
          entries.set(key, { owner, result: undefined });
        },
        note: async (result) => {
          if (dieAt === "note") throw dead();
          entries.set(key, { owner, result });
        },
        release: async () => void events.push("release"),
      };
    },
    close: async () => undefined,
  };
  return { ledger: createLedger(store), entries, events, die: (at: typeof dieAt) => (dieAt = at) };
}

const context: OnceContext = {
  application: "app-1-1",
  operator: "pay",
  subtask: 0,
  fence: 5,
  signal: new AbortController().signal,
};

describe("once", () => {
  test("runs the effect once for a key, and gives its result to whoever comes again", async () => {
    const { ledger, events } = memoryStore();
    let effects = 0;
    const call = () => ledger.once(context, "p-1", async ({ key, fence }) => ({ key, fence, effect: ++effects }));
    expect([await call(), await call()]).toEqual([
      { key: "p-1", fence: 5, effect: 1 },
      { key: "p-1", fence: 5, effect: 1 },
    ]);
    expect(await ledger.once(context, "p-2", () => ++effects)).toBe(2);
    expect(events).toEqual(["release", "release", "release"]);
  });

  test("an outcome that nobody noted is asked of reconcile: done, and the effect is not run again", async () => {
    const { ledger, die, events } = memoryStore();
    let effects = 0;
    die("note");
    await expect(ledger.once(context, "p", () => ++effects)).rejects.toMatchObject({ code: "LEDGER_FAILED" });
    die(null);
    const again = () =>
      ledger.once(context, "p", () => ++effects, { reconcile: ({ key }) => ({ done: true, result: key.length }) });
    expect([await again(), await again(), effects]).toEqual([1, 1, 1]);
    expect(events).not.toContain("take over");
  });

  test("not done, and it is run now, by a new owner", async () => {
    const { ledger, die, events } = memoryStore();
    let effects = 0;
    die("claim");
    await expect(ledger.once(context, "p", () => ++effects)).rejects.toThrow();
    die(null);
    expect(await ledger.once(context, "p", () => ++effects, { reconcile: () => ({ done: false }) })).toBe(1);
    expect(events).toContain("take over");
  });

  test("without reconcile it is refused with a code that names the key, and the effect is not run", async () => {
    const { ledger } = memoryStore();
    await expect(
      ledger.once(context, "payment-7", () => {
        throw new Error("the line went dead");
      }),
    ).rejects.toThrow("the line went dead");
    let effects = 0;
    await expect(ledger.once(context, "payment-7", () => ++effects)).rejects.toMatchObject({
      code: "ONCE_UNKNOWN",
      message: expect.stringContaining("payment-7"),
    });
    expect(effects).toBe(0);
  });

  test("a failing reconcile decides nothing", async () => {
    const { ledger, die } = memoryStore();
    die("note");
    await expect(ledger.once(context, "p", () => 1)).rejects.toThrow();
    die(null);
    const unsure = ledger.once(context, "p", () => 2, { reconcile: () => Promise.reject(new Error("the service is away")) });
    await expect(unsure).rejects.toThrow("the service is away");
    expect(await ledger.once(context, "p", () => 2, { reconcile: () => ({ done: true, result: 1 }) })).toBe(1);
  });

  test("keys and results have bounds", async () => {
    const { ledger } = memoryStore();
    for (const key of ["", "x".repeat(513)])
      await expect(ledger.once(context, key, () => 1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(ledger.once(context, "k", () => "x".repeat(70_000))).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  });
});
