/**
 * Rows that appear with their checkpoint, exactly once: staged in a table of Holdfast's own as they come, and moved into the user's table by the driver in
 * one transaction, once the checkpoint is durable.
 *
 *   write    batches of rows -> staged          fenced by the try's fence
 *   prepare  parts: how many rows were staged    durable, invisible; the committable is the part's name
 *   commit   one transaction: part -> committed, its rows -> the table, staged rows away. Committed before: nothing to do
 *   abort    staged rows of tries that are over and that no checkpoint needs go
 *
 * Invariants:
 *   1. A part's rows are in the user's table if and only if the part is committed: both change in one transaction.
 *   2. A part that is committed stays on record until a later one of the application is, so that a repeated commit finds it.
 *   3. No transaction is held open between statements of different moments: nothing blocks vacuum, and no lock outlives its process.
 */
import { randomUUID } from "node:crypto";
import { type CommitPart, type SinkSubtask, type TwoPhaseWriter, twoPhaseSink } from "../api/own-sinks.js";
import { CodedError } from "../base/errors.js";
import type { CleanUpOptions, SinkConnector } from "../dataflow/connector.js";
import type { Session } from "./connection.js";
import { RowBatch, rowText } from "./rows.js";
import { closeFences, type FencedWriter, fenceClause, fenced, fenceValues, makeTables, raiseFence } from "./tables.js";
import { checkTarget, openTarget, type PostgresTarget, prepareTarget, type Target } from "./target.js";

/** JSON: what a checkpoint keeps of a part. */
type Staged = { readonly part: string; readonly records: number };

/** Committed parts older than this are forgotten when a later one of the same application is committed. */
const KEPT = "interval '1 hour'";
/** Of applications that ended, and whose last commit nobody repeats any more. */
const KEPT_AFTER_END = "interval '7 days'";

export function transactionalConnector(options: PostgresTarget): SinkConnector<object> {
  checkTarget(options);
  return twoPhaseSink<object, Staged>({
    begin: ({ signal }) => prepareTarget(options, signal),
    open: async (subtask) => {
      const writer = new StagingWriter(openTarget(options, 1), subtask);
      await writer.begin();
      return writer;
    },
    commit: (staged, part) => withTarget(options, (target) => commit(target, staged, part)),
    abort: (tries) => withTarget(options, (target) => removeStaged(target, tries)),
  });
}

async function withTarget<T>(options: PostgresTarget, act: (target: Target) => Promise<T>): Promise<T> {
  const target = openTarget(options, 1);
  try {
    return await act(target);
  } finally {
    await target.database.close();
  }
}

class StagingWriter implements TwoPhaseWriter<object, Staged> {
  private readonly target: Target;
  private readonly subtask: SinkSubtask;
  private readonly who: FencedWriter;
  private readonly batch = new RowBatch();
  private part = newPart();
  private chunks = 0;
  private records = 0;

  constructor(target: Target, subtask: SinkSubtask) {
    this.target = target;
    this.subtask = subtask;
    this.who = { application: subtask.applicationId, writer: target.name, subtask: subtask.subtask, fence: subtask.fence };
  }

  async begin(): Promise<void> {
    const { database, tables } = this.target;
    await makeTables(database, tables, this.subtask.signal);
    await raiseFence(database, tables, this.who, this.subtask.signal);
  }

  async write(records: readonly object[]): Promise<void> {
    for (const record of records) {
      this.batch.add(rowText(record, this.target.columns, this.target.name));
      if (this.batch.isFull) await this.stage();
    }
  }

  async prepare(): Promise<Staged | null> {
    await this.stage();
    const { part, records } = this;
    if (records === 0) return null;
    const { tables } = this.target;
    await this.fenced(
      `INSERT INTO ${tables.parts} (application, sink, part, attempt, records, is_committed)
       SELECT $5, $6, $7, $8, $9::bigint, false FROM fence ON CONFLICT (application, sink, part) DO NOTHING`,
      [this.who.application, this.who.writer, part, this.subtask.attempt, records],
    );
    this.part = newPart();
    this.chunks = 0;
    this.records = 0;
    return { part, records };
  }

  close(): Promise<void> {
    return this.target.database.close();
  }

  /** A chunk that is there already was written by this statement, whose answer was lost. */
  private async stage(): Promise<void> {
    const { rows } = this.batch;
    if (rows === 0) return;
    const { tables } = this.target;
    await this.fenced(
      `INSERT INTO ${tables.staged} (application, sink, part, attempt, chunk, rows)
       SELECT $5, $6, $7, $8, $9::integer, $10::json FROM fence ON CONFLICT (application, sink, part, chunk) DO NOTHING`,
      [this.who.application, this.who.writer, this.part, this.subtask.attempt, this.chunks, this.batch.take()],
    );
    this.chunks += 1;
    this.records += rows;
  }

