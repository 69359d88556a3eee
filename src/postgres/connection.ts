/**
 * How a job's own code reaches PostgreSQL: where, as whom, with which limits; what is tried again, and how a failure is told.
 *
 * Invariants:
 *   1. A password never stands in a job: not in its URL, not in its params. It comes from a file of the machine, and no message names it.
 *   2. Only what may be repeated is repeated: statements of sinks and ledgers are, each says so by going through `again`.
 */
import { readFile } from "node:fs/promises";
import { Pool, type PoolClient } from "pg";
import { CodedError, type ErrorCode } from "../base/errors.js";
import type { CancelSignal } from "../dataflow/connector.js";

export interface PostgresConnection {
  /**
   * `postgres://user@host:5432/database`, without a password: job and params are stored and shown. What is not in it comes from the environment
   * (`PGHOST`, `PGUSER` ...), of which workers hand none to jobs.
   */
  readonly url: string;
  /** A file that holds the password, on every machine that runs the job. Default: `~/.pgpass` of the worker's user. */
  readonly passwordFile?: string;
  /** TLS; default: none. True: the server's certificate has to be valid. */
  readonly ssl?: boolean | { readonly caFile: string };
  /** A try to connect takes at most so long; default 5,000. */
  readonly connectTimeoutMs?: number;
  /** A statement takes at most so long; default 60,000. */
  readonly statementTimeoutMs?: number;
  /** How long a server that is away, or restarts, is tried again before the subtask fails; default 30,000. */
  readonly retryForMs?: number;
}

export const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
export const DEFAULT_STATEMENT_TIMEOUT_MS = 60_000;
export const DEFAULT_RETRY_FOR_MS = 30_000;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2_000;

export type Row = Readonly<Record<string, unknown>>;

/** One connection, or a transaction on one. */
export interface Session {
  query(text: string, values?: readonly unknown[]): Promise<{ readonly rows: readonly Row[]; readonly count: number }>;
}

export interface OpenSession extends Session {
  /** `broken`: it is not used again, and its server process ends. */
  release(broken: boolean): void;
  /** Told when the connection ends by itself. */
  onLost(listener: () => void): void;
}

export interface Database {
  /** One statement that may be repeated: while the server is away it is tried again. */
  again(
    text: string,
    values: readonly unknown[],
    signal: CancelSignal | null,
  ): Promise<{ readonly rows: readonly Row[]; readonly count: number }>;
  /** All or nothing, and tried again as a whole. */
  transaction<T>(body: (session: Session) => Promise<T>, signal: CancelSignal | null): Promise<T>;
  open(signal: CancelSignal | null): Promise<OpenSession>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly connection: PostgresConnection;
  readonly connections: number;
  /** What its failures are told as. */
  readonly code: ErrorCode;
  /** For messages: `table "public"."payments"`. */
  readonly what: string;
}

