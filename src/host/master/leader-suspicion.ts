/**
 * A standby's suspicion that the leader is dead: raised when nobody listens at its address any more, acted upon at once, or after the pause that
 * the pace of elections asks for (election-pace.ts). It deposes a leader whose session may live; the epoch makes a wrong one harmless.
 */
import { CodedError } from "../../base/errors.js";
import { type Clock, sleep } from "../../env/clock.js";

export interface LeaderSuspicionOptions {
  readonly clock: Clock;
  /** The end of this master. */
  readonly signal: AbortSignal;
  pauseMs(): number;
  /** After a pause: whether nothing speaks against it (the leader is not seen again, this master does not lead). */
  holds(): boolean;
}

export interface LeaderSuspicion {
  /** A new one for each campaign: what was suspected before does not count for the next leader. */
  forCampaign(): AbortSignal;
  /** False: raised before in this campaign. */
  raise(address: string): boolean;
  /** The leader itself has said that its epoch is free: there is nothing to be careful about. */
  resigned(address: string): void;
  /** The leader is seen again: what still waits for its pause is forgotten, and may be raised anew. */
  withdraw(): void;
}

export function createLeaderSuspicion(options: LeaderSuspicionOptions): LeaderSuspicion {
  let present = new AbortController();
  let waits: { readonly of: AbortController; readonly withdrawn: AbortController } | null = null;

  const later = async (of: AbortController, pauseMs: number, reason: CodedError) => {
    const waiting = { of, withdrawn: new AbortController() };
    waits = waiting;
    try {
      await sleep(options.clock, pauseMs, AbortSignal.any([options.signal, of.signal, waiting.withdrawn.signal]));
      if (of === present && options.holds()) of.abort(reason);
    } catch {
      // Closed, withdrawn, or acted upon already.
    } finally {
      if (waits === waiting) waits = null;
    }
  };

  return {
    forCampaign() {
      present = new AbortController();
      return present.signal;
    },
    raise(address) {
      if (present.signal.aborted || waits?.of === present) return false;
      const reason = new CodedError("CONNECTION_REFUSED", `the leader at ${address} is gone`);
      const pauseMs = options.pauseMs();
      if (pauseMs === 0) present.abort(reason);
      else void later(present, pauseMs, reason);
      return true;
    },
    resigned(address) {
      present.abort(new CodedError("CLOSED", `the leader at ${address} has resigned`));
    },
    withdraw() {
      waits?.withdrawn.abort(new CodedError("ABORTED", "the leader is seen again"));
      waits = null;
    },
  };
}
