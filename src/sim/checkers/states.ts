/** I8 applications follow the graph of their states; an end is for ever; attempts only grow. */
import { type ApplicationState, isFinal } from "../../wire/application.js";
import type { Checker } from "./context.js";

/** Where a record may be found next; several steps of the graph may lie in one commit. */
const NEXT: Readonly<Record<ApplicationState, ReadonlySet<ApplicationState>>> = {
  submitted: new Set(["submitted", "waiting", "running", "restarting", "finished", "failed", "cancelled"]),
  waiting: new Set(["waiting", "running", "restarting", "finished", "failed", "cancelled"]),
  running: new Set(["running", "restarting", "parked", "finished", "failed", "cancelled"]),
  restarting: new Set(["restarting", "running", "parked", "finished", "failed", "cancelled"]),
  parked: new Set(["parked", "waiting", "running", "failed", "cancelled"]),
  finished: new Set(["finished"]),
  failed: new Set(["failed"]),
  cancelled: new Set(["cancelled"]),
};

export const checkStates: Checker = ({ history, violate }) => ({
  committed: ({ records }) => {
    for (const seen of records) {
      if (seen.kind !== "application" || seen.record === null) continue;
      const before = history.applications.get(seen.id);
      if (before === undefined) continue;
      const after = seen.record;
      if (!NEXT[before.state].has(after.state)) violate("I8", `${seen.id} went from ${before.state} to ${after.state}`);
      if (after.attempt < before.attempt) violate("I8", `${seen.id} went back from attempt ${before.attempt} to ${after.attempt}`);
      if (isFinal(before.state) && (after.attempt !== before.attempt || after.exitCode !== before.exitCode))
        violate("I8", `${seen.id} had ended as ${before.state}, and changed afterwards`);
      if (after.restarts !== Math.max(0, after.attempt - 1))
        violate("I8", `${seen.id} counts ${after.restarts} restarts at attempt ${after.attempt}`);
    }
  },
});
