/**
 * A chunk of whole lines as strings of moderate size: decoding many lines at once is fast, and windows of this size stay in V8's young
 * space. What is cut out of a window for a record has to be `detached` from it.
 */
import { isAscii } from "node:buffer";

export const WINDOW_BYTES = 64 * 1024;
const LF = 10;

/** V8 copies shorter parts of a string; longer ones are views that keep the whole string alive. */
const COPIED_CHARS = 13;

/**
 * A part of a window that does not keep the window alive: a job that keeps one line in a thousand (as keys, say) would otherwise hold
 * its whole input in memory. Cutting from a fresh string keeps that one only, which is one character longer.
 */
export function detached(text: string, from: number, to: number): string {
  return to - from < COPIED_CHARS ? text.slice(from, to) : ` ${text.slice(from, to)}`.slice(1);
}

export class TextWindows {
  private buffer: Buffer = Buffer.alloc(0);
  private end = 0;
  private at = 0;
  /** Offset in the file of `buffer[0]`. */
  private base = 0;

  chunk(buffer: Buffer, start: number, end: number, offset: number): void {
    this.buffer = buffer;
    this.at = start;
    this.end = end;
    this.base = offset - start;
  }

  /** Offset in the file of the next window. */
  offset(): number {
    return this.base + this.at;
  }

  /** The next window (it ends with a line feed), or null. */
  next(): { readonly text: string; readonly ascii: boolean } | null {
    if (this.at >= this.end) return null;
    let until = this.end;
    if (this.end - this.at > WINDOW_BYTES) {
      const last = this.buffer.lastIndexOf(LF, this.at + WINDOW_BYTES - 1);
      until = 1 + (last >= this.at ? last : this.buffer.indexOf(LF, this.at));
    }
    const ascii = isAscii(this.buffer.subarray(this.at, until));
    const text = this.buffer.toString(ascii ? "latin1" : "utf8", this.at, until);
    this.at = until;
    return { text, ascii };
  }
}
