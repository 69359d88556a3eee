/**
 * The outer form of everything that the store keeps in ZooKeeper but `format`: two letters, kind, version, CRC-32, body. What was not
 * written by this format, or not like this, is refused and never guessed at.
 */
import { crc32 } from "node:zlib";
import { CodedError } from "../../base/errors.js";
import { FORMAT_VERSION } from "./layout.js";

export type Kind = "head" | "entry" | "page" | "manifest" | "ephemeral";

const MAGIC = 0x4846;
const KINDS: Readonly<Record<Kind, number>> = { head: 1, entry: 2, page: 3, manifest: 4, ephemeral: 5 };
const HEADER_BYTES = 8;

export function seal(kind: Kind, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  bytes.writeUInt16BE(MAGIC, 0);
  bytes.writeUInt8(KINDS[kind], 2);
  bytes.writeUInt8(FORMAT_VERSION, 3);
  bytes.writeUInt32BE(crc32(body), 4);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** Rejects with STORE_FORMAT (a newer format) and STORE_UNUSABLE (damaged, or something else). */
export function unseal(kind: Kind, sealed: Uint8Array, path: string): Uint8Array {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (bytes.length < HEADER_BYTES || bytes.readUInt16BE(0) !== MAGIC || bytes.readUInt8(2) !== KINDS[kind])
    throw damaged(path, `it does not hold a ${kind} of Holdfast`);
  if (bytes.readUInt8(3) > FORMAT_VERSION) throw newerFormat(path, bytes.readUInt8(3));
  if (bytes.readUInt8(3) < FORMAT_VERSION) throw damaged(path, `it has format ${bytes.readUInt8(3)}, which never was`);
  const body = bytes.subarray(HEADER_BYTES);
  if (bytes.readUInt32BE(4) !== crc32(body)) throw damaged(path, "it does not have the checksum it was written with");
  return body;
}

export function newerFormat(path: string, version: number): CodedError {
  return new CodedError("STORE_FORMAT", `${path} in ZooKeeper has format ${version}, this Holdfast knows ${FORMAT_VERSION}`, {
    hint: "Start the version of Holdfast that wrote it. Nothing was changed.",
    details: { path, version },
  });
}

export function damaged(path: string, why: string): CodedError {
  return new CodedError("STORE_UNUSABLE", `the coordination store is damaged: ${path} in ZooKeeper: ${why}`, {
    hint: "Restore this path from a copy of ZooKeeper's data, or start the cluster anew with another path. Nothing was changed.",
    details: { path },
  });
}
