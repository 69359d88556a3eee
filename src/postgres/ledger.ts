/**
 * The ledger of side effects in PostgreSQL, a row a key.
 *
 * Invariants:
 *   1. While a call is between its claim and its note it holds an advisory lock on the key, in a session of its own: a process that is dead holds nothing,
 *      one that only hangs keeps the key, and nobody takes its effect for undone meanwhile.
 *   2. Every write looks at the fence of its subtask within its own statement: a try that is over and doesn't know it neither intends nor notes anything.
 *   3. A row that is intended has one owner; a note is written only over the owner's own intent.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Claim, createLedger, type HeldKey, type OnceContext, type OnceLedger, type OnceStore } from "../api/once.js";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import {
  checkConnection,
  createDatabase,
  type Database,
  databaseFailed,
  isPassing,
  type OpenSession,
  type PostgresConnection,
} from "./connection.js";
import {
  DEFAULT_SCHEMA,
  type FencedWriter,
  fenceClause,
  fenced,
  fenceValues,
  makeTables,
  raiseFence,
  type Tables,
  tablesOf,
} from "./tables.js";

export interface PostgresLedgerOptions {
  readonly connection: PostgresConnection;
  /** Keys are unique within a ledger, also over applications: the same payment in a job that was submitted anew is still the same payment. */
  readonly name: string;
  /** Of Holdfast's own tables; default `holdfast`. */
  readonly schema?: string;
  /** Effects under way at once in one process, each on a connection of its own; further calls wait. Default 8. */
  readonly connections?: number;
  /** How long a call waits for a key that another process holds; default 60,000. */
  readonly waitForKeyMs?: number;
}

const DEFAULT_CONNECTIONS = 8;
const DEFAULT_WAIT_FOR_KEY_MS = 60_000;
const FIRST_WAIT_MS = 5;
const MAX_WAIT_MS = 500;
/** Calls of one process that wait for a connection: more than any `mapAsync` that makes sense has under way. */
const MAX_WAITING_CALLS = 10_000;

/** Nothing is opened before the first call. Throws INVALID_ARGUMENT. */
export function postgresLedger(options: PostgresLedgerOptions): OnceLedger {
  checkConnection(options.connection);
  if (options.name === "")
    throw new CodedError("INVALID_ARGUMENT", "A ledger has a name.", { hint: 'For example name: "payments".' });
  return createLedger(new PostgresOnceStore(options));
}

class PostgresOnceStore implements OnceStore {
  private readonly options: PostgresLedgerOptions;
  private readonly tables: Tables;
  private readonly process = randomUUID();
  private database: Database | null = null;
  private made: Promise<void> | null = null;
  /** Fences that were raised, by operator and subtask. */
  private readonly raised = new Map<string, Promise<void>>();
  /** Whose end closes the connections. */
  private contexts = new Set<AbortSignal>();
  private waiting: (() => void)[] = [];
  private open = 0;

  constructor(options: PostgresLedgerOptions) {
    this.options = options;
    this.tables = tablesOf(options.schema ?? DEFAULT_SCHEMA);
  }

  async hold(context: OnceContext, key: string): Promise<HeldKey> {
    this.attend(context.signal);
    await this.room(context.signal);
    try {
      const database = this.opened();
      const who = await this.raise(database, context);
      const session = await database.open(context.signal);
      try {
        await this.lock(session, key, context.signal);
      } catch (thrown) {
        session.release(true);
        throw thrown;
      }
      return new PostgresKey(
        {
          session,
          database,
          tables: this.tables,
          ledger: this.options.name,
          key,
          who,
          owner: this.owner(who),
          done: () => this.leave(),
        },
        context.signal,
      );
    } catch (thrown) {
      this.leave();
      throw databaseFailed(thrown, this.told());
    }
  }

  async close(): Promise<void> {
    const { database } = this;
    this.database = null;
    this.made = null;
    this.raised.clear();
    await database?.close();
  }

