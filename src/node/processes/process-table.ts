/**
 * The processes of one work directory: those that live and those whose end is not forgotten; and the watch over their ends.
 *
 * Own children report their end; adopted ones are looked at every POLL_MS. An end counts when nothing of the family lives any more, so that
 * cores and memory reported free are free.
 */
import type { Clock, Timer } from "../../env/clock.js";
import type { ProcessEnd } from "../../env/launcher.js";
import { isAlive } from "./proc.js";
import { type ProcessFacts, readEnd, type Started } from "./process-folder.js";
import type { KeeperEnd } from "./process-keeper.js";
import { type Family, membersOf, type Reaper, sendSignal } from "./process-members.js";

const POLL_MS = 100;
/** While what a stopped process left behind uses its time to end politely. */
const GRACE_POLL_MS = 50;

export interface Entry {
  readonly processId: string;
  readonly folder: string;
  readonly facts: ProcessFacts;
  readonly started: Started | undefined;
  end: ProcessEnd | null;
  /** Resolves when `end` is set. */
  readonly over: Promise<void>;
  /** Set by a polite stop: until then (env clock) the rest of the family may end by itself. */
  graceUntil: number;
}

export interface ProcessTable {
  get(processId: string): Entry | undefined;
  all(): readonly Entry[];
  /** `ended`: of a child of this process; without it the entry is adopted and polled. */
  watch(process: Pick<Entry, "processId" | "folder" | "facts" | "started">, ended?: Promise<KeeperEnd>): Entry;
  /** Ended already, before anybody could watch. */
  add(process: Pick<Entry, "processId" | "folder" | "facts" | "started">, end: ProcessEnd): void;
  remove(processId: string): void;
  close(): void;
}

export function familyOf(entry: Pick<Entry, "facts" | "started">, justEnded: boolean): Family {
  return { token: entry.facts.token, keeper: entry.started?.keeper, justEnded };
}

export function createProcessTable(clock: Clock, reaper: Reaper, onEnd: (entry: Entry, end: ProcessEnd) => void): ProcessTable {
  const entries = new Map<string, Entry>();
  const adopted = new Set<{ readonly entry: Entry; readonly finish: () => void }>();
  let timer: Timer | undefined;
  let closed = false;

  const poll = () => {
    timer = undefined;
    for (const watched of adopted) {
      const keeper = watched.entry.started?.keeper;
      if (keeper !== undefined && isAlive(keeper)) continue;
      adopted.delete(watched);
      watched.finish();
    }
    schedulePoll();
  };
  const schedulePoll = () => {
    if (timer === undefined && adopted.size > 0 && !closed) timer = clock.at(clock.now() + POLL_MS, poll);
  };

  const familyGone = async (entry: Entry) => {
    const family = familyOf(entry, true);
    for (let asked = false; clock.now() < entry.graceUntil && !closed; asked = true) {
      const members = membersOf([family]).get(family) ?? [];
      if (members.length === 0) return;
      if (!asked) for (const member of members) sendSignal(member.pid, "SIGTERM");
      await new Promise<void>((resolve) => clock.at(clock.now() + GRACE_POLL_MS, resolve));
    }
    await reaper.kill(family);
  };

  const finish = async (entry: Entry, resolve: () => void, keeperEnd?: KeeperEnd) => {
    if (closed) return;
    await familyGone(entry);
    if (closed) return;
    const end = readEnd(entry.folder, entry.facts, keeperEnd);
    entry.end = end;
    resolve();
    onEnd(entry, end);
  };

  return {
    get: (processId) => entries.get(processId),
    all: () => [...entries.values()],
    watch: (process, ended) => {
      let resolve = () => {};
      const over = new Promise<void>((settle) => {
        resolve = settle;
      });
      const entry: Entry = { ...process, end: null, over, graceUntil: 0 };
      entries.set(entry.processId, entry);
      if (ended !== undefined) {
        ended.then((keeperEnd) => finish(entry, resolve, keeperEnd));
      } else {
        adopted.add({ entry, finish: () => void finish(entry, resolve) });
        schedulePoll();
      }
      return entry;
    },
    add: (process, end) => {
      entries.set(process.processId, { ...process, end, over: Promise.resolve(), graceUntil: 0 });
    },
    remove: (processId) => {
      entries.delete(processId);
    },
    close: () => {
      closed = true;
      timer?.cancel();
      adopted.clear();
    },
  };
}
