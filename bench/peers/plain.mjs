// A plain, idiomatic Node script on one core: node plain.mjs words|parquet|ndjson INPUT. Prints {"groups","total"}.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

const [job, input] = process.argv.slice(2);
const groups = new Map();
const addFlight = ({ origin, delay }) => {
  if (!(delay > 0)) return;
  const all = groups.get(origin) ?? { count: 0, sum: 0, max: 0 };
  all.count++;
  all.sum += delay;
  all.max = Math.max(all.max, delay);
  groups.set(origin, all);
};
if (job === "parquet") {
  const { asyncBufferFromFile, parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(input), compressors, columns: ["delay", "origin"] });
  for (const { origin, delay } of rows) addFlight({ origin, delay: Number(delay) });
} else {
  for await (const line of createInterface({ input: createReadStream(input) })) {
    if (job === "ndjson") addFlight(JSON.parse(line));
    else
      for (const word of line.split(" ")) {
        const all = groups.get(word) ?? { count: 0 };
        all.count++;
        groups.set(word, all);
      }
  }
}
let total = 0;
for (const { count } of groups.values()) total += count;
console.log(JSON.stringify({ groups: groups.size, total }));
