/** A checksum that does not depend on the order of what goes into it. */
export const mixed = (check: number, n: number): number => (check + Math.imul(n + 1, 0x9e3779b1)) >>> 0;
