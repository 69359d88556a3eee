/**
 * What a worker finds on its work directory: processes that run on, processes that ended meanwhile, launches that got half-way, spares.
 *
 * Invariants: only a process whose pid AND start time (and boot) are the noted ones is adopted; a half-done launch is made to never run before
 * it is called ended; unassigned spares of the earlier worker are killed.
 */
import { readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { type Clock, sleep } from "../../env/clock.js";
import type { Log } from "../../env/log.js";
import { bootId, isAlive } from "./proc.js";
import {
  giveUpStart,
  isForgotten,
  type ProcessFacts,
  readEnd,
  readFacts,
  readStarted,
  SPARE_PREFIX,
  type Started,
} from "./process-folder.js";
import type { Reaper } from "./process-members.js";
import { familyOf, type ProcessTable } from "./process-table.js";

/** A keeper writes its note at once after creating it; what is still incomplete then was killed in between. */
const NOTE_DEADLINE_MS = 2_000;
const NOTE_POLL_MS = 20;

interface Found {
  readonly processId: string;
  readonly folder: string;
  readonly facts: ProcessFacts;
  readonly started: Started | undefined;
}

export async function adoptProcesses(options: {
  readonly processesDirectory: string;
  readonly table: ProcessTable;
  readonly reaper: Reaper;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { processesDirectory, table, reaper, log } = options;
  const ended: Found[] = [];
  const pending: Promise<void>[] = [];
  for (const name of readdirSync(processesDirectory)) {
    const folder = path.join(processesDirectory, name);
    const facts = readFacts(folder);
    if (facts === undefined || name.startsWith(SPARE_PREFIX)) {
      pending.push(removeFolder(folder, facts, reaper));
      continue;
    }
    if (isForgotten(folder)) continue;
    const started = facts.bootId === bootId() ? await startedOrNever(folder, options) : undefined;
    const found = { processId: name, folder, facts, started };
    if (started !== undefined && isAlive(started.keeper)) {
      table.watch(found);
      log.info("process adopted", { process: name, pid: started.pid });
    } else {
      ended.push(found);
    }
  }
  // Of the same boot something that left the group may still live; it is found by its token.
  await Promise.all([...pending, ...ended.map((found) => reaper.kill(familyOf(found, false)))]);
  for (const found of ended) {
    const end = readEnd(found.folder, found.facts);
    table.add(found, end);
    log.info("process ended while no worker was here", {
      process: found.processId,
      exitCode: end.exitCode,
      signal: end.signal,
      reason: end.reason,
    });
  }
}

async function startedOrNever(
  folder: string,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Started | undefined> {
  const deadline = options.clock.now() + NOTE_DEADLINE_MS;
  for (;;) {
    const started = readStarted(folder);
    if (started !== undefined || giveUpStart(folder) || options.clock.now() >= deadline) return started;
    await sleep(options.clock, NOTE_POLL_MS, options.signal);
  }
}

async function removeFolder(folder: string, facts: ProcessFacts | undefined, reaper: Reaper): Promise<void> {
  if (facts !== undefined) {
    giveUpStart(folder);
    await reaper.kill({ token: facts.token, keeper: readStarted(folder)?.keeper, justEnded: false });
  }
  rmSync(folder, { recursive: true, force: true });
}
