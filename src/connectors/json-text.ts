/** Records as JSON text. As JSON.stringify, but a bigint becomes a number of all its digits instead of an error. */

export function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch (thrown) {
    // JSON.stringify refuses bigints and cycles alike; the slow way knows the difference.
    return slowJsonText(value, thrown, 0) ?? "null";
  }
}

/** Deeper values are taken for a cycle. */
const MAX_DEPTH = 500;

function slowJsonText(given: unknown, thrown: unknown, depth: number): string | undefined {
  if (depth > MAX_DEPTH) throw thrown;
  const value = hasToJson(given) ? given.toJSON() : given;
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => slowJsonText(item, thrown, depth + 1) ?? "null").join(",")}]`;
  const parts: string[] = [];
  for (const [key, inner] of Object.entries(value)) {
    const text = slowJsonText(inner, thrown, depth + 1);
    if (text !== undefined) parts.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${parts.join(",")}}`;
}

function hasToJson(value: unknown): value is { toJSON(): unknown } {
  return typeof value === "object" && value !== null && "toJSON" in value && typeof value.toJSON === "function";
}
