/** Access control lists: who may do what with one node. They are not inherited. */
import type { JuteReader, JuteWriter } from "./jute.js";

export type Permission = "read" | "write" | "create" | "delete" | "admin";

export interface Acl {
  readonly permissions: readonly Permission[];
  /** `world`, `auth`, `digest`, `ip`, `x509` ... */
  readonly scheme: string;
  /** Meaning depends on the scheme; of `digest`: `user:base64(sha1(user:password))`, never the password itself. */
  readonly id: string;
}

const BIT: Readonly<Record<Permission, number>> = { read: 1, write: 2, create: 4, delete: 8, admin: 16 };
const ALL = Object.keys(BIT) as readonly Permission[];

/** Anybody may do anything. */
export const OPEN_ACL: readonly Acl[] = [{ permissions: ALL, scheme: "world", id: "anyone" }];
/** Whoever has the credentials of the connection that creates the node may do anything, and nobody else anything. Needs `auth`. */
export const CREATOR_ALL_ACL: readonly Acl[] = [{ permissions: ALL, scheme: "auth", id: "" }];
export const READ_ACL: readonly Acl[] = [{ permissions: ["read"], scheme: "world", id: "anyone" }];

export function writeAcl(writer: JuteWriter, acl: readonly Acl[]): void {
  writer.vector(acl, (entry) => {
    writer.int(entry.permissions.reduce((bits, permission) => bits | BIT[permission], 0));
    writer.string(entry.scheme).string(entry.id);
  });
}

export function readAcl(reader: JuteReader): readonly Acl[] {
  return reader.vector(() => {
    const bits = reader.int();
    return { permissions: ALL.filter((permission) => (bits & BIT[permission]) !== 0), scheme: reader.text(), id: reader.text() };
  });
}
