/**
 * The tree of znodes of one server, and what a transaction does to it: in the order in which ZooKeeper 3.8 looks at existence, access and versions
 * (PrepRequestProcessor, DataTree), because the first thing that is wrong is the answer.
 *
 * Pure. Two trees that apply the same transactions in the same order are equal.
 */
import {
  type Acl,
  ANY_VERSION,
  type AnyWrite,
  type Change,
  type CreateOperation,
  type Failure,
  type FakeCode,
  type Permission,
  type Stat,
  type WriteResult,
} from "./operations.js";

/** Who asks: `user:hash` of every digest that its connection has shown. */
export interface Asker {
  readonly sessionId: string;
  readonly digests: readonly string[];
}

export interface Transaction {
  readonly zxid: bigint;
  /** Wall clock of the server that leads. */
  readonly at: number;
  readonly asker: Asker;
  readonly operations: readonly AnyWrite[];
}

export type Applied =
  | { readonly ok: true; readonly results: readonly WriteResult[]; readonly changes: readonly Change[] }
  | { readonly ok: false; readonly failure: Failure };

interface Znode {
  data: Uint8Array;
  acl: readonly Acl[];
  readonly czxid: bigint;
  mzxid: bigint;
  pzxid: bigint;
  readonly createdAt: number;
  changedAt: number;
  version: number;
  /** Children that were ever created; numbers of sequential ones. */
  creations: number;
  aclVersion: number;
  readonly owner: string | null;
  readonly children: Set<string>;
}

class Refused extends Error {
  readonly code: FakeCode;

  constructor(code: FakeCode) {
    super(code);
    this.code = code;
  }
}

const ALL: readonly Permission[] = ["read", "write", "create", "delete", "admin"];
const OPEN: readonly Acl[] = [{ permissions: ALL, scheme: "world", id: "anyone" }];
const EMPTY = new Uint8Array(0);

export const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

export class ZnodeTree {
  private readonly nodes = new Map<string, Znode>();
  lastZxid = 0n;

  constructor() {
    this.nodes.set("/", newZnode(0n, 0, EMPTY, OPEN, null));
  }

  exists(path: string): Stat | null {
    const node = this.nodes.get(path);
    return node === undefined ? null : statOf(node);
  }

  getData(path: string, asker: Asker): { readonly data: Uint8Array; readonly stat: Stat } | FakeCode {
    const node = this.nodes.get(path);
    if (node === undefined) return "NO_NODE";
    return allows(node.acl, "read", asker) ? { data: node.data, stat: statOf(node) } : "NO_AUTH";
  }

  getChildren(path: string, asker: Asker): { readonly children: readonly string[]; readonly stat: Stat } | FakeCode {
    const node = this.nodes.get(path);
    if (node === undefined) return "NO_NODE";
    return allows(node.acl, "read", asker) ? { children: [...node.children], stat: statOf(node) } : "NO_AUTH";
  }

  /** Whoever may not administer the node does not see the hashes. */
  getAcl(path: string, asker: Asker): { readonly acl: readonly Acl[]; readonly stat: Stat } | FakeCode {
    const node = this.nodes.get(path);
    if (node === undefined) return "NO_NODE";
    const sees = allows(node.acl, "admin", asker);
    if (!sees && !allows(node.acl, "read", asker)) return "NO_AUTH";
    const acl = sees ? node.acl : node.acl.map((entry) => (entry.scheme === "digest" ? { ...entry, id: masked(entry.id) } : entry));
    return { acl, stat: statOf(node) };
  }

  /** All operations or none. */
  apply({ zxid, at, asker, operations }: Transaction): Applied {
    this.lastZxid = zxid;
    const results: WriteResult[] = [];
    const changes: Change[] = [];
    const undo: (() => void)[] = [];
    for (const [index, operation] of operations.entries()) {
      try {
        results.push(this.carryOut(operation, { zxid, at, asker }, changes, undo));
      } catch (thrown) {
        if (!(thrown instanceof Refused)) throw thrown;
        for (const back of undo.reverse()) back();
        return { ok: false, failure: { index, code: thrown.code, path: operation.path } };
      }
    }
    return { ok: true, results, changes };
  }

  /** Deletes what a session owned, as the one transaction that ends it. */
  endSession(sessionId: string, zxid: bigint): readonly Change[] {
    this.lastZxid = zxid;
    const changes: Change[] = [];
    const owned = [...this.nodes].filter(([, node]) => node.owner === sessionId).map(([path]) => path);
    for (const path of owned) this.remove(path, zxid, changes, []);
    return changes;
  }

