/**
 * The same question answered by other software: DuckDB reads the same Parquet and CSV files, and afterwards the demo's output files.
 * Boundary: SQL only; it shares no code with Holdfast.
 */
import { DuckDBInstance } from "@duckdb/node-api";

export interface Comparison {
  readonly equal: boolean;
  readonly groups: number;
  readonly flights: number;
  /** The first differences, for people. */
  readonly differences: readonly string[];
}

export interface TopAirport {
  readonly origin: string;
  readonly city: string;
  readonly flights: number;
  readonly meanDelay: number;
  readonly p90Delay: number;
  readonly worstDelay: number;
}

const GROUPED = (flights: string, airports: string) => `
  SELECT f.origin AS origin, a.city AS city, hour(f.date) AS hour, count(*)::BIGINT AS flights,
         sum(f.delay)::BIGINT AS delay_sum, quantile_disc(f.delay, 0.9)::BIGINT AS p90, max(f.delay)::BIGINT AS worst
  FROM read_parquet('${flights}') f JOIN read_csv('${airports}', header = true, all_varchar = true) a ON a.iata = f.origin
  WHERE f.delay IS NOT NULL GROUP BY ALL`;
const OUTPUT = (scan: string) =>
  `SELECT origin, city, hour::BIGINT AS hour, flights::BIGINT AS flights, round(meanDelay * flights)::BIGINT AS delay_sum, p90Delay::BIGINT AS p90, worstDelay::BIGINT AS worst FROM ${scan}`;

export async function compareWithDuckDb(options: {
  readonly flights: string;
  readonly airports: string;
  readonly ndjson: string;
  readonly parquet: string;
}): Promise<{ readonly comparisons: Readonly<Record<"ndjson" | "parquet", Comparison>>; readonly top: readonly TopAirport[] }> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  const rows = async (sql: string) =>
    (await connection.runAndReadAll(sql)).getRowObjectsJson() as Record<string, string | number | null>[];
  try {
    await connection.run(`CREATE TABLE expected AS ${GROUPED(options.flights, options.airports)}`);
    const compare = async (scan: string): Promise<Comparison> => {
      const actual = `(${OUTPUT(scan)})`;
      const differing = await rows(`(SELECT 'missing' AS what, * FROM (FROM expected EXCEPT ALL FROM ${actual}))
        UNION ALL (SELECT 'unexpected' AS what, * FROM (FROM ${actual} EXCEPT ALL FROM expected)) LIMIT 5`);
      const [sums] = await rows(`SELECT count(*) AS groups, coalesce(sum(flights), 0)::BIGINT AS flights FROM ${actual}`);
      const groups = Number(sums?.groups ?? 0);
      return {
        equal: differing.length === 0 && groups > 0,
        groups,
        flights: Number(sums?.flights ?? 0),
        differences: differing.map((row) => JSON.stringify(row)),
      };
    };
    const top =
      await rows(`SELECT origin, any_value(city) AS city, sum(flights)::BIGINT AS flights, sum(meanDelay * flights) / sum(flights) AS mean,
      max(p90Delay)::BIGINT AS p90, max(worstDelay)::BIGINT AS worst FROM read_json_auto('${options.ndjson}') GROUP BY origin ORDER BY flights DESC LIMIT 10`);
    return {
      comparisons: {
        ndjson: await compare(`read_json_auto('${options.ndjson}')`),
        parquet: await compare(`read_parquet('${options.parquet}')`),
      },
      top: top.map((row) => ({
        origin: String(row.origin),
        city: String(row.city),
        flights: Number(row.flights),
        meanDelay: Number(row.mean),
        p90Delay: Number(row.p90),
        worstDelay: Number(row.worst),
      })),
    };
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
