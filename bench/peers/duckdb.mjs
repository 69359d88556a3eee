// The same in SQL on DuckDB with two threads: node duckdb.mjs words|parquet|ndjson INPUT. Prints {"groups","total"}.
import { DuckDBInstance } from "@duckdb/node-api";

const [job, input] = process.argv.slice(2);
const flights = (from) =>
  `select origin, count(*) n, sum(delay) s, avg(delay) a, max(delay) m from ${from} where delay > 0 group by origin`;
const query = {
  parquet: flights(`read_parquet('${input}')`),
  ndjson: flights(`read_json('${input}', format='newline_delimited')`),
  words: `select w, count(*) n from (select unnest(string_split(line, ' ')) w from read_csv('${input}', delim='\t', header=false, quote='', escape='', columns={'line': 'VARCHAR'})) group by w`,
}[job];
const instance = await DuckDBInstance.create(":memory:", { threads: "2" });
const connection = await instance.connect();
const rows = (await connection.runAndReadAll(query)).getRows();
console.log(JSON.stringify({ groups: rows.length, total: rows.reduce((sum, row) => sum + Number(row[1]), 0) }));
