/**
 * The ensemble as the store needs it, on this project's ZooKeeper client: ACLs, and the client's errors as ours.
 *
 * Boundary: no text of it holds the password; paths and servers may be shown.
 */
import { CodedError } from "../../base/errors.js";
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import { connectZooKeeper, hasZooKeeperCode, type WriteOperation, type ZooKeeper, ZooKeeperError } from "../../zookeeper/index.js";
import type { Ensemble, MultiResult, Znode, ZnodeOperation } from "../../zookeeper-store/ensemble.js";

const EMPTY = new Uint8Array(0);
/**
 * A session that no server has taken back for so many of its timeouts is given up. Servers that lost their data (or were replaced by others) refuse
 * it for ever without saying that it is over, because it has seen more than they have; only a new session can look at what is there.
 */
const GIVE_UP_TIMEOUTS = 5;

const REASONS = { NO_NODE: "missing", NODE_EXISTS: "exists", BAD_VERSION: "version", NOT_EMPTY: "not-empty" } as const;

export function connectEnsemble(url: ZooKeeperUrl, options: { readonly timeoutMs: number }): Ensemble {
  const { servers, credentials } = url;
  const auth = credentials === null ? [] : [{ scheme: "digest", auth: `${credentials.user}:${credentials.password}` } as const];
  return new ZooKeeperEnsemble(url, connectZooKeeper({ servers: servers.join(","), sessionTimeoutMs: options.timeoutMs, auth }));
}

class ZooKeeperEnsemble implements Ensemble {
  readonly ended: Promise<CodedError>;
  private readonly url: ZooKeeperUrl;
  private readonly client: ZooKeeper;
  private lastTrouble = "there was no answer yet";
  private givenUp: CodedError | undefined;
  private giveUpTimer: NodeJS.Timeout | undefined;

  constructor(url: ZooKeeperUrl, client: ZooKeeper) {
    this.url = url;
    this.client = client;
    this.ended = client.ended.then((reason) => this.explain(reason));
    client.onState((event) => {
      if (event.state === "connecting") {
        this.lastTrouble = event.reason.message;
        this.giveUpLater();
      } else {
        clearTimeout(this.giveUpTimer);
        this.giveUpTimer = undefined;
      }
    });
  }

  /** Only a session that exists: before the first one there is nothing to give up, and the caller decides how long it waits. */
  private giveUpLater(): void {
    const session = this.client.session();
    if (session === undefined || this.giveUpTimer !== undefined) return;
    const afterMs = session.timeoutMs * GIVE_UP_TIMEOUTS;
    this.giveUpTimer = setTimeout(() => {
      this.givenUp = new CodedError(
        "SESSION_ENDED",
        `no ZooKeeper server has taken the session back for ${afterMs / 1_000} s (${this.lastTrouble})`,
      );
      void this.client.close();
    }, afterMs);
  }

  get sessionId(): string {
    return this.client.session()?.id ?? "";
  }

  isConnected(): boolean {
    return this.client.state() === "connected";
  }

  async connected(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    // Most calls find a connection; then no listener has to be put on the signal.
    if (this.isConnected()) return;
    try {
      await this.client.connected(signal);
    } catch (thrown) {
      signal.throwIfAborted();
      throw this.explain(thrown);
    }
  }

  trouble(): string {
    return `no ZooKeeper server of ${this.url.servers.join(", ")} gives a session (${this.lastTrouble})`;
  }

  deadline(): number {
    return this.client.deadline();
  }

  sync(path: string): Promise<void> {
    return this.client.sync(path).catch((thrown) => this.fail(thrown));
  }

  get(path: string): Promise<Znode | undefined> {
    return this.client.getData(path).then(
      ({ data, stat }) => ({ data, version: stat.version }),
      (thrown) => this.missing(thrown),
    );
  }

  children(path: string): Promise<readonly string[] | undefined> {
    return this.client.getChildren(path).then(
      ({ children }) => children,
      (thrown) => this.missing(thrown),
    );
  }

  isOpenToAll(path: string): Promise<boolean | undefined> {
    return this.client.getAcl(path).then(
      ({ acl }) => acl.some(({ scheme, permissions }) => scheme === "world" && permissions.length > 0),
      (thrown) => this.missing(thrown),
    );
  }