  private async fenced(insert: string, values: readonly unknown[]): Promise<void> {
    const { database, tables } = this.target;
    const statement = `WITH ${fenceClause(tables, 1)}, written AS (${insert} RETURNING 1) SELECT (SELECT count(*) FROM fence) AS allowed`;
    const { rows } = await database.again(statement, [...fenceValues(this.who), ...values], this.subtask.signal);
    if (Number(rows[0]?.allowed) === 0) throw fenced(this.who);
  }
}

/** No other writer's, and no other try's: a part is told apart by its name alone. */
const newPart = (): string => randomUUID();

async function commit(target: Target, staged: Staged, { applicationId, again }: CommitPart): Promise<void> {
  const { database, tables, name } = target;
  await database.transaction(async (session) => {
    const key = [applicationId, name, staged.part];
    const { count } = await session.query(
      `UPDATE ${tables.parts} SET is_committed = true, at = now() WHERE application = $1 AND sink = $2 AND part = $3 AND NOT is_committed`,
      key,
    );
    if (count === 1) await move(session, target, key, staged);
    else await expectCommitted(session, target, key, again);
    await session.query(
      `DELETE FROM ${tables.parts} WHERE application = $1 AND sink = $2 AND is_committed AND at < now() - ${KEPT} AND part <> $3`,
      key,
    );
  }, null);
}

async function move(session: Session, target: Target, key: readonly unknown[], { part, records }: Staged): Promise<void> {
  const { tables, table, columnList, rowColumns, name } = target;
  const { count } = await session.query(
    `INSERT INTO ${table} (${columnList})
     SELECT ${rowColumns} FROM ${tables.staged} AS s, json_populate_recordset(NULL::${table}, s.rows) AS r
     WHERE s.application = $1 AND s.sink = $2 AND s.part = $3 ORDER BY s.chunk`,
    key,
  );
  if (count !== records) {
    throw new CodedError("SINK_FAILED", `Part ${part} for table ${name} has ${count} staged rows, and ${records} were prepared.`, {
      hint: "Somebody has changed Holdfast's own tables, or a trigger of the table leaves rows out. Nothing was committed.",
      details: { table: name, part },
    });
  }
  await session.query(`DELETE FROM ${tables.staged} WHERE application = $1 AND sink = $2 AND part = $3`, key);
}

/** `again`: it was committed so long ago that its record is gone. */
async function expectCommitted(session: Session, { tables, name }: Target, key: readonly unknown[], again: boolean): Promise<void> {
  const { rows } = await session.query(
    `SELECT is_committed FROM ${tables.parts} WHERE application = $1 AND sink = $2 AND part = $3`,
    key,
  );
  if (rows[0]?.is_committed === true || (rows.length === 0 && again)) return;
  throw new CodedError("SINK_FAILED", `Part ${key[2]} for table ${name} is not staged in ${tables.parts}, and was not committed.`, {
    hint: "Was another database given, or were Holdfast's own tables emptied while the job ran?",
    details: { table: name, part: key[2] },
  });
}

async function removeStaged(target: Target, { applicationId, keepAttempt, isOver = () => true }: CleanUpOptions): Promise<void> {
  const { database, tables, name } = target;
  await makeTables(database, tables, null);
  // First: what a try that is thought dead would still stage is refused from here on.
  if (keepAttempt === null) await closeFences(database, tables, { application: applicationId, writer: name, isOver });
  const own = [applicationId, name];
  const { rows } = await database.again(
    `SELECT DISTINCT attempt FROM ${tables.staged} WHERE application = $1 AND sink = $2`,
    own,
    null,
  );
  const attempts = rows.map(({ attempt }) => String(attempt));
  const over = attempts.filter((attempt) => attempt !== keepAttempt && isOver(attempt));
  await database.transaction(async (session) => {
    for (const table of [tables.staged, tables.parts]) {
      const isStaged = table === tables.parts ? "AND NOT is_committed" : "";
      await session.query(`DELETE FROM ${table} WHERE application = $1 AND sink = $2 AND attempt = ANY($3) ${isStaged}`, [
        ...own,
        over,
      ]);
    }
    await session.query(`DELETE FROM ${tables.parts} WHERE is_committed AND at < now() - ${KEPT_AFTER_END}`);
  }, null);
}
