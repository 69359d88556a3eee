/**
 * The tables of Holdfast's own in a user's database, in a schema of their own (`holdfast` unless told otherwise):
 *
 *   fences   the newest fence of each writer; every write of Holdfast's looks at it in its own statement
 *   staged   rows of transactional sinks that are not visible yet, a batch a row
 *   parts    what was staged together: staged, then committed
 *   once     the ledger of side effects
 *
 * Invariant: raising a fence waits for writes under the old one that are under way (a row lock), so after it none of them can follow.
 */
import { CodedError } from "../base/errors.js";
import type { CancelSignal } from "../dataflow/connector.js";
import { attemptOf, lastFenceOf } from "../dataflow/fence.js";
import { type Database, quoted } from "./connection.js";

export const DEFAULT_SCHEMA = "holdfast";
/** Serialises the making of tables: PostgreSQL's `if not exists` is not safe against itself. */
const MAKING_LOCK = 7_077_001;
/** What is left of applications that have ended. */
const KEPT = "interval '7 days'";

export interface Tables {
  readonly schema: string;
  readonly fences: string;
  readonly staged: string;
  readonly parts: string;
  readonly once: string;
}

export function tablesOf(schema: string): Tables {
  const of = (name: string) => `${quoted(schema)}.${quoted(name)}`;
  return { schema: quoted(schema), fences: of("fences"), staged: of("staged"), parts: of("parts"), once: of("once") };
}

/** Makes what is missing. Harmless when several do it at once. */
export async function makeTables(database: Database, tables: Tables, signal: CancelSignal | null): Promise<void> {
  await database.transaction(async (session) => {
    // One that may not make tables can use those that an administrator has made.
    const { rows } = await session.query("SELECT count(to_regclass(name)) AS there FROM unnest($1::text[]) AS name", [
      [tables.fences, tables.staged, tables.parts, tables.once],
    ]);
    if (Number(rows[0]?.there) === 4) return;
    await session.query(`SELECT pg_advisory_xact_lock(${MAKING_LOCK})`);
    await session.query(`CREATE SCHEMA IF NOT EXISTS ${tables.schema}`);
    await session.query(`CREATE TABLE IF NOT EXISTS ${tables.fences} (
      application text NOT NULL, writer text NOT NULL, subtask integer NOT NULL, fence bigint NOT NULL, is_closed boolean NOT NULL DEFAULT false, at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (application, writer, subtask))`);
    await session.query(`CREATE TABLE IF NOT EXISTS ${tables.parts} (
      application text NOT NULL, sink text NOT NULL, part text NOT NULL, attempt text NOT NULL, records bigint NOT NULL,
      is_committed boolean NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (application, sink, part))`);
    await session.query(`CREATE TABLE IF NOT EXISTS ${tables.staged} (
      application text NOT NULL, sink text NOT NULL, part text NOT NULL, attempt text NOT NULL, chunk integer NOT NULL, rows json NOT NULL,
      at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (application, sink, part, chunk))`);
    await session.query(`CREATE TABLE IF NOT EXISTS ${tables.once} (
      ledger text NOT NULL, key text NOT NULL, is_done boolean NOT NULL, owner text NOT NULL, result json,
      intended_at timestamptz NOT NULL DEFAULT now(), done_at timestamptz, PRIMARY KEY (ledger, key))`);
  }, signal);
}

/** Who writes: the newest try's writer of a subtask is the only one that still may. */
export interface FencedWriter {
  readonly application: string;
  /** The sink's or the ledger's name. */
  readonly writer: string;
  readonly subtask: number;
  readonly fence: number;
}

/** After this no writer with a smaller fence writes any more. Throws FENCED when there is one with a larger. */
export async function raiseFence(
  database: Database,
  tables: Tables,
  who: FencedWriter,
  signal: CancelSignal | null,
): Promise<void> {
  const { rows } = await database.again(
    `INSERT INTO ${tables.fences} AS f (application, writer, subtask, fence) VALUES ($1, $2, $3, $4)
     ON CONFLICT (application, writer, subtask) DO UPDATE SET fence = greatest(f.fence, excluded.fence), is_closed = false, at = now()
     RETURNING fence`,
    [who.application, who.writer, who.subtask, who.fence],
    signal,
  );
  if (Number(rows[0]?.fence) > who.fence) throw fenced(who);
}

/**
 * Writers of tries that are over write nothing any more, also those that are thought dead and live on: their fences are raised to the end of their driver
 * attempt, below those of the attempts that follow. What applications that ended long ago have left goes.
 */
export async function closeFences(
  database: Database,
  tables: Tables,
  {
    application,
    writer,
    isOver,
  }: { readonly application: string; readonly writer: string; readonly isOver: (attempt: string) => boolean },
): Promise<void> {
  const key = [application, writer];
  const { rows } = await database.again(
    `SELECT DISTINCT fence FROM ${tables.fences} WHERE application = $1 AND writer = $2 AND NOT is_closed`,
    key,
    null,
  );
  for (const { fence } of rows) {
    if (!isOver(attemptOf(Number(fence)))) continue;
    await database.again(
      `UPDATE ${tables.fences} SET fence = $4, is_closed = true, at = now() WHERE application = $1 AND writer = $2 AND fence = $3`,
      [...key, fence, lastFenceOf(Number(fence))],
      null,
    );
  }
  await database.again(`DELETE FROM ${tables.fences} WHERE is_closed AND at < now() - ${KEPT}`, [], null);
}

/**
 * `WITH fence AS (...)` for a statement whose rows it is joined with: one row when the writer may write, else none. It locks the row of the fence for the
 * statement. Its values are `$n` to `$n+3`.
 */
export function fenceClause(tables: Tables, n: number): string {
  return `fence AS (SELECT 1 FROM ${tables.fences} WHERE application = $${n} AND writer = $${n + 1} AND subtask = $${n + 2} AND fence <= $${n + 3} FOR SHARE)`;
}

export const fenceValues = ({ application, writer, subtask, fence }: FencedWriter): readonly unknown[] => [
  application,
  writer,
  subtask,
  fence,
];

export function fenced({ application, writer, subtask }: FencedWriter): CodedError {
  return new CodedError(
    "FENCED",
    `Subtask ${subtask} of ${writer} in ${application} may not write to PostgreSQL any more: a newer try of it does, or the application has ended.`,
    { hint: "Nothing is lost: the newer try goes on from the last checkpoint." },
  );
}