  async multi(operations: readonly ZnodeOperation[]): Promise<MultiResult> {
    try {
      await this.client.multi(operations.map(toWrite));
      return { ok: true };
    } catch (thrown) {
      const failed = thrown instanceof ZooKeeperError ? thrown.failed : undefined;
      const reason = failed === undefined ? undefined : REASONS[failed.code as keyof typeof REASONS];
      if (failed !== undefined && reason !== undefined) return { ok: false, at: failed.index, reason };
      throw this.explain(thrown);
    }
  }

  async makePath(path: string): Promise<void> {
    const names = path.split("/").slice(1);
    for (let count = 1; count <= names.length; count++) {
      const part = `/${names.slice(0, count).join("/")}`;
      try {
        if ((await this.client.exists(part)) === null) await this.client.create(part, EMPTY);
      } catch (thrown) {
        if (!hasZooKeeperCode(thrown, "NODE_EXISTS")) throw this.explain(thrown);
      }
    }
  }

  async watch(path: string, onChange: () => void): Promise<void> {
    await this.client.addWatch(path, "persistent", onChange).catch((thrown) => this.fail(thrown));
  }

  close(): Promise<void> {
    return this.client.close();
  }

  private missing(thrown: unknown): undefined {
    if (hasZooKeeperCode(thrown, "NO_NODE")) return undefined;
    throw this.explain(thrown);
  }

  private fail(thrown: unknown): never {
    throw this.explain(thrown);
  }

  private explain(thrown: unknown): CodedError {
    if (this.givenUp !== undefined) return this.givenUp;
    if (!(thrown instanceof ZooKeeperError)) return CodedError.from(thrown);
    switch (thrown.code) {
      case "SESSION_EXPIRED":
        return new CodedError("SESSION_ENDED", "ZooKeeper gave the session up: it had not heard of this process for too long", {
          cause: thrown,
        });
      case "CLOSED":
        return new CodedError("CLOSED", "the ZooKeeper session was closed", { cause: thrown });
      case "NO_AUTH":
      case "AUTH_FAILED":
        return this.denied(thrown);
      default:
        return explainOther(thrown);
    }
  }

  private denied(cause: ZooKeeperError): CodedError {
    const { credentials, address } = this.url;
    const path = cause.path ?? this.url.path;
    if (credentials === null) {
      return new CodedError(
        "STORE_UNUSABLE",
        `ZooKeeper denies access to ${path}: it belongs to a user, and ${address} names none`,
        {
          hint: "Give user and password: zk://user:password@host:2181/path, best in a file named by --recovery file:///path.",
          details: { path },
          cause,
        },
      );
    }
    const text = `ZooKeeper denies access to ${path}: it belongs to another user than "${credentials.user}", or the password is wrong`;
    return new CodedError("STORE_UNUSABLE", text, {
      hint: "Correct user or password in --recovery, or give the cluster another path. Nothing was changed.",
      details: { path },
      cause,
    });
  }
}

function explainOther(cause: ZooKeeperError): CodedError {
  const { code, outcome, message, retryable } = cause;
  if (outcome === "unknown") return new CodedError("OUTCOME_UNKNOWN", message, { cause });
  if (code === "LIMIT" || code === "TOO_LARGE") return new CodedError("LIMIT_EXCEEDED", message, { cause });
  if (retryable) return new CodedError("CONNECTION_LOST", message, { cause });
  const hint =
    code === "UNIMPLEMENTED" ? "Holdfast needs ZooKeeper 3.6 or newer." : (cause.hint ?? "See the logs of the ZooKeeper servers.");
  return new CodedError("STORE_UNUSABLE", `ZooKeeper refuses what the store needs: ${message}`, { hint, cause });
}

function toWrite(operation: ZnodeOperation): WriteOperation {
  switch (operation.op) {
    case "create":
      return {
        op: "create",
        path: operation.path,
        data: operation.data,
        mode: operation.ephemeral === true ? "ephemeral" : "persistent",
      };
    case "set":
      return { op: "setData", path: operation.path, data: operation.data, version: operation.version };
    default:
      return operation;
  }
}
