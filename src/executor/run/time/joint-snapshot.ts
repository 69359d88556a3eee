/** Snapshots of several tables as one: of the windows of an operator. Entries are those of the parts, one after the other. */
import type { StateEntry } from "../keyed-state.js";
import type { OpenSnapshot } from "../state/open-snapshot.js";
import type { TableSnapshot } from "../state/table-snapshot.js";

export class JointSnapshot implements OpenSnapshot {
  readonly isFull: boolean;
  private readonly parts: readonly TableSnapshot[];
  private at = 0;

  constructor(isFull: boolean, parts: readonly TableSnapshot[]) {
    this.isFull = isFull;
    this.parts = parts;
  }

  take(limit: number): readonly StateEntry[] {
    // The chain waits for one that is crowded.
    for (let i = this.at; i < this.parts.length; i++) {
      const part = this.parts[i];
      if (part?.isCrowded === true) return part.take(limit);
    }
    const entries: StateEntry[] = [];
    for (; this.at < this.parts.length && entries.length < limit; this.at++) {
      const part = this.parts[this.at];
      // A part that gave less than was asked for may still have some: first it gives what went, then what is there.
      for (let some = part?.take(limit - entries.length) ?? []; some.length > 0; some = part?.take(limit - entries.length) ?? []) {
        entries.push(...some);
        if (entries.length >= limit) return entries;
      }
    }
    return entries;
  }

  close(): void {
    this.at = this.parts.length;
    for (const part of this.parts) part.close();
  }
}
