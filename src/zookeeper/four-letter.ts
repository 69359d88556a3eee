/**
 * Four-letter words: what a server says of itself, outside any session. For diagnosis (`doctor`), never for decisions.
 *
 * Boundary: one connection, one word, one text. A server answers only the words of its `4lw.commands.whitelist` (by default `srvr`).
 */
import type { Socket } from "node:net";
import { addressText, parseConnectString, type ServerAddress } from "./connect-string.js";
import { openSocket, type ZooKeeperTlsOptions } from "./dial.js";
import { ZooKeeperError } from "./errors.js";

export type FourLetterWord = "ruok" | "srvr" | "mntr" | "stat" | "conf" | "cons" | "isro" | "envi" | "wchs" | "dirs";

export interface FourLetterOptions {
  /** For connecting and the whole answer. Default 5,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly tls?: ZooKeeperTlsOptions;
}

const DEFAULT_TIMEOUT_MS = 5_000;
export const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * The answer of one server (`host:port`) as it is. Rejects with CONNECTION_LOST (not reached, or silent), UNIMPLEMENTED (the word is not on its list), TOO_LARGE
 * (more than 1 MiB), ABORTED, INVALID_ARGUMENT.
 */
export async function askFourLetterWord(server: string, word: FourLetterWord, options: FourLetterOptions = {}): Promise<string> {
  const { servers } = parseConnectString(server);
  const [address] = servers;
  if (address === undefined || servers.length !== 1)
    throw new ZooKeeperError("INVALID_ARGUMENT", `${JSON.stringify(server)} is not one server`);
  const text = await exchange(address, word, options);
  if (text.includes("is not in the whitelist")) {
    throw new ZooKeeperError("UNIMPLEMENTED", `The ZooKeeper server ${addressText(address)} does not answer ${word}`, {
      hint: `Add ${word} to 4lw.commands.whitelist in its zoo.cfg.`,
    });
  }
  return text;
}

export interface ServerMonitor {
  /** `leader`, `follower`, `observer`, `standalone`, `read-only`. */
  readonly role: string | null;
  readonly version: string | null;
  /** All numbers of `mntr`, by their names without `zk_`. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** `mntr`, read. Rejects as `askFourLetterWord`, and with READ_ONLY when the server has no quorum and serves nobody. */
export async function readMonitor(server: string, options: FourLetterOptions = {}): Promise<ServerMonitor> {
  return parseMonitor(await askFourLetterWord(server, "mntr", options), server);
}

export function parseMonitor(text: string, server: string): ServerMonitor {
  if (text.includes("not currently serving requests"))
    throw new ZooKeeperError("READ_ONLY", `The ZooKeeper server ${server} runs, but has no quorum and serves nobody`);
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^zk_(\S+)\s+(.*)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) values.set(match[1], match[2].trim());
  }
  const numbers = new Map<string, number>();
  for (const [name, value] of values) if (value !== "" && Number.isFinite(Number(value))) numbers.set(name, Number(value));
  return { role: values.get("server_state") ?? null, version: values.get("version") ?? null, numbers };
}

function exchange(server: ServerAddress, word: FourLetterWord, options: FourLetterOptions): Promise<string> {
  const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const name = `The ZooKeeper server ${addressText(server)}`;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new ZooKeeperError("ABORTED", `${name}: the caller gave up`, { cause: signal.reason }));
      return;
    }
    const socket: Socket = openSocket(server, options.tls);
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    const settle = (outcome: string | ZooKeeperError): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.destroy();
      if (outcome instanceof ZooKeeperError) reject(outcome);
      else resolve(outcome);
    };
    const onAbort = (): void => settle(new ZooKeeperError("ABORTED", `${name}: the caller gave up`, { cause: signal?.reason }));
    const lost = (why: string): void => settle(new ZooKeeperError("CONNECTION_LOST", `${name} does not answer ${word}: ${why}`));
    const timer = setTimeout(() => lost(`nothing for ${timeoutMs} ms`), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.on(options.tls === undefined ? "connect" : "secureConnect", () => socket.write(word));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_ANSWER_BYTES)
        settle(new ZooKeeperError("TOO_LARGE", `${name} answers ${word} with more than ${MAX_ANSWER_BYTES} bytes`));
    });
    socket.on("error", (error) => lost(error.message));
    socket.on("end", () => (sizeBytes === 0 ? lost("it closed the connection") : settle(Buffer.concat(chunks).toString("utf8"))));
    socket.on("close", () => lost("it closed the connection"));
  });
}
