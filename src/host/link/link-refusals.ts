/**
 * The errors of a handshake, and what is made of an error that the other side sent before it has proved anything.
 *
 * Invariant: all failed proofs have the same words, and a stranger can make us report only these codes, with bounded texts.
 */
import type { z } from "zod";
import type { ErrorCode } from "../../base/errors.js";
import { CodedError, isErrorCode } from "../../base/errors.js";
import type { Connection } from "../../env/transport.js";
import { PROTOCOL_VERSION } from "../../wire/envelope.js";
import type { refused } from "../../wire/handshake.js";
import { shorten } from "./link-channel.js";

export const malformed = () => new CodedError("PROTOCOL_VIOLATION", "a frame of the handshake is malformed");

export function otherVersion(theirs: number): CodedError {
  return new CodedError(
    "PROTOCOL_VERSION",
    `the other side speaks protocol version ${theirs}, this side version ${PROTOCOL_VERSION}`,
    {
      hint: "Run the same release of Holdfast on both sides.",
      details: { theirs, ours: PROTOCOL_VERSION },
    },
  );
}

export function unauthenticated(remote: string | null): CodedError {
  return new CodedError(
    "UNAUTHENTICATED",
    `${remote === null ? "the connecting process" : remote} did not prove that it knows the cluster secret`,
    {
      hint: "Give both sides the same --secret-file.",
    },
  );
}

export function wrongCluster(dialer: string, acceptor: string): CodedError {
  return new CodedError(
    "WRONG_CLUSTER",
    `the connecting process belongs to cluster ${dialer}, the one that it reached to cluster ${acceptor}`,
    {
      hint: "Check the address, or the directory that keeps the identity of the cluster.",
    },
  );
}

/** Codes that a stranger may make us report; another one in a refusal is none of ours. */
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "WRONG_CLUSTER",
  "PROTOCOL_VERSION",
  "PROTOCOL_VIOLATION",
  "LIMIT_EXCEEDED",
]);

export function refusal(connection: Connection, error: z.infer<typeof refused>["error"]): CodedError {
  const code = REFUSALS.has(error.code) && isErrorCode(error.code) ? error.code : "PROTOCOL_VIOLATION";
  return new CodedError(
    code,
    `${connection.remote} refused the connection: ${shorten(error.message, 500)}`,
    error.hint === null ? {} : { hint: shorten(error.hint, 500) },
  );
}
