/**
 * A client of the modelled ensemble, with the calls and promises of the project's own ZooKeeper client: in order, pipelined, one session for its
 * whole life; calls of a broken connection reject, with an unknown outcome where they may have changed something.
 */
import type { Timer } from "../../env/clock.js";
import type { SeededRandom } from "../seed.js";
import type { SimProcess, World } from "../world.js";
import type { Attachment, FakeEnsemble, Server, Session } from "./ensemble.js";
import {
  type Acl,
  type AnyWrite,
  type Change,
  type CreateMode,
  type FakeCode,
  FakeZooKeeperError,
  type Stat,
  type WriteOperation,
  type WriteResult,
} from "./operations.js";
import type { Asker } from "./tree.js";
import { type Heard, type OneShotKind, type WatchMode, WatchTable } from "./watch-table.js";

const MAX_REQUEST_BYTES = 1_048_575;
const OPERATION_BYTES = 32;

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

export interface ReadOptions {
  readonly watch?: Heard;
}

type Ended = "SESSION_EXPIRED" | "CLOSED";

interface Call {
  readonly changes: boolean;
  readonly sizeBytes: number;
  isSent: boolean;
  /** At the server; calls back with what is to happen when the answer arrives. */
  serve(connection: Connection, answered: (arrived: () => void) => void): void;
  fail(error: FakeZooKeeperError): void;
}

/** Calls that were sent over it and not answered, in order. */
interface Connection extends Attachment {
  readonly calls: Call[];
  isBroken: boolean;
  arrivesAt: number;
  repliesAt: number;
  readonly waitingAtServer: Call[];
  isServing: boolean;
  /** Nothing travels: what was to arrive waits here for the network to come back. */
  stuck: (() => void)[] | null;
}

const RETRY_MIN_MS = 10;
const RETRY_MAX_MS = 120;

export class FakeZooKeeperClient {
  readonly ended: Promise<FakeZooKeeperError>;
  private readonly options: ClientOptions;
  private readonly sessionOf: Session;
  private readonly watches = new WatchTable();
  private readonly digests: string[];
  private connection: Connection | null = null;
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

  // ------------------------------------------------------------------------------------------------------------------- calls

  async create(
    path: string,
    data: Uint8Array,
    options: { readonly mode?: CreateMode; readonly acl?: readonly Acl[] } = {},
  ): Promise<{ readonly path: string; readonly stat: Stat }> {
    const result = await this.write({ op: "create", path, data, ...options });
    return { path: result.op === "create" ? result.path : path, stat: statIn(result) };
  }

  async delete(path: string, version: number): Promise<void> {
    await this.write({ op: "delete", path, version });
  }

  async setData(path: string, data: Uint8Array, version: number): Promise<Stat> {
    return statIn(await this.write({ op: "setData", path, data, version }));
  }

  async setAcl(path: string, acl: readonly Acl[], version: number): Promise<Stat> {
    return statIn(await this.write({ op: "setAcl", path, acl, version }));
  }

  async check(path: string, version: number): Promise<void> {
    // There is no such request: it is a multi of one.
    await this.order([{ op: "check", path, version }]);
  }

  multi(operations: readonly WriteOperation[]): Promise<{ readonly zxid: bigint; readonly results: readonly WriteResult[] }> {
    return this.order(operations);
  }

  exists(path: string, { watch }: ReadOptions = {}): Promise<Stat | null> {
    return this.read(({ tree }, watches) => {
      const stat = tree.exists(path);
      if (watch !== undefined) watches.addOneShot(stat === null ? "exists" : "data", path, watch);
      return stat;
    });
  }

  getData(path: string, { watch }: ReadOptions = {}): Promise<{ readonly data: Uint8Array; readonly stat: Stat }> {
    return this.read(({ tree }, watches) => watching(tree.getData(path, this.asker()), "data", path, watch, watches));
  }

  getChildren(path: string, { watch }: ReadOptions = {}): Promise<{ readonly children: readonly string[]; readonly stat: Stat }> {
    return this.read(({ tree }, watches) => watching(tree.getChildren(path, this.asker()), "children", path, watch, watches));
  }

  getAcl(path: string): Promise<{ readonly acl: readonly Acl[]; readonly stat: Stat }> {
    return this.read(({ tree }) => tree.getAcl(path, this.asker()));
  }

  sync(_path: string): Promise<void> {
    return this.call<void>(false, 0, ({ server }, give) => this.options.ensemble.sync(server, () => give(undefined)));
  }

  async addAuth({ auth }: { readonly scheme: "digest"; readonly auth: string }): Promise<void> {
    await this.call<void>(false, 0, (_connection, give) => {
      this.digests.push(this.options.digestId(auth));
      give(undefined);
    });
  }

