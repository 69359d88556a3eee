/**
 * The order in which servers are tried, and the pauses between tries.
 *
 * Boundary: chance is an argument; knows no socket. The list is shuffled once for each client, so that many clients spread, and then walked round, so
 * that the next try after a broken connection is another server. Pauses: none for the first try after a break but a small jitter; once
 * all servers were tried in vain, they double up to a bound, each with full jitter, so that many clients never come back in step.
 */
import type { ZooKeeperRandom } from "./clock.js";
import type { ServerAddress } from "./connect-string.js";

const FIRST_JITTER_MS = 20;
const FIRST_PAUSE_MS = 50;
export const MAX_PAUSE_MS = 2_000;
const MIN_ATTEMPT_MS = 250;

export class ServerRing {
  readonly #servers: readonly ServerAddress[];
  readonly #random: ZooKeeperRandom;
  #next = 0;
  /** Tries since the last connection that proved good. */
  #tries = 0;

  constructor(servers: readonly ServerAddress[], random: ZooKeeperRandom) {
    this.#servers = shuffled(servers, random);
    this.#random = random;
  }

  next(): ServerAddress {
    const server = this.#servers[this.#next % this.#servers.length];
    if (server === undefined) throw new Error("a list of servers is never empty");
    this.#next = (this.#next + 1) % this.#servers.length;
    this.#tries++;
    return server;
  }

  /** A connection lasted: the next trouble begins with short pauses again. */
  provedGood(): void {
    this.#tries = 0;
  }

  /** Before the next try. The longest pause is a sixth of the session, so that a session is never lost by waiting. */
  pauseMs(sessionTimeoutMs: number): number {
    const rounds = Math.floor(this.#tries / this.#servers.length);
    const longest = Math.min(MAX_PAUSE_MS, Math.max(FIRST_PAUSE_MS, sessionTimeoutMs / 6));
    const bound = rounds === 0 ? FIRST_JITTER_MS : Math.min(longest, FIRST_PAUSE_MS * 2 ** Math.min(rounds - 1, 16));
    return bound * (rounds === 0 ? this.#random.fraction() : 0.5 + this.#random.fraction() / 2);
  }

  /**
   * How long one try may take, from the first packet to the session: short enough that several servers can be tried before the session expires (a
   * third of its time is left when a silent server is noticed), and longer in every round, for an ensemble that is slow. Tries that were refused at once
   * make rounds as well, so where there is a session to lose no try takes more than half of it: a server that was just started and lost the
   * connection, which ZooKeeper does, is tried again in time.
   */
  attemptMs(sessionTimeoutMs: number, hasSession: boolean): number {
    const share = sessionTimeoutMs / (3 * Math.max(1, this.#servers.length - 1));
    const round = Math.floor(Math.max(0, this.#tries - 1) / this.#servers.length);
    const longest = hasSession ? sessionTimeoutMs / 2 : Math.max(sessionTimeoutMs, MIN_ATTEMPT_MS * 4);
    return Math.max(MIN_ATTEMPT_MS, Math.min(Math.max(share, MIN_ATTEMPT_MS) * 2 ** Math.min(round, 6), longest));
  }
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[], random: ZooKeeperRandom): readonly T[] {
  const order = [...items];
  for (let index = order.length - 1; index > 0; index--) {
    const other = Math.floor(random.fraction() * (index + 1));
    const [a, b] = [order[index], order[other]];
    if (a === undefined || b === undefined) continue;
    order[index] = b;
    order[other] = a;
  }
  return order;
}
