/** `connectZooKeeper`: options in, checked, with their bounds; a client out. */
import { CallQueue, type QueueLimits } from "./call-queue.js";
import { createCalls } from "./calls.js";
import { Client } from "./client.js";
import { systemClock, systemRandom } from "./clock.js";
import { parseConnectString } from "./connect-string.js";
import { checkedAuth } from "./credentials.js";
import { type Dial, dialWith } from "./dial.js";
import { ZooKeeperError } from "./errors.js";
import { ServerRing } from "./server-ring.js";
import { Session } from "./session.js";
import type { ZooKeeper, ZooKeeperOptions } from "./zookeeper.js";

const MIN_SESSION_TIMEOUT_MS = 100;
const MAX_SESSION_TIMEOUT_MS = 24 * 3_600_000;
const DEFAULT_MAX_IN_FLIGHT = 1_000;
const DEFAULT_MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const MAX_IN_FLIGHT_BYTES = 16 * 1024 * 1024;
/** ZooKeeper's own: 0xfffff. */
const DEFAULT_MAX_REQUEST_BYTES = 1_048_575;
const DEFAULT_MAX_RESPONSE_BYTES = 16 * 1024 * 1024;
const MAX_FRAME_BYTES = 1024 ** 3;

/**
 * A client of a ZooKeeper ensemble, at once; it connects in the background, and tries for as long as it is not closed. Throws ZooKeeperError
 * (INVALID_ARGUMENT) for options that cannot be.
 */
export function connectZooKeeper(options: ZooKeeperOptions): ZooKeeper {
  return createZooKeeper(options, dialWith(options.tls));
}

/** With another way to reach servers: for tests. */
export function createZooKeeper(options: ZooKeeperOptions, dial: Dial): ZooKeeper {
  const { servers, chroot } = parseConnectString(options.servers);
  const timeoutMs = within("sessionTimeoutMs", options.sessionTimeoutMs, MIN_SESSION_TIMEOUT_MS, MAX_SESSION_TIMEOUT_MS);
  const clock = options.clock ?? systemClock;
  const client = new Client({
    session: new Session(timeoutMs, options.session === undefined ? undefined : attachment(options.session)),
    ring: new ServerRing(servers, options.random ?? systemRandom),
    queue: new CallQueue(queueLimits(options)),
    dial,
    clock,
    auth: (options.auth ?? []).map(checkedAuth),
    maxRequestBytes: within("maxRequestBytes", options.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES, 1_024, MAX_FRAME_BYTES),
    maxResponseBytes: within("maxResponseBytes", options.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES, 1_024, MAX_FRAME_BYTES),
    connectTimeoutMs:
      options.connectTimeoutMs === undefined
        ? undefined
        : within("connectTimeoutMs", options.connectTimeoutMs, 1, MAX_SESSION_TIMEOUT_MS),
  });
  return createCalls(client, chroot);
}

function queueLimits(options: ZooKeeperOptions): QueueLimits {
  return {
    maxInFlight: within("maxInFlight", options.maxInFlight ?? DEFAULT_MAX_IN_FLIGHT, 1, 100_000),
    maxInFlightBytes: MAX_IN_FLIGHT_BYTES,
    maxWaiting: within("maxWaiting", options.maxWaiting ?? DEFAULT_MAX_WAITING, 1, 1_000_000),
    maxWaitingBytes: MAX_WAITING_BYTES,
  };
}

function within(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ZooKeeperError("INVALID_ARGUMENT", `${name} is ${String(value)}; it has to be a whole number from ${min} to ${max}`);
}

function attachment(session: { readonly id: string; readonly password: Uint8Array }) {
  const id = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(session.id)?.[1];
  const number = id === undefined ? 0n : BigInt.asIntN(64, BigInt(`0x${id}`));
  if (number === 0n)
    throw new ZooKeeperError("INVALID_ARGUMENT", `${JSON.stringify(session.id)} is not the id of a ZooKeeper session`);
  return { id: number, password: session.password };
}