  addWatch(path: string, mode: WatchMode, listener: Heard): Promise<{ close(): void }> {
    return this.read((_server, watches) => ({ close: watches.addPersistent(path, mode, listener) }));
  }

  /** Never rejects. Without a connection the session expires by itself. */
  async close(): Promise<void> {
    if (this.end !== null || this.options.process.state === "dead") return;
    if (this.connection !== null)
      await this.call<void>(false, 0, (connection, give) =>
        this.options.ensemble.closeSession(connection, () => give(undefined)),
      ).catch(() => {});
    this.finish("CLOSED");
  }

  /** The process is stopped, or the network swallows everything: nobody knows yet that anything is wrong. */
  mute(): void {
    const { connection } = this;
    if (connection === null || connection.stuck !== null) return;
    this.freezeDeadline();
    connection.stuck = [];
    this.options.ensemble.silent(connection);
    // The client gives a connection up over which it has heard nothing for two thirds of the timeout.
    const { clock } = this.options.process;
    this.readTimeout = clock.at(this.deadline(), () => {
      if (this.connection === connection && connection.stuck !== null) this.lose(true);
    });
  }

  unmute(): void {
    const { connection } = this;
    if (connection === null || connection.stuck === null) return;
    this.readTimeout?.cancel();
    if (this.sessionOf.isOver || connection.server.isDown) {
      this.lose(true);
      return;
    }
    const { world, process, latencyMs, ensemble } = this.options;
    ensemble.heard(connection);
    const stuck = connection.stuck;
    connection.stuck = null;
    for (const arrive of stuck) world.schedule(world.now(), "zk arrives late", arrive);
    // Until the next ping is answered nothing is known of the session.
    const answered = () => {
      if (this.connection !== connection || connection.stuck !== null) return;
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

  // -------------------------------------------------------------------------------------------------------------- inside of it

  private asker(): Asker {
    return { sessionId: this.sessionOf.id, digests: [...this.digests] };
  }

  private async write(operation: AnyWrite): Promise<WriteResult> {
    const { results } = await this.order([operation], true);
    const [result] = results;
    if (result === undefined) throw new FakeZooKeeperError("INVALID_ARGUMENT", "an answer without a result");
    return result;
  }

  private order(
    operations: readonly AnyWrite[],
    isSingle = false,
  ): Promise<{ readonly zxid: bigint; readonly results: readonly WriteResult[] }> {
    const sizeBytes = operations.reduce((sum, operation) => sum + sizeOf(operation), 0);
    return this.call(true, sizeBytes, (connection, give) =>
      this.options.ensemble.write(connection, this.asker(), operations, (applied, zxid) => {
        if (typeof applied === "string") return give(new FakeZooKeeperError(applied, `ZooKeeper refuses it: ${applied}`));
        if (applied.ok) return give({ zxid, results: applied.results });
        const { failure } = applied;
        give(new FakeZooKeeperError(failure.code, `${failure.path}: ${failure.code}`, isSingle ? {} : { failed: failure }));
      }),
    );
  }

  private read<T>(look: (server: Server, watches: WatchTable) => T | FakeCode): Promise<T> {
    return this.call(false, 0, (connection, give) => {
      const found = look(connection.server, this.watches);
      give(typeof found === "string" ? new FakeZooKeeperError(found as FakeCode, `ZooKeeper refuses it: ${found}`) : found);
    });
  }

  private call<T>(
    changes: boolean,
    sizeBytes: number,
    serve: (connection: Connection, give: (answer: T | FakeZooKeeperError) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.end !== null) return reject(this.end);
      if (sizeBytes > MAX_REQUEST_BYTES) return reject(new FakeZooKeeperError("TOO_LARGE", `a request of ${sizeBytes} bytes`));
      const call: Call = {
        changes,
        sizeBytes,
        isSent: false,
        serve: (connection, answered) =>
          serve(connection, (answer) => answered(() => (answer instanceof FakeZooKeeperError ? reject(answer) : resolve(answer)))),
        fail: reject,
      };
      if (this.connection === null) this.waiting.push(call);
      else this.send(this.connection, call);
    });
  }

  private send(connection: Connection, call: Call): void {
    const { world, latencyMs } = this.options;
    connection.calls.push(call);
    call.isSent = true;
    connection.arrivesAt = Math.max(connection.arrivesAt, world.now() + latencyMs());
    const arrive = () => {
      // It had not arrived when the connection broke.
      if (connection.isBroken || connection.server.isDown) return;
      if (connection.stuck !== null) return void connection.stuck.push(arrive);
      connection.waitingAtServer.push(call);
      this.serveNext(connection);
    };
    world.schedule(connection.arrivesAt, "zk request", arrive);
  }

