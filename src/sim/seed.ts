/** Chance of the simulator: everything random in a run comes from one integer. sfc32 (Chris Doty-Humphrey, PractRand), seeded by splitmix32. */
import type { Random } from "../env/random.js";

export interface SeededRandom extends Random {
  /** Whole number in [0, below). */
  below(below: number): number;
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T | undefined;
  /** A stream of its own, so that more draws in one place do not shift those of another. */
  fork(label: string): SeededRandom;
}

export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  const splitmix = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  let a = splitmix();
  let b = splitmix();
  let c = splitmix();
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + sum) >>> 0;
    return sum;
  };
  for (let warm = 0; warm < 12; warm += 1) next();

  const random: SeededRandom = {
    fraction: () => next() / 4294967296,
    bytes: (count) => {
      const bytes = new Uint8Array(count);
      for (let index = 0; index < count; index += 1) bytes[index] = next() & 255;
      return bytes;
    },
    below: (below) => Math.floor((next() / 4294967296) * below),
    between: (low, high) => low + (next() / 4294967296) * (high - low),
    chance: (probability) => next() / 4294967296 < probability,
    pick: (items) => items[Math.floor((next() / 4294967296) * items.length)],
    fork: (label) => {
      let mixed = seed >>> 0;
      for (let index = 0; index < label.length; index += 1) mixed = Math.imul(mixed ^ label.charCodeAt(index), 0x01000193) >>> 0;
      return seededRandom(mixed);
    },
  };
  return random;
}
