/** The subtasks of one keyed operator, fed by hand: records by their keys, watermarks to all of them; and restored with another parallelism. */
import { createHash } from "node:crypto";
import { type JobBuilder, planJob } from "../../../../src/api/index.js";
import { present } from "../../../../src/base/assert.js";
import { executionPlan } from "../../../../src/dataflow/chains.js";
import { hashKey, keyIdentity } from "../../../../src/dataflow/hash.js";
import { keyGroupOf, subtaskOfKeyGroup } from "../../../../src/dataflow/key-groups.js";
import { BEGINNING } from "../../../../src/dataflow/time/watermarks.js";
import type { Clock } from "../../../../src/env/clock.js";
import type { Chain } from "../../../../src/executor/run/chain.js";
import { buildChain } from "../../../../src/executor/run/chain-builder.js";
import type { StateEntry } from "../../../../src/executor/run/keyed-state.js";
import { createLocalNetwork } from "../../../../src/executor/run/local-network.js";
import { Pacer } from "../../../../src/executor/run/pacer.js";
import { createLogicalClock } from "../../../../src/testing/logical-clock.js";
import { entriesOf, stateOf } from "../state-of.js";
import { jobOf } from "../support.js";

const MAX_PARALLELISM = 128;

export interface HandFed {
  /** What the sinks were given since the last call, by uid. */
  taken(): Record<string, unknown[]>;
  /** `input` 1: the second one of an interval join; other operators have only one. */
  feed(input: 0 | 1, key: unknown, record: unknown): Promise<void>;
  watermark(ms: number): Promise<void>;
  /** Timers of the clock that are due. */
  clock(): Promise<void>;
  restored(parallelism: number): Promise<HandFed>;
  /** Bookkeeping of all subtasks that is left. */
  held(): number;
  end(): Promise<void>;
}

/** `build` makes a job whose one keyed operator `op` leads to sinks. Its sources are never read. */
export async function handFed(
  build: (job: JobBuilder) => void,
  parallelism: number,
  clock: Clock = createLogicalClock(),
): Promise<HandFed> {
  return await fleet(build, parallelism, clock, [], BEGINNING, {});
}

async function fleet(
  build: (job: JobBuilder) => void,
  parallelism: number,
  clock: Clock,
  entries: readonly StateEntry[],
  watermarkMs: number,
  out: Record<string, unknown[]>,
): Promise<HandFed> {
  const chains: Chain[] = [];
  for (let subtask = 0; subtask < parallelism; subtask++) chains.push(await chainOf(build, clock, out));
  const ownerOf = (keyGroup: number) => present(chains[subtaskOfKeyGroup(keyGroup, MAX_PARALLELISM, parallelism)], "subtask");
  const stateOfChain = (chain: Chain) => present(stateOf(present(chain.nodes[0], "op").unit), "state of op");
  for (const entry of entries) stateOfChain(ownerOf(entry.keyGroup)).restore([entry], null);
  if (watermarkMs !== BEGINNING) for (const chain of chains) chain.time.restore(watermarkMs);
  const codes = chains.map((chain) => {
    const node = present(chain.nodes[0], "op");
    const first = chain.compile([{ kind: "node", node }]);
    return [first, node.spec.kind === "intervalJoin" ? chain.compile([{ kind: "build", node }]) : first] as const;
  });
  const allEntries = () => chains.flatMap((chain) => entriesOf(stateOfChain(chain), MAX_PARALLELISM));
  const self: HandFed = {
    taken: () => {
      const given = Object.fromEntries(Object.entries(out).map(([uid, records]) => [uid, records.splice(0)]));
      return given;
    },
    feed: async (input, key, record) => {
      const chain = ownerOf(keyGroupOf(hashKey(keyIdentity(key)), MAX_PARALLELISM));
      await chain.run(present(codes[chains.indexOf(chain)], "code")[input], [record], 1);
      await flush(chain);
    },
    watermark: async (ms) => {
      for (const chain of chains) {
        await chain.time.advance({ ms, idle: false });
        await flush(chain);
      }
    },
    clock: async () => {
      for (const chain of chains) {
        await chain.time.fireDue();
        await flush(chain);
      }
    },
    restored: async (next) => {
      const reached = Math.min(...chains.map(({ time }) => time.watermarkMs));
      return await fleet(build, next, clock, structuredClone(allEntries()), reached, out);
    },
    held: () => allEntries().length,
    end: async () => {
      for (const chain of chains) await chain.end();
    },
  };
  return self;
}

async function flush(chain: Chain): Promise<void> {
  chain.flush(true);
  await chain.settle();
}

/** The chain of `op`, of one subtask. */
export async function chainOf(
  build: (job: JobBuilder) => void,
  clock: Clock,
  out: Record<string, unknown[]>,
  { subtask, parallelism } = { subtask: 0, parallelism: 1 },
): Promise<Chain> {
  const { built } = await planJob(jobOf(build), {}, { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") });
  // With two executors the operator begins a vertex of its own, behind its exchange.
  const plan = executionPlan(built.graph, 2);
  const vertex = present(
    plan.vertices.find(({ id }) => id === "op"),
    "vertex of op",
  );
  const signal = new AbortController().signal;
  const writers = new Map(
    vertex.operators
      .filter(({ kind }) => kind === "sink")
      .map(({ uid }) => {
        out[uid] ??= [];
        const given = out[uid];
        return [
          uid,
          {
            write: (records: readonly unknown[], count: number) => void given.push(...records.slice(0, count)),
            prepare: async () => null,
            abort: async () => undefined,
            close: async () => undefined,
          },
        ] as const;
      }),
  );
  return buildChain({
    built,
    vertex,
    subtask,
    network: createLocalNetwork(),
    clock,
    pacer: new Pacer(clock, async () => undefined),
    signal,
    contextOf: (operator) => ({
      signal,
      operator: operator.uid,
      subtask,
      parallelism,
      application: "app-1-1",
      attempt: "1.1",
      fence: 1,
      log: undefined as never,
      metrics: { count: () => undefined },
    }),
    writers,
  });
}
