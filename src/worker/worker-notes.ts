/** What is kept beside a process, so that a restarted worker can report it as before. */
import { z } from "zod";
import { applicationRecord, resources } from "../wire/application.js";
import type { LaunchOrder } from "../wire/worker-messages.js";

const note = z.object({
  version: z.literal(1),
  /** Of the worker that launched it. What an earlier incarnation left is not the present one's. */
  incarnation: z.number().int().positive(),
  role: z.enum(["driver", "executor", "program"]),
  resources,
  application: applicationRecord,
});
export type ProcessNote = z.infer<typeof note>;

export function writeNote(order: LaunchOrder, incarnation: number): string {
  const { role, resources, application } = order;
  return JSON.stringify({ version: 1, incarnation, role, resources, application } satisfies ProcessNote);
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
