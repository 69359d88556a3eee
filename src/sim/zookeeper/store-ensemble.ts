/** The ensemble as the ZooKeeper store needs it (zookeeper-store/ensemble.ts), on the modelled client: what node/zookeeper-store is on the real one. */
import { CodedError } from "../../base/errors.js";
import { untilAborted } from "../../coordination/until-aborted.js";
import type { Ensemble, MultiResult, Znode, ZnodeOperation } from "../../zookeeper-store/ensemble.js";
import type { FakeZooKeeperClient } from "./client.js";
import { FakeZooKeeperError, type WriteOperation } from "./operations.js";

const EMPTY = new Uint8Array(0);
const REASONS = { NO_NODE: "missing", NODE_EXISTS: "exists", BAD_VERSION: "version", NOT_EMPTY: "not-empty" } as const;

export class StoreEnsemble implements Ensemble {
  readonly ended: Promise<CodedError>;
  private readonly client: FakeZooKeeperClient;
  /** Before each multi: faults that hit its connection. */
  private readonly beforeMulti: () => void;

  constructor(client: FakeZooKeeperClient, beforeMulti: () => void) {
    this.client = client;
    this.beforeMulti = beforeMulti;
    this.ended = client.ended.then(explain);
  }

  get sessionId(): string {
    return this.client.sessionId;
  }

  isConnected(): boolean {
    return this.client.isConnected();
  }

  async connected(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.isConnected()) return;
    let stop = () => {};
    const connected = new Promise<void>((resolve, reject) => {
      stop = this.client.onState(() => {
        if (this.isConnected()) resolve();
      });
      void this.ended.then(reject);
    });
    await untilAborted(connected, signal).finally(() => stop());
  }

  trouble(): string {
    return "no ZooKeeper server gives a session";
  }

  deadline(): number {
    return this.client.deadline();
  }

  sync(path: string): Promise<void> {
    return this.client.sync(path).catch(fail);
  }

  get(path: string): Promise<Znode | undefined> {
    return this.client.getData(path).then(({ data, stat }) => ({ data, version: stat.version }), missing);
  }

  children(path: string): Promise<readonly string[] | undefined> {
    return this.client.getChildren(path).then(({ children }) => children, missing);
  }

  isOpenToAll(path: string): Promise<boolean | undefined> {
    return this.client
      .getAcl(path)
      .then(({ acl }) => acl.some(({ scheme, permissions }) => scheme === "world" && permissions.length > 0), missing);
  }

  async multi(operations: readonly ZnodeOperation[]): Promise<MultiResult> {
    this.beforeMulti();
    try {
      await this.client.multi(operations.map(toWrite));
      return { ok: true };
    } catch (thrown) {
      const failed = thrown instanceof FakeZooKeeperError ? thrown.failed : undefined;
      const reason = failed === undefined ? undefined : REASONS[failed.code as keyof typeof REASONS];
      if (failed !== undefined && reason !== undefined) return { ok: false, at: failed.index, reason };
      throw explain(thrown);
    }
  }

  async makePath(path: string): Promise<void> {
    const names = path.split("/").slice(1);
    for (let count = 1; count <= names.length; count += 1) {
      const part = `/${names.slice(0, count).join("/")}`;
      try {
        if ((await this.client.exists(part)) === null) await this.client.create(part, EMPTY);
      } catch (thrown) {
        if (!(thrown instanceof FakeZooKeeperError) || thrown.code !== "NODE_EXISTS") throw explain(thrown);
      }
    }
  }

  async watch(path: string, onChange: () => void): Promise<void> {
    await this.client.addWatch(path, "persistent", onChange).catch(fail);
  }

  close(): Promise<void> {
    return this.client.close();
  }
}

function missing(thrown: unknown): undefined {
  if (thrown instanceof FakeZooKeeperError && thrown.code === "NO_NODE") return undefined;
  throw explain(thrown);
}

function fail(thrown: unknown): never {
  throw explain(thrown);
}

function explain(thrown: unknown): CodedError {
  if (!(thrown instanceof FakeZooKeeperError)) return CodedError.from(thrown);
  const { code, outcome, message } = thrown;
  const options = { cause: thrown };
  if (code === "SESSION_EXPIRED") return new CodedError("SESSION_ENDED", "ZooKeeper gave the session up", options);
  if (code === "CLOSED") return new CodedError("CLOSED", "the ZooKeeper session was closed", options);
  if (outcome === "unknown") return new CodedError("OUTCOME_UNKNOWN", message, options);
  if (code === "TOO_LARGE") return new CodedError("LIMIT_EXCEEDED", message, options);
  if (code === "CONNECTION_LOST" || code === "SESSION_MOVED") return new CodedError("CONNECTION_LOST", message, options);
  return new CodedError("STORE_UNUSABLE", `ZooKeeper refuses what the store needs: ${message}`, options);
}

function toWrite(operation: ZnodeOperation): WriteOperation {
  switch (operation.op) {
    case "create": {
      const { path, data, ephemeral } = operation;
      return { op: "create", path, data, mode: ephemeral === true ? "ephemeral" : "persistent" };
    }
    case "set":
      return { op: "setData", path: operation.path, data: operation.data, version: operation.version };
    default:
      return operation;
  }
}
