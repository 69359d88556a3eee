/**
 * Events that wait for their turn, bounded per link.
 *
 * While a commit is under way (a slow disk), links go on delivering. A link whose messages that wait pass either bound is refused: its owner
 * ends it, because a conversation may have no hole. Events of the process itself have no link and are never refused: they are few, and
 * follow from what was accepted.
 */

/** More than a worker with as many processes as it may have reports at once after a registration. */
export const MAX_WAITING_MESSAGES_PER_LINK = 16_384;
/** Of their frames; a registration with a full inventory has 4 MiB. */
export const MAX_WAITING_BYTES_PER_LINK = 64 * 1024 * 1024;

/** The link that an event came over, and what it took there. */
export interface From {
  readonly linkId: number;
  readonly sizeBytes: number;
}

export interface Waiting<Event> {
  readonly event: Event;
  readonly from: From | null;
}

export class Inbox<Event> {
  #waiting: Waiting<Event>[] = [];
  /** Only links of which something waits. */
  readonly #links = new Map<number, { messages: number; bytes: number }>();

  get length(): number {
    return this.#waiting.length;
  }

  /** False: the link has too much waiting, and the event was not taken. */
  push(event: Event, from: From | null): boolean {
    if (from !== null) {
      const used = this.#links.get(from.linkId) ?? { messages: 0, bytes: 0 };
      if (used.messages >= MAX_WAITING_MESSAGES_PER_LINK || used.bytes + from.sizeBytes > MAX_WAITING_BYTES_PER_LINK) return false;
      used.messages += 1;
      used.bytes += from.sizeBytes;
      this.#links.set(from.linkId, used);
    }
    this.#waiting.push({ event, from });
    return true;
  }

  peek(index: number): Waiting<Event> | undefined {
    return this.#waiting[index];
  }

  /** Drops the first `count`. */
  drop(count: number): void {
    for (const { from } of this.#waiting.splice(0, count)) {
      const used = from === null ? undefined : this.#links.get(from.linkId);
      if (from === null || used === undefined) continue;
      used.messages -= 1;
      used.bytes -= from.sizeBytes;
      if (used.messages === 0) this.#links.delete(from.linkId);
    }
  }

  clear(): void {
    this.#waiting = [];
    this.#links.clear();
  }
}
