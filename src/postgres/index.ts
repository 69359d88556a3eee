/**
 * `holdfast/postgres`: tables of PostgreSQL as sinks of a job, and a ledger of side effects. Needs the package `pg` beside the job, which is bundled with it.
 *
 * Boundary: connectors and ledgers of a job's own code, in a package's clothes: they run in executors and, for commits, in the driver's thread of the job's own code.
 */
import { type Sink, sinks } from "../api/sink.js";
import { postgresLedger } from "./ledger.js";
import type { PostgresTarget } from "./target.js";
import { transactionalConnector } from "./transactional-sink.js";
import { type PostgresUpsert, upsertConnector } from "./upsert-sink.js";

export type { OnceContext, OnceEffect, OnceLedger, OnceOptions, Reconciled } from "../api/once.js";
export type { PostgresConnection } from "./connection.js";
export type { PostgresLedgerOptions } from "./ledger.js";
export type { PostgresTarget } from "./target.js";
export type { PostgresUpsert } from "./upsert-sink.js";

/** Rows that appear with their checkpoint (or at the end of a job without): exactly once. */
function transactional(options: PostgresTarget): Sink<object> {
  return sinks.custom(transactionalConnector(options));
}

/** Rows that replace those with the same key, as they come: effectively once. */
function upsert(options: PostgresUpsert): Sink<object> {
  return sinks.custom(upsertConnector(options));
}

export const postgres = { transactional, upsert, ledger: postgresLedger } as const;
