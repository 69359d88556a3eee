// Sources and sinks in this process: MB/s and M records/s, each beside what plain Node code with the same libraries does in the same run.
// `node bench/connectors.mjs [--runs 5] [--only text]` after a build. Inputs are made once in the temporary directory from vega-datasets' flights.
import { createReadStream, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { createSink, createSource } from "../dist/connectors/index.js";

const argument = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const RUNS = Number(argument("runs", 5));
const ONLY = argument("only", "");
const BATCH = 1024;
const signal = new AbortController().signal;
const FLIGHTS = fileURLToPath(new URL("../node_modules/vega-datasets/data/flights-3m.parquet", import.meta.url));
const DIR = path.join(tmpdir(), "holdfast-bench-connectors");

async function read(descriptor, use) {
  const source = createSource(descriptor);
  const { splits } = await source.enumerate({ parallelism: 2, signal });
  const out = new Array(BATCH);
  let records = 0;
  for (const split of splits) {
    const reader = await source.open(split, null, { signal, onBadRecord() {} });
    for (;;) {
      let count = reader.next(out, BATCH);
      if (typeof count !== "number") count = await count;
      if (count === 0) break;
      for (let i = 0; i < count; i++) use(out[i]);
      records += count;
    }
    await reader.close();
  }
  return records;
}

async function readLines(file, use) {
  let records = 0;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    use(line);
    records++;
  }
  return records;
}

async function readByHyparquet(columns, use) {
  const bytes = readFileSync(FLIGHTS);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const rows = await parquetReadObjects({ file, compressors, ...(columns === null ? {} : { columns }) });
  for (const row of rows) use(row);
  return rows.length;
}

/** A third of the flights as NDJSON, CSV and gzip: large enough to measure, small enough to make in seconds. */
async function makeInputs() {
  const files = {
    ndjson: path.join(DIR, "flights.ndjson"),
    csv: path.join(DIR, "flights.csv"),
    gzip: path.join(DIR, "flights.ndjson.gz"),
  };
  if (Object.values(files).every((file) => existsSync(file))) return files;
  const temporary = mkdtempSync(`${DIR}-`);
  const rows = [];
  await read({ kind: "parquet", path: FLIGHTS }, (row) => {
    if (rows.length < 1_000_000) rows.push(row);
  });
  const line = (row) => `${row.date.toISOString()},${row.delay},${row.distance},${row.origin},${row.destination}\n`;
  writeFileSync(path.join(temporary, "flights.csv"), `date,delay,distance,origin,destination\n${rows.map(line).join("")}`);
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  writeFileSync(path.join(temporary, "flights.ndjson"), text);
  writeFileSync(path.join(temporary, "flights.ndjson.gz"), gzipSync(text, { level: 6 }));
  rmSync(DIR, { recursive: true, force: true });
  renameSync(temporary, DIR);
  return files;
}

async function write(descriptor, rows) {
  const sink = createSink(descriptor);
  const identity = { applicationId: "bench", attempt: "1", parallelism: 1 };
  const writer = await sink.open({ ...identity, subtask: 0, signal });
  for (let at = 0; at < rows.length; at += BATCH) {
    const batch = rows.slice(at, at + BATCH);
    const waiting = writer.write(batch, batch.length);
    if (waiting !== undefined) await waiting;
  }
  await sink.commit([await writer.prepare()], identity);
  await sink.cleanUp({ applicationId: "bench", keepAttempt: null });
  return rows.length;
}

async function measure(name, sizeBytes, run) {
  if (ONLY !== "" && !name.includes(ONLY)) return;
  const times = [];
  let records = 0;
  for (let i = 0; i <= RUNS; i++) {
    const start = performance.now();
    records = await run();
    // The first run warms up.
    if (i > 0) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const rate = (ms) => (records / ms / 1000).toFixed(2);
  const [min, median, max] = [times[0], times[times.length >> 1], times[times.length - 1]];
  const megabytes = sizeBytes === 0 ? "" : `${(sizeBytes / median / 1000).toFixed(0)} MB/s`;
  console.log(`${name.padEnd(46)} ${megabytes.padStart(10)}   ${rate(max)} / ${rate(median)} / ${rate(min)} M records/s`);
}

const files = await makeInputs();
const size = (file) => statSync(file).size;
let sum = 0;
const useText = (line) => {
  sum += line.length;
};
const useRow = (row) => {
  sum += Number(row.delay);
};
console.log(`min / median / max of ${RUNS} runs, one process, ${process.version}; performance.md section 4 in brackets`);
await measure("text lines [12-15 M/s]", size(files.ndjson), () => read({ kind: "text", path: files.ndjson }, useText));
await measure("  node readline", size(files.ndjson), () => readLines(files.ndjson, useText));
await measure("NDJSON, 5 fields [3.5 M/s]", size(files.ndjson), () => read({ kind: "ndjson", path: files.ndjson }, useRow));
await measure("NDJSON, 2 of 5 fields [6.0 M/s]", size(files.ndjson), () =>
  read({ kind: "ndjson", path: files.ndjson, fields: ["delay", "origin"] }, useRow),
);
await measure("  node readline and JSON.parse", size(files.ndjson), () =>
  readLines(files.ndjson, (line) => useRow(JSON.parse(line))),
);
await measure("NDJSON, gzip", size(files.gzip), () => read({ kind: "ndjson", path: files.gzip }, useRow));
const types = { delay: "number", distance: "number" };
await measure("CSV, 5 columns, 2 of them numbers", size(files.csv), () => read({ kind: "csv", path: files.csv, types }, useRow));
await measure("CSV, 3 of 5 columns", size(files.csv), () =>
  read({ kind: "csv", path: files.csv, types, fields: ["delay", "origin", "distance"] }, useRow),
);
await measure("Parquet, 5 columns to rows [4.2 M/s]", size(FLIGHTS), () => read({ kind: "parquet", path: FLIGHTS }, useRow));
await measure("Parquet, 2 columns to rows [7-11 M/s]", 0, () =>
  read({ kind: "parquet", path: FLIGHTS, fields: ["delay", "origin"] }, useRow),
);
await measure("  hyparquet, 2 columns to rows", 0, () => readByHyparquet(["delay", "origin"], useRow));
await measure("numbers", 0, () =>
  read({ kind: "numbers", to: 20_000_000 }, (n) => {
    sum += n;
  }),
);

const rows = [];
await read({ kind: "ndjson", path: files.ndjson }, (row) => {
  if (rows.length < 300_000) rows.push(row);
});
for (const kind of ["ndjson", "csv", "parquet"]) {
  const file = path.join(DIR, `written.${kind}`);
  await measure(`${kind} sink, with fsync and commit`, 0, () => write({ kind, path: file }, rows));
}
await measure("  JSON.stringify and writeFileSync", 0, () => {
  writeFileSync(path.join(DIR, "plain.ndjson"), `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
  return rows.length;
});
console.log(
  `peak memory ${Math.round(process.resourceUsage().maxRSS / 1024)} MB (hyparquet and the rows held for the sinks included); check ${sum}`,
);