  private carryOut(
    operation: AnyWrite,
    { zxid, at, asker }: Omit<Transaction, "operations">,
    changes: Change[],
    undo: (() => void)[],
  ): WriteResult {
    switch (operation.op) {
      case "create":
        return this.create(operation, { zxid, at, asker }, changes, undo);
      case "delete": {
        const { path } = operation;
        if (path === "/") throw new Refused("INVALID_ARGUMENT");
        demand(this.known(parentOf(path)).acl, "delete", asker);
        const node = this.known(path);
        demandVersion(operation.version, node.version);
        if (node.children.size > 0) throw new Refused("NOT_EMPTY");
        this.remove(path, zxid, changes, undo);
        return { op: "delete" };
      }
      case "setData": {
        const node = this.known(operation.path);
        demand(node.acl, "write", asker);
        demandVersion(operation.version, node.version);
        const { data, version, mzxid, changedAt } = node;
        undo.push(() => Object.assign(node, { data, version, mzxid, changedAt }));
        Object.assign(node, { data: operation.data, version: version + 1, mzxid: zxid, changedAt: at });
        changes.push({ type: "changed", path: operation.path, acl: node.acl });
        return { op: "setData", stat: statOf(node) };
      }
      case "setAcl": {
        const acl = fixedAcl(operation.acl, asker);
        const node = this.known(operation.path);
        demand(node.acl, "admin", asker);
        demandVersion(operation.version, node.aclVersion);
        node.acl = acl;
        node.aclVersion += 1;
        return { op: "setAcl", stat: statOf(node) };
      }
      case "check": {
        const node = this.known(operation.path);
        demand(node.acl, "read", asker);
        demandVersion(operation.version, node.version);
        return { op: "check" };
      }
    }
  }

  private create(
    { path, data, mode = "persistent", acl }: CreateOperation,
    { zxid, at, asker }: Omit<Transaction, "operations">,
    changes: Change[],
    undo: (() => void)[],
  ): WriteResult {
    const fixed = fixedAcl(acl ?? (asker.digests.length === 0 ? OPEN : [{ permissions: ALL, scheme: "auth", id: "" }]), asker);
    const parentPath = parentOf(path);
    const parent = this.known(parentPath);
    demand(parent.acl, "create", asker);
    const full = mode.endsWith("sequential") ? `${path}${String(parent.creations).padStart(10, "0")}` : path;
    if (this.nodes.has(full)) throw new Refused("NODE_EXISTS");
    if (parent.owner !== null) throw new Refused("NO_CHILDREN_FOR_EPHEMERALS");
    const node = newZnode(zxid, at, data ?? EMPTY, fixed, mode.startsWith("ephemeral") ? asker.sessionId : null);
    const { pzxid } = parent;
    this.nodes.set(full, node);
    parent.children.add(nameOf(full));
    parent.creations += 1;
    parent.pzxid = zxid;
    undo.push(() => {
      this.nodes.delete(full);
      parent.children.delete(nameOf(full));
      parent.creations -= 1;
      parent.pzxid = pzxid;
    });
    changes.push({ type: "created", path: full, acl: fixed }, { type: "children", path: parentPath, acl: parent.acl });
    return { op: "create", path: full, stat: statOf(node) };
  }

  private remove(path: string, zxid: bigint, changes: Change[], undo: (() => void)[]): void {
    const node = this.known(path);
    const parentPath = parentOf(path);
    const parent = this.known(parentPath);
    const { pzxid } = parent;
    this.nodes.delete(path);
    parent.children.delete(nameOf(path));
    parent.pzxid = zxid;
    undo.push(() => {
      this.nodes.set(path, node);
      parent.children.add(nameOf(path));
      parent.pzxid = pzxid;
    });
    changes.push({ type: "deleted", path, acl: node.acl }, { type: "children", path: parentPath, acl: parent.acl });
  }

  private known(path: string): Znode {
    const node = this.nodes.get(path);
    if (node === undefined) throw new Refused("NO_NODE");
    return node;
  }
}

function newZnode(zxid: bigint, at: number, data: Uint8Array, acl: readonly Acl[], owner: string | null): Znode {
  return {
    data,
    acl,
    czxid: zxid,
    mzxid: zxid,
    pzxid: zxid,
    createdAt: at,
    changedAt: at,
    version: 0,
    creations: 0,
    aclVersion: 0,
    owner,
    children: new Set(),
  };
}

function statOf(node: Znode): Stat {
  const { czxid, mzxid, pzxid, createdAt, changedAt, version, aclVersion, owner, creations, data } = node;
  const children = node.children.size;
  return {
    czxid,
    mzxid,
    pzxid,
    createdAt,
    changedAt,
    version,
    // Creations and deletions together.
    childrenVersion: creations * 2 - children,
    aclVersion,
    ephemeralOwner: owner,
    sizeBytes: data.length,
    children,
  };
}

export function allows(acl: readonly Acl[], permission: Permission, { digests }: Asker): boolean {
  return acl.some(({ permissions, scheme, id }) => {
    if (!permissions.includes(permission)) return false;
    return (scheme === "world" && id === "anyone") || (scheme === "digest" && digests.includes(id));
  });
}

function demand(acl: readonly Acl[], permission: Permission, asker: Asker): void {
  if (!allows(acl, permission, asker)) throw new Refused("NO_AUTH");
}

function demandVersion(wanted: number, present: number): void {
  if (wanted !== ANY_VERSION && wanted !== present) throw new Refused("BAD_VERSION");
}

/** `auth` stands for whoever the asker has shown to be. */
function fixedAcl(acl: readonly Acl[], { digests }: Asker): readonly Acl[] {
  if (acl.length === 0) throw new Refused("INVALID_ACL");
  const fixed = acl.flatMap((entry): readonly Acl[] => {
    if (entry.scheme !== "auth") return [entry];
    if (digests.length === 0) throw new Refused("INVALID_ACL");
    return digests.map((id) => ({ permissions: entry.permissions, scheme: "digest", id }));
  });
  return fixed;
}

const masked = (id: string): string => `${id.split(":")[0]}:x`;
