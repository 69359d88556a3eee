/** What the ephemeral records of candidates and leaders tell somebody who only looks for masters. Damaged ones are left out: they are hints. */
import type { SeenLeader, SeenMasters } from "../env/master-registry.js";
import { CANDIDATES_PREFIX, LEADER_PREFIX, ordinalOf } from "./keys.js";

export interface EphemeralRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

export function seenMasters(records: readonly EphemeralRecord[]): SeenMasters {
  let leader: SeenLeader | null = null;
  const candidates: { readonly ordinal: number; readonly address: string }[] = [];
  for (const { key, value } of records) {
    const address = addressIn(value);
    if (address === null) continue;
    if (key.startsWith(CANDIDATES_PREFIX)) candidates.push({ ordinal: ordinalOf(key), address });
    else if (key.startsWith(LEADER_PREFIX)) {
      const epoch = Number(key.slice(LEADER_PREFIX.length));
      // For a moment there may be two: the one that took over, and the one whose session has not ended.
      if (Number.isSafeInteger(epoch) && epoch > (leader?.epoch ?? 0)) leader = { address, epoch };
    }
  }
  candidates.sort((a, b) => a.ordinal - b.ordinal || (a.address < b.address ? -1 : 1));
  return { leader, candidates: [...new Set(candidates.map(({ address }) => address))] };
}

function addressIn(value: Uint8Array): string | null {
  try {
    const { candidate } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value)) as { readonly candidate?: unknown };
    return typeof candidate === "string" && candidate !== "" ? candidate : null;
  } catch {
    return null;
  }
}
