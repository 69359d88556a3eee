/**
 * Keys of records. A key is a primitive, or an array or plain object of keys (compared by content).
 *
 * `keyIdOf` gives the primitive that stands for a key in state and in the choice of a subtask: two keys are the same key exactly when
 * their ids are the same value (as a Map compares).
 */
export type Key = string | number | boolean | bigint | null | undefined | Date | readonly Key[] | { readonly [field: string]: Key };

/** The part that needs work: only called for keys that are objects. The first character keeps these ids apart from users' own strings. */
export function objectKeyId(key: object): string {
  return `\u0000${textOf(key)}`;
}

export function keyIdOf(key: unknown): unknown {
  return typeof key === "object" && key !== null ? objectKeyId(key) : key;
}

function textOf(key: unknown): string {
  if (typeof key === "string") return JSON.stringify(key);
  if (typeof key === "bigint") return `${key}n`;
  if (typeof key !== "object" || key === null) return String(key === 0 ? 0 : key);
  if (Array.isArray(key)) return `[${key.map(textOf).join(",")}]`;
  if (key instanceof Date) return `@${key.getTime()}`;
  const fields = key as Readonly<Record<string, unknown>>;
  return `{${Object.keys(fields)
    .sort()
    .map((field) => `${JSON.stringify(field)}:${textOf(fields[field])}`)
    .join(",")}}`;
}
