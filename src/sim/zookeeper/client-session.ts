/**
 * The one session of a modelled client: it looks for a server, attaches again when its connection breaks, knows its own deadline, and ends for good.
 * Calls of a broken connection reject, with an unknown outcome where they may have changed something; calls that were not sent wait for the next one.
 *
 * Boundary: what travels over a connection is client-connection.ts, what a call asks is client.ts.
 */
import type { Timer } from "../../env/clock.js";
import type { SeededRandom } from "../seed.js";
import type { SimProcess, World } from "../world.js";
import { type Call, ClientConnection } from "./client-connection.js";
import type { FakeEnsemble, Server, Session } from "./ensemble.js";
import { FakeZooKeeperError } from "./operations.js";
import { restoreWatches } from "./restored-watches.js";
import type { Asker } from "./tree.js";
import { WatchTable } from "./watch-table.js";

const MAX_REQUEST_BYTES = 1_048_575;
const RETRY_MIN_MS = 10;
const RETRY_MAX_MS = 120;

export interface ClientOptions {
  readonly world: World;
  readonly process: SimProcess;
  readonly random: SeededRandom;
  readonly ensemble: FakeEnsemble;
  readonly sessionTimeoutMs: number;
  /** One way between the process and a server. */
  latencyMs(): number;
  /** False: nothing gets through for now. */
  isReachable(): boolean;
  /** `user:hash` for `user:password`. */
  digestId(auth: string): string;
  readonly auth?: readonly { readonly scheme: "digest"; readonly auth: string }[];
}

type Ended = "SESSION_EXPIRED" | "CLOSED";
export type Give<T> = (answer: T | FakeZooKeeperError) => void;

export class ClientSession {
  readonly ended: Promise<FakeZooKeeperError>;
  protected readonly ensemble: FakeEnsemble;
  protected readonly watches = new WatchTable();
  protected readonly digests: string[];
  private readonly options: ClientOptions;
  private readonly sessionOf: Session;
  private connection: ClientConnection | null = null;
  private readonly waiting: Call[] = [];
  private lastZxid = 0n;
  private attachedAt = 0;
  private lastAnsweredAt = Number.NEGATIVE_INFINITY;
  private end: FakeZooKeeperError | null = null;
  private isConnecting = false;
  /** Pings are not answered, or were not for a while and the next one is on its way. */
  private isSilent = false;
  private readTimeout: Timer | null = null;
  private resolveEnded: (reason: FakeZooKeeperError) => void = () => {};
  private readonly stateListeners = new Set<() => void>();
  /** How often it was attached. */
  attachments = 0;

  constructor(options: ClientOptions) {
    this.options = options;
    this.ensemble = options.ensemble;
    this.sessionOf = options.ensemble.openSession(options.sessionTimeoutMs);
    this.digests = (options.auth ?? []).map(({ auth }) => options.digestId(auth));
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    options.process.onDeath(() => this.lose(false));
    this.reconnect();
  }

  get sessionId(): string {
    return this.sessionOf.id;
  }

  isConnected(): boolean {
    return this.connection !== null;
  }

  /** Called on each change of the connection, and at the end. */
  onState(listener: () => void): () => void {
    this.stateListeners.add(listener);
    return () => void this.stateListeners.delete(listener);
  }

  /** The send time of the last answered ping (there is one every third of the timeout) plus two thirds of the timeout. */
  deadline(): number {
    const { timeoutMs } = this.sessionOf;
    const { process } = this.options;
    const pingMs = timeoutMs / 3;
    const now = process.clock.now();
    const isAnswered = this.connection !== null && !this.isSilent;
    const answered = isAnswered ? now - ((now - this.attachedAt) % pingMs) : this.lastAnsweredAt;
    return answered + (timeoutMs * 2) / 3;
  }

  /** The process is stopped, or the network swallows everything: nobody knows yet that anything is wrong. */
  mute(): void {
    const { connection } = this;
    if (connection === null || connection.isStuck()) return;
    this.freezeDeadline();
    connection.hold();
    this.options.ensemble.silent(connection);
    // The client gives a connection up over which it has heard nothing for two thirds of the timeout.
    const { clock } = this.options.process;
    this.readTimeout = clock.at(this.deadline(), () => {
      if (this.connection === connection && connection.isStuck()) this.lose(true);
    });
  }

  unmute(): void {
    const { connection } = this;
    if (connection === null || !connection.isStuck()) return;
    this.readTimeout?.cancel();
    if (this.sessionOf.isOver || connection.server.isDown) {
      this.lose(true);
      return;
    }
    const { world, process, latencyMs, ensemble } = this.options;
    ensemble.heard(connection);
    connection.release();
    // Until the next ping is answered nothing is known of the session.
    const answered = () => {
      if (this.connection !== connection || connection.isStuck()) return;
      this.isSilent = false;
      this.attachedAt = world.now();
    };
    world.schedule(world.now() + 2 * latencyMs(), "zk ping answered", answered, process);
  }

  private freezeDeadline(): void {
    this.lastAnsweredAt = this.deadline() - (this.sessionOf.timeoutMs * 2) / 3;
    this.isSilent = true;
  }

