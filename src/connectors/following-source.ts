/**
 * A directory (or glob) that grows: files that appear are read as they do, for ever. It is looked at every so many milliseconds.
 *
 * Two rules, told apart by `growing`:
 *   whole files (default)  a file has its name when it is complete (written elsewhere or under a `.` name, then renamed). Each is read once
 *   growing files          files are appended to; whole lines are read, and what follows the last line end waits until its line is complete
 *
 * Boundary: what a file's records are is the format's affair (`open` of one file); this decides which files, and up to where.
 *
 * Invariants:
 *   1. A file belongs to one split for ever: by the hash of its path. Splits never end.
 *   2. A position holds what is known of each file that is still there, so that nothing is read twice and nothing left out after a restore.
 *   3. What it holds is bounded: files that are gone are forgotten, and more than MAX_FOLLOWED_FILES of one split are refused.
 */
import { open, stat } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { CancelSignal, Enumeration, OpenSourceOptions, SourceConnector, SourceReader, Split } from "../dataflow/connector.js";
import { hashText } from "../dataflow/hash.js";
import { hasPattern } from "./glob.js";
import { findInputFiles, type InputFile } from "./input-files.js";
import { errnoOf, sourceFailed } from "./io-errors.js";

/** Of one split, at once in the directory: each stands in every checkpoint. */
export const MAX_FOLLOWED_FILES = 10_000;
const LAST_LINE_BYTES = 64 * 1024;
const LINE_FEED = 10;

export interface Following<T> {
  readonly path: string | readonly string[];
  readonly baseDir: string;
  readonly everyMs: number;
  readonly growing: boolean;
  /** The format's connector for one file. */
  readonly fileSource: (path: string) => SourceConnector<T>;
}

export function followingSource<T>(following: Following<T>): SourceConnector<T> {
  const { path, everyMs, growing } = following;
  if (!Number.isInteger(everyMs) || everyMs < 10)
    throw new CodedError("INVALID_ARGUMENT", `followEveryMs is ${everyMs}: a whole number of milliseconds, at least 10.`);
  if (growing && [path].flat().some((one) => one.endsWith(".gz")))
    throw new CodedError("INVALID_ARGUMENT", "Packed files can't be read while they grow.", {
      hint: "Leave out `growing`, and rename files when they are complete.",
    });
  return {
    bounded: false,
    enumerate: async ({ parallelism, signal }): Promise<Enumeration> => {
      await filesOf(following, signal);
      const splits = Array.from({ length: parallelism }, (_, part) => ({
        id: `part ${part + 1} of ${parallelism}`,
        sizeHint: 1,
        part,
        parts: parallelism,
      }));
      return { splits, totalRecords: null, totalBytes: null };
    },
    open: async (split, position, options) => new FollowingReader(following, split, position, options),
  };
}

/** How far a file was read: to its end, for whole files, or up to a byte. */
type Known = true | number;

interface Reading<T> {
  readonly path: string;
  readonly reader: SourceReader<T>;
  /** Of a whole file: its splits, and which of them is being read. */
  readonly splits: readonly Split[];
  readonly index: number;
  /** Of a growing file: what is known of it when this is read. */
  readonly end: Known;
}

/** JSON: of a reader. */
interface Position {
  readonly files: Readonly<Record<string, Known>>;
  /** `from`: of a growing file, where the range begins that is being read. */
  readonly reading: { readonly path: string; readonly index: number; readonly from: number; readonly at: JsonValue } | null;
}

class FollowingReader<T> implements SourceReader<T> {
  private readonly following: Following<T>;
  private readonly options: OpenSourceOptions;
  private readonly part: number;
  private readonly parts: number;
  /** Replaced, never changed: it is in positions that were given out. */
  private files: Readonly<Record<string, Known>>;
  private resume: Position["reading"];
  private waiting: InputFile[] = [];
  /** Of growing files whose next line is not complete: the size at which that was seen. */
  private readonly unfinished = new Map<string, number>();
  private current: Reading<T> | null = null;
  private readonly closing = new AbortController();

  constructor(following: Following<T>, split: Split, position: JsonValue | null, options: OpenSourceOptions) {
    this.following = following;
    this.options = options;
    this.part = Number(split.part);
    this.parts = Number(split.parts);
    const { files, reading } = (position as unknown as Position | null) ?? { files: {}, reading: null };
    this.files = files;
    this.resume = reading;
    const stop = () => this.closing.abort(options.signal.reason);
    if (options.signal.aborted) stop();
    else options.signal.addEventListener("abort", stop, { once: true });
  }

  next(out: T[], limit: number): number | Promise<number> {
    const count = this.current?.reader.next(out, limit) ?? 0;
    return typeof count === "number" && count > 0 ? count : this.nextOfFiles(count, out, limit);
  }

  position(): JsonValue {
    const { current, resume, files } = this;
    const reading =
      current === null
        ? resume
        : { path: current.path, index: current.index, from: startOf(current), at: current.reader.position() };
    return { files, reading } as unknown as JsonValue;
  }

  progress(): number {
    return 0;
  }

  async close(): Promise<void> {
    this.closing.abort(new CodedError("CLOSED", "the reader is closed"));
    await this.current?.reader.close();
  }

  private async nextOfFiles(first: number | Promise<number>, out: T[], limit: number): Promise<number> {
    let count = await first;
    while (count === 0) {
      if (this.current === null) await this.begin();
      else await this.ended(this.current);
      count = await (this.current?.reader.next(out, limit) ?? 0);
    }
    return count;
  }

