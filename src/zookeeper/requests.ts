/**
 * Requests as bytes: a frame with the header (xid, type) and the body of ZooKeeper's protocol.
 *
 * Boundary: values in, frames out; arguments are checked here, so that nothing wrong is sent. Paths are the server's (with the chroot).
 * The xid is filled in when a frame is sent (`setXid`), because it counts what was sent, in order.
 */
import { type Acl, writeAcl } from "./acl.js";
import { ZooKeeperError } from "./errors.js";
import { JuteWriter } from "./jute.js";
import type { CreateMode, ReadOperation, WriteOperation } from "./operations.js";
import { isSequential } from "./operations.js";

/** ZooDefs.OpCode. */
export const OPCODE = {
  create: 1,
  delete: 2,
  exists: 3,
  getData: 4,
  setData: 5,
  getAcl: 6,
  setAcl: 7,
  getChildren: 8,
  sync: 9,
  ping: 11,
  getChildren2: 12,
  check: 13,
  multi: 14,
  create2: 15,
  removeWatches: 18,
  createContainer: 19,
  createTtl: 21,
  multiRead: 22,
  auth: 100,
  setWatches: 101,
  setWatches2: 105,
  addWatch: 106,
  closeSession: -11,
  error: -1,
} as const;

/** Numbers that mark what is no answer to a call. */
export const XID = { notification: -1, ping: -2, auth: -4, setWatches: -8 } as const;

const CREATE_FLAGS: Readonly<Record<CreateMode, number>> = {
  persistent: 0,
  ephemeral: 1,
  "persistent-sequential": 2,
  "ephemeral-sequential": 3,
  container: 4,
  "persistent-ttl": 5,
  "persistent-sequential-ttl": 6,
};
/** 40 bits. */
const MAX_TTL_MS = 2 ** 40 - 1;
const MAX_VERSION = 2 ** 31 - 1;
const LENGTH_BYTES = 4;
const ANY = 3;

const begin = (type: number, xid = 0, capacity?: number): JuteWriter => new JuteWriter(capacity).int(0).int(xid).int(type);

/** A frame ready to send. */
const end = (writer: JuteWriter): Buffer => writer.intAt(0, writer.length - LENGTH_BYTES).bytes();

export function setXid(frame: Buffer, xid: number): void {
  frame.writeInt32BE(xid, LENGTH_BYTES);
}

export interface ConnectRequest {
  readonly lastZxid: bigint;
  readonly timeoutMs: number;
  /** 0: a new session. */
  readonly sessionId: bigint;
  readonly password: Uint8Array;
}

export function connectRequest(request: ConnectRequest): Buffer {
  const writer = new JuteWriter().int(0).int(0).long(request.lastZxid).int(request.timeoutMs);
  // The last field: never content with a server that has no quorum.
  return end(writer.long(request.sessionId).buffer(request.password).boolean(false));
}

export const pingRequest = (): Buffer => end(begin(OPCODE.ping, XID.ping));
export const closeSessionRequest = (): Buffer => end(begin(OPCODE.closeSession));

export const authRequest = (scheme: string, auth: string): Buffer =>
  end(begin(OPCODE.auth, XID.auth).int(0).string(scheme).buffer(Buffer.from(auth, "utf8")));

export const existsRequest = (path: string, watch: boolean): Buffer => end(begin(OPCODE.exists).string(path).boolean(watch));
export const getDataRequest = (path: string, watch: boolean): Buffer => end(begin(OPCODE.getData).string(path).boolean(watch));
export const getChildrenRequest = (path: string, watch: boolean): Buffer =>
  end(begin(OPCODE.getChildren2).string(path).boolean(watch));
export const syncRequest = (path: string): Buffer => end(begin(OPCODE.sync).string(path));
export const getAclRequest = (path: string): Buffer => end(begin(OPCODE.getAcl).string(path));

export function setAclRequest(path: string, acl: readonly Acl[], version: number): Buffer {
  const writer = begin(OPCODE.setAcl).string(path);
  writeAcl(writer, acl);
  return end(writer.int(requireVersion(version, path)));
}

export const addWatchRequest = (path: string, recursive: boolean): Buffer =>
  end(
    begin(OPCODE.addWatch)
      .string(path)
      .int(recursive ? 1 : 0),
  );
export const removeWatchesRequest = (path: string): Buffer => end(begin(OPCODE.removeWatches).string(path).int(ANY));

export function writeRequest(operation: WriteOperation, defaultAcl: readonly Acl[]): Buffer {
  const writer = begin(operationType(operation, OPCODE.create2), 0, HEADER_BYTES + likelyBytes(operation));
  writeBody(writer, operation, defaultAcl);
  return end(writer);
}

