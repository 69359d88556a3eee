/**
 * A real server of the S3 protocol, which verifies signatures (s3-server.mjs), in a process of its own, with one bucket, in a directory of its own.
 * After `close` no process and no file of it is left.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { ROOT } from "./holdfast.js";

export const BUCKET = "holdfast-tests";

export interface S3Server {
  /** `s3://bucket/prefix?...` of it. */
  url(prefix: string): string;
  /** A home directory whose `.aws/credentials` are right (or not): what HOME of masters and workers has to be. */
  home(secret?: string): string;
  /** Of its objects, below the bucket. */
  files(): Promise<readonly string[]>;
  /** Where an object's bytes lie. */
  fileOf(key: string): string;
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const SECRET = "the-secret-key-of-the-tests";

export async function startS3(): Promise<S3Server> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-s3-"));
  const data = path.join(directory, "data");
  mkdirSync(data);
  let server: ChildProcess | null = null;
  let port = 0;
  let homes = 0;
  const start = async () => {
    const program = path.join(ROOT, "test/support/s3-server.mjs");
    const started = spawn(process.execPath, [program, String(port), data, BUCKET, SECRET], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    server = started;
    port = await new Promise<number>((resolve, reject) => {
      started.stdout.on("data", (text: Buffer) => resolve(Number(/port (\d+)/.exec(text.toString())?.[1])));
      started.once("exit", (code) => reject(new Error(`s3rver ended with ${code}`)));
    });
  };
  const kill = async () => {
    if (server === null || server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, "exit");
    server.kill("SIGKILL");
    await ended;
  };
  await start();
  const fileOf = (key: string) => path.join(data, BUCKET, `${key}._S3rver_object`);
  return {
    url: (prefix) => `s3://${BUCKET}/${prefix}?region=us-east-1&endpoint=${encodeURIComponent(`http://127.0.0.1:${port}`)}`,
    home: (secret = SECRET) => {
      const home = path.join(directory, `home-${homes++}`);
      mkdirSync(path.join(home, ".aws"), { recursive: true });
      writeFileSync(
        path.join(home, ".aws/credentials"),
        `[default]\naws_access_key_id = S3RVER\naws_secret_access_key = ${secret}\n`,
      );
      return home;
    },
    files: async () => {
      const names = await readdir(path.join(data, BUCKET), { recursive: true }).catch(() => []);
      return names.filter((name) => name.endsWith("_object"));
    },
    fileOf,
    freeze: () => void server?.kill("SIGSTOP"),
    thaw: () => void server?.kill("SIGCONT"),
    kill,
    start,
    close: async () => {
      server?.kill("SIGCONT");
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
