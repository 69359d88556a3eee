/**
 * Where Holdfast may listen: whoever reaches a listener without a secret can run code on the cluster, so only this machine may.
 *
 * Invariant: secure by default; what is less secure has to be asked for by name.
 */
import net from "node:net";
import { CodedError } from "../../base/errors.js";
import { parseHostPort } from "./tcp-transport.js";

export interface ListenRequest {
  readonly address: string;
  /** Null: none was given. */
  readonly secret: Uint8Array | null;
  /** `--plaintext` was given. */
  readonly plaintext: boolean;
}

/** Throws INSECURE_LISTEN with a sentence that says why and what to do, INVALID_ARGUMENT for a malformed address. */
export function checkListenAddress(request: ListenRequest): void {
  const { host } = parseHostPort(request.address);
  if (isLoopback(host)) return;
  if (request.secret === null) {
    throw new CodedError(
      "INSECURE_LISTEN",
      `${request.address} can be reached from other machines, and without a cluster secret anybody there could run programs here`,
      {
        hint: "Make a secret with `holdfast secret FILE` and give --secret-file FILE to every process, or listen on 127.0.0.1.",
      },
    );
  }
  if (!request.plaintext) {
    throw new CodedError(
      "INSECURE_LISTEN",
      `${request.address} can be reached from other machines; connections are authenticated but not encrypted, so the network between could read and change them`,
      { hint: "Where the network can be trusted (a VPN, a private network), add --plaintext; otherwise listen on 127.0.0.1." },
    );
  }
}

/** 127.0.0.0/8, ::1 (also as mapped IPv4) and `localhost`. Other names may resolve to anything. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase();
  if (bare === "localhost" || bare === "localhost.") return true;
  if (net.isIPv4(bare)) return bare.startsWith("127.");
  if (!net.isIPv6(bare)) return false;
  const list = new net.BlockList();
  list.addAddress("::1", "ipv6");
  list.addSubnet("::ffff:127.0.0.0", 104, "ipv6");
  return list.check(bare, "ipv6");
}
