/** The PostgreSQL sinks against a real server, writer by writer: what is staged, shown, fenced and left. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { defineJob, sources } from "../../../src/api/index.js";
import type { JsonValue } from "../../../src/base/json.js";
import type { SinkConnector, SinkWriter } from "../../../src/dataflow/connector.js";
import { type PostgresTarget, type PostgresUpsert, postgres } from "../../../src/postgres/index.js";
import { transactionalConnector } from "../../../src/postgres/transactional-sink.js";
import { upsertConnector } from "../../../src/postgres/upsert-sink.js";
import { runJob } from "../../../src/testing/index.js";
import { type PostgresServer, startPostgres } from "../../support/postgres.js";

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
}, 120_000);
afterAll(() => server?.close());
beforeEach(async () => {
  await server.query("DROP SCHEMA IF EXISTS holdfast CASCADE");
  await server.query("DROP TABLE IF EXISTS t");
  await server.query("CREATE TABLE t (id integer PRIMARY KEY, amount bigint, name text DEFAULT 'unnamed')");
});

const signal = new AbortController().signal;
const connection = () => ({ url: server.url, passwordFile: server.passwordFile });
const target = (): PostgresTarget => ({ connection: connection(), table: "t", columns: ["id", "amount"] });
const upsert = (): PostgresUpsert => ({ ...target(), key: ["id"] });
const identity = (attempt: string) => ({ applicationId: "app-1-1", attempt });
const open = (connector: SinkConnector<object>, attempt = "1.1", subtask = 0): Promise<SinkWriter<object>> =>
  connector.open({ ...identity(attempt), subtask, parallelism: 2, signal });
const rows = () => server.query<{ id: number; amount: string; name: string }>("SELECT * FROM t ORDER BY id");
const count = async (table: string) => Number((await server.query<{ n: string }>(`SELECT count(*) AS n FROM ${table}`))[0]?.n);
const records = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({ id: from + i, amount: 10 * (from + i) }));

describe("a transactional sink", () => {
  test("stages rows and shows a part whole when it is committed, however often", async () => {
    const connector = transactionalConnector(target());
    await connector.begin?.({ ...identity("1.1"), parallelism: 2, signal });
    const writer = await open(connector);
    await writer.write(records(0, 2_500), 2_500);
    const staged = await writer.checkpoint?.();
    await writer.write(records(2_500, 2_600), 100);
    expect(await count("t")).toBe(0);
    const commit = { ...identity("1.1"), parallelism: 2 };
    await connector.commit(staged?.committables ?? [], commit);
    await connector.commit(staged?.committables ?? [], { ...commit, again: true });
    await Promise.all([1, 2, 3].map(() => connector.commit(staged?.committables ?? [], commit)));
    expect(await count("t")).toBe(2_500);
    const last = await writer.prepare();
    await writer.close();
    await connector.commit([last], commit);
    expect((await rows()).map(({ id, amount, name }) => [id, amount, name])).toEqual(
      records(0, 2_600).map(({ id, amount }) => [id, String(amount), "unnamed"]),
    );
    expect(await count("holdfast.staged")).toBe(0);
  });

  test("commits once when the server dies between the transaction and its answer, and goes on when it is back", async () => {
    const connector = transactionalConnector(target());
    const writer = await open(connector);
    await writer.write(records(0, 10), 10);
    const staged = await writer.checkpoint?.();
    await connector.commit(staged?.committables ?? [], { ...identity("1.1"), parallelism: 2 });
    await server.kill();
    const repeated = connector.commit(staged?.committables ?? [], { ...identity("1.1"), parallelism: 2 });
    const writing = (async () => {
      await writer.write(records(10, 20), 10);
      return await writer.prepare();
    })();
    await server.start();
    await repeated;
    await connector.commit([await writing], { ...identity("1.1"), parallelism: 2 });
    await writer.close();
    expect((await rows()).map(({ id }) => id)).toEqual(records(0, 20).map(({ id }) => id));
  });

  test("removes what tries that are over have staged, but nothing that a checkpoint needs or a living try stages", async () => {
    const connector = transactionalConnector(target());
    const parts: JsonValue[] = [];
    for (const [index, attempt] of ["1.1", "1.2", "2.1"].entries()) {
      const writer = await open(connector, attempt);
      await writer.write(records(10 * index, 10 * index + 10), 10);
      parts.push(await writer.prepare());
      await writer.close();
    }
    const unprepared = await open(connector, "2.2", 1);
    await unprepared.write(records(100, 2_000), 1_900);
    await connector.cleanUp({ applicationId: "app-1-1", keepAttempt: "2.2", isOver: (name) => name !== "1.2" });
    expect(await server.query("SELECT DISTINCT attempt FROM holdfast.staged ORDER BY 1")).toEqual([
      { attempt: "1.2" },
      { attempt: "2.2" },
    ]);
    await connector.commit([parts[1] ?? null], { ...identity("1.2"), parallelism: 2 });
    expect((await rows()).map(({ id }) => id)).toEqual(records(10, 20).map(({ id }) => id));
    await expect(connector.commit([parts[0] ?? null], { ...identity("1.1"), parallelism: 2 })).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("table t"),
    });
    await unprepared.close();
    await connector.cleanUp({ applicationId: "app-1-1", keepAttempt: null });
    expect(await count("holdfast.staged")).toBe(0);
  });

  test("refuses to commit less than was prepared, and then commits nothing", async () => {
    const connector = transactionalConnector(target());
    const writer = await open(connector);
    await writer.write(records(0, 2_000), 2_000);
    const staged = await writer.prepare();
    await writer.close();
    await server.query("DELETE FROM holdfast.staged WHERE chunk = 1");
    await expect(connector.commit([staged], { ...identity("1.1"), parallelism: 2 })).rejects.toThrow(
      /1000 staged rows, and 2000 were prepared/,
    );
    expect(await count("t")).toBe(0);
  });

  test("a constraint of the table fails the commit with its name, and a repetition after the repair succeeds", async () => {
    const connector = transactionalConnector(target());
    await server.query("INSERT INTO t VALUES (5, 0)");
    const writer = await open(connector);
    await writer.write(records(0, 10), 10);
    const staged = await writer.prepare();
    await writer.close();
    const commit = () => connector.commit([staged], { ...identity("1.1"), parallelism: 2 });
    await expect(commit()).rejects.toMatchObject({ code: "SINK_FAILED", message: expect.stringContaining("table t") });
    expect(await count("t")).toBe(1);
    await server.query("DELETE FROM t");
    await commit();
    expect(await count("t")).toBe(10);
  });

  test("a job without checkpoints shows its rows at its end, and nothing when it fails", async () => {
    const job = (failAt: number) =>
      defineJob({
        id: "rows",
        build: (builder) => {
          builder
            .from("n", sources.numbers({ to: 5_000 }))
            .map((n) => {
              if (n === failAt) throw new Error("at the planted record");
              return { id: n, amount: BigInt(n) * 10_000_000_000n };
            })
            .to("out", postgres.transactional(target()));
        },
      });
    await expect(runJob(job(4_000), {}, { parallelism: 2 })).rejects.toMatchObject({ code: "OPERATOR_FAILED" });
    expect([await count("t"), await count("holdfast.staged")]).toEqual([0, 0]);
    await runJob(job(-1), {}, { parallelism: 2 });
    expect(await server.query("SELECT count(*)::int AS n, sum(amount)::text AS sum FROM t")).toEqual([
      { n: 5_000, sum: "124975000000000000" },
    ]);
    expect(await count("holdfast.staged")).toBe(0);
  });
});

describe("an upsert sink", () => {
  test("replaces rows by their key, the last of a batch counts, and a repetition changes nothing", async () => {
    const writer = await open(upsertConnector(upsert()));
    const batch = [...records(0, 5), { id: 3, amount: 7 }, { id: 3, amount: 8 }];
    for (let i = 0; i < 2; i++) {
      await writer.write(batch, batch.length);
      await writer.checkpoint?.();
      expect((await rows()).map(({ id, amount }) => [id, amount])).toEqual([
        [0, "0"],
        [1, "10"],
        [2, "20"],
        [3, "8"],
        [4, "40"],
      ]);
    }
    await writer.close();
  });

  test("goes on when the server was killed and is back, and loses nothing", async () => {
    const writer = await open(upsertConnector(upsert()));
    await writer.write(records(0, 1_500), 1_500);
    await server.kill();
    const writing = (async () => {
      await writer.write(records(1_500, 3_000), 1_500);
      await writer.checkpoint?.();
    })();
    await server.start();
    await writing;
    await writer.close();
    expect(await count("t")).toBe(3_000);
  });

  test("subtasks that write the same keys at once never wait for each other in a circle", async () => {
    const connector = upsertConnector(upsert());
    const writers = await Promise.all([0, 1, 2, 3].map((subtask) => open(connector, "1.1", subtask)));
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        writers.map(async (writer, index) => {
          const mixed = records(0, 1_000).sort((a, b) => ((a.id * (index + 7)) % 997) - ((b.id * (index + 7)) % 997));
          await writer.write(mixed, mixed.length);
          await writer.checkpoint?.();
        }),
      );
    }
    await Promise.all(writers.map((writer) => writer.close()));
    expect(await server.log()).not.toContain("deadlock detected");
    expect(await count("t")).toBe(1_000);
  });

  test("a key that is none of the columns is refused when the job is planned", () => {
    expect(() => postgres.upsert({ ...target(), key: ["nope"] })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe.each([
  ["transactional", () => transactionalConnector(target())],
  ["upsert", () => upsertConnector(upsert())],
] as const)("a try that is over and doesn't know it (%s)", (_kind, make) => {
  const write = async (writer: SinkWriter<object>, id: number) => {
    await writer.write([{ id, amount: 1 }], 1);
    await writer.checkpoint?.();
  };

  test("writes nothing once a newer writer of its subtask is open, and can't open again", async () => {
    const connector = make();
    const old = await open(connector, "1.1");
    const other = await open(connector, "1.1", 1);
    await write(old, 1);
    const newer = await open(connector, "1.2");
    await expect(write(old, 2)).rejects.toMatchObject({ code: "FENCED" });
    await write(newer, 3);
    await write(other, 4);
    await expect(open(connector, "1.1")).rejects.toMatchObject({ code: "FENCED" });
    for (const writer of [old, other, newer]) await writer.close();
  });

  test("writes nothing after its driver has cleaned up, and the next driver's tries do", async () => {
    const connector = make();
    const old = await open(connector, "1.2");
    await connector.cleanUp({ applicationId: "app-1-1", keepAttempt: null, isOver: (name) => name.startsWith("1.") });
    await expect(write(old, 1)).rejects.toMatchObject({ code: "FENCED" });
    const next = await open(connector, "2.1");
    await write(next, 2);
    await connector.cleanUp({ applicationId: "app-1-1", keepAttempt: null, isOver: (name) => name.startsWith("1.") });
    await write(next, 3);
    await old.close();
    await next.close();
  });
});

test("values keep their types", async () => {
  await server.query("DROP TABLE IF EXISTS typed");
  await server.query(
    `CREATE TABLE typed (id integer, big bigint, exact numeric, flag boolean, at timestamptz, day date, bytes bytea, doc jsonb, list integer[], ratio double precision, words text)`,
  );
  const columns = ["id", "big", "exact", "flag", "at", "day", "bytes", "doc", "list", "ratio", "words"];
  const connector = transactionalConnector({ connection: connection(), table: "public.typed", columns });
  const writer = await open(connector);
  const at = new Date("2026-11-30T17:00:00.123Z");
  const first = {
    id: 1,
    big: 9_007_199_254_740_993n,
    exact: "12345678901234567890.123",
    flag: true,
    at,
    day: at,
    bytes: new Uint8Array([0, 255, 1]),
    doc: { a: [1, { b: null }] },
    list: [1, 2],
    ratio: Number.NaN,
    words: 'O\'Hara "quoted" \\ ünï',
  };
  await writer.write([first, { id: 2 }], 2);
  await connector.commit([await writer.prepare()], { ...identity("1.1"), parallelism: 1 });
  await writer.close();
  const [typed, empty] = await server.query(
    "SELECT id, big::text, exact::text, flag, at, day::text, bytes, doc, list, ratio::text, words FROM typed ORDER BY id",
  );
  expect(typed).toEqual({ ...first, big: "9007199254740993", day: "2026-11-30", bytes: Buffer.from([0, 255, 1]), ratio: "NaN" });
  expect(Object.values(empty ?? {}).filter((value) => value !== null)).toEqual([2]);
});

describe("what can't end well is told with the name of the table", () => {
  const begin = (options: PostgresTarget) =>
    transactionalConnector(options).begin?.({ ...identity("1.1"), parallelism: 1, signal });

  test.each([
    ["a table that is not there", () => ({ ...target(), table: "nowhere" }), "nowhere"],
    ["a column that is not there", () => ({ ...target(), columns: ["id", "nope"] }), "nope"],
    ["a wrong password", () => ({ ...target(), connection: { url: server.url, passwordFile: "/etc/hostname" } }), "table t"],
    [
      "a server that is not there",
      () => ({ ...target(), connection: { ...connection(), url: "postgres://holdfast@127.0.0.1:1/postgres", retryForMs: 100 } }),
      "table t",
    ],
  ])("%s", async (_, options, named) => {
    const failure = await Promise.resolve(begin(options())).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(failure).toMatchObject({ code: "SINK_FAILED", message: expect.stringContaining(named), hint: expect.any(String) });
    expect(JSON.stringify({ ...(failure as object), message: (failure as Error).message })).not.toContain(server.password);
  });

  test("a value that does not fit, at the commit", async () => {
    const connector = transactionalConnector(target());
    const writer = await open(connector);
    await writer.write([{ id: "not a number", amount: 1 }], 1);
    const staged = await writer.prepare();
    await writer.close();
    await expect(connector.commit([staged], { ...identity("1.1"), parallelism: 1 })).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringMatching(/table t.*not a number/),
    });
  });

  test("a password in the url, without repeating it", () => {
    const connector = () => postgres.transactional({ ...target(), connection: { url: "postgres://me:geheim@h/db" } });
    expect(connector).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.not.stringContaining("geheim") }),
    );
  });
});
