/** `holdfast handover`: the leader resigns in favour of a standby, and the command ends when that one leads. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import type { ClusterView } from "../../wire/views.js";
import { type ClusterClient, openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, timeoutMsOf, withCluster } from "../command.js";
import { formatDuration } from "../terminal.js";

interface HandoverOptions extends ClusterOptions {
  readonly to?: string;
}

/** Between two looks at who leads. */
const LOOK_PAUSE_MS = 10;

export function command(): Command {
  return withCluster(
    newCommand("handover", "Let a standby take over from the leader, which stands by from then on. No call of a client fails.", [
      "holdfast handover",
      "holdfast handover --to master-4k2m9x",
      "holdfast handover --to 10.0.0.2:7077 --json",
    ]),
  )
    .option("--to <master>", "id or address of the standby (see: holdfast cluster); default: any")
    .action(handover);
}

async function handover(options: HandoverOptions): Promise<void> {
  const interrupt = onInterrupt();
  await using client = await openClient(options, interrupt.signal);
  const before = await client.call("cluster", {});
  const startedAt = performance.now();
  const { handedOver } = await client.call("handover", { epoch: before.epoch, to: options.to ?? null });
  const after = handedOver ? await nextLeader(client, before, timeoutMsOf(options)) : await client.call("cluster", {});
  const durationMs = Math.round((performance.now() - startedAt) * 10) / 10;
  const { leader } = after;
  if (leader === null) throw new CodedError("NO_MASTER", "no master leads now", { hint: "Look at it with: holdfast cluster." });
  if (options.to !== undefined && options.to !== leader.id && options.to !== leader.address) {
    throw new CodedError("NO_STANDBY", `${leader.id} at ${leader.address} leads with epoch ${after.epoch}, not ${options.to}`, {
      hint: "The standby that was named did not take over in time. Look at its log, then try again.",
    });
  }
  const previous = { epoch: before.epoch, leader: before.leader };
  if (options.json === true) return printJson({ epoch: after.epoch, leader, previous, durationMs });
  const who = `${leader.id} at ${leader.address} (pid ${leader.pid})`;
  if (after.epoch === before.epoch) print(`${who} leads already, with epoch ${after.epoch}.`);
  else print(`${who} leads with epoch ${after.epoch}, ${formatDuration(durationMs)} after it was asked for.`);
}

async function nextLeader(client: ClusterClient, before: ClusterView, timeoutMs: number): Promise<ClusterView> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const view = await client.call("cluster", {});
    if (view.epoch > before.epoch && view.leader !== null) return view;
    if (performance.now() > deadline) {
      throw new CodedError("TIMEOUT", `no master leads with an epoch above ${before.epoch} after ${timeoutMs} ms`, {
        hint: "Look at it with: holdfast cluster. The old leader leads again when no standby does.",
      });
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_PAUSE_MS));
  }
}
