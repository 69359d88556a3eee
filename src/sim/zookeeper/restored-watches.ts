/** What a server tells a client that attaches again: as it does with what the client says that it watches, from the last transaction that it has seen. */
import type { ClientConnection } from "./client-connection.js";
import type { Change, Stat } from "./operations.js";
import type { OneShotKind } from "./watch-table.js";

export function restoreWatches(connection: ClientConnection, since: bigint): void {
  const { watches, server } = connection;
  for (const { kind, path } of watches.oneShotPaths()) {
    const type = missed(kind, server.tree.exists(path), since);
    if (type === null) continue;
    const change: Change = { type, path, acl: [] };
    watches.fires(change);
    connection.deliver(watches.heardBy(change), change);
  }
  for (const { path, heard } of watches.persistentListeners()) connection.reply(() => heard({ type: "restored", path }));
}

function missed(kind: OneShotKind, stat: Stat | null, since: bigint): Change["type"] | null {
  if (kind === "exists") return stat === null ? null : "created";
  if (stat === null) return "deleted";
  if (kind === "data") return stat.mzxid > since ? "changed" : null;
  return stat.pzxid > since ? "children" : null;
}
