/**
 * The payment service of the example: moves money in PostgreSQL, and is not idempotent: each call pays. It keeps a log of its own, and can be asked whether it
 * made a payment. A caller's fence makes it refuse calls of an older try once a newer one has asked: nothing that is still on its way can change the answer.
 *
 *   POST /pay {"id","account","cents","fence"}    {"receipt"}
 *   GET  /payments/ID?fence=N                     {"receipt"} or {"receipt":null}
 *   GET  /questions                               {"count"}: how often it was asked for a payment
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import pg from "pg";

const { values } = parseArgs({
  options: { port: { type: "string" }, database: { type: "string" }, "password-file": { type: "string" } },
});
const url = new URL(values.database ?? "");
const pool = new pg.Pool({
  host: url.hostname,
  port: Number(url.port),
  user: url.username,
  database: url.pathname.slice(1),
  password: readFileSync(values["password-file"] ?? "", "utf8").trim(),
  max: 20,
});
pool.on("error", () => {});
let questions = 0;

await pool.query(`
  CREATE TABLE IF NOT EXISTS balances (account integer PRIMARY KEY, cents bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS service_log (receipt bigserial PRIMARY KEY, id text NOT NULL, account integer NOT NULL, cents bigint NOT NULL);
  CREATE INDEX IF NOT EXISTS service_log_id ON service_log (id);
  CREATE TABLE IF NOT EXISTS service_fences (id text PRIMARY KEY, fence bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS receipts (id text PRIMARY KEY, account integer, cents bigint, receipt bigint)`);

async function inTransaction(body) {
  const client = await pool.connect();
  let failure;
  // A connection that the server ends says so here, too.
  const onError = (thrown) => {
    failure = thrown;
  };
  client.on("error", onError);
  try {
    await client.query("BEGIN");
    const result = await body(client);
    await client.query("COMMIT");
    return result;
  } catch (thrown) {
    await client.query("ROLLBACK").catch(() => {});
    throw thrown;
  } finally {
    if (failure === undefined) client.off("error", onError);
    client.release(failure);
  }
}

/** Locks the payment until the end of the transaction; false: a newer try has asked for it. */
async function isNewest(client, id, fence) {
  const { rows } = await client.query(
    `INSERT INTO service_fences AS f (id, fence) VALUES ($1, $2)
     ON CONFLICT (id) DO UPDATE SET fence = greatest(f.fence, excluded.fence) RETURNING fence`,
    [id, fence],
  );
  return Number(rows[0].fence) <= fence;
}

const pay = ({ id, account, cents, fence }) =>
  inTransaction(async (client) => {
    if (!(await isNewest(client, id, fence))) return null;
    const { rows } = await client.query("INSERT INTO service_log (id, account, cents) VALUES ($1, $2, $3) RETURNING receipt", [
      id,
      account,
      cents,
    ]);
    await client.query(
      "INSERT INTO balances AS b VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET cents = b.cents + excluded.cents",
      [account, cents],
    );
    return Number(rows[0].receipt);
  });

const find = (id, fence) =>
  inTransaction(async (client) => {
    await isNewest(client, id, fence);
    const { rows } = await client.query("SELECT receipt FROM service_log WHERE id = $1 ORDER BY receipt LIMIT 1", [id]);
    return rows.length === 0 ? null : Number(rows[0].receipt);
  });

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://service");
  if (request.method === "POST" && pathname === "/pay") {
    let body = "";
    for await (const chunk of request) body += chunk;
    const receipt = await pay(JSON.parse(body));
    return receipt === null ? [409, { error: "a newer try has asked for this payment" }] : [200, { receipt }];
  }
  const [, id] = /^\/payments\/([^/]+)$/.exec(pathname) ?? [];
  if (id !== undefined) {
    questions += 1;
    return [200, { receipt: await find(id, Number(searchParams.get("fence"))) }];
  }
  return pathname === "/questions" ? [200, { count: questions }] : [404, { error: "no such path" }];
}

const server = createServer((request, response) => {
  answer(request).then(
    ([status, body]) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body)),
    (thrown) => response.writeHead(500).end(String(thrown)),
  );
});
server.listen(Number(values.port ?? 9300), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
