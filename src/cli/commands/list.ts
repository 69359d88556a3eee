/** `holdfast list`: all applications in the order of their submission. */
import type { Command } from "commander";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatAge, styleFor, styleOfState, table } from "../terminal.js";

export function command(): Command {
  return withCluster(
    newCommand("list", "List applications, oldest first.", ["holdfast list", "holdfast list --json | jq .applications[].id"]),
  ).action(async (options: ClusterOptions) => {
    const interrupt = onInterrupt();
    await using client = await openClient(options, interrupt.signal);
    const { applications } = await client.call("list", {});
    if (options.json === true) return printJson({ applications });
    if (applications.length === 0) return print("No applications.");
    const style = styleFor(process.stdout);
    const now = Date.now();
    print(
      table(
        [
          { title: "ID", of: (row) => row.id },
          { title: "NAME", of: (row) => row.name, shrink: true },
          { title: "KIND", of: (row) => row.kind },
          { title: "STATE", of: (row) => row.state, paint: (row, text) => styleOfState(style, row.state)(text) },
          { title: "TRY", of: (row) => String(row.attempt), align: "right" },
          { title: "AGE", of: (row) => formatAge(row.submittedAt, now), align: "right" },
        ],
        applications,
        style,
      ),
    );
  });
}
