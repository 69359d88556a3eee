/**
 * The coordination store of one machine: LevelDB in a directory, every commit synced.
 *
 * One process owns the directory at a time, by LevelDB's own lock, which the kernel frees however the owner dies. `openSession` waits for
 * it. Sessions are leases inside the owning process; when the last one ends the lock is given up, so that a standby can have it.
 * All records are held in memory as well (a cluster has megabytes of them): guards, reads and watches never wait for LevelDB.
 *
 * Invariants:
 *   1. After a failed write nothing is written again: the sessions end, LevelDB is closed, and the next owner reads what the disk holds.
 *   2. One process never opens LevelDB twice in the same directory. (LevelDB closes a descriptor of its LOCK file when it finds that its
 *      own process has the lock already, and closing any descriptor of a file frees a process's fcntl locks on it.)
 */
import { existsSync, type FSWatcher, statSync, watch } from "node:fs";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import { DEFAULT_LIMITS } from "../../coordination/limits.js";
import { LocalStore } from "../../coordination/local-store.js";
import { type Change, RecordTable } from "../../coordination/record-table.js";
import type { Clock } from "../../env/clock.js";
import type { CoordinationSession, CoordinationStore, OpenSession, StoreLimits } from "../../env/coordination-store.js";
import type { Log } from "../../env/log.js";
import {
  describeOwner,
  prepareDirectory,
  readOwnerNote,
  removeOwnerNote,
  type StorePaths,
  storePaths,
  writeMarker,
  writeOwnerNote,
} from "./level-directory.js";
import { explainLevelError, isLocked } from "./level-errors.js";
import { damaged, LevelJournal } from "./level-journal.js";
import { createOwnerWatch, type OwnerWatch } from "./level-owner.js";
import { createSpaceGuard, type SpaceGuard } from "./level-space.js";
import { createLockWait, type LockWait } from "./level-wait.js";

export interface LevelStoreOptions {
  /** Made when missing. Must be on a local file system: the lock is the kernel's. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log?: Log;
  readonly limits?: StoreLimits;
  /**
   * Free bytes on the disk below which nothing is opened or written. LevelDB may damage itself on a full disk
   * (google/leveldb#1180), so the store stops before. Default 16 MiB.
   */
  readonly reserveBytes?: number;
}

const DEFAULT_RESERVE_BYTES = 16 * 1_048_576;
/** So long after another process was seen to own a whole store here, its files are not looked at again before the next attempt. */
const CHECKED_FOR_MS = 1_000;

/** Directories (device and inode) that this process has open or is opening: see invariant 2. A lock is a fact of the process. */
const openHere = new Set<string>();

/** A LevelDB that this process owns. */
interface Owned {
  readonly local: LocalStore;
  /** Resolves when the lock is free again. */
  release(): Promise<void>;
}

export function createLevelStore(options: LevelStoreOptions): CoordinationStore {
  return new LevelStore(options);
}

class LevelStore implements CoordinationStore {
  readonly limits: StoreLimits;
  private readonly options: LevelStoreOptions;
  private readonly paths: StorePaths;
  private readonly space: SpaceGuard;
  private readonly owner: OwnerWatch;
  private readonly waits = new Set<LockWait>();
  private readonly closing = new AbortController();
  private owned: Owned | undefined;
  private attempt: Promise<Owned | "locked"> | undefined;
  /** The last owner's release: nothing is opened before it is through. */
  private released: Promise<void> = Promise.resolve();
  private openings = 0;
  private checkedUntil = Number.NEGATIVE_INFINITY;

  constructor(options: LevelStoreOptions) {
    this.options = options;
    this.limits = options.limits ?? DEFAULT_LIMITS;
    this.paths = storePaths(options.directory);
    const { clock, reserveBytes = DEFAULT_RESERVE_BYTES } = options;
    this.owner = createOwnerWatch(() => clock.now());
    this.space = createSpaceGuard({ directory: this.paths.directory, reserveBytes, clock });
  }

  async openSession(open: OpenSession): Promise<CoordinationSession> {
    const signal = AbortSignal.any([open.signal, this.closing.signal]);
    signal.throwIfAborted();
    const wait = createLockWait({ clock: this.options.clock, signal });
    this.waits.add(wait);
    let watcher: FSWatcher | undefined;
    let told = "";
    try {
      for (;;) {
        const owned = await this.own(open.candidate);
        if (owned !== "locked") {
          // Given up again meanwhile, by the end of another session?
          if (owned !== this.owned) continue;
          return this.sessionOf(owned, open, signal);
        }
        signal.throwIfAborted();
        watcher ??= watchOwner(this.paths, () => wait.nudge());
        const note = await readOwnerNote(this.paths);
        this.owner.look(note);
        const waiting = describeOwner(this.paths, note);
        if (told !== waiting.reason) open.onWaiting?.(waiting);
        told = waiting.reason;
        await wait.pause();
      }
    } finally {
      watcher?.close();
      this.waits.delete(wait);
      if (this.waits.size === 0) this.owner.forget();
    }
  }

