/** What is kept beside a process, so that a restarted worker can report it as before. */
import { z } from "zod";
import { applicationRecord, resources } from "../wire/application.js";
import { idText } from "../wire/ids.js";
import type { LaunchOrder } from "../wire/worker-messages.js";
import type { WorkerIdentity } from "./worker-events.js";

const note = z.object({
  version: z.literal(1),
  /** Who launched it. What an earlier incarnation left, or another worker on this directory, is not the present one's. */
  workerId: idText,
  incarnation: z.number().int().positive(),
  role: z.enum(["driver", "executor", "program"]),
  resources,
  application: applicationRecord,
});
export type ProcessNote = z.infer<typeof note>;

export function writeNote(order: LaunchOrder, { workerId, incarnation }: WorkerIdentity): string {
  const { role, resources, application } = order;
  return JSON.stringify({ version: 1, workerId, incarnation, role, resources, application } satisfies ProcessNote);
}

/** Null: not a note of this release. */
export function readNote(text: string): ProcessNote | null {
  try {
    const parsed = note.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
