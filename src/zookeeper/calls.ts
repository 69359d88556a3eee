/**
 * The calls of a `ZooKeeper`: each is its request, how its answer is read, and what it means for watches.
 *
 * Boundary: arguments of users (paths below the chroot) to requests and back. Sending, order and failures are the client's.
 */
import { CREATOR_ALL_ACL, OPEN_ACL } from "./acl.js";
import type { CallDescription, Client } from "./client.js";
import { checkedAuth } from "./credentials.js";
import { answeredError, codeOf, meaningOf, ZooKeeperError } from "./errors.js";
import { JuteError, type JuteReader } from "./jute.js";
import type { MultiResult, ReadOperation, ReadResult, WriteOperation, WriteResult } from "./operations.js";
import { requirePath, toClientPath, toServerPath } from "./path.js";
import * as requests from "./requests.js";
import * as responses from "./responses.js";
import { readStat, type Stat } from "./stat.js";
import type { OneShotKind } from "./watches.js";
import type { CallOptions, ReadOptions, WatchListener, ZooKeeper } from "./zookeeper.js";

export function createCalls(client: Client, chroot: string): ZooKeeper {
  return new Calls(client, chroot);
}

/** What is different from call to call. */
interface Shape<T> {
  readonly name: string;
  readonly path: string;
  readonly changes: boolean;
  readonly frame: () => Buffer;
  readonly read: (reader: JuteReader, zxid: bigint) => T | ZooKeeperError;
}

class Calls implements ZooKeeper {
  readonly ended: Promise<ZooKeeperError>;
  readonly #client: Client;
  readonly #chroot: string;

  constructor(client: Client, chroot: string) {
    this.#client = client;
    this.#chroot = chroot;
    this.ended = client.ended;
  }

  connected: ZooKeeper["connected"] = (signal) => this.#client.connected(signal);
  session: ZooKeeper["session"] = () => this.#client.session.identity();
  state: ZooKeeper["state"] = () => this.#client.session.state;
  deadline: ZooKeeper["deadline"] = () => this.#client.session.deadline;
  onState: ZooKeeper["onState"] = (listener) => this.#client.onState(listener);
  close: ZooKeeper["close"] = () => this.#client.close();

