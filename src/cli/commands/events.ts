/** `holdfast events [-f]`: what happened in the cluster, one line each, in order. */
import type { Command } from "commander";
import type { EventView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { harmless, styleFor } from "../terminal.js";

interface EventsOptions extends ClusterOptions {
  readonly follow?: boolean;
}

export function command(): Command {
  const examples = ["holdfast events", "holdfast events -f", "holdfast events --json | jq .kind"];
  return withCluster(newCommand("events", "Print what happened in the cluster, oldest first.", examples))
    .option("-f, --follow", "go on until interrupted")
    .action(async (options: EventsOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const style = styleFor(process.stdout);
      const show = (event: EventView) => {
        if (options.json === true) printJson(event);
        else print(`${style.dim(event.at)} ${style.bold(event.kind)} ${harmless(event.message)}`);
      };
      try {
        for await (const event of client.events({ once: options.follow !== true })) show(event);
      } catch (thrown) {
        // Ctrl-C is how following ends.
        if (options.follow !== true || interrupt.name() === null) throw thrown;
      }
    });
}
