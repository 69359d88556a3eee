/**
 * examples/payments through kills: executors, drivers and the leading master die at random while money is moved by a service that is not idempotent.
 * With the ledger every balance is exact; without it the same kills make it wrong. HOLDFAST_PAYMENT_KILLS=50 kills as often, HOLDFAST_PAYMENT_SEED chooses whom.
 */
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { ROOT, until } from "../../support/holdfast.js";
import { type PostgresServer, startPostgres } from "../../support/postgres.js";
import { isAlive } from "../../support/process-facts.js";
import { killPid, type Stage, scenario } from "../../support/scenario.js";

const KILLS = Number(process.env.HOLDFAST_PAYMENT_KILLS ?? 6);
const SEED = Number(process.env.HOLDFAST_PAYMENT_SEED ?? 7);
const KILLS_WITHOUT = 3;
const ACCOUNTS = 10;
const CENTS = 10_000;
const RATE = 150;
/** More than are made between two kills, so that the job still pays when the last one comes. */
const PAYMENTS_PER_KILL = 200;

let database: PostgresServer;
beforeAll(async () => {
  database = await startPostgres();
}, 120_000);
afterAll(() => database?.close());

interface Service {
  readonly url: string;
  questions(): Promise<number>;
}

/** A process of its own, which lives through all kills: it is the world outside. */
async function startService(stage: Stage): Promise<Service> {
  const words = ["--port", "0", "--database", database.url, "--password-file", database.passwordFile];
  const service: ChildProcess = spawn(process.execPath, [path.join(ROOT, "examples/payments/service.mjs"), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  stage.atEnd(() => void service.kill("SIGKILL"));
  const port = await new Promise<number>((resolve, reject) => {
    service.stdout?.on("data", (text: Buffer) => resolve(Number(/listening on (\d+)/.exec(text.toString())?.[1])));
    service.once("exit", (code) => reject(new Error(`the service ended with ${code}`)));
  });
  const url = `http://127.0.0.1:${port}`;
  return { url, questions: async () => ((await (await fetch(`${url}/questions`)).json()) as { count: number }).count };
}

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const paidSoFar = async () => Number((await database.query<{ n: string }>("SELECT count(*) AS n FROM service_log"))[0]?.n ?? 0);

async function killOne(stage: Stage, job: string, chance: number): Promise<string> {
  if (chance < 0.15) {
    await stage.killLeader();
    stage.master();
    return "leader";
  }
  let victim: number | undefined;
  await until("somebody to kill", async () => {
    const { driver, executors, state } = await stage.status(job);
    const pids = executors.flatMap(({ state: now, pid }) => (now === "running" && pid !== null ? [pid] : []));
    const pid = chance < 0.4 ? driver?.pid : pids[Math.floor(chance * 1_000) % Math.max(1, pids.length)];
    victim = pid !== null && pid !== undefined && isAlive(pid) ? pid : undefined;
    return victim !== undefined || state === "finished";
  });
  killPid(victim);
  return chance < 0.4 ? "driver" : "executor";
}

/** Kills once the job has paid some more since the last kill; returns when all is paid. */
async function payThroughKills(stage: Stage, kills: number, ledger: "on" | "off") {
  await database.query("DROP SCHEMA IF EXISTS holdfast CASCADE");
  await database.query("DROP TABLE IF EXISTS balances, service_log, service_fences, receipts");
  const service = await startService(stage);
  stage.masters(2);
  stage.workers(2);
  await stage.valid(2, 2);
  const payments = kills * PAYMENTS_PER_KILL;
  const params = {
    service: service.url,
    database: database.url,
    passwordFile: database.passwordFile,
    payments,
    accounts: ACCOUNTS,
    rate: RATE,
    ledger,
  };
  const words = Object.entries(params).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
  const submitted = await stage.command([
    "submit",
    path.join(ROOT, "examples/payments/job.ts"),
    "--json",
    "--parallelism",
    "2",
    "--max-restarts",
    "1000",
    "--executor-memory",
    "256m",
    ...words,
  ]);
  expect(submitted, submitted.stderr).toMatchObject({ exitCode: 0 });
  const job = (JSON.parse(submitted.stdout) as { id: string }).id;
  const chance = random(SEED);
  for (let kill = 0; kill < kills; kill++) {
    const before = await paidSoFar();
    const more = 20 + Math.floor(chance() * 80);
    await until(
      `payment ${before + more} before kill ${kill + 1}`,
      async () => (await paidSoFar()) >= before + more || (await stage.status(job)).state !== "running",
      90_000,
    );
    // Once the database itself, which is ledger, sink and bank in one: it comes back with what it had acknowledged.
    if (ledger === "on" && kill === 1) {
      await database.kill();
      await database.start();
    }
    await killOne(stage, job, chance());
  }
  expect(await stage.ended(job, 300_000)).toMatchObject({ state: "finished" });
  const balances = await database.query<{ account: number; cents: string }>("SELECT account, cents FROM balances ORDER BY account");
  const receipts = await database.query<{ n: string; paid: string }>(
    "SELECT count(*) AS n, count(DISTINCT l.receipt) AS paid FROM receipts r JOIN service_log l ON l.receipt = r.receipt AND l.id = r.id",
  );
  return { payments, balances, paid: await paidSoFar(), receipts: Number(receipts[0]?.n), questions: await service.questions() };
}

scenario(
  `a payment is made once through ${KILLS} kills of executors, drivers and masters, and one of the database, and every balance is exact`,
  async (stage) => {
    const { payments, balances, paid, receipts, questions } = await payThroughKills(stage, KILLS, "on");
    const each = String((payments / ACCOUNTS) * CENTS);
    expect(balances).toEqual(Array.from({ length: ACCOUNTS }, (_, account) => ({ account, cents: each })));
    expect({ paid, receipts }).toEqual({ paid: payments, receipts: payments });
    // Some died between the effect and its note, or the kills proved nothing.
    expect(questions).toBeGreaterThan(0);
    const left = await database.query(
      "SELECT (SELECT count(*) FROM holdfast.staged)::int AS staged, (SELECT count(*) FROM holdfast.once WHERE NOT is_done)::int AS open",
    );
    expect(left).toEqual([{ staged: 0, open: 0 }]);
    console.log(`${KILLS} kills, ${payments} payments, ${questions} of them were in doubt and reconciled`);
  },
  { timeoutMs: 120_000 + KILLS * 20_000 },
);

scenario(
  "the same kills without the ledger pay some payments twice: that is what it is for",
  async (stage) => {
    const { payments, paid, receipts } = await payThroughKills(stage, KILLS_WITHOUT, "off");
    expect(paid).toBeGreaterThan(payments);
    // The sink is exact all the same: a payment has one receipt, whichever was the last.
    expect(receipts).toBe(payments);
    console.log(`${KILLS_WITHOUT} kills, ${payments} payments, ${paid - payments} made twice`);
  },
  { timeoutMs: 300_000 },
);
