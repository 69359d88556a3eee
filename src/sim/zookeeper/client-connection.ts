/**
 * One connection of a modelled client to a server: requests arrive in order, are carried out one after the other, and are answered in order with the events
 * of watches between them.
 *
 * Invariant: after `break` nothing arrives any more, at neither end; what the server was carrying out is carried out to its end.
 */
import type { SimProcess, World } from "../world.js";
import type { Attachment, Server, Session } from "./ensemble.js";
import type { Change, FakeZooKeeperError } from "./operations.js";
import type { Asker } from "./tree.js";
import type { Heard, WatchTable } from "./watch-table.js";

export interface Call {
  readonly changes: boolean;
  isSent: boolean;
  /** At the server; calls back with what is to happen when the answer arrives. */
  serve(connection: ClientConnection, answered: (arrived: () => void) => void): void;
  fail(error: FakeZooKeeperError): void;
}

export interface ConnectionOptions {
  readonly world: World;
  readonly process: SimProcess;
  readonly session: Session;
  readonly server: Server;
  readonly watches: WatchTable;
  /** One way. */
  latencyMs(): number;
  asker(): Asker;
  /** The client has heard of this transaction. */
  seen(zxid: bigint): void;
}

export class ClientConnection implements Attachment {
  readonly session: Session;
  readonly server: Server;
  readonly watches: WatchTable;
  private readonly options: ConnectionOptions;
  /** Sent and not answered, in order. */
  private readonly calls: Call[] = [];
  private readonly waitingAtServer: Call[] = [];
  private isBroken = false;
  private isServing = false;
  private arrivesAt = 0;
  private repliesAt = 0;
  /** Nothing travels: what was to arrive waits here for the network to come back. */
  private stuck: (() => void)[] | null = null;

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.session = options.session;
    this.server = options.server;
    this.watches = options.watches;
  }

  asker(): Asker {
    return this.options.asker();
  }

  isOpen(): boolean {
    return !this.isBroken;
  }

  isStuck(): boolean {
    return this.stuck !== null;
  }

  send(call: Call): void {
    const { world, latencyMs } = this.options;
    this.calls.push(call);
    call.isSent = true;
    this.arrivesAt = Math.max(this.arrivesAt, world.now() + latencyMs());
    const arrive = () => {
      // It had not arrived when the connection broke.
      if (this.isBroken || this.server.isDown) return;
      if (this.stuck !== null) return void this.stuck.push(arrive);
      this.waitingAtServer.push(call);
      this.serveNext();
    };
    world.schedule(this.arrivesAt, "zk request", arrive);
  }

  deliver(listeners: readonly Heard[], change: Change): void {
    this.reply(() => {
      for (const heard of listeners) heard({ type: change.type, path: change.path });
    });
  }

  /** From the server to the client, behind all that was sent before. */
  reply(arrived: () => void): void {
    const { world, process, latencyMs, seen } = this.options;
    if (this.isBroken) return;
    const zxid = this.server.tree.lastZxid;
    this.repliesAt = Math.max(this.repliesAt, world.now() + latencyMs());
    const run = () => {
      if (this.isBroken) return;
      if (this.stuck !== null) return void this.stuck.push(run);
      seen(zxid);
      arrived();
    };
    world.schedule(this.repliesAt, "zk reply", run, process);
  }

  /** Nothing travels until `release`. */
  hold(): void {
    this.stuck ??= [];
  }

  release(): void {
    const { world } = this.options;
    const stuck = this.stuck ?? [];
    this.stuck = null;
    for (const arrive of stuck) world.schedule(world.now(), "zk arrives late", arrive);
  }

  /** The calls that nobody will answer. */
  break(): readonly Call[] {
    this.isBroken = true;
    return this.calls.splice(0);
  }

  /** A server carries out the requests of a connection one after the other. */
  private serveNext(): void {
    if (this.isServing) return;
    const call = this.waitingAtServer.shift();
    if (call === undefined) return;
    this.isServing = true;
    call.serve(this, (arrived) => {
      this.isServing = false;
      this.reply(() => {
        this.calls.splice(this.calls.indexOf(call), 1);
        arrived();
      });
      if (!this.isBroken) this.serveNext();
    });
  }
}
