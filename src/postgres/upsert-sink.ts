/**
 * Rows that replace themselves: `insert ... on conflict (key) do update`, in batches. Effectively once: what a failed try wrote is written again.
 *
 * Invariants:
 *   1. A try that is over and doesn't know it writes nothing: each statement looks at the fence of its subtask, and holds it while it runs.
 *   2. A batch holds a key once (the last record of it), in the order of keys, so that batches of several subtasks can't wait for each other in a circle.
 *   3. At the barrier of a checkpoint everything before it is durable in the table.
 */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { OpenSinkOptions, SinkConnector, SinkWriter, WriterCheckpoint } from "../dataflow/connector.js";
import { fenceOf } from "../dataflow/fence.js";
import { quoted } from "./connection.js";
import { BATCH_CHARS, BATCH_ROWS, columnValue, rowText } from "./rows.js";
import { closeFences, type FencedWriter, fenceClause, fenced, fenceValues, makeTables, raiseFence } from "./tables.js";
import { checkTarget, openTarget, type PostgresTarget, prepareTarget, type Target } from "./target.js";

export interface PostgresUpsert extends PostgresTarget {
  /** Columns of the primary key, or of a unique index: records with equal ones are the same row. */
  readonly key: readonly string[];
}

export function upsertConnector(options: PostgresUpsert): SinkConnector<object> {
  checkTarget(options);
  const { key, columns, table } = options;
  if (key.length === 0 || key.some((column) => !columns.includes(column))) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `The key of the upsert to table ${table} is [${key.join(", ")}]: not one or more of its columns.`,
      {
        hint: "Name the columns of the table's primary key, and name them in `columns`, too.",
      },
    );
  }
  return {
    guarantee: "effectively-once",
    begin: ({ signal }) => prepareTarget(options, signal),
    open: async (open) => {
      const writer = new UpsertWriter(options, open);
      await writer.begin();
      return writer;
    },
    commit: () => Promise.resolve(),
    cleanUp: async ({ applicationId, keepAttempt, isOver = () => true }) => {
      // Before a try the newer writers raise their fences themselves.
      if (keepAttempt !== null) return;
      const { database, tables, name } = openTarget(options, 1);
      try {
        await makeTables(database, tables, null);
        await closeFences(database, tables, { application: applicationId, writer: name, isOver });
      } finally {
        await database.close();
      }
    },
  };
}

class UpsertWriter implements SinkWriter<object> {
  private readonly target: Target;
  private readonly key: readonly string[];
  private readonly open: OpenSinkOptions;
  private readonly who: FencedWriter;
  private readonly statement: string;
  /** By the text of the key. */
  private batch = new Map<string, string>();
  private chars = 0;
  private turn: Promise<void> = Promise.resolve();

  constructor(options: PostgresUpsert, open: OpenSinkOptions) {
    this.target = openTarget(options, 1);
    this.key = options.key;
    this.open = open;
    const { applicationId, subtask, attempt } = open;
    this.who = { application: applicationId, writer: options.table, subtask, fence: fenceOf(attempt) };
    this.statement = upsertStatement(this.target, options.key);
  }

  async begin(): Promise<void> {
    const { database, tables } = this.target;
    await makeTables(database, tables, this.open.signal);
    await raiseFence(database, tables, this.who, this.open.signal);
  }

  write(records: readonly object[], count: number): void | Promise<void> {
    let writing: Promise<void> | undefined;
    for (let i = 0; i < count; i++) {
      const record = records[i] as Readonly<Record<string, unknown>>;
      const text = rowText(record, this.target.columns, this.target.name);
      const key = JSON.stringify(this.key.map((column) => columnValue(record[column])));
      this.chars += text.length - (this.batch.get(key)?.length ?? 0);
      this.batch.set(key, text);
      if (this.batch.size >= BATCH_ROWS || this.chars >= BATCH_CHARS) writing = this.flush();
    }
    return writing;
  }

  async checkpoint(): Promise<WriterCheckpoint> {
    await this.flush();
    return { committables: [], state: null };
  }

  async prepare(): Promise<JsonValue> {
    await this.flush();
    return null;
  }

  async abort(): Promise<void> {
    await this.close().catch(() => undefined);
  }

  close(): Promise<void> {
    return this.target.database.close();
  }

  /** One statement after the other; a failure is everybody's who waits. */
  private flush(): Promise<void> {
    const { batch } = this;
    this.batch = new Map();
    this.chars = 0;
    const turn = this.turn.then(() => this.send(batch));
    this.turn = turn;
    turn.catch(() => undefined);
    return turn;
  }

  private async send(batch: ReadonlyMap<string, string>): Promise<void> {
    if (batch.size === 0) return;
    const rows = `[${[...batch.keys()]
      .sort()
      .map((key) => batch.get(key))
      .join(",")}]`;
    const { rows: answer } = await this.target.database.again(this.statement, [rows, ...fenceValues(this.who)], this.open.signal);
    if (Number(answer[0]?.allowed) === 0) throw fenced(this.who);
  }
}

/** Says whether the fence let it through; a batch of rows that change nothing affects none, so their number tells nothing. */
function upsertStatement({ tables, table, columns, columnList, rowColumns }: Target, key: readonly string[]): string {
  const others = columns.filter((column) => !key.includes(column));
  const update =
    others.length === 0
      ? "NOTHING"
      : `UPDATE SET ${others.map((column) => `${quoted(column)} = excluded.${quoted(column)}`).join(", ")}`;
  return `WITH ${fenceClause(tables, 2)},
    written AS (
      INSERT INTO ${table} (${columnList}) SELECT ${rowColumns} FROM fence, json_populate_recordset(NULL::${table}, $1::json) AS r
      ON CONFLICT (${key.map(quoted).join(", ")}) DO ${update} RETURNING 1)
    SELECT (SELECT count(*) FROM fence) AS allowed, (SELECT count(*) FROM written) AS written`;
}
