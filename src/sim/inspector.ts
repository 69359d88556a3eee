/** The last look of a run: a client that asks the leader, when all is over, what it still counts on its workers. Judges nothing. */
import { type Clock, sleep } from "../env/clock.js";
import { type CallOptions, type Client, startClient } from "../host/client/client.js";
import { isFinal } from "../wire/application.js";
import type { OperationOutput } from "../wire/operations.js";
import type { Cluster } from "./cluster.js";
import { Violation } from "./observe.js";

/** Ends that nobody has acknowledged yet get a moment. */
const SETTLE_MS = 15_000;
const INSPECT_MS = 400_000;
const LIST_EVERY_MS = 2_000;

/**
 * The workers, read while nothing went on: without recovery there may be applications that their users gave up and submitted again, and a worker
 * that comes back tells a new master of what that has never heard of (it then starts, and ends, after all was over before).
 */
async function readAtRest(client: Client, clock: Clock, options: CallOptions) {
  for (;;) {
    const before = await client.call("list", {}, options);
    if (before.applications.every(isAtRest)) {
      await sleep(clock, SETTLE_MS, options.signal);
      const read = await client.call("workers", {}, options);
      const after = await client.call("list", {}, options);
      if (attemptsOf(after) === attemptsOf(before) && after.applications.every(isAtRest)) return read;
    }
    await sleep(clock, LIST_EVERY_MS, options.signal);
  }
}

type Listed = OperationOutput<"list">;
const isAtRest = ({ state }: Listed["applications"][number]): boolean => isFinal(state) || state === "parked";
const attemptsOf = ({ applications }: Listed): string => applications.map(({ id, attempt }) => `${id}.${attempt}`).join(" ");

/** When all is over: what the leader says of its workers. */
export async function inspect(cluster: Cluster): Promise<void> {
  const { world } = cluster;
  const process = cluster.spawn("inspector", "c1");
  let isOver = false;
  const ask = async () => {
    const options = { signal: new AbortController().signal, timeoutMs: INSPECT_MS };
    const env = cluster.env(process);
    const { masterUrl, readFile, secret } = cluster;
    const client = startClient({ env, masterUrl, readFile, secret, ...cluster.options.heartbeats, ...options });
    const { workers } = await readAtRest(client, env.clock, options);
    cluster.tell((observer) => observer.workersRead?.(workers));
    isOver = true;
  };
  world.schedule(world.now(), "inspect", () => void ask().catch((thrown) => world.fail(thrown)), process);
  if (!(await world.runUntil(world.now() + INSPECT_MS, () => isOver)))
    throw new Violation("I21", `the inspector did not find the cluster at rest within ${INSPECT_MS} ms`);
}
