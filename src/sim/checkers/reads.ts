/** I20 what one client reads of an application never goes back. */
import { type ApplicationState, isFinal } from "../../wire/application.js";
import type { SimProcess } from "../world.js";
import { type Checker, keepsRecords } from "./context.js";

interface Read {
  readonly epoch: number;
  readonly version: number;
  readonly state: string;
  readonly attempt: number;
}

export const checkReads: Checker = (context) => {
  const { violate } = context;
  const reads = new WeakMap<SimProcess, Map<string, Read>>();
  return {
    client: (process, seen) => {
      if (seen.kind !== "read") return;
      const own = reads.get(process) ?? new Map<string, Read>();
      reads.set(process, own);
      const before = own.get(seen.id);
      // An answer of an older leader may still be under way when the client has found the new one.
      if (before !== undefined && seen.epoch < before.epoch) return;
      own.set(seen.id, seen);
      if (before === undefined) return;
      if (seen.epoch === before.epoch && seen.version < before.version)
        violate(
          "I20",
          `${process.id} read version ${seen.epoch}.${seen.version} of ${seen.id} after ${before.epoch}.${before.version}`,
        );
      if (!keepsRecords(context) && seen.epoch !== before.epoch) return;
      if (seen.attempt < before.attempt)
        violate("I20", `${process.id} read attempt ${seen.attempt} of ${seen.id} after attempt ${before.attempt}`);
      if (isFinal(before.state as ApplicationState) && seen.state !== before.state)
        violate("I20", `${process.id} read that ${seen.id} is ${seen.state} after it had been ${before.state}`);
    },
  };
};
