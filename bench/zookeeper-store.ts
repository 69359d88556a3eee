/** The coordination store on a real ZooKeeper server of this machine: reading everything, commits one by one and many at once, a failed guard. */
import { parseZooKeeperUrl } from "../src/coordination/zookeeper-url.js";
import type { CoordinationSession, CoordinationStore } from "../src/env/coordination-store.js";
import { createNodeClock } from "../src/node/clock.js";
import { createNodeRandom } from "../src/node/env.js";
import { createZooKeeperStore } from "../src/node/zookeeper-store/zookeeper-store.js";
import { startZooKeeper, zooKeeperMissing } from "../test/support/zookeeper.js";
import type { Benchmark, Context } from "./benchmark.js";

const RECORD_BYTES = 1_000;
const RECORDS_A_COMMIT = 100;
const IN_FLIGHT = 256;

export const zookeeperStore: Benchmark = {
  name: "zookeeper-store",
  summary: "the coordination store on one ZooKeeper server: opening with 10,000 records, fenced commits",
  run: async (context) => {
    const missing = zooKeeperMissing();
    if (missing !== null) return context.note(`left out: ${missing}`);
    const ensemble = await startZooKeeper({ java: ["-Xmx512m"] });
    const url = parseZooKeeperUrl(`zk://${ensemble.connectString}/bench`);
    const store = createZooKeeperStore({ url, clock: createNodeClock(), random: createNodeRandom() });
    try {
      await measure(context, store);
    } finally {
      await store.close();
      await ensemble.close();
    }
  },
};

async function measure(context: Context, store: CoordinationStore): Promise<void> {
  const writer = await open(context, store);
  const records = context.pick(10_000, 10_000, 1_000);
  await fill(context, writer, records);
  const opened: number[] = [];
  for (let run = 0; run < context.pick(20, 10, 2); run++) {
    const startedAt = performance.now();
    const session = await open(context, store);
    const count = await countRecords(context, session);
    opened.push(performance.now() - startedAt);
    if (count !== records) context.wrong(`${count} of ${records} records were read`);
    await session.close();
  }
  context.row({
    what: `a new session -> all of ${records} records of ${RECORD_BYTES} bytes are read`,
    unit: "ms",
    samples: opened,
    aims: [{ of: "median", value: 100 }],
    beside: "one znode a record, pipelined: some 10,000 reads; Spark's ZooKeeper engine reads one by one",
  });
  await commits(context, writer);
}

const open = (context: Context, store: CoordinationStore): Promise<CoordinationSession> =>
  store.openSession({ ttlMs: 10_000, signal: context.signal, candidate: "bench" });

async function fill(context: Context, session: CoordinationSession, records: number): Promise<void> {
  const value = new Uint8Array(RECORD_BYTES).fill(65);
  for (let start = 0; start < records; start += RECORDS_A_COMMIT) {
    const writes = Array.from({ length: RECORDS_A_COMMIT }, (_, index) => ({ put: `records/${start + index}`, value }));
    await session.commit({ guards: [], writes }, { signal: context.signal });
  }
}

async function countRecords(context: Context, session: CoordinationSession): Promise<number> {
  let count = 0;
  let after: string | undefined;
  do {
    const request = { prefix: "records/", limit: 1_000, ...(after === undefined ? {} : { after }) };
    const page = await session.list(request, { signal: context.signal });
    count += page.records.length;
    after = page.next;
  } while (after !== undefined);
  return count;
}

async function commits(context: Context, session: CoordinationSession): Promise<void> {
  const { signal } = context;
  const value = new Uint8Array(200).fill(66);
  await session.commit({ guards: [], writes: [{ put: "epoch", value }] }, { signal });
  const guards = [{ key: "epoch", version: 0 }];
  let refused = 0;
  const commit = async (key: string): Promise<void> => {
    if (!(await session.commit({ guards, writes: [{ put: key, value }] }, { signal })).ok) refused++;
  };
  const latencies: number[] = [];
  for (let index = 0; index < context.pick(1_000, 300, 20); index++) {
    const startedAt = performance.now();
    await commit(`one/${index % 100}`);
    latencies.push(performance.now() - startedAt);
  }
  context.row({
    what: "a fenced commit of 200 bytes, one at a time",
    unit: "ms",
    samples: latencies,
    beside: "one fsync of the server",
  });
  const rates: number[] = [];
  for (let run = 0; run < context.pick(5, 3, 1); run++) {
    const count = context.pick(20_000, 10_000, 500);
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) await commit(`many/${next++ % 1_000}`);
    };
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    rates.push(count / ((performance.now() - startedAt) / 1_000));
  }
  context.row({
    what: `fenced commits with ${IN_FLIGHT} in flight`,
    unit: "1/s",
    samples: rates,
    beside: "raw multi on ZooKeeper with 256 in flight: 16,000 (reliability.md 2.5)",
  });
  if (refused > 0) context.wrong(`${refused} fenced commits were refused`);
}
