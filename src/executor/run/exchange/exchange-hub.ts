/**
 * The exchanges of an executor for its whole life: opens the network of each try, and brings accepted connections to the right one.
 *
 * Invariants:
 *   1. A connection of a try that is not open yet waits, paused, HOLD_MS at most, among MAX_HELD_CONNECTIONS at most. One of a try that is
 *      over, or of another executor than its driver named, is refused.
 *   2. One network is open at a time: opening a try ends the one before.
 */
import { assert } from "../../../base/assert.js";
import { CodedError } from "../../../base/errors.js";
import type { Clock, Timer } from "../../../env/clock.js";
import { type ExchangeNetworkOptions, PeerExchangeNetwork, type PeerNetwork } from "./exchange-network.js";
import type { DataConnection, Dialler } from "./peer-transport.js";

export const HOLD_MS = 10_000;
export const MAX_HELD_CONNECTIONS = 1_024;

export interface ExchangeHubOptions {
  readonly clock: Clock;
  /** A connection that was turned away, and why; for logs. */
  readonly onRefused?: (dialler: Dialler, reason: string) => void;
}

interface Held {
  readonly connection: DataConnection;
  readonly dialler: Dialler;
  readonly timer: Timer;
}

export class ExchangeHub {
  private readonly options: ExchangeHubOptions;
  private readonly held = new Set<Held>();
  private network: PeerExchangeNetwork | null = null;
  private newestTry = 0;
  private closed = false;

  constructor(options: ExchangeHubOptions) {
    this.options = options;
  }

  open(options: ExchangeNetworkOptions): PeerNetwork {
    assert(!this.closed && options.try > this.newestTry, "the exchanges of a try were opened twice, or after a later one");
    this.newestTry = options.try;
    void this.network?.close(new CodedError("ABORTED", `try ${options.attempt} has begun`));
    const network = new PeerExchangeNetwork(options);
    this.network = network;
    for (const held of [...this.held]) {
      if (held.dialler.try > options.try) continue;
      this.release(held);
      this.bring(held.connection, held.dialler);
    }
    return network;
  }

  accept(connection: DataConnection, dialler: Dialler): void {
    if (dialler.try > this.newestTry) this.hold(connection, dialler);
    else this.bring(connection, dialler);
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const held of [...this.held]) {
      this.release(held);
      held.connection.destroy();
    }
    await this.network?.close(new CodedError("CLOSED", "the executor ends"));
  }

  private bring(connection: DataConnection, dialler: Dialler): void {
    const { network } = this;
    if (this.closed || network?.name.try !== dialler.try || network.name.attempt !== dialler.attempt) {
      this.refuse(connection, dialler, "its try is over");
      return;
    }
    const refused = network.accept(connection, dialler.processId);
    if (refused !== null) this.refuse(connection, dialler, refused);
  }

  private hold(connection: DataConnection, dialler: Dialler): void {
    if (this.closed || this.held.size >= MAX_HELD_CONNECTIONS) {
      this.refuse(connection, dialler, this.closed ? "the executor ends" : "too many connections wait for their try");
      return;
    }
    connection.pause();
    const { clock } = this.options;
    const timer = clock.at(clock.now() + HOLD_MS, () => {
      this.release(held);
      this.refuse(connection, dialler, `its try did not begin here within ${HOLD_MS} ms`);
    });
    const held: Held = { connection, dialler, timer };
    this.held.add(held);
    connection.ended.then(() => this.release(held));
  }

  private release(held: Held): void {
    held.timer.cancel();
    this.held.delete(held);
  }

  private refuse(connection: DataConnection, dialler: Dialler, reason: string): void {
    this.options.onRefused?.(dialler, reason);
    connection.destroy();
  }
}
