/**
 * While the leader is silent, the client asks the other masters: one that has taken over is followed at once, long before the silence ends the link.
 *
 * A machine that is lost breaks no connection, so a client that only waited would know of the next leader no earlier than its own link's limit.
 * Rules: it asks once for each silence, beside the link (a leader that speaks again is kept); only a higher epoch ends the link.
 */
import { CodedError } from "../../base/errors.js";
import type { Timer } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { Link } from "../link/link.js";

/** Heartbeats of the leader that have to be missing. */
const MISSING_HEARTBEATS = 1.5;
const LOOKS_A_HEARTBEAT = 4;

export interface SilenceOptions {
  readonly env: Env;
  readonly heartbeatMs: number;
  /** Looks for another leader (finding/other-leader.ts). Resolves at the latest at the abort. */
  askOthers(signal: AbortSignal): Promise<void>;
}

/** Until the link ends. */
export function watchSilence(link: Link, { env, heartbeatMs, askOthers }: SilenceOptions): void {
  const { clock } = env;
  let asking: AbortController | null = null;
  let timer: Timer | null = null;

  const ask = (): AbortController => {
    const control = new AbortController();
    void askOthers(control.signal);
    return control;
  };
  const stop = () => {
    asking?.abort(new CodedError("ABORTED", "the leader has spoken, or its link has ended"));
    asking = null;
  };
  const look = () => {
    if (clock.now() - link.lastHeardAt() < MISSING_HEARTBEATS * heartbeatMs) stop();
    else asking ??= ask();
    timer = clock.at(clock.now() + heartbeatMs / LOOKS_A_HEARTBEAT, look);
  };
  look();
  void link.ended.then(() => {
    timer?.cancel();
    stop();
  });
}
