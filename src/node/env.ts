/** The real world for hosts: clock, chance, digests, TCP, and the log that the program made. */
import { createHash, createHmac, randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import type { Digest, Env } from "../env/env.js";
import type { Log } from "../env/log.js";
import type { Random } from "../env/random.js";
import { createNodeClock } from "./clock.js";
import type { TcpTransportOptions } from "./network/tcp-transport.js";
import { createTcpTransport } from "./network/tcp-transport.js";

export interface NodeEnvOptions {
  readonly log: Log;
  readonly transport?: TcpTransportOptions;
}

export function createNodeEnv(options: NodeEnvOptions): Env {
  // One signal ends everything of a role, so many waits listen to it; each takes its listener away again. Node would warn on standard error.
  setMaxListeners(0);
  return {
    clock: createNodeClock(),
    random: createNodeRandom(),
    transport: createTcpTransport(options.transport),
    log: options.log,
    digest: createNodeDigest(),
  };
}

export function createNodeRandom(): Random {
  return {
    fraction: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
    bytes: (count) => new Uint8Array(randomBytes(count)),
  };
}

export function createNodeDigest(): Digest {
  return {
    hmacSha256: (key, message) => new Uint8Array(createHmac("sha256", key).update(message).digest()),
    sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex"),
  };
}
