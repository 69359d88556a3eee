/** `holdfast removals`: workers past their deadline that wait to be declared lost, and the operator's word about them. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import type { RemovalsView } from "../../wire/registrar.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";

interface RemovalsOptions extends ClusterOptions {
  readonly hold?: boolean;
  readonly continue?: boolean;
}

export function command(): Command {
  return withCluster(
    newCommand("removals", "Show the workers that wait to be declared lost; hold all removals, or let those go that wait.", [
      "holdfast removals",
      "holdfast removals --hold",
      "holdfast removals --continue",
    ]),
  )
    .option("--hold", "declare no worker lost until --continue, whoever leads")
    .option("--continue", "declare those lost that wait now, and no longer hold")
    .action(async (options: RemovalsOptions) => {
      if (options.hold === true && options.continue === true)
        throw new CodedError("INVALID_ARGUMENT", "--hold and --continue are opposites.", { hint: "Give one of them." });
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const decision = options.hold === true ? "hold" : options.continue === true ? "continue" : null;
      const view = await client.call("removals", { decision });
      if (options.json === true) return printJson(view);
      print(removalsText(view));
      print(`Limits: ${limitText(view)}.`);
    });
}

export function removalsText(view: RemovalsView): string {
  if (view.waiting === 0)
    return view.held ? "Removals are held by the operator; no worker waits." : "No worker waits to be declared lost.";
  const workers = `${view.waiting} ${view.waiting === 1 ? "worker waits" : "workers wait"}`;
  return `${workers} to be declared lost since ${view.since}: ${reasonText(view)}.`;
}

function reasonText({ reason, perMinute, share }: RemovalsView): string {
  if (reason === "held") return "the operator holds removals";
  if (reason === "rate") return `the limit of ${perMinute} a minute is reached`;
  return `more than ${Math.round(share * 100)} % of the workers are away`;
}

function limitText({ perMinute, share }: RemovalsView): string {
  const rate = perMinute === null ? "any number a minute" : `${perMinute} a minute`;
  return share >= 1 ? rate : `${rate}, and none while more than ${Math.round(share * 100)} % of the workers are away`;
}