/** Throws INVALID_ARGUMENT: a job is refused when it is planned. Never repeats what was given. */
export function checkConnection(connection: PostgresConnection): void {
  const refuse = (why: string, hint: string): CodedError =>
    new CodedError("INVALID_ARGUMENT", `The connection to PostgreSQL ${why}.`, { hint });
  let url: URL;
  try {
    url = new URL(connection.url);
  } catch {
    throw refuse("has a url that is none", "Write postgres://user@host:5432/database.");
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:")
    throw refuse(`has a url of ${url.protocol}//`, "Write postgres://user@host:5432/database.");
  if (url.search !== "" && !url.searchParams.has("password"))
    throw refuse("has a url with parameters", "Name host, port, user and database only; the rest are fields of the connection.");
  if (url.password !== "" || url.searchParams.has("password"))
    throw refuse(
      "has a password in its url",
      "Jobs and params are stored and shown: put the password into a file, and give passwordFile.",
    );
}

/** Nothing is opened before the first statement. */
export function createDatabase(options: DatabaseOptions): Database {
  let pool: Promise<Pool> | null = null;
  const opened = (): Promise<Pool> => {
    pool ??= openPool(options);
    // A password file that can't be read now may be readable later.
    pool.catch(() => {
      pool = null;
    });
    return pool;
  };
  const retryForMs = options.connection.retryForMs ?? DEFAULT_RETRY_FOR_MS;
  const retried = <T>(act: (client: PoolClient) => Promise<T>, signal: CancelSignal | null): Promise<T> =>
    withRetries(async () => withClient(await opened(), act), { retryForMs, signal, options });
  return {
    again: (text, values, signal) => retried((client) => run(client, text, values), signal),
    transaction: (body, signal) =>
      retried(async (client) => {
        await client.query("BEGIN");
        try {
          const result = await body({ query: (text, values = []) => run(client, text, values) });
          await client.query("COMMIT");
          return result;
        } catch (thrown) {
          await client.query("ROLLBACK").catch(() => undefined);
          throw thrown;
        }
      }, signal),
    open: (signal) => withRetries(async () => sessionOf(await (await opened()).connect()), { retryForMs, signal, options }),
    close: async () => {
      const closing = pool;
      pool = null;
      const opened = await closing?.catch(() => null);
      const ended = opened?.end();
      ended?.catch(() => undefined);
      // One that is in use ends when it is released; user code that hangs on one is not waited for.
      if (opened !== null && opened !== undefined && opened.totalCount === opened.idleCount) await ended;
    },
  };
}

async function openPool({ connection, connections }: DatabaseOptions): Promise<Pool> {
  checkConnection(connection);
  const { url, passwordFile, ssl, connectTimeoutMs, statementTimeoutMs } = connection;
  const password = passwordFile === undefined ? null : await readPassword(passwordFile);
  const ca = typeof ssl === "object" ? await readFile(ssl.caFile, "utf8") : null;
  const pool = new Pool({
    ...placeOf(url),
    ...(password === null ? {} : { password }),
    ...(ssl === undefined || ssl === false ? {} : { ssl: ca === null ? true : { ca } }),
    max: connections,
    connectionTimeoutMillis: connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    query_timeout: (statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS) + 5_000,
    statement_timeout: statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS,
    idleTimeoutMillis: 30_000,
    allowExitOnIdle: true,
    application_name: "holdfast",
    // What was acknowledged is durable, whatever the server's own settings say.
    options: "-c synchronous_commit=on -c TimeZone=UTC",
  });
  // A connection that breaks while nobody uses it is replaced by the next use.
  pool.on("error", () => undefined);
  return pool;
}

/** `connectionString` would set aside a password that is given beside it. */
function placeOf(text: string): {
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly database?: string;
} {
  const url = new URL(text);
  const database = decodeURIComponent(url.pathname.slice(1));
  return {
    ...(url.hostname === "" ? {} : { host: url.hostname.replace(/^\[(.*)\]$/, "$1") }),
    ...(url.port === "" ? {} : { port: Number(url.port) }),
    ...(url.username === "" ? {} : { user: decodeURIComponent(url.username) }),
    ...(database === "" ? {} : { database }),
  };
}

async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  } catch (thrown) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `The password file ${file} can't be read: ${(thrown as NodeJS.ErrnoException).code}.`,
      {
        hint: "Put it on every machine that runs the job, readable for the worker's user only.",
      },
    );
  }
}

async function run(client: PoolClient, text: string, values: readonly unknown[]) {
  const { rows, rowCount } = await client.query<Record<string, unknown>>(text, [...values]);
  return { rows, count: rowCount ?? 0 };
}

async function withClient<T>(pool: Pool, act: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  // Without a listener an error of the connection would be nobody's.
  const onError = () => undefined;
  client.on("error", onError);
  let isBroken = false;
  try {
    return await act(client);
  } catch (thrown) {
    isBroken = isPassing(thrown);
    throw thrown;
  } finally {
    client.off("error", onError);
    client.release(isBroken);
  }
}