  private opened(): Database {
    const { connection, connections = DEFAULT_CONNECTIONS } = this.options;
    // One more: notes and fences never wait for the effects that they are about.
    this.database ??= createDatabase({ connection, connections: connections + 1, ...this.told() });
    return this.database;
  }

  private told() {
    return { code: "LEDGER_FAILED" as const, what: `the ledger '${this.options.name}'` };
  }

  private owner({ application, writer, subtask, fence }: FencedWriter): string {
    return `${application} ${writer} ${subtask} ${fence} ${this.process}`;
  }

  private async raise(database: Database, context: OnceContext): Promise<FencedWriter> {
    const { application, operator, subtask, fence, signal } = context;
    this.made ??= makeTables(database, this.tables, signal);
    this.made.catch(() => {
      this.made = null;
    });
    await this.made;
    const who: FencedWriter = { application, writer: `once ${this.options.name} ${operator}`, subtask, fence };
    const name = this.owner(who);
    let raising = this.raised.get(name);
    if (raising === undefined) {
      raising = raiseFence(database, this.tables, who, signal);
      this.raised.set(name, raising);
      raising.catch(() => this.raised.delete(name));
    }
    await raising;
    return who;
  }

  private async lock(session: OpenSession, key: string, signal: AbortSignal): Promise<void> {
    const { waitForKeyMs = DEFAULT_WAIT_FOR_KEY_MS, name } = this.options;
    const until = performance.now() + waitForKeyMs;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, waitMs * 2)) {
      signal.throwIfAborted();
      const { rows } = await session.query("SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS held", [`${name} ${key}`]);
      if (rows[0]?.held === true) return;
      if (performance.now() > until)
        throw new CodedError(
          "TIMEOUT",
          `The key '${key}' of ledger '${name}' is held by another process for longer than ${waitForKeyMs} ms.`,
          {
            hint: "A try that hangs may still be at its effect; the ledger waits rather than run it twice.",
            details: { key },
          },
        );
      await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  /** At most `connections` calls hold a session; the others wait in order. */
  private async room(signal: AbortSignal): Promise<void> {
    const { connections = DEFAULT_CONNECTIONS } = this.options;
    while (this.open >= connections) {
      signal.throwIfAborted();
      if (this.waiting.length >= MAX_WAITING_CALLS)
        throw new CodedError(
          "LIMIT_EXCEEDED",
          `${MAX_WAITING_CALLS} calls of the ledger '${this.options.name}' wait for a connection.`,
          {
            hint: "Give the ledger more `connections`, or mapAsync less `concurrency`.",
          },
        );
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
      });
    }
    this.open += 1;
  }

  private leave(): void {
    this.open -= 1;
    this.waiting.shift()?.();
  }

  /** The tries of a process come one after the other: when one ends, its connections go, and with them its holds. */
  private attend(signal: AbortSignal): void {
    if (this.contexts.has(signal)) return;
    this.contexts.add(signal);
    const ended = () => {
      this.contexts.delete(signal);
      for (const go of this.waiting.splice(0)) go();
      if (this.contexts.size === 0) void this.close().catch(() => undefined);
    };
    if (signal.aborted) ended();
    else signal.addEventListener("abort", ended, { once: true });
  }
}

interface KeyParts {
  readonly session: OpenSession;
  readonly database: Database;
  readonly tables: Tables;
  readonly ledger: string;
  readonly key: string;
  readonly who: FencedWriter;
  readonly owner: string;
  readonly done: () => void;
}

class PostgresKey implements HeldKey {
  readonly signal: AbortSignal;
  private readonly parts: KeyParts;
  private readonly lost = new AbortController();
  private readonly outer: AbortSignal;
  private readonly owner: string;
  private previous = "";
  private isReleased = false;

  constructor(parts: KeyParts, outer: AbortSignal) {
    this.parts = parts;
    this.outer = outer;
    // Of this call: an earlier one of the same process may have left the intent.
    this.owner = `${parts.owner} ${randomUUID()}`;
    this.signal = this.lost.signal;
    parts.session.onLost(() =>
      this.lost.abort(new CodedError("LEDGER_FAILED", `The ledger's connection was lost while it held '${parts.key}'.`)),
    );
  }

