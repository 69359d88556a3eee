/** Everything that hosts may touch of the world. `node/` makes the real one, `sim/` the simulated one; they never meet. */
import type { Clock } from "./clock.js";
import type { Log } from "./log.js";
import type { Random } from "./random.js";
import type { Transport } from "./transport.js";

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly log: Log;
  /** HMAC-SHA-256 and SHA-256, synchronous: the handshake and artifacts need them. */
  readonly digest: Digest;
}

export interface Digest {
  hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array;
  sha256Hex(bytes: Uint8Array): string;
}
