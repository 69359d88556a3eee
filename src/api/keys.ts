/** Keys of records: a primitive, a Date, or an array or plain object of these (compared by content; see dataflow/hash.ts). */
export type Key = string | number | boolean | bigint | null | undefined | Date | readonly Key[] | { readonly [field: string]: Key };
