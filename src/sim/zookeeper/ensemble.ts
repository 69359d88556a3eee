/**
 * A model of a ZooKeeper ensemble: one order of transactions, servers that apply it each with its own lag, sessions.
 *
 *   write     arrives at the server of its connection, is judged and ordered by the leader (where the session has to belong to that very connection),
 *             and answered when the connection's own server has applied it; what was ordered is applied whatever becomes of the connection
 *   read      is answered by the connection's own server, which may be behind; `sync` waits until it is not
 *   session   expires on a multiple of the tick after its timeout, counted from a ping that may be a third of it old
 *   watch     its event leaves the server when the change is applied there, in order before every answer that follows
 *
 * Boundary: knows no clients; `Attachment` is what it needs of one. Time and chance are the world's.
 */
import type { Timer } from "../../env/clock.js";
import type { SeededRandom } from "../seed.js";
import type { World } from "../world.js";
import type { AnyWrite, Change, FakeCode } from "./operations.js";
import { type Applied, type Asker, allows, ZnodeTree } from "./tree.js";
import type { Heard, WatchTable } from "./watch-table.js";

export interface EnsembleOptions {
  readonly world: World;
  readonly random: SeededRandom;
  readonly servers: number;
  readonly tickMs: number;
  /** Of a server behind the leader, at most; faults change it. */
  lagMs(server: number): number;
  /** From the request to its place in the order: a quorum's fsync. */
  commitMs(): number;
  /** In the order of all transactions; not those that were refused. */
  ordered(sessionId: string, operations: readonly AnyWrite[], applied: Applied): void;
}

/** One connection of a session to one server. */
export interface Attachment {
  readonly session: Session;
  readonly server: Server;
  readonly watches: WatchTable;
  asker(): Asker;
  isOpen(): boolean;
  /** In order with all other events and answers of the connection. */
  deliver(listeners: readonly Heard[], change: Change): void;
}

export interface Session {
  readonly id: string;
  readonly timeoutMs: number;
  attachment: Attachment | null;
  isOver: boolean;
  expiry: Timer | null;
}

export interface Server {
  readonly index: number;
  readonly tree: ZnodeTree;
  isDown: boolean;
  /** Nothing is applied before what was ordered before it. */
  lastApplyAt: number;
}

interface Entry {
  readonly zxid: bigint;
  apply(tree: ZnodeTree): readonly Change[];
}

export class FakeEnsemble {
  readonly servers: readonly Server[];
  private readonly options: EnsembleOptions;
  private readonly leaderTree = new ZnodeTree();
  private readonly attachments = new Set<Attachment>();
  private zxid = 0n;
  private sessions = 0;
  private lastCommitAt = 0;

  constructor(options: EnsembleOptions) {
    this.options = options;
    this.servers = Array.from({ length: options.servers }, (_, index) => ({
      index,
      tree: new ZnodeTree(),
      isDown: false,
      lastApplyAt: 0,
    }));
  }

  openSession(timeoutMs: number): Session {
    const { tickMs } = this.options;
    this.sessions += 1;
    const granted = Math.min(20 * tickMs, Math.max(2 * tickMs, timeoutMs));
    return {
      id: `0x1${this.sessions.toString(16).padStart(15, "0")}`,
      timeoutMs: granted,
      attachment: null,
      isOver: false,
      expiry: null,
    };
  }

  /** The session belongs to this connection now, and to no other. */
  attach(attachment: Attachment): void {
    const { session } = attachment;
    session.expiry?.cancel();
    session.expiry = null;
    session.attachment = attachment;
    this.attachments.add(attachment);
  }

  /** The connection is gone; the session waits for another one. */
  detach(attachment: Attachment): void {
    this.attachments.delete(attachment);
    this.silent(attachment);
  }

  /** The client is heard again over a connection that was silent. */
  heard({ session }: Attachment): void {
    session.expiry?.cancel();
    session.expiry = null;
  }

  /** Nothing is heard of the client any more: its session runs out. */
  silent(attachment: Attachment): void {
    const { session } = attachment;
    if (session.attachment !== attachment || session.isOver || session.expiry !== null) return;
    const { world, random, tickMs } = this.options;
    const lastHeardAt = world.now() - random.between(0, session.timeoutMs / 3);
    const expiresAt = Math.ceil((lastHeardAt + session.timeoutMs) / tickMs) * tickMs;
    session.expiry = world.schedule(expiresAt, "zk session expires", () => this.endSession(session));
  }

  /** By its client, which still hears of its own ephemeral nodes' ends before the answer. */
  closeSession({ session, server }: Attachment, answer: () => void): void {
    this.endSession(session);
    this.whenApplied(server, this.zxid, answer);
  }

  /** By expiry, or by its client. */
  endSession(session: Session): void {
    if (session.isOver) return;
    session.isOver = true;
    session.expiry?.cancel();
    this.zxid += 1n;
    const zxid = this.zxid;
    this.leaderTree.endSession(session.id, zxid);
    this.replicate({ zxid, apply: (tree) => tree.endSession(session.id, zxid) });
  }

  /** Ordered after a while, and answered when the connection's own server has applied it. */
  write(
    attachment: Attachment,
    asker: Asker,
    operations: readonly AnyWrite[],
    answer: (applied: Applied | FakeCode, zxid: bigint) => void,
  ): void {
    const { world, commitMs } = this.options;
    this.lastCommitAt = Math.max(this.lastCommitAt, world.now() + commitMs());
    world.schedule(this.lastCommitAt, "zk commit", () => {
      const { session, server } = attachment;
      const refuse = (code: FakeCode) => this.whenApplied(server, this.zxid, () => answer(code, this.zxid));
      if (session.isOver) return refuse("SESSION_EXPIRED");
      // What the old connection had sent is refused when the session has moved on before it was ordered.
      if (session.attachment !== attachment) return refuse("SESSION_MOVED");
      this.zxid += 1n;
      const transaction = { zxid: this.zxid, at: world.wallNow(), asker, operations };
      const applied = this.leaderTree.apply(transaction);
      if (applied.ok) this.options.ordered(session.id, operations, applied);
      this.replicate({
        zxid: transaction.zxid,
        apply: (tree) => {
          const here = tree.apply(transaction);
          return here.ok ? here.changes : [];
        },
      });
      this.whenApplied(server, transaction.zxid, () => answer(applied, transaction.zxid));
    });
  }

  /** When the server knows everything that has been ordered until now. */
  sync(server: Server, answer: () => void): void {
    const { world, commitMs } = this.options;
    world.schedule(world.now() + commitMs(), "zk sync", () => this.whenApplied(server, this.zxid, answer));
  }

  private replicate(entry: Entry): void {
    const { world, random, lagMs } = this.options;
    for (const server of this.servers) {
      const at = Math.max(server.lastApplyAt, world.now() + random.between(0, lagMs(server.index)));
      server.lastApplyAt = at;
      world.schedule(at, "zk apply", () => {
        const changes = entry.apply(server.tree);
        for (const change of changes) this.tell(server, change);
      });
    }
  }

  private tell(server: Server, change: Change): void {
    for (const attachment of this.attachments) {
      if (attachment.server !== server || !attachment.isOpen()) continue;
      if (!attachment.watches.fires(change) || !allows(change.acl, "read", attachment.asker())) continue;
      const listeners = attachment.watches.heardBy(change);
      if (listeners.length > 0) attachment.deliver(listeners, change);
    }
  }

  private whenApplied(server: Server, zxid: bigint, run: () => void): void {
    if (server.tree.lastZxid >= zxid) run();
    else this.options.world.schedule(server.lastApplyAt, "zk applied", run);
  }
}
