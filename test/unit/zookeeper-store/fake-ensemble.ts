/**
 * ZooKeeper as far as the store needs it (src/zookeeper-store/ensemble.ts): one tree, sessions, connections that tests cut where they
 * like. Calls of a session are carried out in order, each in an event loop turn of its own, so that sessions interleave.
 */
import { CodedError } from "../../../src/base/errors.js";
import type { Random } from "../../../src/env/random.js";
import { createNodeRandom } from "../../../src/node/env.js";
import type { Ensemble, MultiResult, Znode, ZnodeOperation } from "../../../src/zookeeper-store/ensemble.js";

interface Entry {
  readonly data: Uint8Array;
  readonly version: number;
  readonly owner: string | undefined;
}

export interface Call {
  readonly kind: "sync" | "get" | "children" | "multi";
  readonly sessionId: string;
  readonly path: string;
  readonly operations: readonly ZnodeOperation[];
}

/**
 * What becomes of a call. `lost-before`: never carried out; `lost-after`: carried out; `late`: carried out when the tree is told to.
 * In each case the connection breaks, and is there again at the next `heal`, or at once for sessions that heal by themselves.
 */
export type Fate = "lost-before" | "lost-after" | "late" | undefined;

export type TamperedOperation = ZnodeOperation & { readonly replaces?: boolean };

export class FakeTree {
  readonly znodes = new Map<string, Entry>();
  readonly calls: Call[] = [];
  readonly ensembles = new Set<FakeEnsemble>();
  fate: (call: Call) => Fate = () => undefined;
  /** For a planted bug: a write whose answer is lost is called not carried out. */
  unknownIsLost = false;
  /** Of the stores on it. */
  random: Random = createNodeRandom();
  /** Runs before a call is carried out: races are made here. */
  before: (call: Call) => void | Promise<void> = () => {};
  /** For planted bugs: what is carried out instead. Version -1 means any, and a create that `replaces` never fails. */
  tamper: (operations: readonly ZnodeOperation[], sessionId: string) => readonly TamperedOperation[] = (operations) => operations;
  private readonly late: (() => void)[] = [];
  private sessions = 0;

  connect(): FakeEnsemble {
    const ensemble = new FakeEnsemble(this, `session-${++this.sessions}`);
    this.ensembles.add(ensemble);
    return ensemble;
  }

  childrenOf(path: string): string[] {
    const prefix = `${path}/`;
    return [...this.znodes.keys()]
      .filter((other) => other.startsWith(prefix) && !other.slice(prefix.length).includes("/"))
      .map((other) => other.slice(prefix.length));
  }

  removeBelow(path: string): void {
    for (const other of [...this.znodes.keys()]) if (other === path || other.startsWith(`${path}/`)) this.znodes.delete(other);
  }

  apply(operations: readonly ZnodeOperation[], sessionId: string): MultiResult {
    const before = new Map(this.znodes);
    for (const [at, operation] of this.tamper(operations, sessionId).entries()) {
      const reason = this.applyOne(operation, sessionId);
      if (reason === undefined) continue;
      this.znodes.clear();
      for (const [path, entry] of before) this.znodes.set(path, entry);
      return { ok: false, at, reason };
    }
    for (const { op, path } of operations) if (op !== "check") this.changed(path, op !== "set");
    return { ok: true };
  }

  endSession(sessionId: string): void {
    for (const [path, { owner }] of [...this.znodes]) {
      if (owner !== sessionId) continue;
      this.znodes.delete(path);
      this.changed(path, true);
    }
  }

  hold(apply: () => void): void {
    this.late.push(apply);
  }

  releaseLate(): void {
    for (const apply of this.late.splice(0)) apply();
  }

  private applyOne(operation: TamperedOperation, sessionId: string): "missing" | "exists" | "version" | "not-empty" | undefined {
    const { op, path } = operation;
    const present = this.znodes.get(path);
    if (op === "create") {
      if (present !== undefined && operation.replaces !== true) return "exists";
      const parent = path.slice(0, path.lastIndexOf("/"));
      if (parent !== "" && !this.znodes.has(parent)) return "missing";
      this.znodes.set(path, { data: operation.data, version: 0, owner: operation.ephemeral === true ? sessionId : undefined });
      return undefined;
    }
    if (present === undefined) return "missing";
    if (operation.version !== -1 && present.version !== operation.version) return "version";
    if (op === "set") this.znodes.set(path, { ...present, data: operation.data, version: present.version + 1 });
    if (op === "delete") {
      if (this.childrenOf(path).length > 0) return "not-empty";
      this.znodes.delete(path);
    }
    return undefined;
  }