  /** A server carries out the requests of a connection one after the other. */
  private serveNext(connection: Connection): void {
    if (connection.isServing) return;
    const call = connection.waitingAtServer.shift();
    if (call === undefined) return;
    connection.isServing = true;
    call.serve(connection, (arrived) => {
      connection.isServing = false;
      this.reply(connection, () => {
        connection.calls.splice(connection.calls.indexOf(call), 1);
        arrived();
      });
      if (!connection.isBroken) this.serveNext(connection);
    });
  }

  private reply(connection: Connection, arrived: () => void): void {
    const { world, process, latencyMs } = this.options;
    if (connection.isBroken) return;
    const seen = connection.server.tree.lastZxid;
    connection.repliesAt = Math.max(connection.repliesAt, world.now() + latencyMs());
    const run = () => {
      if (connection.isBroken) return;
      if (connection.stuck !== null) return void connection.stuck.push(run);
      if (seen > this.lastZxid) this.lastZxid = seen;
      arrived();
    };
    world.schedule(connection.repliesAt, "zk reply", run, process);
  }

  private lose(reconnects: boolean): void {
    const { connection } = this;
    if (connection !== null) {
      this.freezeDeadline();
      connection.isBroken = true;
      this.connection = null;
      this.options.ensemble.detach(connection);
      const calls = [...connection.calls.splice(0), ...this.waiting.splice(0)];
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
      if (connection.isBroken || !this.options.isReachable() || server.isDown) {
        connection.isBroken = true;
        ensemble.detach(connection);
        this.reconnect();
        return;
      }
      this.connection = connection;
      this.isSilent = false;
      this.attachedAt = world.now();
      this.attachments += 1;
      if (this.attachments > 1) this.restoreWatches(connection);
      for (const call of this.waiting.splice(0)) this.send(connection, call);
      this.tellState();
    };
    world.schedule(world.now() + latencyMs(), "zk connected", run, process);
  }

  private connectionTo(server: Server): Connection {
    const connection: Connection = {
      session: this.sessionOf,
      server,
      watches: this.watches,
      calls: [],
      isBroken: false,
      arrivesAt: 0,
      repliesAt: 0,
      waitingAtServer: [],
      isServing: false,
      stuck: null,
      asker: () => this.asker(),
      isOpen: () => !connection.isBroken,
      deliver: (listeners: readonly Heard[], change: Change) =>
        this.reply(connection, () => {
          for (const heard of listeners) heard({ type: change.type, path: change.path });
        }),
    };
    return connection;
  }

  /** As a server does with what a client says that it watches, from the last transaction that it has seen. */
  private restoreWatches(connection: Connection): void {
    const { tree } = connection.server;
    for (const { kind, path } of this.watches.oneShotPaths()) {
      const type = missed(kind, tree.exists(path), this.lastZxid);
      if (type === null) continue;
      const change: Change = { type, path, acl: [] };
      this.watches.fires(change);
      connection.deliver(this.watches.heardBy(change), change);
    }
    for (const { path, heard } of this.watches.persistentListeners())
      this.reply(connection, () => heard({ type: "restored", path }));
  }

  private finish(code: Ended): void {
    if (this.end !== null) return;
    const text = code === "CLOSED" ? "the client was closed" : "the session has expired";
    this.end = new FakeZooKeeperError(code, text);
    const { connection } = this;
    if (connection !== null) {
      connection.isBroken = true;
      this.connection = null;
      this.options.ensemble.detach(connection);
    }
    for (const call of [...(connection?.calls.splice(0) ?? []), ...this.waiting.splice(0)]) call.fail(this.end);
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

function watching<T extends object>(
  found: T | FakeCode,
  kind: OneShotKind,
  path: string,
  watch: Heard | undefined,
  watches: WatchTable,
): T | FakeCode {
  if (watch !== undefined && typeof found !== "string") watches.addOneShot(kind, path, watch);
  return found;
}

function missed(kind: OneShotKind, stat: Stat | null, since: bigint): Change["type"] | null {
  if (kind === "exists") return stat === null ? null : "created";
  if (stat === null) return "deleted";
  if (kind === "data") return stat.mzxid > since ? "changed" : null;
  return stat.pzxid > since ? "children" : null;
}

function statIn(result: WriteResult): Stat {
  if ("stat" in result) return result.stat;
  throw new FakeZooKeeperError("INVALID_ARGUMENT", "an answer without a stat");
}

function sizeOf(operation: AnyWrite): number {
  const data = "data" in operation ? (operation.data?.length ?? 0) : 0;
  return operation.path.length + data + OPERATION_BYTES;
}
