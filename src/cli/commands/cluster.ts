/** `holdfast cluster`: who leads, every master, the counts, the last recovery. Any master answers. */
import type { Command } from "commander";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatDuration, harmless, styleFor, styleOfState, table } from "../terminal.js";
import { removalsText } from "./removals.js";

export function command(): Command {
  return withCluster(
    newCommand("cluster", "Show the masters, the epoch, and counts of workers and applications.", [
      "holdfast cluster",
      "holdfast cluster --json",
    ]),
  ).action(async (options: ClusterOptions) => {
    const interrupt = onInterrupt();
    await using client = await openClient(options, interrupt.signal);
    const view = await client.call("cluster", {});
    if (options.json === true) return printJson(view);
    const style = styleFor(process.stdout);
    const line = (name: string, value: string) => print(`${style.bold(name.padEnd(14))}${value}`);
    line("cluster", view.clusterId);
    line("state", `${styleOfState(style, view.state)(view.state)}, epoch ${view.epoch}`);
    line("leader", view.leader === null ? "none" : `${view.leader.id} at ${view.leader.address} (pid ${view.leader.pid})`);
    const { workers, applications, recovery } = view;
    line(
      "workers",
      Object.entries(workers)
        .map(([state, count]) => `${count} ${state}`)
        .join(", "),
    );
    line("applications", `${applications.waiting} waiting, ${applications.running} running`);
    if (recovery !== null)
      line("recovery", recovery.durationMs === null ? "under way" : `complete in ${formatDuration(recovery.durationMs)}`);
    if (view.removals !== null && (view.removals.waiting > 0 || view.removals.held))
      line("removals", `${removalsText(view.removals)} Decide with: holdfast removals --continue, or --hold`);
    for (const record of view.quarantined) line("quarantined", `${harmless(record.key)}: ${harmless(record.reason)}`);
    print("");
    print(
      table(
        [
          { title: "MASTER", of: (row) => row.id },
          { title: "ADDRESS", of: (row) => row.address, shrink: true },
          { title: "PID", of: (row) => String(row.pid), align: "right" },
          { title: "STATE", of: (row) => row.state, paint: (row, text) => styleOfState(style, row.state)(text) },
          { title: "BUILD", of: (row) => row.build ?? "-", shrink: true },
        ],
        view.masters,
        style,
      ),
    );
  });
}
