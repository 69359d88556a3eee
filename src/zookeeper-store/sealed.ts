/**
 * The outer form of everything that the store keeps in ZooKeeper but `format`: two letters, kind, version, CRC-32, body. What was not
 * written by this format, or not like this, is refused and never guessed at.
 */
import { CodedError } from "../base/errors.js";
import { crc32 } from "./crc32.js";
import { FORMAT_VERSION } from "./layout.js";

export type Kind = "head" | "entry" | "page" | "manifest" | "ephemeral";

const MAGIC = 0x4846;
const KINDS: Readonly<Record<Kind, number>> = { head: 1, entry: 2, page: 3, manifest: 4, ephemeral: 5 };
const HEADER_BYTES = 8;

export function seal(kind: Kind, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const header = new DataView(bytes.buffer);
  header.setUint16(0, MAGIC);
  header.setUint8(2, KINDS[kind]);
  header.setUint8(3, FORMAT_VERSION);
  header.setUint32(4, crc32(body));
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** Rejects with STORE_FORMAT (a newer format) and STORE_UNUSABLE (damaged, or something else). */
export function unseal(kind: Kind, sealed: Uint8Array, path: string): Uint8Array {
  const bytes = new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (bytes.byteLength < HEADER_BYTES || bytes.getUint16(0) !== MAGIC || bytes.getUint8(2) !== KINDS[kind])
    throw damaged(path, `it does not hold a ${kind} of Holdfast`);
  if (bytes.getUint8(3) > FORMAT_VERSION) throw newerFormat(path, bytes.getUint8(3));
  if (bytes.getUint8(3) < FORMAT_VERSION) throw damaged(path, `it has format ${bytes.getUint8(3)}, which never was`);
  const body = sealed.subarray(HEADER_BYTES);
  if (bytes.getUint32(4) !== crc32(body)) throw damaged(path, "it does not have the checksum it was written with");
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
