/** What a client says when no master answered: what was tried, what each said, and what to do. */
import { CodedError } from "../../base/errors.js";
import type { Looking } from "../finding/master-finder.js";
import { showMasterUrl } from "../finding/master-url.js";

const MAX_NAMED = 5;

/** A TIMEOUT of waiting for a leader becomes NO_MASTER; everything else stays itself. */
export function explainLooking(thrown: unknown, looking: Looking | null, masterUrl: string, timeoutMs: number): unknown {
  if (!(thrown instanceof CodedError) || thrown.code !== "TIMEOUT") return thrown;
  const waited =
    timeoutMs === Number.POSITIVE_INFINITY
      ? ""
      : ` within ${timeoutMs < 1000 ? `${timeoutMs} ms` : `${Math.round(timeoutMs / 100) / 10} s`}`;
  const tried = looking?.tried ?? [];
  const said = tried.slice(0, MAX_NAMED).map(({ error }) => error.message);
  if (tried.length > MAX_NAMED) said.push(`and ${tried.length - MAX_NAMED} more`);
  if (looking?.problem != null) said.unshift(looking.problem.message);
  if (said.length === 0) said.push(looking?.lastError?.message ?? thrown.message);
  const shown = showMasterUrl(masterUrl);
  return new CodedError("NO_MASTER", `no leading master answered at ${shown}${waited}: ${said.join("; ")}`, {
    hint: hintFor(looking),
    details: {
      masterUrl: shown,
      tried: tried.map(({ address, error }) => ({ address, code: error.code, message: error.message })),
    },
    cause: looking?.lastError ?? thrown,
  });
}

function hintFor(looking: Looking | null): string {
  const codes = new Set((looking?.tried ?? []).map(({ error }) => error.code));
  if (codes.has("UNAUTHENTICATED")) return "Give the --secret-file of the cluster.";
  if (codes.has("NOT_LEADER"))
    return "A standby answers, so a take-over may be under way: try again, or look at the log of the standby.";
  if (looking?.problem?.hint != null && codes.size === 0) return looking.problem.hint;
  return "Check that a master runs (holdfast master) and that --master or HOLDFAST_MASTER names its address.";
}
