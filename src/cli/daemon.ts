/** What the long-running commands (master, worker, run) share: their log, the secret, who may reach their listener, and sentences while they look. */
import type { Command } from "commander";
import type { Env } from "../env/env.js";
import type { Looking } from "../host/finding/master-finder.js";
import { createNodeEnv } from "../node/env.js";
import { readSecretFile } from "../node/files/secret-file.js";
import { createLog } from "../node/log.js";
import { checkListenAddress } from "../node/network/listen-policy.js";
import { parseChoice } from "./parse.js";
import { formatDuration } from "./terminal.js";

export interface DaemonOptions {
  readonly listen: string;
  readonly secretFile?: string;
  readonly plaintext?: boolean;
  readonly logFormat: string;
  readonly logLevel: string;
}

export function withDaemon(command: Command, defaultListen: string): Command {
  return command
    .option("--listen <host:port>", "where to listen; port 0 chooses one", defaultListen)
    .option("--secret-file <path>", "the cluster secret (or HOLDFAST_SECRET_FILE)", process.env.HOLDFAST_SECRET_FILE || undefined)
    .option("--plaintext", "allow an address that others reach, authenticated but not encrypted")
    .option("--log-format <format>", "text | json", process.stderr.isTTY ? "text" : (process.env.HOLDFAST_LOG_FORMAT ?? "text"))
    .option("--log-level <level>", "debug | info | warn | error", "info");
}

export interface Daemon {
  readonly env: Env;
  readonly secret: Uint8Array | null;
}

/** Reads the secret and checks that the listener may be opened, before anything else is touched. No secret ever stands in the log. */
export async function prepareDaemon(
  role: string,
  id: string,
  options: DaemonOptions,
  otherSecrets: readonly string[] = [],
): Promise<Daemon> {
  const secret = options.secretFile === undefined ? null : await readSecretFile(options.secretFile);
  checkListenAddress({ address: options.listen, secret, plaintext: options.plaintext === true });
  const log = createLog({
    format: parseChoice("--log-format", options.logFormat, ["text", "json"] as const),
    level: parseChoice("--log-level", options.logLevel, ["debug", "info", "warn", "error"] as const),
    stream: process.stderr,
    role,
    id,
    secrets: [
      ...otherSecrets,
      ...(secret === null ? [] : [Buffer.from(secret).toString("hex"), Buffer.from(secret).toString("base64")]),
    ],
  });
  return { env: createNodeEnv({ log }), secret };
}

/** What is waited for, since when, and the last error at each address. */
export function logLooking(env: Env): (looking: Looking) => void {
  return (looking) => {
    const tried = looking.tried.map(({ address, error }) => `${address}: ${error.message} [${error.code}]`).join("; ");
    const problem = looking.problem === null ? "" : `; ${looking.problem.message} [${looking.problem.code}]`;
    const sentence = `looking for a leading master for ${formatDuration(looking.forMs)}, ${looking.attempts} rounds${problem}${tried === "" ? "" : `; ${tried}`}`;
    if (looking.permanent === null) env.log.info(sentence);
    else env.log.error(`${sentence}. ${looking.permanent.hint ?? ""}`.trim(), { code: looking.permanent.code });
  };
}
