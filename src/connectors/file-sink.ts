/**
 * What NDJSON, CSV, text and Parquet sinks have in common: parts that are staged, and appear whole or not at all.
 *
 * Boundary: formats (`FileFormat`) turn records into text or bytes; this decides where they go and when they are seen.
 * Rolling sinks also commit on the way: each closed part at once, under a number that grows over restarts. In a job with checkpoints the job commits,
 * and every sink writes parts into a directory.
 */
import { stat, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type {
  BeginSinkOptions,
  CleanUpOptions,
  CommitSinkOptions,
  OpenSinkOptions,
  SinkConnector,
  SinkWriter,
} from "../dataflow/connector.js";
import { CheckpointedWriter, restoredNumber } from "./checkpointed-writer.js";
import { errnoOf, sinkFailed } from "./io-errors.js";
import { isConflict, NO_PART, publish, publishDirectory, SUCCESS_FILE, stagedParts } from "./output-commit.js";
import { listOrNull, makeAttemptDir, type OutputPlace, placeOf, removeStaged } from "./output-place.js";
import { RollingWriter } from "./rolling-writer.js";
import { StagedFile, type StagedPart } from "./staged-file.js";

/** Writes records of one file. */
export interface RecordEncoder {
  write(records: readonly unknown[], count: number): void | Promise<void>;
  /** What is still to be written: a last row group, a footer, a header without rows. */
  finish(): void | Promise<void>;
}

export interface FileFormat {
  /** Without a dot; the first is that of parts. */
  readonly extensions: readonly [string, ...string[]];
  readonly encode: (file: StagedFile) => RecordEncoder | Promise<RecordEncoder>;
}

export interface FileSinkOptions {
  readonly path: string;
  readonly baseDir: string;
  readonly ifExists?: "replace" | "fail" | undefined;
  readonly rollEveryMs?: number | undefined;
  readonly rollRecords?: number | undefined;
  /** In a job with checkpoints: when parts of a sink that does not roll become visible. */
  readonly parts?: PartsAppear | undefined;
}

export type PartsAppear = "at-checkpoint" | "at-end";

export function fileSink(format: FileFormat, options: FileSinkOptions): SinkConnector<unknown> {
  return new FileSink(format, options);
}

/** More than a file system keeps beside its names. */
const PROBE_BYTES = 4096;

class FileSink implements SinkConnector<unknown> {
  readonly appears?: PartsAppear;
  private readonly format: FileFormat;
  private readonly options: FileSinkOptions;
  private readonly absolute: string;
  private readonly rolls: boolean;
  private readonly replace: boolean;

  constructor(format: FileFormat, options: FileSinkOptions) {
    this.format = format;
    this.options = options;
    this.absolute = path.resolve(options.baseDir, options.path);
    this.rolls = options.rollEveryMs !== undefined || options.rollRecords !== undefined;
    this.replace = options.ifExists !== "fail";
    if (options.parts !== undefined) this.appears = this.rolls ? "at-checkpoint" : options.parts;
    if (this.rolls && !this.replace) {
      throw new CodedError("INVALID_ARGUMENT", `the sink to ${options.path} can't both roll and refuse existing parts`, {
        hint: 'Leave out ifExists: "fail"; parts of a rolling sink never replace others.',
      });
    }
  }

  async begin({ applicationId, attempt, parallelism }: BeginSinkOptions): Promise<void> {
    const place = this.place(parallelism);
    await this.refuseExisting(place);
    const staging = await makeAttemptDir(place, applicationId, attempt);
    await probe(staging, place.path);
  }

  async open(options: OpenSinkOptions): Promise<SinkWriter<unknown>> {
    const place = this.place(options.parallelism);
    const staging = await makeAttemptDir(place, options.applicationId, options.attempt);
    if (this.rolls || this.appears !== undefined) return this.openRolling(options, place, staging);
    const name = place.fileName ?? `${partName(options.subtask)}.${this.format.extensions[0]}`;
    const file = await openFilePart(this.format, path.join(staging, `${name}.tmp`), path.join(place.dir, name));
    return new PartWriter(file, place.fileName !== null);
  }

  async commit(committables: readonly JsonValue[], options: CommitSinkOptions): Promise<void> {
    const place = this.place(options.parallelism);
    const parts = stagedParts(committables);
    if (this.rolls || this.appears === "at-checkpoint") await publish(parts, false, options.again);
    else if (place.fileName !== null) await publish(parts, this.replace);
    else await publishDirectory(place, parts, this.replace, options);
  }

  async cleanUp(options: CleanUpOptions): Promise<void> {
    // The parallelism of the attempt that left something may have been another.
    const places = [this.place(1), this.place(2)];
    for (const place of places) await removeStaged(place, options);
  }

  private async openRolling(options: OpenSinkOptions, place: OutputPlace, staging: string): Promise<SinkWriter<unknown>> {
    const prefix = `${partName(options.subtask)}-`;
    const nameOf = (number: number): string => `${prefix}${String(number).padStart(6, "0")}.${this.format.extensions[0]}`;
    const openPart = (number: number) =>
      openFilePart(this.format, path.join(staging, `${nameOf(number)}.tmp`), path.join(place.dir, nameOf(number)));
    const { appears } = this;
    if (appears !== undefined) {
      const restored = restoredNumber(options.restored) ?? 0;
      const next = appears === "at-end" ? restored : Math.max(restored, await nextPartNumber(place.dir, prefix));
      return new CheckpointedWriter({ openPart, next, options: this.options, staging, appears });
    }
    return new RollingWriter({
      openPart,
      next: await nextPartNumber(place.dir, prefix),
      options: this.options,
      onRolled: options.onRolled ?? null,
      commit: (part) => publishFresh(part, async () => path.join(place.dir, nameOf(await nextPartNumber(place.dir, prefix)))),
    });
  }

  private place(parallelism: number): OutputPlace {
    const extensions = this.format.extensions.map((extension) => `.${extension}`);
    return placeOf(this.absolute, extensions, parallelism === 1 && !this.rolls && this.appears === undefined);
  }

  private async refuseExisting(place: OutputPlace): Promise<void> {
    const standing = await stat(place.path).catch((thrown: unknown) => {
      if (errnoOf(thrown) === "ENOENT") return null;
      throw sinkFailed(place.path, thrown);
    });
    if (standing === null) return;
    const refuse = (why: string, hint: string): CodedError =>
      new CodedError("SINK_FAILED", `cannot write ${place.path}: ${why}`, { details: { path: place.path }, hint });
    if (place.fileName !== null) {
      if (standing.isDirectory()) throw refuse("it is a directory", "Remove it, or choose another path for the file.");
      if (!this.replace) throw refuse("it exists already", 'Remove it, or give the sink ifExists: "replace".');
      return;
    }
    if (!standing.isDirectory())
      throw refuse("it is a file, and several parts need a directory", "Remove it, or give the sink parallelism 1.");
    if (this.replace) return;
    const parts = ((await listOrNull(place.dir)) ?? []).filter((name) => name.startsWith("part-") || name === SUCCESS_FILE);
    if (parts.length > 0) throw refuse(`it holds ${parts[0]} already`, 'Remove it, or give the sink ifExists: "replace".');
  }
}

/** A directory may be there and still take nothing (full, read-only): better known before an hour of work than after. */
async function probe(staging: string, output: string): Promise<void> {
  const file = path.join(staging, "probe");
  try {
    await writeFile(file, Buffer.alloc(PROBE_BYTES), { flush: true });
    await unlink(file);
  } catch (thrown) {
    await unlink(file).catch(() => undefined);
    throw sinkFailed(output, thrown);
  }
}

function partName(subtask: number): string {
  return `part-${String(subtask).padStart(5, "0")}`;
}

/** Times that a part may find its number taken, which needs another writer of the same subtask each time. */
const MAX_RENUMBERINGS = 100;

/** An executor that is lost but not dead may still show parts: this one then takes the next number, and neither replaces the other's. */
async function publishFresh(part: StagedPart, nextFinal: () => Promise<string>): Promise<void> {
  let numbered = part;
  for (let tries = 0; ; tries++) {
    try {
      await publish([numbered], false);
      return;
    } catch (thrown) {
      if (!isConflict(thrown) || tries >= MAX_RENUMBERINGS) throw thrown;
      numbered = { ...part, final: await nextFinal() };
    }
  }
}

/** One more than the largest that is visible: a restarted subtask never replaces what an earlier one has shown. */
async function nextPartNumber(dir: string, prefix: string): Promise<number> {
  const numbers = ((await listOrNull(dir)) ?? [])
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number.parseInt(name.slice(prefix.length), 10));
  return Math.max(-1, ...numbers.filter((number) => Number.isSafeInteger(number))) + 1;
}

