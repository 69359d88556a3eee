/**
 * A chunk of whole lines as strings of moderate size. Strings cut out of a larger one keep all of it alive, so windows are small: whoever
 * keeps one line of a window keeps WINDOW_BYTES at most. They are also faster than large ones, which V8 places outside its young space.
 */
import { isAscii } from "node:buffer";

export const WINDOW_BYTES = 64 * 1024;
const LF = 10;

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
