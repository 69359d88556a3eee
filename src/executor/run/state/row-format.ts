/**
 * How the row of a key (one slot a declared state) is written into checkpoints and read back: without what has expired, through the codecs of the job.
 *
 * A checkpoint says with its blobs which states the rows consist of (`layout`), so a row is read by names: a state that was added later is unset, one that was dropped is left
 * out, and a codec is told which version wrote what it decodes.
 */
import type { StateCodec, StateDescriptor } from "../../../api/state.js";
import { CodedError } from "../../../base/errors.js";
import type { StateLayout } from "../keyed-state.js";
import { isLive, type StateRow, type Timed } from "../state-handles.js";

/** In a row in memory, and in a checkpoint: what can expire stands beside its instant. */
type Convert = (value: unknown) => unknown;

interface State {
  readonly name: string;
  readonly kind: StateDescriptor["kind"];
  readonly ttlMs: number | null;
  readonly codec: StateCodec<unknown> | null;
}

export class RowFormat {
  readonly layout: StateLayout;
  private readonly operator: string;
  private readonly states: readonly State[];
  private readonly wallNow: () => number;
  /** Rows can be written as they are. */
  private readonly isPlain: boolean;

  constructor(operator: string, descriptors: Readonly<Record<string, StateDescriptor>>, wallNow: () => number) {
    this.operator = operator;
    this.states = Object.entries(descriptors).map(([name, { kind, ttlMs, codec }]) => ({ name, kind, ttlMs, codec }));
    this.layout = this.states.map(({ name, kind, ttlMs, codec }) => ({
      name,
      kind,
      version: codec?.version ?? 0,
      expires: ttlMs !== null,
    }));
    this.isPlain = this.states.every(({ ttlMs, codec }) => ttlMs === null && codec === null);
    this.wallNow = wallNow;
  }

  get expires(): boolean {
    return this.states.some(({ ttlMs }) => ttlMs !== null);
  }

  /** As a checkpoint holds it. Throws CHECKPOINT_FAILED. */
  written(row: StateRow): StateRow {
    if (this.isPlain) return row;
    const now = this.wallNow();
    return this.states.map(({ name, kind, ttlMs, codec }, slot) => {
      const encode: Convert =
        codec === null ? (value) => value : this.named("CHECKPOINT_FAILED", name, (value) => codec.encode(value));
      const one: Convert = ttlMs === null ? encode : (timed) => ({ ...(timed as Timed), value: encode((timed as Timed).value) });
      return mapped(kind, live(kind, row[slot], ttlMs === null ? null : now), one);
    });
  }

  /** Throws CHECKPOINT_UNREADABLE. */
  read(data: StateRow, layout: StateLayout): StateRow {
    return this.states.map(({ name, kind, ttlMs, codec }) => {
      const slot = layout.findIndex((known) => known.name === name);
      const known = layout[slot];
      if (known === undefined) return undefined;
      if (known.kind !== kind) throw this.error("CHECKPOINT_UNREADABLE", name, `is a ${kind}, and was a ${known.kind}`);
      const decode: Convert =
        codec === null
          ? (value) => value
          : this.named("CHECKPOINT_UNREADABLE", name, (value) => codec.decode(value, known.version));
      const bare: Convert = known.expires ? (timed) => decode((timed as Timed).value) : decode;
      const until = (one: unknown): number => (known.expires ? (one as Timed).until : this.wallNow() + (ttlMs ?? 0));
      return mapped(kind, data[slot], ttlMs === null ? bare : (one): Timed => ({ value: bare(one), until: until(one) }));
    });
  }

  private named(code: "CHECKPOINT_FAILED" | "CHECKPOINT_UNREADABLE", state: string, convert: Convert): Convert {
    return (value) => {
      try {
        return convert(value);
      } catch (thrown) {
        throw this.error(code, state, `has a codec that failed: ${CodedError.from(thrown).message}`);
      }
    };
  }

  private error(code: "CHECKPOINT_FAILED" | "CHECKPOINT_UNREADABLE", state: string, what: string): CodedError {
    const { operator } = this;
    return new CodedError(code, `State '${state}' of operator '${operator}' ${what}.`, {
      hint: "Let the codec read what earlier versions wrote; a state of another kind needs a name of its own.",
      details: { operator, state },
    });
  }

  /** Drops what has expired. True: nothing is left of the row. */
  sweep(row: StateRow): boolean {
    const now = this.wallNow();
    let isEmpty = true;
    for (const [slot, { kind, ttlMs }] of this.states.entries()) {
      if (ttlMs !== null) row[slot] = live(kind, row[slot], now);
      isEmpty &&= row[slot] === undefined;
    }
    return isEmpty;
  }

  /** Whether the sweep would change it. */
  hasExpired(row: StateRow): boolean {
    const now = this.wallNow();
    return this.states.some(({ kind, ttlMs }, slot) => ttlMs !== null && live(kind, row[slot], now) !== row[slot]);
  }
}

/** Of one slot what has not expired: itself when that is all of it, undefined when nothing is. */
function live(kind: State["kind"], held: unknown, now: number | null): unknown {
  if (held === undefined || now === null) return held;
  if (kind === "value") return isLive(held as Timed, now) ? held : undefined;
  if (kind === "list") {
    const kept = (held as Timed[]).filter((one) => isLive(one, now));
    return kept.length === (held as Timed[]).length ? held : kept.length === 0 ? undefined : kept;
  }
  const entries = [...(held as Map<unknown, Timed>)].filter(([, one]) => isLive(one, now));
  return entries.length === (held as Map<unknown, Timed>).size ? held : entries.length === 0 ? undefined : new Map(entries);
}

function mapped(kind: State["kind"], held: unknown, convert: Convert): unknown {
  if (held === undefined) return undefined;
  if (kind === "value") return convert(held);
  if (kind === "list") return (held as unknown[]).map(convert);
  return new Map([...(held as Map<unknown, unknown>)].map(([key, value]) => [key, convert(value)]));
}