/** A staged file with its encoder. */
export interface FilePart {
  readonly file: StagedFile;
  readonly encoder: RecordEncoder;
}

async function openFilePart(format: FileFormat, temporary: string, final: string): Promise<FilePart> {
  const file = await StagedFile.create(temporary, final);
  try {
    return { file, encoder: await format.encode(file) };
  } catch (thrown) {
    await file.discard();
    throw sinkFailed(final, thrown);
  }
}

/** One part from the first record to the last. */
class PartWriter implements SinkWriter<unknown> {
  private readonly part: FilePart;
  /** One named file appears also when it is empty; an empty part of a directory does not. */
  private readonly evenEmpty: boolean;
  private records = 0;
  private prepared = false;

  constructor(part: FilePart, evenEmpty: boolean) {
    this.part = part;
    this.evenEmpty = evenEmpty;
  }

  write(records: readonly unknown[], count: number): void | Promise<void> {
    this.records += count;
    try {
      return this.part.encoder.write(records, count);
    } catch (thrown) {
      throw sinkFailed(this.part.file.final, thrown);
    }
  }

  async prepare(): Promise<JsonValue> {
    if (this.records === 0 && !this.evenEmpty) {
      await this.abort();
      return NO_PART;
    }
    try {
      await this.part.encoder.finish();
      const staged = await this.part.file.finish(this.records);
      this.prepared = true;
      return staged;
    } catch (thrown) {
      throw sinkFailed(this.part.file.final, thrown);
    }
  }

  abort(): Promise<void> {
    this.prepared = true;
    return this.part.file.discard();
  }

  async close(): Promise<void> {
    if (!this.prepared) await this.abort();
  }
}