  private changed(path: string, inParent: boolean): void {
    const parent = path.slice(0, path.lastIndexOf("/"));
    for (const ensemble of this.ensembles) {
      ensemble.tell(path);
      if (inParent) ensemble.tell(parent);
    }
  }
}

export class FakeEnsemble implements Ensemble {
  readonly sessionId: string;
  readonly ended: Promise<CodedError>;
  /** The next connection comes by itself. */
  healsAlone = true;
  private readonly tree: FakeTree;
  private readonly watches: { readonly path: string; readonly onChange: () => void }[] = [];
  private lane: Promise<unknown> = Promise.resolve();
  private up = true;
  private waiters: (() => void)[] = [];
  private end: CodedError | undefined;
  private resolveEnded: (reason: CodedError) => void = () => {};

  constructor(tree: FakeTree, sessionId: string) {
    this.tree = tree;
    this.sessionId = sessionId;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
  }

  isConnected(): boolean {
    return this.up && this.end === undefined;
  }

  async connected(signal: AbortSignal): Promise<void> {
    while (!this.up) {
      if (this.end !== undefined) throw this.end;
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = () => {
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.waiters.push(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    }
    signal.throwIfAborted();
    if (this.end !== undefined) throw this.end;
  }

  trouble(): string {
    return "no ZooKeeper server answers at fake:2181";
  }

  deadline(): number {
    return performance.now() + 1_000;
  }

  cut(): void {
    this.up = false;
  }

  heal(): void {
    this.up = true;
    for (const wake of this.waiters.splice(0)) wake();
    for (const { onChange } of this.watches) queueMicrotask(onChange);
  }

  expire(): void {
    this.finish(new CodedError("SESSION_ENDED", "the ZooKeeper session has expired"));
  }

  sync(path: string): Promise<void> {
    return this.call("sync", path, [], () => undefined);
  }

  get(path: string): Promise<Znode | undefined> {
    return this.call("get", path, [], () => this.tree.znodes.get(path));
  }

  children(path: string): Promise<readonly string[] | undefined> {
    return this.call("children", path, [], () => (this.tree.znodes.has(path) ? this.tree.childrenOf(path) : undefined));
  }

  async isOpenToAll(path: string): Promise<boolean | undefined> {
    return (await this.get(path)) === undefined ? undefined : false;
  }

  multi(operations: readonly ZnodeOperation[]): Promise<MultiResult> {
    return this.call("multi", operations[0]?.path ?? "", operations, () => this.tree.apply(operations, this.sessionId));
  }

  async makePath(path: string): Promise<void> {
    const names = path.split("/").slice(1);
    for (let count = 1; count <= names.length; count++) {
      await this.multi([{ op: "create", path: `/${names.slice(0, count).join("/")}`, data: new Uint8Array(0) }]);
    }
  }

  async watch(path: string, onChange: () => void): Promise<void> {
    this.watches.push({ path, onChange });
  }

  async close(): Promise<void> {
    this.finish(new CodedError("CLOSED", "the ZooKeeper session was closed"));
  }

  tell(path: string): void {
    if (!this.up) return;
    for (const watch of this.watches) if (watch.path === path) queueMicrotask(watch.onChange);
  }

  private call<T>(kind: Call["kind"], path: string, operations: readonly ZnodeOperation[], carryOut: () => T): Promise<T> {
    const call: Call = { kind, sessionId: this.sessionId, path, operations };
    const lost = () =>
      kind === "multi" && !this.tree.unknownIsLost
        ? new CodedError("OUTCOME_UNKNOWN", "the connection broke before the answer came")
        : new CodedError("CONNECTION_LOST", "the connection broke");
    const done = this.lane.then(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.end !== undefined) throw this.end;
      if (!this.up) throw new CodedError("CONNECTION_LOST", "there is no connection");
      await this.tree.before(call);
      if (this.end !== undefined) throw this.end;
      this.tree.calls.push(call);
      const fate = this.tree.fate(call);
      if (fate === undefined) return carryOut();
      if (fate === "lost-after") carryOut();
      if (fate === "late") this.tree.hold(() => void (this.end === undefined && carryOut()));
      this.cut();
      if (this.healsAlone) setImmediate(() => this.heal());
      throw lost();
    });
    this.lane = done.catch(() => {});
    return done;
  }

  private finish(reason: CodedError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    this.tree.endSession(this.sessionId);
    this.tree.ensembles.delete(this);
    for (const wake of this.waiters.splice(0)) wake();
    this.resolveEnded(reason);
  }
}