function sessionOf(client: PoolClient): OpenSession {
  const listeners: (() => void)[] = [];
  const lost = () => {
    for (const listener of listeners.splice(0)) listener();
  };
  client.on("error", lost);
  return {
    query: (text, values = []) => run(client, text, values),
    onLost: (listener) => void listeners.push(listener),
    release: (broken) => {
      client.off("error", lost);
      if (broken) client.on("error", () => undefined);
      client.release(broken);
    },
  };
}

interface RetryOptions {
  readonly retryForMs: number;
  readonly signal: CancelSignal | null;
  readonly options: Pick<DatabaseOptions, "code" | "what">;
}

async function withRetries<T>(act: () => Promise<T>, { retryForMs, signal, options }: RetryOptions): Promise<T> {
  const until = performance.now() + retryForMs;
  for (let tries = 0; ; tries++) {
    signal?.throwIfAborted();
    try {
      return await act();
    } catch (thrown) {
      if (!isPassing(thrown) || performance.now() > until) throw databaseFailed(thrown, options);
    }
    await pause(Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** tries), signal);
  }
}

/** Connection failures, a server that stops, starts or recovers, and conflicts that a repetition solves. */
const PASSING = /^(08...|57P0[123]|40001|40P01|53300)$/;
const PASSING_ERRNO = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENOENT"]);

export function isPassing(thrown: unknown): boolean {
  if (thrown instanceof CodedError) return false;
  const { code, message } = thrown as { readonly code?: unknown; readonly message?: unknown };
  if (typeof code === "string" && (PASSING.test(code) || PASSING_ERRNO.has(code))) return true;
  return (
    typeof message === "string" &&
    /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/.test(message)
  );
}

/** With the server's own words, the table, and its SQLSTATE; never with values. */
export function databaseFailed(thrown: unknown, { code, what }: Pick<DatabaseOptions, "code" | "what">): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const {
    code: sqlState,
    message,
    column,
    constraint,
  } = thrown as {
    readonly code?: unknown;
    readonly message?: string;
    readonly column?: unknown;
    readonly constraint?: unknown;
  };
  return new CodedError(code, `PostgreSQL refused ${what}: ${message || String(sqlState)}`, {
    hint: hintFor(typeof sqlState === "string" ? sqlState : ""),
    details: { what, sqlState: sqlState ?? null, column: column ?? null, constraint: constraint ?? null },
    cause: thrown,
  });
}

function hintFor(sqlState: string): string {
  if (sqlState === "42P01") return "Make the table before the job runs.";
  if (sqlState === "42703") return "The records have a field that the table has no column for; name the columns with `columns`.";
  if (sqlState === "42P10") return "An upsert needs a primary key or a unique index over exactly the `key` columns.";
  if (sqlState === "42501") return "Grant this user what the sink needs; see docs: job guide, PostgreSQL.";
  if (sqlState === "28P01" || sqlState === "28000")
    return "Check the user, and the password file on the machine that the subtask runs on.";
  if (/^(22|23)/.test(sqlState)) return "A record does not fit the table: its type, a constraint, or a value that has to be there.";
  if (sqlState === "" || PASSING_ERRNO.has(sqlState)) return "Check that the server is reachable from this machine.";
  return "See the server's log.";
}

async function pause(ms: number, signal: CancelSignal | null): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
  signal?.throwIfAborted();
}

/** A name as SQL. `schema.table` names both. */
export function quoted(name: string): string {
  if (name.includes("\0") || name === "")
    throw new CodedError("INVALID_ARGUMENT", "A name of PostgreSQL is empty or holds a zero byte.");
  return `"${name.replaceAll('"', '""')}"`;
}

export function quotedTable(name: string): string {
  return name.split(".").map(quoted).join(".");
}