  nudge(): void {
    for (const wait of this.waits) wait.nudge();
  }

  stoppedOwner(): string | null {
    return this.owner.stopped();
  }

  async close(): Promise<void> {
    this.closing.abort(new CodedError("CLOSED", "the coordination store was closed"));
    await this.attempt?.catch(() => {});
    await this.owned?.local.close();
    await this.release();
  }

  /** An abort between the opening and its first session must not leave the lock taken. */
  private sessionOf(owned: Owned, open: OpenSession, signal: AbortSignal): CoordinationSession {
    try {
      signal.throwIfAborted();
      return owned.local.openSession(open);
    } catch (thrown) {
      if (owned.local.sessionsOpen === 0) void this.release();
      throw thrown;
    }
  }

  /** The database when it is or becomes this process's; several callers share one attempt. */
  private async own(candidate: string): Promise<Owned | "locked"> {
    if (this.owned !== undefined) return this.owned;
    this.attempt ??= this.tryToOwn(candidate).finally(() => {
      this.attempt = undefined;
    });
    return this.attempt;
  }

  private release(): Promise<void> {
    const { owned } = this;
    this.owned = undefined;
    if (owned !== undefined) this.released = owned.release();
    return this.released;
  }

  private async tryToOwn(candidate: string): Promise<Owned | "locked"> {
    await this.released;
    const { clock } = this.options;
    const isStore = (clock.now() < this.checkedUntil && existsSync(this.paths.database)) || (await prepareDirectory(this.paths));
    // Synchronous: a thread of the pool costs a take-over more than this does.
    const { dev, ino } = statSync(this.paths.database);
    const identity = `${dev}:${ino}`;
    if (openHere.has(identity)) return "locked";
    openHere.add(identity);
    try {
      await this.space.check(0);
      const journal = await openJournal(this.paths, !isStore);
      if (journal === "locked") {
        openHere.delete(identity);
        if (isStore && clock.now() >= this.checkedUntil) this.checkedUntil = clock.now() + CHECKED_FOR_MS;
        return "locked";
      }
      this.checkedUntil = Number.NEGATIVE_INFINITY;
      this.owned = await this.take(journal, isStore, candidate, identity);
      return this.owned;
    } catch (thrown) {
      openHere.delete(identity);
      throw explainLevelError(thrown, this.paths.directory);
    }
  }

  private async take(journal: LevelJournal, isStore: boolean, candidate: string, identity: string): Promise<Owned> {
    // Only a hint for waiters: nothing waits for it but the release, which removes it.
    const noteWritten = writeOwnerNote(this.paths, candidate);
    try {
      const loaded = await journal.load();
      if (loaded.empty && isStore) throw damaged(`${this.paths.directory} was a store with records, and holds none now`);
      if (loaded.empty) await journal.write([], 0);
      if (!isStore) await writeMarker(this.paths);
      const local = new LocalStore({
        limits: this.limits,
        table: new RecordTable(loaded.records, loaded.revision),
        journal: { write: (changes, revision) => this.writeDurably(journal, changes, revision) },
        sessionIdPrefix: `${process.pid}.${loaded.revision}.${++this.openings}-`,
        onIdle: () => void this.release(),
      });
      this.options.log?.debug("the coordination store is open", {
        directory: this.paths.directory,
        records: loaded.records.length,
      });
      const release = async () => {
        await removeOwnerNote(this.paths, await noteWritten);
        await journal.close().catch(() => {});
        openHere.delete(identity);
      };
      return { local, release };
    } catch (thrown) {
      await removeOwnerNote(this.paths, await noteWritten);
      await journal.close().catch(() => {});
      throw thrown;
    }
  }

  private async writeDurably(journal: LevelJournal, changes: readonly Change[], revision: number): Promise<void> {
    try {
      await this.space.check(changes.reduce((bytes, { record }) => bytes + (record?.value.length ?? 0), 0));
      await journal.write(changes, revision);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      const failed = new CodedError(
        "DISK_FAILED",
        `the coordination store in ${this.paths.directory} could not be written: ${why}`,
        {
          hint: "Check the disk of that directory (space, health), then start the master again. Nothing acknowledged is lost.",
          cause: thrown,
        },
      );
      this.options.log?.error(failed.message, { code: failed.code });
      throw failed;
    }
  }
}

/** LevelDB's errors are explained by the caller; `locked` only when another process really has the lock. */
async function openJournal(paths: StorePaths, create: boolean): Promise<LevelJournal | "locked"> {
  try {
    return await LevelJournal.open(paths.database, { create });
  } catch (thrown) {
    if (isLocked(thrown)) return "locked";
    throw thrown;
  }
}

/** A clean close removes the owner's note: a waiter that sees it go need not wait for its next poll. */
function watchOwner(paths: StorePaths, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(paths.directory, { persistent: false }, (_event, file) => {
      if (file === null || file === path.basename(paths.owner)) onChange();
    });
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
