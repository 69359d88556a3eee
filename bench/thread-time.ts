/**
 * Processor time of the thread that asks, and how long a turn of its event loop takes by that clock: what a turn needs, whoever else wanted the cores.
 *
 * Node 20 has no such clock of its own; WASI's goes to the system's (1.4 µs a call). It counts garbage that is collected by this thread, not by helpers.
 */

/** A module with a memory and an empty `_initialize`: WASI writes times into its memory. */
const MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 24, 2, 6, 109, 101, 109, 111, 114, 121, 2, 0],
  ...[11, 95, 105, 110, 105, 116, 105, 97, 108, 105, 122, 101, 0, 0, 10, 4, 1, 2, 0, 11],
);
const THREAD_CPU_TIME = 3;
/** A shorter turn had nothing to do but look at the clock. */
const IDLE_TURN_MS = 0.1;

/** What is needed of it: the compiler's library has no WebAssembly outside of browsers. */
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: { readonly memory: { readonly buffer: ArrayBuffer } } };
}

/** Milliseconds on a core of the thread that made the clock. */
export async function createThreadClock(): Promise<() => number> {
  // Loading it makes Node warn of an experiment, so only who measures does.
  const { WASI } = await import("node:wasi");
  const wasi = new WASI({ version: "preview1" });
  const { Instance, Module } = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;
  const instance = new Instance(new Module(MODULE), {});
  wasi.initialize(instance);
  const nanoseconds = new BigUint64Array(instance.exports.memory.buffer);
  const ask = (wasi.wasiImport as { clock_time_get(clock: number, precision: bigint, at: number): number }).clock_time_get;
  return () => {
    ask(THREAD_CPU_TIME, 0n, 0);
    return Number(nanoseconds[0]) / 1e6;
  };
}

/** Looks at the clock in each turn of the loop, which is kept from sleeping meanwhile. */
export function watchTurns(now: () => number) {
  let isOver = false;
  let turnedAt = now();
  let turns: number[] = [];
  const turn = (): void => {
    const at = now();
    if (at - turnedAt >= IDLE_TURN_MS) turns.push(at - turnedAt);
    turnedAt = at;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  return {
    /** Milliseconds of each turn so far in which something was done; forgets them. */
    take: (): readonly number[] => {
      const taken = turns;
      turns = [];
      return taken;
    },
    end: (): void => {
      isOver = true;
    },
  };
}
