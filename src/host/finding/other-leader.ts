/**
 * Beside a link to a leader that has gone silent: whether another one leads by now. Used by workers and clients.
 *
 * A stopped process or a lost machine breaks no connection, so its link would be held until its own limit. The silent leader itself is not dialled, so
 * one that is only slow is not stormed with handshakes; it is left only for one with a higher epoch.
 */
import { CodedError } from "../../base/errors.js";
import type { Link } from "../link/link.js";
import { type FindOptions, findLeader } from "./master-finder.js";

/** Closes the link when a leader of a higher epoch was found. Resolves when any was found, or at the abort; never rejects. */
export async function leaveForOther(link: Link, options: FindOptions & Required<Pick<FindOptions, "places">>): Promise<void> {
  const silent = new CodedError("TIMEOUT", `the leader at ${link.remote} is silent`);
  const dial: FindOptions["dial"] = (address, signal) =>
    address === link.remote ? Promise.reject(silent) : options.dial(address, signal);
  try {
    const found = await findLeader({ ...options, dial });
    found.close();
    if (found.peer.epoch > link.peer.epoch) link.close();
  } catch {
    // Nobody waits for it any more: the leader has spoken, or its link has ended. With places that exist there is no other reason.
  }
}
