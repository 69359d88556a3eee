/** Lines of text. Position: `[offset of the window, lines given out of it]`. */
import type { SourceConnector, TextSourceDescriptor } from "../dataflow/connector.js";
import { type LineParser, type LinePosition, lineSource } from "./line-source.js";
import { detached, TextWindows } from "./text-windows.js";

const CR = 13;

export function textSource(descriptor: TextSourceDescriptor, baseDir: string): SourceConnector<string> {
  return lineSource<string>({
    path: descriptor.path,
    baseDir,
    onError: descriptor.onError ?? "fail",
    maxLineBytes: descriptor.maxLineBytes,
    splitBytes: descriptor.splitBytes,
    splittable: true,
    makeParser: ({ position }) => new TextParser(position[1]),
  });
}

class TextParser implements LineParser<string> {
  private readonly windows = new TextWindows();
  private text = "";
  private at = 0;
  private windowOffset = 0;
  private linesGiven = 0;
  /** Lines at the start of the first window that were given out before a restart. */
  private toPass: number;

  constructor(toPass: number) {
    this.toPass = toPass;
  }

  chunk(buffer: Buffer, start: number, end: number, offset: number): void {
    this.windows.chunk(buffer, start, end, offset);
    this.text = "";
    this.at = 0;
    this.windowOffset = offset;
    this.linesGiven = 0;
  }

  parse(out: string[], limit: number): number {
    let count = 0;
    while (count < limit) {
      if (this.at >= this.text.length) {
        const offset = this.windows.offset();
        const window = this.windows.next();
        if (window === null) break;
        this.text = window.text;
        this.at = 0;
        this.windowOffset = offset;
        this.linesGiven = 0;
        this.pass();
      }
      count = this.lines(out, count, limit);
    }
    return count;
  }

  finish(): number {
    return 0;
  }

  oversized(): void {
    // Lines do not depend on each other.
  }

  position(): LinePosition {
    return this.at >= this.text.length ? [this.windows.offset(), 0] : [this.windowOffset, this.linesGiven];
  }

  private lines(out: string[], from: number, limit: number): number {
    const text = this.text;
    let at = this.at;
    let count = from;
    while (count < limit && at < text.length) {
      const feed = text.indexOf("\n", at);
      out[count++] = detached(text, at, feed > at && text.charCodeAt(feed - 1) === CR ? feed - 1 : feed);
      at = feed + 1;
    }
    this.at = at;
    this.linesGiven += count - from;
    return count;
  }

  private pass(): void {
    for (; this.toPass > 0 && this.at < this.text.length; this.toPass--) {
      this.at = this.text.indexOf("\n", this.at) + 1;
      this.linesGiven++;
    }
  }
}
