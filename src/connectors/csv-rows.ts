/**
 * Cuts CSV text into rows and fields (RFC 4180), window by window.
 *
 * Invariants:
 *   1. Text always ends with a line feed, so a row is incomplete only within quotes; then it is kept and the next window is put behind it.
 *   2. After a bad row reading goes on with the line after the one in which the row began.
 */
import { detached, TextWindows } from "./text-windows.js";

const CR = 13;
const LF = 10;
const QUOTE = 34;

/** `row`: fields are in `cells`. `none`: more text is needed. `bad`: see `reason`. */
export type RowKind = "row" | "bad" | "none";

export class CsvRows {
  /** Fields of the present row; those not wanted are not set. */
  readonly cells: string[] = [];
  cellCount = 0;
  reason = "";
  private readonly delimiter: string;
  private readonly delimiterCode: number;
  private readonly multiline: boolean;
  private readonly maxRowChars: number;
  private readonly windows = new TextWindows();
  private wanted: readonly boolean[] | null = null;
  private text = "";
  private ascii = true;
  /** Offset in the file of `text[0]`. */
  private base: number;
  private at = 0;
  private rowStart = 0;
  /** Where the next quote stands at or after `at`; Infinity: nowhere. */
  private quote = Number.POSITIVE_INFINITY;
  /** Nothing follows `text`: an open quote will not be closed. */
  private cut = false;

  constructor(delimiter: string, multiline: boolean, maxRowChars: number, offset: number) {
    this.delimiter = delimiter;
    this.delimiterCode = delimiter.charCodeAt(0);
    this.multiline = multiline;
    this.maxRowChars = maxRowChars;
    this.base = offset;
  }

  /** Only these fields of the following rows are cut out; all are counted. */
  want(wanted: readonly boolean[]): void {
    this.wanted = wanted;
  }

  chunk(buffer: Buffer, start: number, end: number, offset: number): void {
    this.windows.chunk(buffer, start, end, offset);
    this.cut = false;
    if (this.at < this.text.length) return;
    this.text = "";
    this.at = 0;
    this.quote = -1;
    this.base = offset;
  }

  /** What is held back will not go on. */
  end(): void {
    this.cut = true;
  }

  next(): RowKind {
    for (;;) {
      if (this.at >= this.text.length && !this.load()) return "none";
      if (this.passBlank()) continue;
      this.rowStart = this.at;
      const kind = this.row();
      if (kind !== "none") return kind;
      if (this.text.length - this.at > this.maxRowChars) return this.bad("a quoted field is longer than maxLineBytes");
      if (!this.load()) return this.cut ? this.bad("a quote is never closed") : "none";
    }
  }

  /** Of the row that `next` gave last. */
  rowOffset(): number {
    return this.offsetOf(this.rowStart);
  }

  rowText(chars: number): string {
    const end = Math.min(this.text.length, this.rowStart + chars, Math.max(this.at, this.rowStart));
    return this.text.slice(this.rowStart, end).replace(/\r?\n$/, "");
  }

  /** Offset of the next row. */
  offset(): number {
    return this.offsetOf(this.at);
  }

  private offsetOf(index: number): number {
    return this.base + (this.ascii ? index : Buffer.byteLength(this.text.slice(0, index)));
  }

  /** Puts the next window behind what is not used yet. */
  private load(): boolean {
    const rest = this.at >= this.text.length ? "" : this.text.slice(this.at);
    const restOffset = rest === "" ? this.windows.offset() : this.offsetOf(this.at);
    const window = this.windows.next();
    if (window === null) return false;
    this.text = rest + window.text;
    this.ascii = window.ascii && (rest === "" || this.ascii);
    this.base = restOffset;
    this.at = 0;
    this.quote = -1;
    return true;
  }

  private passBlank(): boolean {
    const code = this.text.charCodeAt(this.at);
    if (code === LF) this.at += 1;
    else if (code === CR && this.text.charCodeAt(this.at + 1) === LF) this.at += 2;
    else return false;
    return true;
  }

  private row(): RowKind {
    const feed = this.text.indexOf("\n", this.at);
    if (this.quote < this.at) {
      const quote = this.text.indexOf('"', this.at);
      this.quote = quote < 0 ? Number.POSITIVE_INFINITY : quote;
    }
    if (this.quote > feed) this.plainRow(feed);
    else return this.quotedRow(feed);
    return "row";
  }

  /** A row without quotes. */
  private plainRow(feed: number): void {
    const { text, delimiter, cells, wanted } = this;
    const end = feed > this.at && text.charCodeAt(feed - 1) === CR ? feed - 1 : feed;
    let at = this.at;
    let count = 0;
    for (;;) {
      const found = text.indexOf(delimiter, at);
      const cellEnd = found < 0 || found > end ? end : found;
      if (wanted === null || wanted[count] === true) cells[count] = detached(text, at, cellEnd);
      count++;
      if (cellEnd === end) break;
      at = cellEnd + 1;
    }
    this.cellCount = count;
    this.at = feed + 1;
  }

  private quotedRow(firstFeed: number): RowKind {
    const { text, delimiter, cells } = this;
    let at = this.at;
    let feed = firstFeed;
    let count = 0;
    for (;;) {
      if (text.charCodeAt(at) === QUOTE) {
        const close = this.closingQuote(at + 1);
        if (close < 0) return this.multiline ? "none" : this.bad("a quote is not closed on its line");
        if (close > feed) {
          if (!this.multiline) return this.bad("a quote is not closed on its line");
          feed = text.indexOf("\n", close);
        }
        cells[count++] = detached(text, at + 1, close).replaceAll('""', '"');
        at = close + 1;
        const code = text.charCodeAt(at);
        if (code !== this.delimiterCode && !this.endsRow(at, feed)) return this.bad("a closing quote is followed by text");
      } else {
        const found = text.indexOf(delimiter, at);
        const end = found < 0 || found > feed ? (feed > at && text.charCodeAt(feed - 1) === CR ? feed - 1 : feed) : found;
        cells[count++] = detached(text, at, end);
        at = end;
      }
      if (text.charCodeAt(at) !== this.delimiterCode) break;
      at++;
    }
    this.cellCount = count;
    this.at = feed + 1;
    return "row";
  }

  private endsRow(at: number, feed: number): boolean {
    return at === feed || (at === feed - 1 && this.text.charCodeAt(at) === CR);
  }

  private closingQuote(from: number): number {
    let at = this.text.indexOf('"', from);
    while (at >= 0 && this.text.charCodeAt(at + 1) === QUOTE) at = this.text.indexOf('"', at + 2);
    return at;
  }

  private bad(reason: string): RowKind {
    this.reason = reason;
    this.at = this.text.indexOf("\n", this.rowStart) + 1;
    return "bad";
  }
}
