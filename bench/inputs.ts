/** Inputs of the whole jobs: made once into the cache directory, the same bytes everywhere. */
import { closeSync, existsSync, openSync, renameSync, statSync, writeSync } from "node:fs";
import path from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";

export const flightsParquet = (root: string): string => path.join(root, "node_modules/vega-datasets/data/flights-3m.parquet");

/** The flights as NDJSON, 277 MB. */
export async function flightsNdjson(root: string, cache: string): Promise<string> {
  return made(path.join(cache, "flights-3m.ndjson"), async (file) => {
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    await connection.run(`copy (select * from read_parquet('${flightsParquet(root)}')) to '${file}' (format json)`);
    connection.closeSync();
    instance.closeSync();
  });
}

/** Lines of ten words, 50,000 distinct ones, Zipf's frequencies: 3,150,000 lines have 201 MB. */
export async function words(cache: string, lines: number): Promise<string> {
  return made(path.join(cache, `words-${lines}.txt`), async (file) => writeWords(file, lines));
}

const DISTINCT = 50_000;
const WORDS_A_LINE = 10;
/** Frequencies are looked up: one of so many slots, each of which is one word's. */
const SLOTS = 1 << 21;
const CHUNK_LINES = 20_000;

function writeWords(file: string, lines: number): void {
  const vocabulary = makeVocabulary();
  const slots = makeSlots();
  const descriptor = openSync(file, "w");
  let state = 1;
  const next = (): string => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return vocabulary[slots[state >>> 11] ?? 0] ?? "";
  };
  for (let written = 0; written < lines; written += CHUNK_LINES) {
    let text = "";
    for (let line = Math.min(CHUNK_LINES, lines - written); line > 0; line--) {
      text += next();
      for (let word = 1; word < WORDS_A_LINE; word++) text += ` ${next()}`;
      text += "\n";
    }
    writeSync(descriptor, text);
  }
  closeSync(descriptor);
}

/** Three to eight letters, each word once. */
function makeVocabulary(): readonly string[] {
  const made = new Set<string>();
  let state = 7;
  while (made.size < DISTINCT) {
    let word = "";
    for (let letters = 4 + (made.size % 4); letters > 0; letters--) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      word += String.fromCharCode(97 + ((state >>> 16) % 26));
    }
    made.add(word);
  }
  return [...made];
}

function makeSlots(): Uint16Array {
  const slots = new Uint16Array(SLOTS);
  let sum = 0;
  for (let rank = 1; rank <= DISTINCT; rank++) sum += 1 / rank;
  let at = 0;
  let share = 0;
  for (let rank = 1; rank <= DISTINCT; rank++) {
    share += 1 / rank / sum;
    const end = rank === DISTINCT ? SLOTS : Math.max(at + 1, Math.round(share * SLOTS));
    slots.fill(rank - 1, at, end);
    at = end;
  }
  return slots;
}

async function made(file: string, make: (temporary: string) => Promise<void>): Promise<string> {
  if (existsSync(file) && statSync(file).size > 0) return file;
  const temporary = `${file}.${process.pid}.tmp`;
  await make(temporary);
  renameSync(temporary, file);
  return file;
}