  create: ZooKeeper["create"] = (path, data, options = {}) => {
    const { signal, ...rest } = options;
    return this.#write({ op: "create", path, data, ...rest }, { signal }, (reader) => {
      const created = responses.readPathAndStat(reader);
      return { path: this.#toClient(created.path), stat: created.stat };
    });
  };

  delete: ZooKeeper["delete"] = (path, version, options) => this.#write({ op: "delete", path, version }, options, () => undefined);

  setData: ZooKeeper["setData"] = (path, data, version, options) =>
    this.#write({ op: "setData", path, data, version }, options, readStat);

  /** The server knows `check` only inside a multi. */
  check: ZooKeeper["check"] = async (path, version, options) => {
    await this.multi([{ op: "check", path, version }], options);
  };

  exists: ZooKeeper["exists"] = (path, options) => {
    const shape = { name: "exists", path, request: requests.existsRequest, read: readStat as (reader: JuteReader) => Stat | null };
    return this.#readWatching("data", { ...shape, missing: null }, options);
  };

  getData: ZooKeeper["getData"] = (path, options) =>
    this.#readWatching("data", { name: "getData", path, request: requests.getDataRequest, read: responses.readData }, options);

  getChildren: ZooKeeper["getChildren"] = (path, options) => {
    const shape = { name: "getChildren", path, request: requests.getChildrenRequest, read: responses.readChildren };
    return this.#readWatching("children", shape, options);
  };

  sync: ZooKeeper["sync"] = (path, options) =>
    this.#call(
      { name: "sync", path, changes: false, frame: () => requests.syncRequest(this.#toServer(path)), read: () => undefined },
      options,
    );

  getAcl: ZooKeeper["getAcl"] = (path, options) => {
    const frame = () => requests.getAclRequest(this.#toServer(path));
    return this.#call({ name: "getAcl", path, changes: false, frame, read: responses.readAclAndStat }, options);
  };

  setAcl: ZooKeeper["setAcl"] = (path, acl, version, options) => {
    const frame = () => requests.setAclRequest(this.#toServer(path), acl, version);
    return this.#call({ name: "setAcl", path, changes: true, frame, read: readStat }, options);
  };

  addAuth: ZooKeeper["addAuth"] = async (auth, options) => this.#client.addAuth(checkedAuth(auth), options?.signal);

  multi: ZooKeeper["multi"] = (operations, options) => {
    const path = operations[0]?.path ?? "/";
    const frame = () =>
      requests.multiRequest(
        operations.map((operation) => this.#serverOperation(operation)),
        this.#defaultAcl,
      );
    const read = (reader: JuteReader, zxid: bigint) => this.#multiResult(operations, responses.readMulti(reader), zxid);
    return this.#call<MultiResult>({ name: "multi", path, changes: true, frame, read }, options);
  };

  multiRead: ZooKeeper["multiRead"] = (operations, options) => {
    const path = operations[0]?.path ?? "/";
    const frame = () => requests.multiReadRequest(operations.map(({ op, path }) => ({ op, path: this.#toServer(path) })));
    const read = (reader: JuteReader) => readResults(operations, responses.readMulti(reader));
    return this.#call({ name: "multiRead", path, changes: false, frame, read }, options);
  };

  addWatch: ZooKeeper["addWatch"] = async (path, mode, listener, options) => {
    const { watches } = this.#client;
    const serverPath = this.#toServer(path);
    const conflict = watches.conflict(serverPath, mode);
    if (conflict !== null) {
      const text = `addWatch ${path}: this client has a ${conflict} watch there, and ZooKeeper keeps one mode for a path`;
      throw new ZooKeeperError("INVALID_ARGUMENT", text, { path });
    }
    let open = true;
    const heard = this.#hearing(listener, () => open);
    const close = (): void => {
      if (!open) return;
      open = false;
      if (watches.removePersistent(serverPath, heard)) this.#forget(path);
    };
    // From this call on, so that a one-shot watch that is asked for after it does not take its place on the server.
    watches.addPersistent(serverPath, mode, heard);
    const frame = () => requests.addWatchRequest(serverPath, mode === "persistent-recursive");
    const read = () => watches.confirm(serverPath, heard);
    try {
      await this.#call({ name: "addWatch", path, changes: false, frame, read }, options);
    } catch (thrown) {
      close();
      throw thrown;
    }
    return { close };
  };

  /** Nobody waits for it: when it fails, the connection is gone, and with it the watch on the server. */
  #forget(path: string): void {
    const frame = () => requests.removeWatchesRequest(this.#toServer(path));
    this.#call({ name: "removeWatches", path, changes: false, frame, read: () => undefined }).catch(() => {});
  }

  #hearing(listener: WatchListener, open: () => boolean = () => true) {
    return (type: Parameters<WatchListener>[0]["type"], serverPath: string): void => {
      const path = toClientPath(this.#chroot, serverPath);
      // After the promises of answers that came before this event.
      if (path !== null) queueMicrotask(() => open() && listener({ type, path }));
    };
  }

  /** A read that may set a one-shot watch. `missing`: what it gives when there is no node; without it that is an error. */
  #readWatching<T>(
    kind: OneShotKind,
    shape: {
      readonly name: string;
      readonly path: string;
      readonly request: (path: string, watch: boolean) => Buffer;
      readonly read: (reader: JuteReader) => T;
      readonly missing?: T;
    },
    options: ReadOptions = {},
  ): Promise<T> {
    const { name, path, request } = shape;
    const { watch, signal } = options;
    const { watches } = this.#client;
    return this.#prepared(path, () => {
      const serverPath = this.#toServer(path);
      const ask = watch !== undefined && watches.ask(kind, serverPath);
      const register = (as: OneShotKind): void => {
        if (watch !== undefined) watches.addOneShot(as, serverPath, this.#hearing(watch));
      };
      return {
        name,
        path,
        changes: false,
        frame: request(serverPath, ask),
        signal,
        settled: () => watch !== undefined && watches.settled(serverPath),
        read: ({ errorNumber }, reader) => {
          const isMissing = errorNumber !== 0 && "missing" in shape && codeOf(errorNumber) === "NO_NODE";
          if (errorNumber !== 0 && !isMissing) return answeredError(errorNumber, { name, path, changes: false });
          const value = isMissing ? (shape.missing as T) : shape.read(reader);
          register(isMissing ? "exists" : kind);
          return value;
        },
      };
    });
  }

  #write<T>(
    operation: WriteOperation,
    options: CallOptions | { readonly signal: AbortSignal | undefined } = {},
    read: (reader: JuteReader) => T,
  ): Promise<T> {
    const frame = () => requests.writeRequest(this.#serverOperation(operation), this.#defaultAcl);
    return this.#call({ name: operation.op, path: operation.path, changes: true, frame, read }, options);
  }

  #call<T>(shape: Shape<T>, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<T> {
    return this.#prepared(shape.path, () => ({
      name: shape.name,
      path: shape.path,
      changes: shape.changes,
      frame: shape.frame(),
      signal: options.signal,
      read: ({ errorNumber, zxid }, reader) => (errorNumber === 0 ? shape.read(reader, zxid) : answeredError(errorNumber, shape)),
    }));
  }

  /** What is wrong with the arguments rejects the call, and never throws from it. */
  #prepared<T>(path: string, describe: () => CallDescription<T>): Promise<T> {
    let description: CallDescription<T>;
    try {
      description = describe();
    } catch (thrown) {
      if (thrown instanceof ZooKeeperError) return Promise.reject(thrown);
      const text = `${path}: the arguments cannot be sent: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
      return Promise.reject(new ZooKeeperError("INVALID_ARGUMENT", text, { path, cause: thrown }));
    }
    return this.#client.call(description);
  }

  get #defaultAcl() {
    return this.#client.hasCredentials ? CREATOR_ALL_ACL : OPEN_ACL;
  }

  #toServer(path: string, sequential = false): string {
    requirePath(path, sequential);
    return toServerPath(this.#chroot, path);
  }

  /** Where the server names a path that we asked for. */
  #toClient(serverPath: string): string {
    const path = toClientPath(this.#chroot, serverPath);
    if (path === null) throw new JuteError(`the path ${JSON.stringify(serverPath)} lies outside ${this.#chroot}`);
    return path;
  }

  #serverOperation(operation: WriteOperation): WriteOperation {
    return { ...operation, path: this.#toServer(operation.path, requests.createsSequential(operation)) };
  }

  #multiResult(
    operations: readonly WriteOperation[],
    results: readonly responses.RawResult[],
    zxid: bigint,
  ): MultiResult | ZooKeeperError {
    const failed = failedOperation(operations, results);
    if (failed !== null) return failed;
    requireSameCount(operations, results);
    return { zxid, results: results.map((result) => this.#writeResult(result)) };
  }

  #writeResult(result: responses.RawResult): WriteResult {
    switch (result.op) {
      case "create":
        return { op: "create", path: this.#toClient(result.path) };
      case "setData":
        return result;
      case "delete":
      case "check":
        return { op: result.op };
      default:
        throw new JuteError(`a multi of changes is answered with ${result.op}`);
    }
  }
}

/** The first that failed by itself; those before and after it were rolled back because of it. */
function failedOperation(operations: readonly WriteOperation[], results: readonly responses.RawResult[]): ZooKeeperError | null {
  const index = results.findIndex(
    (result) => result.op === "error" && result.errorNumber !== 0 && codeOf(result.errorNumber) !== "ROLLED_BACK",
  );
  const result = results[index];
  const operation = operations[index];
  if (result?.op !== "error" || operation === undefined) return null;
  const code = codeOf(result.errorNumber);
  const place = `operation ${index} of ${operations.length} (${operation.op} ${operation.path})`;
  const { path } = operation;
  return new ZooKeeperError(code, `multi: ${place} failed, and nothing was applied: ${meaningOf(code)}`, {
    path,
    failed: { index, code, path },
  });
}

function requireSameCount(operations: readonly unknown[], results: readonly unknown[]): void {
  if (operations.length !== results.length) throw new JuteError(`${results.length} results of ${operations.length} operations`);
}

function readResults(operations: readonly ReadOperation[], results: readonly responses.RawResult[]): readonly ReadResult[] {
  requireSameCount(operations, results);
  return results.map((result, index) => {
    if (result.op === "getData" || result.op === "getChildren") return result;
    const operation = operations[index];
    if (result.op !== "error" || operation === undefined) throw new JuteError(`a multi of reads is answered with ${result.op}`);
    const call = { name: operation.op, path: operation.path, changes: false };
    return { op: "failed", error: answeredError(result.errorNumber, call) };
  });
}
