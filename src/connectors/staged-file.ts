/**
 * A file that is written where nobody looks and later moved to its place.
 *
 * Invariants:
 *   1. At most one write is in flight and one waits: a slow disk slows the caller, memory stays bounded.
 *   2. `finish` resolves only after fsync. Whatever fails is told by the next call as SINK_FAILED with the final path.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { sinkFailed } from "./io-errors.js";

/** Text is gathered to about this size before it is written. */
const FLUSH_CHARS = 256 * 1024;

/** What `commit` has to know of one file. Plain JSON. */
export interface StagedPart {
  readonly temporary: string;
  readonly final: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly records: number;
  readonly [key: string]: string | number;
}

export class StagedFile {
  readonly temporary: string;
  readonly final: string;
  private readonly handle: FileHandle;
  private readonly digest = createHash("sha256");
  private sizeBytes = 0;
  private text = "";
  private writing: Promise<void> | null = null;
  private failure: unknown = null;
  private closed = false;

  private constructor(temporary: string, final: string, handle: FileHandle) {
    this.temporary = temporary;
    this.final = final;
    this.handle = handle;
  }

  static async create(temporary: string, final: string): Promise<StagedFile> {
    try {
      return new StagedFile(temporary, final, await open(temporary, "w"));
    } catch (thrown) {
      throw sinkFailed(final, thrown);
    }
  }

  appendText(text: string): void | Promise<void> {
    this.text += text;
    if (this.text.length >= FLUSH_CHARS) return this.flushText();
  }

  /** The bytes must not change afterwards. */
  appendBytes(bytes: Uint8Array): void | Promise<void> {
    if (this.failure !== null) throw this.failure;
    if (bytes.length === 0) return;
    if (this.writing === null) this.start(bytes);
    else return this.writing.then(() => this.appendBytes(bytes));
  }

  async finish(records: number): Promise<StagedPart> {
    await this.flushText();
    while (this.writing !== null) await this.writing;
    if (this.failure !== null) throw this.failure;
    try {
      await this.handle.sync();
      this.closed = true;
      await this.handle.close();
    } catch (thrown) {
      throw sinkFailed(this.final, thrown);
    }
    const { temporary, final, sizeBytes } = this;
    return { temporary, final, sizeBytes, sha256: this.digest.digest("hex"), records };
  }

  /** Removes it. Never rejects. */
  async discard(): Promise<void> {
    await this.writing;
    if (!this.closed) {
      this.closed = true;
      await this.handle.close().catch(() => undefined);
    }
    await unlink(this.temporary).catch(() => undefined);
  }

  private flushText(): void | Promise<void> {
    const bytes = Buffer.from(this.text, "utf8");
    this.text = "";
    return this.appendBytes(bytes);
  }

  private start(bytes: Uint8Array): void {
    this.writing = this.writeAll(bytes).then(
      () => {
        this.writing = null;
      },
      (thrown: unknown) => {
        this.writing = null;
        this.failure = sinkFailed(this.final, thrown);
      },
    );
    this.digest.update(bytes);
    this.sizeBytes += bytes.length;
  }

  private async writeAll(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) done += (await this.handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}
