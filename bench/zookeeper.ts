/**
 * The ZooKeeper client on one real server: creates, and the same with the fence that every write of a leader carries. 1 kB values, durable.
 * The server runs with Java's own settings (the tests' servers are made for a fast start), on the same cores.
 */
import { connectZooKeeper, type ZooKeeper } from "../src/zookeeper/index.js";
import { startZooKeeper, type ZooKeeperServers, zooKeeperMissing } from "../test/support/zookeeper.js";
import type { Benchmark, Context } from "./benchmark.js";
import { rawFencedRate } from "./zookeeper-raw.js";

const VALUE = Buffer.alloc(1_024, 7);
const SERVER_JAVA = ["-Xms512m", "-Xmx1536m", "-XX:TieredStopAtLevel=4", "-Dzookeeper.preAllocSize=65536"];

interface Round {
  readonly name: string;
  readonly inFlight: number;
  readonly calls: number;
  /** Records of one call. */
  readonly records: number;
  readonly fenced: boolean;
}

export const zookeeper: Benchmark = {
  name: "zookeeper",
  summary: "the ZooKeeper client, 1 kB values, one server that syncs every write",
  run: async (context) => {
    const missing = zooKeeperMissing();
    if (missing !== null) {
      context.note(`left out: ${missing}`);
      return;
    }
    const servers = await startZooKeeper({ tickTimeMs: 2_000, java: SERVER_JAVA });
    try {
      await warmUp(context, servers.connectString);
      for (const round of roundsOf(context)) await measure(context, servers.connectString, round);
      await measureRaw(context, servers);
    } finally {
      await servers.close();
    }
  },
};

function roundsOf(context: Context): readonly Round[] {
  const many = context.pick(10_000, 4_000, 200);
  const few = context.pick(1_500, 500, 50);
  return [
    { name: "create", inFlight: 1, calls: few, records: 1, fenced: false },
    { name: "create", inFlight: 64, calls: many, records: 1, fenced: false },
    { name: "create", inFlight: 256, calls: many, records: 1, fenced: false },
    { name: "fenced", inFlight: 1, calls: few, records: 1, fenced: true },
    { name: "fenced", inFlight: 64, calls: many, records: 1, fenced: true },
    { name: "fenced", inFlight: 256, calls: many, records: 1, fenced: true },
    { name: "fenced-10", inFlight: 16, calls: many / 10, records: 10, fenced: true },
  ];
}

/** reliability.md 2.5, the raw figures of this kind of machine. */
const BESIDE: Readonly<Record<string, string>> = {
  "create 1": "1,918-2,864",
  "create 64": "8,600-18,029",
  "create 256": "11,693-17,430",
  "fenced 1": "2,188-2,506",
  "fenced 64": "11,781-12,088",
  "fenced 256": "16,152-18,189",
  "fenced-10 16": "53,000-54,000 records/s",
};

async function warmUp(context: Context, servers: string): Promise<void> {
  const zk = await connected(servers, 256);
  await zk.create("/warm", new Uint8Array());
  const calls = context.pick(20_000, 10_000, 100);
  await Promise.all(Array.from({ length: calls }, (_, index) => zk.create(`/warm/${index}`, VALUE.subarray(0, 100))));
  await zk.close();
}

async function connected(servers: string, maxInFlight: number): Promise<ZooKeeper> {
  const zk = connectZooKeeper({ servers, sessionTimeoutMs: 30_000, maxInFlight, maxWaiting: 100_000 });
  await zk.connected(AbortSignal.timeout(60_000));
  return zk;
}

async function measure(context: Context, servers: string, round: Round): Promise<void> {
  const zk = await connected(servers, round.inFlight);
  const rates: number[] = [];
  const latencies: number[] = [];
  const processorMicros: number[] = [];
  for (let run = 0; run < context.pick(5, 3, 1); run++) {
    context.signal.throwIfAborted();
    const root = `/${round.name}-${round.inFlight}-${run}`;
    await zk.create(root, new Uint8Array());
    const startedAt = performance.now();
    const usageBefore = process.cpuUsage();
    await perform(zk, root, round, latencies);
    const { user, system } = process.cpuUsage(usageBefore);
    processorMicros.push((user + system) / round.calls);
    rates.push((round.calls * round.records * 1_000) / (performance.now() - startedAt));
    const stat = await zk.exists(root);
    if (stat?.children !== round.calls * round.records) context.wrong(`${root} has ${stat?.children} children`);
  }
  await zk.close();
  const key = `${round.name} ${round.inFlight}`;
  const what = round.fenced ? `multi(check + ${round.records} create)` : "create";
  context.row({
    what: `${what}, ${round.inFlight} in flight`,
    unit: round.records > 1 ? "records/s" : "1/s",
    samples: rates,
    ...(key === "fenced 256" ? { aims: [{ of: "median", value: 16_000 } as const] } : {}),
    beside: `raw ${BESIDE[key] ?? "-"} (reliability.md 2.5)`,
  });
  context.row({ what: "  from the call's turn to its answer", unit: "ms", samples: latencies });
  context.row({
    what: "  processor time of the client for each call",
    unit: "µs",
    samples: processorMicros,
    beside: "what is left of two cores is the server's",
  });
}

/** In the same minutes as the rounds above, so that a slow machine is told from a slow client. */
async function measureRaw(context: Context, { connectString, servers: [server] }: ZooKeeperServers): Promise<void> {
  if (server === undefined) return;
  const zk = await connected(connectString, 1);
  const rates: number[] = [];
  for (let run = 0; run < context.pick(5, 3, 1); run++) {
    const root = `/raw-${run}`;
    await zk.create(root, new Uint8Array());
    const calls = context.pick(10_000, 4_000, 200);
    rates.push(await rawFencedRate({ host: server.host, port: server.port, root, calls, inFlight: 256, value: VALUE }));
    const stat = await zk.exists(root);
    if (stat?.children !== calls) context.wrong(`${root} has ${stat?.children} children`);
  }
  await zk.close();
  context.row({
    what: "the limit: the same multis as bytes made before, over a bare socket, 256 in flight",
    unit: "1/s",
    samples: rates,
    beside: "what this server gives on this machine, whatever the client",
  });
}

/** As many callers as calls in flight, each with one call at a time, so that what is measured is no time in our own queue. */
async function perform(zk: ZooKeeper, root: string, round: Round, latencies: number[]): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let call = next++; call < round.calls; call = next++) {
      const startedAt = performance.now();
      if (round.fenced) await zk.multi(fencedCreate(root, call, round.records));
      else await zk.create(`${root}/${call}`, VALUE);
      latencies.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: round.inFlight }, caller));
}

const fencedCreate = (root: string, call: number, records: number) => [
  { op: "check" as const, path: root, version: 0 },
  ...Array.from({ length: records }, (_, index) => ({ op: "create" as const, path: `${root}/${call}-${index}`, data: VALUE })),
];
