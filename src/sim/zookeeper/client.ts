/**
 * A client of the modelled ensemble, with the calls and promises of the project's own ZooKeeper client.
 *
 * Boundary: what each call asks of a server; order, session and connections are client-session.ts and client-connection.ts.
 */
import { type ClientOptions, ClientSession } from "./client-session.js";
import type { Server } from "./ensemble.js";
import {
  type Acl,
  type AnyWrite,
  type CreateMode,
  type FakeCode,
  FakeZooKeeperError,
  type Stat,
  type WriteOperation,
  type WriteResult,
} from "./operations.js";
import type { Heard, OneShotKind, WatchMode, WatchTable } from "./watch-table.js";

const OPERATION_BYTES = 32;

export interface ReadOptions {
  readonly watch?: Heard;
}

export class FakeZooKeeperClient extends ClientSession {
  private readonly digestId: ClientOptions["digestId"];

  constructor(options: ClientOptions) {
    super(options);
    this.digestId = options.digestId;
  }

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
    return this.call<void>(false, 0, ({ server }, give) => this.ensemble.sync(server, () => give(undefined)));
  }

  async addAuth({ auth }: { readonly scheme: "digest"; readonly auth: string }): Promise<void> {
    await this.call<void>(false, 0, (_connection, give) => {
      this.digests.push(this.digestId(auth));
      give(undefined);
    });
  }

  addWatch(path: string, mode: WatchMode, listener: Heard): Promise<{ close(): void }> {
    return this.read((_server, watches) => ({ close: watches.addPersistent(path, mode, listener) }));
  }

  /** Never rejects. Without a connection the session expires by itself. */
  async close(): Promise<void> {
    if (this.isOver()) return;
    if (this.isConnected())
      await this.call<void>(false, 0, (connection, give) => this.ensemble.closeSession(connection, () => give(undefined))).catch(
        () => {},
      );
    this.finish("CLOSED");
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
      this.ensemble.write(connection, this.asker(), operations, (applied, zxid) => {
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

function statIn(result: WriteResult): Stat {
  if ("stat" in result) return result.stat;
  throw new FakeZooKeeperError("INVALID_ARGUMENT", "an answer without a stat");
}

function sizeOf(operation: AnyWrite): number {
  const data = "data" in operation ? (operation.data?.length ?? 0) : 0;
  return operation.path.length + data + OPERATION_BYTES;
}
