/** From columns to row objects, by a function generated for the names and kinds of the columns. No text of a file becomes code but as JSON strings. */
import type { Column } from "./parquet-column.js";

/** Writes the rows `from .. to - 1` into `out[0 ..]`. */
export type RowBuilder = (columns: readonly Column[], from: number, to: number, out: unknown[]) => void;

export class RowBuilders {
  private readonly made = new Map<string, RowBuilder>();

  of(names: readonly string[], columns: readonly Column[]): RowBuilder {
    const key = JSON.stringify([names, columns.map(accessOf)]);
    const known = this.made.get(key);
    if (known !== undefined) return known;
    const builder = makeBuilder(names, columns);
    this.made.set(key, builder);
    return builder;
  }
}

/** One kind of array per generated function keeps its loads fast. */
function accessOf(column: Column): string {
  return column.kind === "coded" ? "coded" : Array.isArray(column.values) ? "array" : "numbers";
}

function makeBuilder(names: readonly string[], columns: readonly Column[]): RowBuilder {
  const setUp = columns.map((column, i) =>
    column.kind === "coded"
      ? `const c${i}=columns[${i}].codes,d${i}=columns[${i}].dictionary;`
      : `const v${i}=columns[${i}].values;`,
  );
  const fields = names.map((name, i) => {
    const value = columns[i]?.kind === "coded" ? `d${i}[c${i}[row]]` : `v${i}[row]`;
    // A plain "__proto__" in an object literal would set the prototype instead.
    return `${name === "__proto__" ? `["__proto__"]` : JSON.stringify(name)}:${value}`;
  });
  const code = `"use strict";
return function buildRows(columns,from,to,out){
${setUp.join("")}
for(let row=from,i=0;row<to;row++,i++)out[i]={${fields.join(",")}};
}`;
  return new Function(code)();
}
