/** `holdfast events [-f]`: what happened in the cluster, one line each, in order. */
import type { Command } from "commander";
import type { EventView } from "../../wire/views.js";
import { openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { parseCount } from "../parse.js";
import { harmless, styleFor } from "../terminal.js";

interface EventsOptions extends ClusterOptions {
  readonly follow?: boolean;
  readonly limit: string;
}

export function command(): Command {
  return withCluster(
    newCommand("events", "Print what happened in the cluster, oldest first.", [
      "holdfast events",
      "holdfast events -f",
      "holdfast events --json | jq .kind",
    ]),
  )
    .option("-f, --follow", "go on until interrupted")
    .option("--limit <count>", "how many events at the most when not following", "1000")
    .action(async (options: EventsOptions) => {
      const limit = parseCount("--limit", options.limit, { min: 1, max: 10_000 });
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const style = styleFor(process.stdout);
      const show = (event: EventView) => {
        if (options.json === true) printJson(event);
        else print(`${style.dim(event.at)} ${style.bold(event.kind)} ${harmless(event.message)}`);
      };
      let after: { readonly epoch: number; readonly seq: number } | null = null;
      let shown = 0;
      for (;;) {
        const page: { readonly events: readonly EventView[] } = await client.call("events", {
          after,
          limit: Math.min(1000, options.follow === true ? 1000 : limit - shown),
          waitMs: options.follow === true && after !== null ? 20_000 : 0,
        });
        for (const event of page.events) show(event);
        shown += page.events.length;
        const last = page.events.at(-1);
        if (last !== undefined) after = { epoch: last.epoch, seq: last.seq };
        if (options.follow === true) after ??= { epoch: 0, seq: 0 };
        else if (last === undefined || shown >= limit) return;
      }
    });
}
