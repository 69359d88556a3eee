/** What ZooKeeper says of a node beside its data. */
import type { JuteReader } from "./jute.js";

export interface Stat {
  /** Transaction that created the node. A node that was deleted and made again has another one, though its version is 0 again. */
  readonly czxid: bigint;
  /** Transaction that last changed its data. */
  readonly mzxid: bigint;
  /** Transaction that last changed its list of children. */
  readonly pzxid: bigint;
  /** The server's clock, milliseconds since 1970. */
  readonly createdAt: number;
  readonly changedAt: number;
  /** Changes of the data since it was created: 0 for a new node. */
  readonly version: number;
  readonly childrenVersion: number;
  readonly aclVersion: number;
  /** Id of the session that an ephemeral node belongs to, written as `SessionIdentity.id`; null for others. */
  readonly ephemeralOwner: string | null;
  readonly sizeBytes: number;
  readonly children: number;
}

/** As ZooKeeper's own logs write it. */
export const sessionIdText = (id: bigint): string => `0x${BigInt.asUintN(64, id).toString(16)}`;

/** In the jute order. */
export function readStat(reader: JuteReader): Stat {
  const czxid = reader.long();
  const mzxid = reader.long();
  const createdAt = Number(reader.long());
  const changedAt = Number(reader.long());
  const version = reader.int();
  const childrenVersion = reader.int();
  const aclVersion = reader.int();
  const owner = reader.long();
  const sizeBytes = reader.int();
  const children = reader.int();
  const pzxid = reader.long();
  const ephemeralOwner = isSession(owner) ? sessionIdText(owner) : null;
  return { czxid, mzxid, pzxid, createdAt, changedAt, version, childrenVersion, aclVersion, ephemeralOwner, sizeBytes, children };
}

/** The same field marks container nodes (the lowest number) and nodes with a time to live (a first byte of ff). */
function isSession(owner: bigint): boolean {
  const bits = BigInt.asUintN(64, owner);
  return bits !== 0n && bits !== 1n << 63n && bits >> 56n !== 0xffn;
}