export function multiRequest(operations: readonly WriteOperation[], defaultAcl: readonly Acl[]): Buffer {
  const writer = begin(OPCODE.multi, 0, HEADER_BYTES + operations.reduce((sum, operation) => sum + likelyBytes(operation), 0));
  for (const operation of operations) {
    // Servers of 3.8 forget in a multi that the answer was to have a stat, later ones do not; nobody gets one.
    writer.int(operationType(operation, OPCODE.create)).boolean(false).int(-1);
    writeBody(writer, operation, defaultAcl);
  }
  return end(writer.int(-1).boolean(true).int(-1));
}

export function multiReadRequest(operations: readonly ReadOperation[]): Buffer {
  const writer = begin(OPCODE.multiRead);
  for (const { op, path } of operations) {
    writer
      .int(op === "getData" ? OPCODE.getData : OPCODE.getChildren)
      .boolean(false)
      .int(-1);
    writer.string(path).boolean(false);
  }
  return end(writer.int(-1).boolean(true).int(-1));
}

/** So that a request is written into one piece of memory; paths that are not ASCII and long lists of ACLs make it grow all the same. */
const HEADER_BYTES = 24;
const OPERATION_BYTES = 96;
const likelyBytes = (operation: WriteOperation): number =>
  OPERATION_BYTES + operation.path.length + ("data" in operation ? (operation.data?.length ?? 0) : 0);

function operationType(operation: WriteOperation, create: number): number {
  switch (operation.op) {
    case "create":
      if (operation.mode === "container") return OPCODE.createContainer;
      return operation.mode?.endsWith("ttl") === true ? OPCODE.createTtl : create;
    case "delete":
      return OPCODE.delete;
    case "setData":
      return OPCODE.setData;
    case "check":
      return OPCODE.check;
  }
}

function writeBody(writer: JuteWriter, operation: WriteOperation, defaultAcl: readonly Acl[]): void {
  const { path } = operation;
  writer.string(path);
  switch (operation.op) {
    case "create": {
      const mode = operation.mode ?? "persistent";
      writer.buffer(operation.data ?? new Uint8Array());
      writeAcl(writer, operation.acl ?? defaultAcl);
      writer.int(CREATE_FLAGS[mode]);
      if (mode.endsWith("ttl")) writer.long(BigInt(requireTtl(operation.ttlMs, path)));
      return;
    }
    case "setData":
      writer.buffer(operation.data).int(requireVersion(operation.version, path));
      return;
    case "delete":
    case "check":
      writer.int(requireVersion(operation.version, path));
  }
}

/** The whole point of this client: a version is sent as it is given, and a missing one is a mistake, not "any". */
function requireVersion(version: number, path: string): number {
  if (Number.isInteger(version) && version >= -1 && version <= MAX_VERSION) return version;
  throw new ZooKeeperError("INVALID_ARGUMENT", `${path}: the version ${String(version)} is none`, {
    path,
    hint: "Give the version that you read, or ANY_VERSION.",
  });
}

function requireTtl(ttlMs: number | undefined, path: string): number {
  if (ttlMs !== undefined && Number.isInteger(ttlMs) && ttlMs >= 1 && ttlMs <= MAX_TTL_MS) return ttlMs;
  throw new ZooKeeperError("INVALID_ARGUMENT", `${path}: ttlMs ${String(ttlMs)} is not between 1 and ${MAX_TTL_MS}`, { path });
}

export const createsSequential = (operation: WriteOperation): boolean =>
  operation.op === "create" && isSequential(operation.mode ?? "persistent");

/** Paths that the server is to watch (again), by the kind of watch. */
export interface WatchPaths {
  readonly data: readonly string[];
  readonly exists: readonly string[];
  readonly children: readonly string[];
  readonly persistent: readonly string[];
  readonly recursive: readonly string[];
}

/** Answers at once for what changed after `sinceZxid`. Servers before 3.6 know only the form without persistent watches. */
export function setWatchesRequest(sinceZxid: bigint, paths: WatchPaths): Buffer {
  const old = paths.persistent.length + paths.recursive.length === 0;
  const writer = begin(old ? OPCODE.setWatches : OPCODE.setWatches2, XID.setWatches).long(sinceZxid);
  const lists = [paths.data, paths.exists, paths.children, ...(old ? [] : [paths.persistent, paths.recursive])];
  for (const list of lists) writer.vector(list, (path) => void writer.string(path));
  return end(writer);
}
