/**
 * Pays, each payment once, whatever dies: the service that pays is not idempotent, so a ledger in PostgreSQL stands before it. Needs a PostgreSQL and the service:
 *
 *   node examples/payments/service.mjs --port 9300 --database postgres://holdfast@127.0.0.1:5432/postgres --password-file password
 *   npx holdfast run examples/payments/job.ts --param service=http://127.0.0.1:9300 --param database=postgres://holdfast@127.0.0.1:5432/postgres --param passwordFile=password
 *
 * `--param ledger=off` pays without the ledger: after a crash some payments are made twice. test/integration/scenarios/payments.long.test.ts shows both.
 */
import { defineJob, sources } from "holdfast";
import { type OnceEffect, postgres } from "holdfast/postgres";
import { z } from "zod";

interface Payment {
  readonly id: string;
  readonly account: number;
  readonly cents: number;
}

interface Receipt extends Payment {
  /** The service's own number. */
  readonly receipt: number;
}

const AMOUNT_CENTS = 10_000;

export default defineJob({
  id: "payments",
  params: z.object({
    service: z.string(),
    database: z.string(),
    passwordFile: z.string(),
    payments: z.coerce.number().int().positive().default(1_000),
    accounts: z.coerce.number().int().positive().default(10),
    rate: z.coerce.number().positive().default(200),
    ledger: z.enum(["on", "off"]).default("on"),
  }),
  checkpoint: { every: "500ms" },
  restart: { strategy: "exponential", min: "50ms", max: "500ms" },
  build(job, p) {
    const connection = { url: p.database, passwordFile: p.passwordFile };
    const ledger = postgres.ledger({ name: "payments", connection });

    job
      .from("payments", sources.numbers({ to: p.payments, rate: p.rate }))
      .map((n): Payment => ({ id: `payment-${n}`, account: n % p.accounts, cents: AMOUNT_CENTS }))
      .mapAsync(
        async (payment, ctx): Promise<Receipt> => {
          const { signal, fence } = ctx;
          if (p.ledger === "off") return { ...payment, receipt: await pay(p.service, payment, { key: payment.id, signal, fence }) };
          const receipt = await ledger.once(ctx, payment.id, (effect) => pay(p.service, payment, effect), {
            // Somebody began this payment and died: the service's own log says whether it was made.
            reconcile: async (effect) => {
              const made = await find(p.service, payment, effect);
              return made === null ? { done: false } : { done: true, result: made };
            },
          });
          return { ...payment, receipt };
        },
        { concurrency: 8 },
      )
      .to("receipts", postgres.transactional({ connection, table: "receipts", columns: ["id", "account", "cents", "receipt"] }));
  },
});

/** Moves money each time it is called. The fence lets the service refuse a call of a try that is over. */
async function pay(service: string, payment: Payment, { fence, signal }: OnceEffect): Promise<number> {
  const answer = await fetch(`${service}/pay`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...payment, fence }),
    signal,
  });
  if (!answer.ok) throw new Error(`the service refused ${payment.id}: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { receipt: number }).receipt;
}

/** From now on the service refuses calls with smaller fences for this payment, so what it answers stays true. */
async function find(service: string, { id }: Payment, { fence, signal }: OnceEffect): Promise<number | null> {
  const answer = await fetch(`${service}/payments/${id}?fence=${fence}`, { signal });
  if (!answer.ok) throw new Error(`the service does not say whether ${id} was made: ${answer.status}`);
  return ((await answer.json()) as { receipt: number | null }).receipt;
}