  /** Undone by nothing: what happens to a client whose connection breaks. It looks for another server by itself. */
  breakConnection(): void {
    this.lose(true);
  }

  /** The server that it is attached to. */
  server(): number | null {
    return this.connection?.server.index ?? null;
  }

  /** The servers give the session up now. */
  expire(): void {
    this.options.ensemble.endSession(this.sessionOf);
    this.lose(true);
  }

  protected asker(): Asker {
    return { sessionId: this.sessionOf.id, digests: [...this.digests] };
  }

  protected isOver(): boolean {
    return this.end !== null || this.options.process.state === "dead";
  }

  protected call<T>(changes: boolean, sizeBytes: number, serve: (connection: ClientConnection, give: Give<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.end !== null) return reject(this.end);
      if (sizeBytes > MAX_REQUEST_BYTES) return reject(new FakeZooKeeperError("TOO_LARGE", `a request of ${sizeBytes} bytes`));
      const call: Call = {
        changes,
        isSent: false,
        serve: (connection, answered) =>
          serve(connection, (answer) => answered(() => (answer instanceof FakeZooKeeperError ? reject(answer) : resolve(answer)))),
        fail: reject,
      };
      if (this.connection === null) this.waiting.push(call);
      else this.connection.send(call);
    });
  }

  private lose(reconnects: boolean): void {
    const { connection } = this;
    if (connection !== null) {
      this.freezeDeadline();
      const answerless = connection.break();
      this.connection = null;
      this.ensemble.detach(connection);
      const calls = [...answerless, ...this.waiting.splice(0)];
      const { process, world } = this.options;
      // The process learns of it in its own time.
      const fail = () => {
        for (const call of calls) call.fail(lost(call));
        this.tellState();
      };
      if (process.state !== "dead") world.schedule(world.now(), "zk connection lost", fail, process);
    }
    if (reconnects) this.reconnect();
  }

  private reconnect(): void {
    const { world, process, random, latencyMs } = this.options;
    if (this.isConnecting || this.end !== null || process.state === "dead") return;
    this.isConnecting = true;
    const again = () => {
      this.isConnecting = false;
      if (this.connection === null) this.reconnect();
    };
    const delayMs = this.attachments === 0 ? 0 : random.between(RETRY_MIN_MS, RETRY_MAX_MS);
    world.schedule(
      world.now() + delayMs,
      "zk connect",
      () => {
        const server = random.pick(this.options.ensemble.servers);
        world.schedule(world.now() + latencyMs(), "zk session request", () => {
          if (server === undefined || server.isDown || !this.options.isReachable()) {
            world.schedule(world.now() + RETRY_MAX_MS, "zk connect failed", again, process);
            return;
          }
          this.attachTo(server, again);
        });
      },
      process,
    );
  }

  /** At the server. */
  private attachTo(server: Server, again: () => void): void {
    const { world, process, ensemble, latencyMs } = this.options;
    if (process.state === "dead") return;
    if (this.sessionOf.isOver) {
      const over = () => this.finish("SESSION_EXPIRED");
      world.schedule(world.now() + latencyMs(), "zk session over", over, process);
      return;
    }
    // A server that is behind what this client has seen turns it away.
    if (server.tree.lastZxid < this.lastZxid) {
      world.schedule(world.now() + latencyMs(), "zk turned away", again, process);
      return;
    }
    const connection = this.connectionTo(server);
    ensemble.attach(connection);
    const run = () => {
      this.isConnecting = false;
      if (!connection.isOpen() || !this.options.isReachable() || server.isDown) {
        connection.break();
        ensemble.detach(connection);
        this.reconnect();
        return;
      }
      this.connection = connection;
      this.isSilent = false;
      this.attachedAt = world.now();
      this.attachments += 1;
      if (this.attachments > 1) restoreWatches(connection, this.lastZxid);
      for (const call of this.waiting.splice(0)) connection.send(call);
      this.tellState();
    };
    world.schedule(world.now() + latencyMs(), "zk connected", run, process);
  }

  private connectionTo(server: Server): ClientConnection {
    const { world, process, latencyMs } = this.options;
    return new ClientConnection({
      world,
      process,
      session: this.sessionOf,
      server,
      watches: this.watches,
      latencyMs,
      asker: () => this.asker(),
      seen: (zxid) => {
        if (zxid > this.lastZxid) this.lastZxid = zxid;
      },
    });
  }

  protected finish(code: Ended): void {
    if (this.end !== null) return;
    const text = code === "CLOSED" ? "the client was closed" : "the session has expired";
    this.end = new FakeZooKeeperError(code, text);
    const { connection } = this;
    const answerless = connection?.break() ?? [];
    this.connection = null;
    if (connection !== null) this.ensemble.detach(connection);
    for (const call of [...answerless, ...this.waiting.splice(0)]) call.fail(this.end);
    this.resolveEnded(this.end);
    this.tellState();
  }

  private tellState(): void {
    for (const listener of [...this.stateListeners]) listener();
  }
}

function lost({ changes, isSent }: Call): FakeZooKeeperError {
  const outcome = changes && isSent ? "unknown" : "none";
  return new FakeZooKeeperError("CONNECTION_LOST", "the connection to the server was lost", { outcome });
}
