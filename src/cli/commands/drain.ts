/** `holdfast drain W`: nothing new is placed on the worker, supervised drivers are moved, what else runs may finish. */
import type { Command } from "commander";
import { openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";

export function command(): Command {
  return withCluster(
    newCommand("drain", "Place nothing more on a worker and move its supervised drivers away.", ["holdfast drain worker-4k2m9x"]),
  )
    .argument("<worker>", "id of the worker (see: holdfast workers)")
    .action(async (worker: string, options: ClusterOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const answer = await client.call("drain", { worker });
      if (options.json === true) return printJson(answer);
      print(`${answer.id} is ${answer.state}.`);
    });
}
