/**
 * The simulated world: one queue of events in virtual time, and the processes that live in it.
 *
 * How it is deterministic: pop the earliest event (ties by sequence), run it, let all microtasks finish, pop the next. JavaScript runs one
 * thread and promises settle in a fixed order, so unmodified async code of hosts gives the same run for the same seed, as long as it
 * touches nothing outside `Env`.
 *
 * Invariants:
 *   1. Time never goes back. An event at an instant that has passed runs now.
 *   2. What belongs to a process runs only while it lives: a killed process runs nothing again, a paused one later.
 *   3. `trace` is a hash over (time, process, label) of every event run, and over what is mixed in (sizes of frames); equal seeds give equal hashes.
 */
import { CodedError } from "../base/errors.js";
import type { Clock, Timer } from "../env/clock.js";
import { type SeededRandom, seededRandom } from "./seed.js";

/** Instants are multiples of 1/1024 ms, so that sums and differences of them with whole numbers are exact. */
const TICKS = 1024;

/** Ends one turn of the platform's event loop, so that all microtasks have run (setImmediate in Node). */
export type Drain = () => Promise<void>;

interface Entry {
  readonly at: number;
  readonly sequence: number;
  readonly owner: SimProcess | null;
  readonly label: string;
  run: (() => void) | null;
}

/** A process of the simulation: an id, a machine, a life. Its clock, and everything that is delivered to it, stops with it. */
export class SimProcess {
  readonly id: string;
  readonly machine: string;
  readonly clock: Clock;
  readonly #world: World;
  #state: "running" | "paused" | "dead" = "running";
  #pausedAt = 0;
  readonly #held: { readonly label: string; readonly run: () => void }[] = [];
  readonly #onDeath = new Set<() => void>();
  readonly #onPause: (() => void)[] = [];
  readonly #onResume: (() => void)[] = [];
  /** For the trace. */
  readonly hash: number;

  constructor(world: World, id: string, machine: string) {
    this.#world = world;
    this.id = id;
    this.machine = machine;
    this.hash = hashText(id);
    this.clock = {
      now: () => world.now(),
      wallNow: () => world.wallNow(),
      at: (instant, run) => world.schedule(instant, "timer", run, this),
    };
  }

  get state(): "running" | "paused" | "dead" {
    return this.#state;
  }

  /** How long it has not run without a break; 0: it runs, or is gone. */
  pausedMs(): number {
    return this.#state === "paused" ? this.#world.now() - this.#pausedAt : 0;
  }

  /** Runs when the process dies, in the world's name: the kernel closes its sockets, the store learns of it. The result takes it back. */
  onDeath(run: () => void): () => void {
    this.#onDeath.add(run);
    return () => void this.#onDeath.delete(run);
  }

  onPause(run: () => void): void {
    this.#onPause.push(run);
  }

  /** Before anything that waited for the end of the pause. */
  onResume(run: () => void): void {
    this.#onResume.push(run);
  }

  /** kill -9. */
  kill(): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    this.#held.length = 0;
    const hooks = [...this.#onDeath];
    this.#onDeath.clear();
    for (const run of hooks) run();
  }

  /** SIGSTOP: what comes meanwhile waits, in order. */
  pause(): void {
    if (this.#state !== "running") return;
    this.#state = "paused";
    this.#pausedAt = this.#world.now();
    for (const run of this.#onPause) run();
  }

  /** SIGCONT. */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    for (const run of this.#onResume) run();
    for (const { label, run } of this.#held.splice(0)) this.#world.schedule(this.#world.now(), label, run, this);
  }

  hold(label: string, run: () => void): void {
    this.#held.push({ label, run });
  }
}

export class World {
  readonly random: SeededRandom;
  readonly #drain: Drain;
  readonly #heap: Entry[] = [];
  #now = 0;
  #sequence = 0;
  #events = 0;
  #trace = 0x811c9dc5;
  #failure: unknown = null;
  /** Called after every event; throws when an invariant is broken. */
  check: (() => void) | null = null;
  /** Called after every event of a process, before `check`. */
  stepped: ((process: SimProcess, label: string) => void) | null = null;

  constructor(seed: number, drain: Drain) {
    this.random = seededRandom(seed);
    this.#drain = drain;
  }

  now(): number {
    return this.#now;
  }

  /** An arbitrary fixed day, so that wall times in records are the same in every run. */
  wallNow(): number {
    return 1_790_000_000_000 + this.#now;
  }

  events(): number {
    return this.#events;
  }

  traceHash(): string {
    return (this.#trace >>> 0).toString(16).padStart(8, "0");
  }

  spawn(id: string, machine: string): SimProcess {
    return new SimProcess(this, id, machine);
  }

  /** Ends the run with this error after the present event. */
  fail(reason: unknown): void {
    this.#failure ??= reason;
  }

  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  schedule(at: number, label: string, run: () => void, owner: SimProcess | null = null): Timer {
    const entry: Entry = { at: Math.max(Math.ceil(at * TICKS) / TICKS, this.#now), sequence: this.#sequence++, owner, label, run };
    this.#push(entry);
    return {
      cancel: () => {
        entry.run = null;
      },
    };
  }

  /** Runs until the condition holds (true), or until the instant has come or nothing is left to do (false). */
  async runUntil(limit: number, done: () => boolean = () => false): Promise<boolean> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure;
      if (done()) return true;
      const entry = this.#pop(limit);
      if (entry === null) {
        this.#now = Math.max(this.#now, limit);
        return done();
      }
      await this.#run(entry);
    }
  }

  async #run(entry: Entry): Promise<void> {
    this.#now = entry.at;
    const { run, owner } = entry;
    if (run === null || owner?.state === "dead") return;
    if (owner?.state === "paused") {
      owner.hold(entry.label, run);
      return;
    }
    this.#events += 1;
    this.mix(entry.at * TICKS);
    this.mix(owner?.hash ?? 0);
    this.mix(labelHash(entry.label));
    try {
      run();
    } catch (thrown) {
      this.fail(thrown);
    }
    await this.#drain();
    if (owner !== null) this.stepped?.(owner, entry.label);
    this.check?.();
  }

  /** Makes a number part of the trace. */
  mix(value: number): void {
    const mixed = Math.imul(this.#trace ^ (value | 0), 0x9e3779b1);
    this.#trace = mixed ^ (mixed >>> 15);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    heap.push(entry);
    let index = heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(entry, heap[parent])) break;
      heap[index] = heap[parent] as Entry;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(limit: number): Entry | null {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.at > limit) return null;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      const left = index * 2 + 1;
      if (left >= heap.length) break;
      const child = left + 1 < heap.length && before(heap[left + 1], heap[left]) ? left + 1 : left;
      if (!before(heap[child], last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash;
}

/** Labels are few and repeat; a label that is not constant would make this grow. */
const labelHashes = new Map<string, number>();
function labelHash(label: string): number {
  let hash = labelHashes.get(label);
  if (hash === undefined) {
    hash = hashText(label);
    labelHashes.set(label, hash);
  }
  return hash;
}

function before(left: Entry | undefined, right: Entry | undefined): boolean {
  if (left === undefined || right === undefined) throw new CodedError("INTERNAL", "invariant broken: the event queue has a hole");
  return left.at < right.at || (left.at === right.at && left.sequence < right.sequence);
}
