/** The exchanges of an executor: one listener for its whole life, one network for each try. */
import type { JobGraph } from "../dataflow/graph.js";
import type { Env } from "../env/env.js";
import type { SliceOrder } from "../executor/core/executor-events.js";
import { createLocalNetwork } from "../executor/run/local-network.js";
import type { ExchangeNetwork } from "../executor/run/network.js";
import type { RunnerStart } from "../wire/runner-start.js";

export interface Exchanges {
  /** Where the other executors of the application connect to. */
  readonly address: string;
  network(attempt: string, order: SliceOrder, graph: JobGraph): ExchangeNetwork;
  close(): Promise<void>;
}

export async function openExchanges(start: RunnerStart, env: Env): Promise<Exchanges> {
  const listener = await env.transport.listen(`${start.listenHost}:0`, (connection) => connection.destroy());
  return {
    address: listener.address,
    network: () => createLocalNetwork(),
    close: () => listener.close(),
  };
}
