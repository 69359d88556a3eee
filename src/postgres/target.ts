/** What both kinds of PostgreSQL sinks are told, checked when the job is planned, and the table that they write to. */
import { CodedError } from "../base/errors.js";
import type { CancelSignal } from "../dataflow/connector.js";
import { checkConnection, createDatabase, type Database, type PostgresConnection, quoted, quotedTable } from "./connection.js";
import { DEFAULT_SCHEMA, makeTables, type Tables, tablesOf } from "./tables.js";

export interface PostgresTarget {
  readonly connection: PostgresConnection;
  /** `table` or `schema.table`. It has to be there. */
  readonly table: string;
  /** Fields of the records, which are columns of the table; other columns keep their defaults. */
  readonly columns: readonly string[];
  /** Of Holdfast's own tables; default `holdfast`. It is made when this user may. */
  readonly schema?: string;
}

export interface Target {
  readonly database: Database;
  readonly tables: Tables;
  readonly table: string;
  readonly columns: readonly string[];
  /** `"a", "b"` */
  readonly columnList: string;
  /** `r."a", r."b"` */
  readonly rowColumns: string;
  /** Its name as the user gave it. */
  readonly name: string;
}

const MAX_COLUMNS = 1_600;

/** Throws INVALID_ARGUMENT. */
export function checkTarget({ connection, table, columns }: PostgresTarget): void {
  checkConnection(connection);
  quotedTable(table);
  if (columns.length === 0 || columns.length > MAX_COLUMNS || new Set(columns).size !== columns.length) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `The sink to the table ${table} has ${columns.length} columns, or one of them twice.`,
      {
        hint: 'Name each column that records fill once: columns: ["id", "amount"].',
      },
    );
  }
  for (const column of columns) quoted(column);
}

export function openTarget(options: PostgresTarget, connections: number): Target {
  checkTarget(options);
  const { connection, table, columns } = options;
  const what = `the sink to table ${table}`;
  return {
    database: createDatabase({ connection, connections, code: "SINK_FAILED", what }),
    tables: tablesOf(options.schema ?? DEFAULT_SCHEMA),
    table: quotedTable(table),
    columns,
    columnList: columns.map(quoted).join(", "),
    rowColumns: columns.map((column) => `r.${quoted(column)}`).join(", "),
    name: table,
  };
}

/** Makes Holdfast's tables and looks at the user's, before an hour of work is done for nothing. */
export async function prepareTarget(options: PostgresTarget, signal: CancelSignal): Promise<void> {
  const { database, tables, table, columnList } = openTarget(options, 1);
  try {
    await makeTables(database, tables, signal);
    await database.again(`SELECT ${columnList} FROM ${table} LIMIT 0`, [], signal);
  } finally {
    await database.close();
  }
}
