/** `holdfast workers`: every worker with its state and what is used of it. */
import type { Command } from "commander";
import { openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatBytes, formatDuration, styleFor, styleOfState, table } from "../terminal.js";

export function command(): Command {
  return withCluster(
    newCommand("workers", "List workers with their state and use.", ["holdfast workers", "holdfast workers --json"]),
  ).action(async (options: ClusterOptions) => {
    const interrupt = onInterrupt();
    await using client = await openClient(options, interrupt.signal);
    const { workers } = await client.call("workers", {});
    if (options.json === true) return printJson({ workers });
    if (workers.length === 0) return print(`No workers. Start one with: holdfast worker --master ${options.master}`);
    const style = styleFor(process.stdout);
    print(
      table(
        [
          { title: "WORKER", of: (row) => row.id, shrink: true },
          { title: "STATE", of: (row) => row.state, paint: (row, text) => styleOfState(style, row.state)(text) },
          { title: "CORES", of: (row) => `${row.cores.used}/${row.cores.total}`, align: "right" },
          {
            title: "MEMORY",
            of: (row) => `${formatBytes(row.memoryBytes.used)}/${formatBytes(row.memoryBytes.total)}`,
            align: "right",
          },
          { title: "HEARD", of: (row) => formatDuration(row.lastHeardMs), align: "right" },
          { title: "PID", of: (row) => String(row.pid), align: "right" },
        ],
        workers,
        style,
      ),
    );
  });
}
