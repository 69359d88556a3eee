/**
 * Answers as values. Boundary: message bytes in, values out; throws JuteError on bytes that are no answer. Paths are the server's.
 */
import { type Acl, readAcl } from "./acl.js";
import { JuteError, type JuteReader } from "./jute.js";
import { OPCODE } from "./requests.js";
import { readStat, type Stat } from "./stat.js";

export interface ConnectResponse {
  /** 0 or less: the session that was asked for is over. */
  readonly timeoutMs: number;
  readonly sessionId: bigint;
  readonly password: Uint8Array;
}

export function readConnectResponse(reader: JuteReader): ConnectResponse {
  reader.int();
  // A last field (read only) may follow; servers before 3.4 leave it out.
  return { timeoutMs: reader.int(), sessionId: reader.long(), password: reader.buffer() };
}

export interface ReplyHeader {
  readonly xid: number;
  /** The last transaction that the server has seen; 0 or less where it says nothing. */
  readonly zxid: bigint;
  /** 0: no error. */
  readonly errorNumber: number;
}

export const readReplyHeader = (reader: JuteReader): ReplyHeader => ({
  xid: reader.int(),
  zxid: reader.long(),
  errorNumber: reader.int(),
});

export type ChangeType = "created" | "deleted" | "changed" | "children";

const CHANGE_TYPES: ReadonlyMap<number, ChangeType> = new Map([
  [1, "created"],
  [2, "deleted"],
  [3, "changed"],
  [4, "children"],
]);

export interface Notification {
  /** Null for what concerns no node (removals of watches, states of the connection). */
  readonly type: ChangeType | null;
  readonly path: string;
}

export function readNotification(reader: JuteReader): Notification {
  const type = CHANGE_TYPES.get(reader.int()) ?? null;
  reader.int();
  return { type, path: reader.string() };
}

export const readPathAndStat = (reader: JuteReader): { readonly path: string; readonly stat: Stat } => ({
  path: reader.string(),
  stat: readStat(reader),
});

export const readData = (reader: JuteReader): { readonly data: Uint8Array; readonly stat: Stat } => ({
  data: reader.buffer(),
  stat: readStat(reader),
});

export const readChildren = (reader: JuteReader): { readonly children: readonly string[]; readonly stat: Stat } => ({
  children: readNames(reader),
  stat: readStat(reader),
});

export const readAclAndStat = (reader: JuteReader): { readonly acl: readonly Acl[]; readonly stat: Stat } => ({
  acl: readAcl(reader),
  stat: readStat(reader),
});

const readNames = (reader: JuteReader): readonly string[] => reader.vector(() => reader.string());

/** One part of the answer to a multi or multiRead. */
export type RawResult =
  | { readonly op: "create"; readonly path: string }
  | { readonly op: "delete" | "check" }
  | { readonly op: "setData"; readonly stat: Stat }
  | { readonly op: "getData"; readonly data: Uint8Array; readonly stat: Stat }
  | { readonly op: "getChildren"; readonly children: readonly string[] }
  | { readonly op: "error"; readonly errorNumber: number };

export function readMulti(reader: JuteReader): readonly RawResult[] {
  const results: RawResult[] = [];
  for (;;) {
    const type = reader.int();
    const done = reader.boolean();
    reader.int();
    if (done) return results;
    results.push(readResult(reader, type));
  }
}

function readResult(reader: JuteReader, type: number): RawResult {
  switch (type) {
    case OPCODE.create:
      return { op: "create", path: reader.string() };
    case OPCODE.create2:
      return { op: "create", path: readPathAndStat(reader).path };
    case OPCODE.delete:
      return { op: "delete" };
    case OPCODE.check:
      return { op: "check" };
    case OPCODE.setData:
      return { op: "setData", stat: readStat(reader) };
    case OPCODE.getData:
      return { op: "getData", ...readData(reader) };
    case OPCODE.getChildren:
      return { op: "getChildren", children: readNames(reader) };
    case OPCODE.error:
      return { op: "error", errorNumber: reader.int() };
    default:
      throw new JuteError(`a multi's answer has a part of type ${type}`);
  }
}
