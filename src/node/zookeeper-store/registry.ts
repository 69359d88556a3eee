/**
 * Masters as ZooKeeper lists them: reads the ephemeral records of a coordination store there (docs/design/zookeeper-store.md), and nothing else.
 *
 * It makes no znode, and asks any server for what that server knows: a hint that is a little old is still a hint, and needs no quorum.
 * A first read is the format, the list and each record; a later one the list and what is new in it, since records of masters never change.
 */
import { CodedError } from "../../base/errors.js";
import { type EphemeralRecord, seenMasters } from "../../coordination/seen-masters.js";
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import type { Clock } from "../../env/clock.js";
import type { MasterRegistry, RegistryListener, RegistrySession, SeenMasters } from "../../env/master-registry.js";
import { connectZooKeeper, hasZooKeeperCode, type ZooKeeper, ZooKeeperError } from "../../zookeeper/index.js";
import { decodeEphemeral } from "../../zookeeper-store/codec.js";
import { readFormat } from "../../zookeeper-store/format.js";
import { formatPath, type Layout, layoutOf } from "../../zookeeper-store/layout.js";

export const REGISTRY_SESSION_MS = 10_000;
/** Ephemeral records that are looked at; a cluster has two for each master. */
const MAX_RECORDS = 256;

export function createZooKeeperRegistry(
  url: ZooKeeperUrl,
  options: { readonly clock: Clock; readonly sessionTimeoutMs?: number },
): MasterRegistry {
  const { servers, credentials } = url;
  return {
    address: url.address,
    open(listener) {
      const client = connectZooKeeper({
        servers: servers.join(","),
        sessionTimeoutMs: options.sessionTimeoutMs ?? REGISTRY_SESSION_MS,
        auth: credentials === null ? [] : [{ scheme: "digest", auth: `${credentials.user}:${credentials.password}` }],
      });
      return new ZooKeeperRegistrySession(url, client, listener, options.clock);
    },
  };
}

class ZooKeeperRegistrySession implements RegistrySession {
  readonly #url: ZooKeeperUrl;
  readonly #client: ZooKeeper;
  readonly #listener: RegistryListener;
  readonly #offsetMs: number;
  #layout: Layout | null = null;
  readonly #records = new Map<string, EphemeralRecord>();

  constructor(url: ZooKeeperUrl, client: ZooKeeper, listener: RegistryListener, clock: Clock) {
    this.#url = url;
    this.#client = client;
    this.#listener = listener;
    // The client counts in the process's monotonic milliseconds, as the clock of `env` does from an instant of its own.
    this.#offsetMs = clock.now() - performance.now();
    client.onState((event) => {
      if (event.state === "connected") listener.connected(event.reattached);
      else if (event.state === "connecting") listener.disconnected(this.#explain(event.reason));
    });
    void client.ended.then((reason) => listener.ended(this.#explain(reason)));
  }

  async read(): Promise<SeenMasters> {
    try {
      this.#layout ??= await this.#findLayout();
      const names = await this.#list(this.#layout);
      for (const name of this.#records.keys()) if (!names.includes(name)) this.#records.delete(name);
      const layout = this.#layout;
      await Promise.all(names.filter((name) => !this.#records.has(name)).map((name) => this.#readRecord(layout, name)));
      return seenMasters([...this.#records.values()]);
    } catch (thrown) {
      this.#layout = null;
      throw this.#explain(thrown);
    }
  }

  deadline(): number {
    return this.#client.deadline() + this.#offsetMs;
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async #findLayout(): Promise<Layout> {
    const path = formatPath(this.#url.path);
    const { data } = await this.#client.getData(path);
    const layout = layoutOf(this.#url.path, readFormat(data, path));
    // The watch stands before the list is read, so that no change is missed in between.
    await this.#client.addWatch(layout.ephemerals, "persistent", () => this.#listener.changed());
    return layout;
  }

  async #list(layout: Layout): Promise<readonly string[]> {
    const { children } = await this.#client.getChildren(layout.ephemerals);
    // The newest ones, should there ever be so many: names begin with the number of the commit that made them.
    return [...children].sort().slice(-MAX_RECORDS);
  }

  async #readRecord(layout: Layout, name: string): Promise<void> {
    const path = layout.ephemeral(name);
    try {
      const { data } = await this.#client.getData(path);
      this.#records.set(name, decodeEphemeral(data, path));
    } catch (thrown) {
      // Its owner is gone since the list was read.
      if (!hasZooKeeperCode(thrown, "NO_NODE")) throw thrown;
    }
  }

  #explain(thrown: unknown): CodedError {
    if (!(thrown instanceof ZooKeeperError)) return CodedError.from(thrown);
    const { address, credentials, servers, path } = this.#url;
    const cause = thrown;
    switch (thrown.code) {
      case "SESSION_EXPIRED":
        return new CodedError("SESSION_ENDED", "ZooKeeper gave the session up: it had not heard of this process for too long", {
          cause,
        });
      case "CLOSED":
        return new CodedError("CLOSED", "the ZooKeeper session was closed", { cause });
      case "NO_NODE":
        return new CodedError("NO_MASTER", `no cluster is at ${address}: no master with this --recovery has ever run there`, {
          hint: "Start a master with the same URL in --recovery, or correct the path.",
          cause,
        });
      case "NO_AUTH":
      case "AUTH_FAILED":
        return new CodedError(
          "UNAUTHENTICATED",
          credentials === null
            ? `ZooKeeper lets nobody read ${path} without a password, and ${address} was given without one`
            : `ZooKeeper does not let user "${credentials.user}" read ${path}: the password is wrong, or it is another user's`,
          {
            hint: "Give the user and the password of the masters' --recovery: zk://user:password@host:2181/path, best in a file: --master file:///path.",
            cause,
          },
        );
      default:
        return new CodedError(
          thrown.retryable ? "CONNECTION_LOST" : "STORE_UNUSABLE",
          `no ZooKeeper server of ${servers.join(", ")} gives a session (${thrown.message})`,
          { hint: "Check that ZooKeeper runs and is reachable from here, and that it has a quorum.", cause },
        );
    }
  }
}
