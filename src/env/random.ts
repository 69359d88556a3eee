/** Chance as a host sees it. Seeded in the simulator. */
export interface Random {
  /** Uniform in [0, 1). */
  fraction(): number;
  /** Unpredictable in production (nonces, ids). */
  bytes(count: number): Uint8Array;
}

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** A random id of `length` characters of Crockford's base 32 in lower case. */
export function randomId(random: Random, length: number): string {
  let id = "";
  for (const byte of random.bytes(length)) id += ALPHABET[byte & 31];
  return id;
}
