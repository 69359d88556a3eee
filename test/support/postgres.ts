/**
 * A real PostgreSQL of Debian's package: a private server on a free port of the loopback, in a data directory of its own, as the user `postgres`.
 * Boundary: starts, kills and ends it, and runs statements as its superuser. After `close` no process and no file of it is left.
 */
/// <reference path="../../src/postgres/pg.d.ts" />
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";

const run = promisify(execFile);
const ROOT = "/usr/lib/postgresql";
const START_TIMEOUT_MS = 60_000;
const PASSWORD = "of-the-tests";

export interface PostgresServer {
  /** Of its superuser, without the password. */
  readonly url: string;
  readonly passwordFile: string;
  readonly password: string;
  query<T extends Record<string, unknown> = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<T[]>;
  /** SIGKILL to the server and all that it started; resolves when they are gone. Its data stays. */
  kill(): Promise<void>;
  /** On the same port and data. Resolves when it takes connections. */
  start(): Promise<void>;
  /** What it has logged. */
  log(): Promise<string>;
  close(): Promise<void>;
}

/** The folder of its programs; null: it is not installed. */
export function postgresPrograms(): string | null {
  const versions = existsSync(ROOT) ? readdirSync(ROOT).filter((name) => existsSync(path.join(ROOT, name, "bin/postgres"))) : [];
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  return newest === undefined ? null : path.join(ROOT, newest, "bin");
}

/** As root its programs refuse to run: they run as `postgres` then. */
const asPostgres = (argv: readonly string[]): [string, string[]] => {
  const [command = "", ...words] = process.getuid?.() === 0 ? ["runuser", "-u", "postgres", "--", ...argv] : argv;
  return [command, words];
};

export async function startPostgres(): Promise<PostgresServer> {
  const programs = postgresPrograms();
  if (programs === null) throw new Error("PostgreSQL is not installed: run scripts/setup.sh");
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-postgres-"));
  const data = path.join(directory, "data");
  const passwordFile = path.join(directory, "password");
  await chmod(directory, 0o755);
  await writeFile(passwordFile, `${PASSWORD}\n`);
  if (process.getuid?.() === 0) {
    const { stdout } = await run("id", ["-u", "postgres"]);
    await chown(directory, Number(stdout), 0);
  }
  const initdb = ["--pgdata", data, "--username", "holdfast", "--pwfile", passwordFile, "--auth", "scram-sha-256"];
  await run(...asPostgres([path.join(programs, "initdb"), ...initdb, "--no-sync", "--encoding", "UTF8", "--locale", "C"]));
  const port = await freePort();
  const url = `postgres://holdfast@127.0.0.1:${port}/postgres`;
  let server: ChildProcess | null = null;
  let log = "";

  const query = async <T extends Record<string, unknown>>(text: string, values: readonly unknown[] = []): Promise<T[]> => {
    const client = new Client({ host: "127.0.0.1", port, user: "holdfast", database: "postgres", password: PASSWORD });
    try {
      await client.connect();
      return (await client.query<T>(text, [...values])).rows;
    } finally {
      await client.end();
    }
  };
  const start = async () => {
    const words = [
      "-D",
      data,
      "-p",
      String(port),
      "-h",
      "127.0.0.1",
      "-k",
      data,
      "-c",
      "max_connections=60",
      "-c",
      "shared_buffers=16MB",
    ];
    const [command, argv] = asPostgres([path.join(programs, "postgres"), ...words]);
    const started = spawn(command, argv, { stdio: ["ignore", "ignore", "pipe"], cwd: directory });
    server = started;
    started.stderr.on("data", (text: Buffer) => {
      log += text.toString();
    });
    const until = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await query("SELECT 1");
        return;
      } catch (thrown) {
        if (performance.now() > until || started.exitCode !== null)
          throw new Error(`PostgreSQL did not start: ${thrown}\n${log.slice(-4_000)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  /** The server itself: `runuser` is its parent. */
  const pidOf = async (): Promise<number | null> => {
    const text = await readFile(path.join(data, "postmaster.pid"), "utf8").catch(() => "");
    const pid = Number(text.split("\n")[0]);
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  };
  const signalled = async (signal: NodeJS.Signals) => {
    const running = server;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const pid = await pidOf();
    const ended = once(running, "exit");
    if (pid !== null) process.kill(pid, signal);
    else running.kill(signal);
    await ended;
    server = null;
  };
  await start();
  return {
    url,
    passwordFile,
    password: PASSWORD,
    query,
    start,
    kill: async () => {
      const pid = await pidOf();
      await signalled("SIGKILL");
      // Its children notice that it is gone, and end by themselves; only then may another one start on the data.
      while (pid !== null && (await childrenLive(data))) await new Promise((resolve) => setTimeout(resolve, 20));
      await rm(path.join(data, "postmaster.pid"), { force: true });
    },
    log: async () => log,
    close: async () => {
      await signalled("SIGINT");
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Server processes have the data directory as their working directory. */
async function childrenLive(data: string): Promise<boolean> {
  const { stdout } = await run("sh", ["-c", `ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -c -- "-> ${data}$" || true`]);
  return Number(stdout) > 0;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
