/**
 * CRC-32 as in ISO 3309 and zlib (polynomial 0xEDB88320, reflected), four bytes at a time ("slicing-by-4", Kounavis and Berry 2005). Here because
 * this ring has no platform library.
 */
const SLICES = 4;
const TABLES: readonly Uint32Array[] = makeTables();

function makeTables(): readonly Uint32Array[] {
  const tables = Array.from({ length: SLICES }, () => new Uint32Array(256));
  const [first] = tables;
  if (first === undefined) return tables;
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    first[byte] = value;
  }
  for (let slice = 1; slice < SLICES; slice += 1) {
    const [table, before] = [tables[slice], tables[slice - 1]];
    if (table === undefined || before === undefined) continue;
    for (let byte = 0; byte < 256; byte += 1) table[byte] = ((before[byte] ?? 0) >>> 8) ^ (first[(before[byte] ?? 0) & 255] ?? 0);
  }
  return tables;
}

export function crc32(bytes: Uint8Array): number {
  const [t0, t1, t2, t3] = TABLES as readonly [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let crc = 0xffffffff;
  let at = 0;
  for (; at + SLICES <= bytes.length; at += SLICES) {
    crc ^= (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
    crc = (t3[crc & 255] ?? 0) ^ (t2[(crc >>> 8) & 255] ?? 0) ^ (t1[(crc >>> 16) & 255] ?? 0) ^ (t0[crc >>> 24] ?? 0);
  }
  for (; at < bytes.length; at += 1) crc = (crc >>> 8) ^ (t0[(crc ^ (bytes[at] ?? 0)) & 255] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}
