/**
 * A digest for simulated processes: as long as the real ones, cheap, the same everywhere. It is no cryptography; nobody in a simulation tries to break it.
 */
import type { Digest } from "../env/env.js";

const LANES = 8;

function mixed(lanes: readonly [number, number], lane: number): number {
  let value = (lanes[0] ^ Math.imul(lanes[1], 0x9e3779b1 + 2 * lane)) >>> 0;
  value = Math.imul(value ^ (value >>> 16), 0x21f0aaad) >>> 0;
  value = Math.imul(value ^ (value >>> 15), 0x735a2d97) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}

function absorb(parts: readonly Uint8Array[]): readonly [number, number] {
  let first = 0x811c9dc5;
  let second = 0x1b873593;
  for (const part of parts) {
    for (let index = 0; index < part.length; index += 1) {
      const byte = part[index] ?? 0;
      first = Math.imul(first ^ byte, 0x01000193);
      second = Math.imul((second << 5) ^ (second >>> 27) ^ byte, 0x85ebca6b);
    }
    first = Math.imul(first ^ part.length, 0x01000193);
  }
  return [first, second];
}

export const simDigest: Digest = {
  hmacSha256(key, message) {
    const lanes = absorb([key, message, key]);
    const bytes = new Uint8Array(LANES * 4);
    for (let lane = 0; lane < LANES; lane += 1) {
      const value = mixed(lanes, lane);
      for (let byte = 0; byte < 4; byte += 1) bytes[lane * 4 + byte] = (value >>> (8 * byte)) & 255;
    }
    return bytes;
  },
  sha256Hex(bytes) {
    const lanes = absorb([bytes]);
    let hex = "";
    for (let lane = 0; lane < LANES; lane += 1) hex += mixed(lanes, lane).toString(16).padStart(8, "0");
    return hex;
  },
};
