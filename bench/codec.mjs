// Batch codec: millions of records a second to encode and decode, beside msgpackr (shared structures) and JSON in the same run.
// Usage: node bench/codec.mjs [--runs 7] [--records 1024] [--json]   (after a build)
import { Packr } from "msgpackr";
import { BatchDecoder, BatchEncoder } from "../dist/executor/run/codec/index.js";
import { createNodeTextCodec } from "../dist/node/text-codec.js";

const argument = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const RUNS = argument("runs", 7);
const BATCH = argument("records", 1024);
const BATCHES = 32;
/** Each figure is measured over at least this long, after a warm-up of the same length. */
const MEASURED_MS = argument("ms", 150);

const AIRPORTS = Array.from({ length: 250 }, (_, i) =>
  String.fromCharCode(65 + (i % 26), 65 + ((i * 7) % 26), 65 + (((i / 10) | 0) % 26)),
);
const scrambled = (i) => Math.imul(i + 1, 2654435761) >>> 0;

const WORKLOADS = {
  "flights (5 fields)": (i) => {
    const h = scrambled(i);
    return {
      date: 978307260000 + i * 60000,
      delay: (h & 255) - 60,
      distance: h % 3000,
      origin: AIRPORTS[h % 250],
      destination: AIRPORTS[(h >>> 8) % 250],
    };
  },
  "words {word, count}, 20 k distinct": (i) => ({ word: `w${(scrambled(i) % 20000).toString(36)}`, count: 1 }),
  "words as bare text": (i) => `w${(scrambled(i) % 20000).toString(36)}`,
  "unique ids {id, n}": (i) => ({ id: `customer-${scrambled(i)}-${i}`, n: i }),
  "partial aggregates {key, value: {n, sum}}": (i) => ({ key: AIRPORTS[scrambled(i) % 250], value: { n: i & 1023, sum: i * 0.5 } }),
  "nullable {a, b?}": (i) => ({ a: i % 7 === 0 ? null : i, b: i % 5 === 0 ? null : AIRPORTS[i % 250] }),
  "two shapes in turn": (i) =>
    i % 2 === 0 ? { left: i, key: AIRPORTS[i % 250] } : { right: `r${i % 100}`, key: AIRPORTS[i % 250] },
  "nested lists {id, tags[], m}": (i) => ({
    id: i,
    tags: AIRPORTS.slice(i % 200, (i % 200) + (i % 4)),
    m: { x: i, y: [i, i + 1] },
  }),
};

const CODECS = {
  holdfast: () => {
    const text = createNodeTextCodec();
    const encoder = new BatchEncoder({ text, headerBytes: 16 });
    const decoder = new BatchDecoder({ text });
    const out = new Array(BATCH);
    return {
      encode: (batch) => encoder.encode(batch, 0, batch.length).bytes,
      decode: (bytes) => decoder.decodeInto(bytes.subarray(16), out),
      header: 16,
    };
  },
  msgpackr: () => {
    const packer = new Packr({ useRecords: true, sequential: true });
    const unpacker = new Packr({ useRecords: true, sequential: true });
    return { encode: (batch) => packer.pack(batch), decode: (bytes) => unpacker.unpack(bytes), header: 0 };
  },
  json: () => ({
    encode: (batch) => Buffer.from(JSON.stringify(batch)),
    decode: (bytes) => JSON.parse(bytes.utf8Slice(0, bytes.length)),
    header: 0,
  }),
};

/** Rounds of encoding all batches, then decoding what came out, each part timed by itself. One pair of coders sees all of it. */
function run(make, batches) {
  const { encode, decode, header } = make();
  let encodeMs = 0;
  let decodeMs = 0;
  let rounds = 0;
  let sizeBytes = 0;
  const round = (measured) => {
    const started = performance.now();
    const payloads = batches.map(encode);
    const between = performance.now();
    for (const payload of payloads) decode(payload);
    const ended = performance.now();
    if (!measured) return ended - started;
    encodeMs += between - started;
    decodeMs += ended - between;
    rounds++;
    sizeBytes += payloads.reduce((sum, payload) => sum + payload.length - header, 0);
    return ended - started;
  };
  for (let ms = 0; ms < MEASURED_MS; ) ms += round(false);
  for (let ms = 0; ms < MEASURED_MS; ) ms += round(true);
  const records = rounds * batches.length * BATCH;
  return { encode: records / encodeMs / 1000, decode: records / decodeMs / 1000, bytes: sizeBytes / records };
}

const spread = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  return { min: sorted[0], median: sorted[sorted.length >> 1], max: sorted[sorted.length - 1] };
};
const show = ({ min, median, max }) => [min, median, max].map((value) => value.toFixed(1).padStart(5)).join(" /");

const results = {};
for (const [workload, record] of Object.entries(WORKLOADS)) {
  const batches = Array.from({ length: BATCHES }, (_, b) => Array.from({ length: BATCH }, (_, i) => record(b * BATCH + i)));
  const measured = Object.fromEntries(Object.keys(CODECS).map((name) => [name, []]));
  // Codecs take turns, so that a slow moment of the machine meets all of them.
  for (let i = 0; i < RUNS; i++) for (const [name, make] of Object.entries(CODECS)) measured[name].push(run(make, batches));
  results[workload] = Object.fromEntries(
    Object.entries(measured).map(([name, runs]) => [
      name,
      { encode: spread(runs.map((r) => r.encode)), decode: spread(runs.map((r) => r.decode)), bytes: runs[0].bytes },
    ]),
  );
  if (process.argv.includes("--json")) continue;
  console.log(`\n${workload}: batches of ${BATCH}, M records/s, min / median / max of ${RUNS}`);
  for (const [name, figures] of Object.entries(results[workload])) {
    console.log(
      `  ${name.padEnd(9)} encode ${show(figures.encode)}   decode ${show(figures.decode)}   ${figures.bytes.toFixed(1)} B a record`,
    );
  }
}
if (process.argv.includes("--json")) console.log(JSON.stringify(results));
else console.log("\nAim for flat records: encode 10, decode 40.");