  /** Opens what is to be read next; waits until there is something. */
  private async begin(): Promise<void> {
    const { resume } = this;
    if (resume !== null) {
      this.resume = null;
      this.current = await this.resumed(resume);
      return;
    }
    while (this.waiting.length === 0) {
      this.waiting = await this.look();
      if (this.waiting.length === 0) await this.pause();
    }
    const file = this.waiting.shift();
    if (file !== undefined)
      this.current = this.following.growing ? await this.openRange(file) : await this.openWhole(file.path, 0, null);
  }

  private async ended({ path, reader, splits, index, end }: Reading<T>): Promise<void> {
    await reader.close();
    this.current = index + 1 < splits.length ? await this.openWhole(path, index + 1, null) : null;
    if (this.current === null) this.files = { ...this.files, [path]: end };
  }

  /** The files of this split with something new, in the order of their paths; those that are gone are forgotten. */
  private async look(): Promise<InputFile[]> {
    const { growing } = this.following;
    const own = (await filesOf(this.following, this.options.signal)).filter(
      ({ path }) => (hashText(path) >>> 0) % this.parts === this.part,
    );
    if (own.length > MAX_FOLLOWED_FILES) {
      throw new CodedError(
        "LIMIT_EXCEEDED",
        `A subtask follows ${own.length} files, at most ${MAX_FOLLOWED_FILES} may lie there at once.`,
        {
          hint: "Take files away that were read, or read the directory with a higher parallelism.",
        },
      );
    }
    const there = new Set(own.map(({ path }) => path));
    for (const path of this.unfinished.keys()) if (!there.has(path)) this.unfinished.delete(path);
    const kept = Object.entries(this.files).filter(([path]) => there.has(path));
    if (kept.length !== Object.keys(this.files).length) this.files = Object.fromEntries(kept);
    return own.filter(({ path, sizeBytes }) => {
      const known = this.files[path];
      return growing ? sizeBytes !== (known ?? 0) && sizeBytes !== this.unfinished.get(path) : known === undefined;
    });
  }

  private async resumed({ path, index, from, at }: NonNullable<Position["reading"]>): Promise<Reading<T> | null> {
    if (!this.following.growing) return this.openWhole(path, index, at);
    this.files = { ...this.files, [path]: from };
    return this.openRange({ path, sizeBytes: await sizeOf(path) }, at);
  }

  private async openWhole(path: string, index: number, at: JsonValue | null): Promise<Reading<T> | null> {
    const source = this.following.fileSource(path);
    const { splits } = await source.enumerate({ parallelism: 1, signal: this.options.signal });
    const split = splits[index];
    if (split === undefined) {
      this.files = { ...this.files, [path]: true };
      return null;
    }
    return { path, reader: await source.open(split, at, this.options), splits, index, end: true };
  }

  /** From where the file was read to, up to its last line end. */
  private async openRange({ path, sizeBytes }: InputFile, at: JsonValue | null = null): Promise<Reading<T> | null> {
    const start = Number(this.files[path] ?? 0);
    if (sizeBytes < start) {
      throw new CodedError("SOURCE_FAILED", `cannot follow ${path}: it has ${sizeBytes} bytes, and ${start} were read`, {
        details: { path },
        hint: "A file that is followed only grows. Start a new file instead of writing one anew.",
      });
    }
    const end = await lastLineEnd(path, start, sizeBytes);
    if (end === start) {
      this.unfinished.set(path, sizeBytes);
      return null;
    }
    this.unfinished.delete(path);
    const split = { id: `${path}:${start}-${end}`, sizeHint: end - start, path, start, end, whole: false };
    // A position says that the range begins with a line.
    const reader = await this.following.fileSource(path).open(split, at ?? [start, 0], this.options);
    return { path, reader, splits: [split], index: 0, end };
  }

  private async pause(): Promise<void> {
    try {
      await setTimeout(this.following.everyMs, undefined, { signal: this.closing.signal });
    } catch {
      this.options.signal.throwIfAborted();
      throw new CodedError("CLOSED", "the reader is closed");
    }
  }
}

const startOf = <T>({ splits, index }: Reading<T>): number => Number(splits[index]?.start ?? 0);

/** A pattern that nothing matches yet names no files; a directory that is not there is an error. */
async function filesOf(
  { path, baseDir }: Pick<Following<unknown>, "path" | "baseDir">,
  signal: CancelSignal,
): Promise<InputFile[]> {
  const found: InputFile[] = [];
  for (const one of [path].flat()) {
    try {
      found.push(...(await findInputFiles(one, baseDir, signal)));
    } catch (thrown) {
      const isNoneYet =
        thrown instanceof CodedError &&
        thrown.code === "SOURCE_FAILED" &&
        hasPattern(one) &&
        /^no file matches/.test(thrown.message);
      if (!isNoneYet) throw thrown;
    }
  }
  return found;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    throw sourceFailed(path, thrown);
  }
}

/** One past the last line feed in `[start, end)`; `start` when there is none. */
async function lastLineEnd(path: string, start: number, end: number): Promise<number> {
  try {
    const handle = await open(path, "r");
    try {
      const buffer = Buffer.alloc(LAST_LINE_BYTES);
      for (let to = end; to > start; ) {
        const from = Math.max(start, to - buffer.length);
        const { bytesRead } = await handle.read(buffer, 0, to - from, from);
        const feed = buffer.subarray(0, bytesRead).lastIndexOf(LINE_FEED);
        if (feed !== -1) return from + feed + 1;
        to = from;
      }
      return start;
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    // Gone since it was listed: what was not read of it is lost, and that is told.
    throw errnoOf(thrown) === null ? thrown : sourceFailed(path, thrown);
  }
}
