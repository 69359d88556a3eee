/** The ledger of side effects against a real PostgreSQL: two processes, lost connections, a server that dies, fences. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { OnceContext } from "../../../src/api/once.js";
import { postgres } from "../../../src/postgres/index.js";
import { type PostgresServer, startPostgres } from "../../support/postgres.js";

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
}, 120_000);
afterAll(() => server?.close());
beforeEach(() => server.query("DROP SCHEMA IF EXISTS holdfast CASCADE"));

const contexts: AbortController[] = [];
const context = (fence = 5, subtask = 0): OnceContext => {
  const controller = new AbortController();
  contexts.push(controller);
  return { application: "app-1-1", operator: "pay", subtask, fence, signal: controller.signal };
};
/** As a process of its own has it. */
const ledger = (more: object = {}) =>
  postgres.ledger({ name: "payments", connection: { url: server.url, passwordFile: server.passwordFile }, ...more });
const sessions = async () =>
  (await server.query<{ pid: number }>("SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast'")).map(
    ({ pid }) => pid,
  );
const entries = () => server.query("SELECT key, is_done, result FROM holdfast.once ORDER BY key");

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}
function gate(): Gate {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe("the ledger in PostgreSQL", () => {
  test("an effect of two processes at once runs once, and both get its result", async () => {
    const [one, other] = [ledger(), ledger()];
    const running = gate();
    const go = gate();
    let effects = 0;
    const effect = async () => {
      effects++;
      running.open();
      await go.opened;
      return { receipt: 17 };
    };
    const first = one.once(context(), "p", effect);
    await running.opened;
    const second = other.once(context(), "p", effect);
    go.open();
    expect([await first, await second, effects]).toEqual([{ receipt: 17 }, { receipt: 17 }, 1]);
    expect(await entries()).toEqual([{ key: "p", is_done: true, result: { receipt: 17 } }]);
    await Promise.all([one.close(), other.close()]);
  });

  test("many effects at once wait for a connection, and each runs once", async () => {
    const one = ledger({ connections: 2 });
    const own = context();
    let most = 0;
    let now = 0;
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        one.once(own, `p-${n % 15}`, async () => {
          most = Math.max(most, ++now);
          await new Promise((resolve) => setImmediate(resolve));
          now--;
          return n;
        }),
      ),
    );
    expect(most).toBeLessThanOrEqual(2);
    expect(results.slice(15).map((n) => n % 15)).toEqual(results.slice(0, 15).map((n) => n % 15));
    await one.close();
  });

  test("while a process that hangs holds a key nobody takes its effect for undone; when it is dead, reconcile is asked", async () => {
    const hanging = ledger();
    const running = gate();
    const never = hanging.once(context(), "p", async () => {
      running.open();
      await new Promise(() => undefined);
      return 1;
    });
    never.catch(() => undefined);
    await running.opened;
    let asked = 0;
    const reconcile = () => {
      asked++;
      return { done: false as const };
    };
    const next = ledger({ waitForKeyMs: 50 });
    await expect(next.once(context(2 ** 33), "p", () => 2, { reconcile })).rejects.toMatchObject({
      code: "TIMEOUT",
      message: expect.stringContaining("'p'"),
    });
    expect(asked).toBe(0);
    for (const pid of await sessions()) await server.query("SELECT pg_terminate_backend($1)", [pid]);
    expect(await next.once(context(2 ** 33), "p", () => 2, { reconcile })).toBe(2);
    expect(asked).toBe(1);
    await Promise.all([hanging.close(), next.close()]);
  });

  test("a lost connection aborts the effect's signal, and an effect that ended all the same is noted over another one", async () => {
    const one = ledger();
    let aborted = false;
    const result = await one.once(context(), "p", async ({ signal }) => {
      const lost = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      await server.kill();
      const starting = server.start();
      await lost;
      aborted = signal.aborted;
      await starting;
      return "done";
    });
    expect([result, aborted]).toEqual(["done", true]);
    expect(await one.once(context(), "p", () => "again")).toBe("done");
    await one.close();
  });

  test("a try that is over neither intends nor notes anything", async () => {
    const [old, newer] = [ledger(), ledger()];
    const oldContext = context(5);
    const running = gate();
    const go = gate();
    const zombie = old.once(oldContext, "p", async () => {
      running.open();
      await go.opened;
      return "zombie";
    });
    await running.opened;
    await newer.once(context(6), "other", () => 1);
    go.open();
    await expect(zombie).rejects.toMatchObject({ code: "FENCED" });
    await expect(old.once(oldContext, "q", () => 1)).rejects.toMatchObject({ code: "FENCED" });
    expect(await entries()).toEqual([
      { key: "other", is_done: true, result: 1 },
      { key: "p", is_done: false, result: null },
    ]);
    expect(await newer.once(context(6), "p", () => "again", { reconcile: () => ({ done: true, result: "zombie" }) })).toBe(
      "zombie",
    );
    // Another subtask has a fence of its own.
    expect(await old.once(context(5, 1), "r", () => 3)).toBe(3);
    await Promise.all([old.close(), newer.close()]);
  });

  test("connections go with the try that used them", async () => {
    const one = ledger();
    const controller = new AbortController();
    await one.once({ ...context(), signal: controller.signal }, "p", () => 1);
    expect((await sessions()).length).toBeGreaterThan(0);
    controller.abort();
    const until = performance.now() + 30_000;
    while ((await sessions()).length > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await sessions()).toEqual([]);
  });
});
