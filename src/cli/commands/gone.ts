/** `holdfast gone W`: the operator's word that a machine never comes back; what it ran starts elsewhere at once. */
import type { Command } from "commander";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";

export function command(): Command {
  return withCluster(
    newCommand(
      "gone",
      "Say that a worker never comes back: what it ran starts elsewhere at once, and its id is refused for ever. Say it only of a machine that is off.",
      ["holdfast gone worker-4k2m9x"],
    ),
  )
    .argument("<worker>", "id of the worker (see: holdfast workers)")
    .action(async (worker: string, options: ClusterOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const answer = await client.call("gone", { worker });
      if (options.json === true) return printJson(answer);
      print(`${answer.id} is ${answer.state} for good. A worker of that machine needs a new --work-dir.`);
    });
}
