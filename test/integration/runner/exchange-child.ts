/**
 * An executor process that only sends: `exchange-child PROCESS_ID APPLICATION KEY PEERS_JSON`. It sends batches without end to subtask 0, as
 * fast as credit allows, and tells its parent how many were taken.
 */
import { openExchanges } from "../../../src/cli/runner/runner-exchange.js";
import { createNodeEnv } from "../../../src/node/env.js";
import type { RunnerStart } from "../../../src/wire/runner-start.js";
import { quietLog } from "../../support/manual-clock.js";

const [processId = "", application = "", applicationKey = "", peers = "[]"] = process.argv.slice(2);
const start = { processId, application: { id: application }, applicationKey, listenHost: "127.0.0.1" };
const exchanges = await openExchanges(start as RunnerStart, createNodeEnv({ log: quietLog }));
const all = [...JSON.parse(peers), { processId, dataAddress: exchanges.address }];
const network = exchanges.open("1.1", { try: 1, subtask: 1, parallelism: 2, peers: all });
const output = network.output({ edge: "edge", fromSubtask: 1, toSubtask: 0 });
process.send?.({ dataAddress: exchanges.address });
const text = "x".repeat(200);
for (let sent = 0; ; sent++) {
  const records = Array.from({ length: 256 }, (_, i) => ({ n: sent * 256 + i, text: `${text}${sent * 256 + i}` }));
  const answer = output.send(records, 0, records.length);
  process.send?.({ sent: sent + 1 });
  if (answer !== true) await answer;
}