  async claim(): Promise<Claim> {
    const { tables, ledger, key } = this.parts;
    const made = await this.fenced(
      `INSERT INTO ${tables.once} (ledger, key, is_done, owner) SELECT $5, $6, false, $7 FROM fence ON CONFLICT (ledger, key) DO NOTHING`,
      [ledger, key, this.owner],
    );
    if (made) return { kind: "new" };
    const { rows } = await this.again(`SELECT is_done, result, owner FROM ${tables.once} WHERE ledger = $1 AND key = $2`, [
      ledger,
      key,
    ]);
    const [row] = rows;
    if (row === undefined)
      throw new CodedError("LEDGER_FAILED", `The entry of '${key}' in ledger '${ledger}' was removed while it was read.`);
    if (row.is_done === true) return { kind: "done", result: row.result as JsonValue };
    // The insert's answer was lost, and it was tried again.
    if (row.owner === this.owner) return { kind: "new" };
    this.previous = String(row.owner);
    return { kind: "intended" };
  }

  async takeOver(): Promise<void> {
    const { tables, ledger, key, who } = this.parts;
    const taken = await this.fenced(
      `UPDATE ${tables.once} SET owner = $7, intended_at = now() FROM fence WHERE ledger = $5 AND key = $6 AND NOT is_done AND owner IN ($7, $8)`,
      [ledger, key, this.owner, this.previous],
    );
    if (!taken) throw fenced(who);
  }

  async note(result: JsonValue): Promise<void> {
    const { tables, ledger, key } = this.parts;
    const noted = await this.fenced(
      `UPDATE ${tables.once} SET is_done = true, result = $8::json, done_at = now() FROM fence
       WHERE ledger = $5 AND key = $6 AND owner IN ($7, $9)`,
      [ledger, key, this.owner, JSON.stringify(result), this.previous],
    );
    if (!noted)
      throw new CodedError(
        "FENCED",
        `The effect '${key}' of ledger '${ledger}' was taken over by another process before its result was noted.`,
        {
          hint: "That process has asked reconcile, or will.",
          details: { key },
        },
      );
  }

  async release(): Promise<void> {
    if (this.isReleased) return;
    this.isReleased = true;
    const { session, ledger, key, done } = this.parts;
    let isBroken = this.lost.signal.aborted;
    if (!isBroken) {
      const unlocked = session.query("SELECT pg_advisory_unlock(hashtextextended($1, 0)) AS was_held", [`${ledger} ${key}`]);
      isBroken = await unlocked.then(
        ({ rows }) => rows[0]?.was_held !== true,
        () => true,
      );
    }
    session.release(isBroken);
    done();
  }

  /** Whether the write changed a row. Throws FENCED when the fence kept it from it. */
  private async fenced(write: string, values: readonly unknown[]): Promise<boolean> {
    const { tables, who } = this.parts;
    const statement = `WITH ${fenceClause(tables, 1)}, written AS (${write} RETURNING 1)
      SELECT (SELECT count(*) FROM fence) AS allowed, (SELECT count(*) FROM written) AS written`;
    const { rows } = await this.again(statement, [...fenceValues(who), ...values]);
    if (Number(rows[0]?.allowed) === 0) throw fenced(who);
    return Number(rows[0]?.written) > 0;
  }

  /** On the session that holds the key while it lives; after that, on any: every write names its owner. */
  private async again(text: string, values: readonly unknown[]) {
    if (!this.lost.signal.aborted) {
      try {
        return await this.parts.session.query(text, values);
      } catch (thrown) {
        if (!this.lost.signal.aborted && !isPassing(thrown))
          throw databaseFailed(thrown, { code: "LEDGER_FAILED", what: `the ledger '${this.parts.ledger}'` });
      }
    }
    return await this.parts.database.again(text, values, this.outer);
  }
}
