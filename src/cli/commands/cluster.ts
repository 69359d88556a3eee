/** `holdfast cluster`: who leads, every master, the counts, the last recovery. Any master answers; without a leader what a standby knows. */
import type { Command } from "commander";
import type { ClusterView } from "../../wire/views.js";
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
    await using client = await openClient(options, interrupt.signal, { awaitLeader: false });
    const view = await client.call("cluster", {});
    if (options.json === true) return printJson(view);
    const style = styleFor(process.stdout);
    const line = (name: string, value: string) => print(`${style.bold(name.padEnd(14))}${value}`);
    line("cluster", view.clusterId === "" ? "not known here" : view.clusterId);
    line("state", `${styleOfState(style, view.state)(view.state)}, epoch ${view.epoch}`);
    for (const text of leaderTexts(view)) line("leader", text);
    const { workers, applications, recovery } = view;
    // A standby knows nothing of them.
    if (view.leader !== null && view.leaderless === null && recovery !== null) {
      line(
        "workers",
        Object.entries(workers)
          .map(([state, count]) => `${count} ${state}`)
          .join(", "),
      );
      line("applications", `${applications.waiting} waiting, ${applications.running} running`);
    }
    if (recovery !== null)
      line("recovery", recovery.durationMs === null ? "under way" : `complete in ${formatDuration(recovery.durationMs)}`);
    if (view.removals !== null && (view.removals.waiting > 0 || view.removals.held))
      line("removals", `${removalsText(view.removals)} Decide with: holdfast removals --continue, or --hold`);
    for (const record of view.quarantined) line("quarantined", `${harmless(record.key)}: ${harmless(record.reason)}`);
    print("");
    print(
      table(
        [
          { title: "MASTER", of: (row) => row.id ?? "-" },
          { title: "ADDRESS", of: (row) => row.address, shrink: true },
          { title: "PID", of: (row) => String(row.pid ?? "-"), align: "right" },
          { title: "STATE", of: (row) => row.state, paint: (row, text) => styleOfState(style, row.state)(text) },
          { title: "EPOCH", of: (row) => String(row.epoch ?? "-"), align: "right" },
          { title: "BUILD", of: (row) => row.build ?? "-", shrink: true },
        ],
        [...view.masters, ...view.silentMasters.map((master) => ({ ...master, state: "no answer", build: null }))],
        style,
      ),
    );
  });
}

function leaderTexts({ leader, leaderless }: ClusterView): readonly string[] {
  const named = ({ id, address, pid }: NonNullable<ClusterView["leader"]>) => `${id} at ${address} (pid ${pid})`;
  if (leader !== null) return [named(leader)];
  if (leaderless === null) return ["none"];
  const forMs = Math.max(0, Date.now() - Date.parse(leaderless.since));
  const { last } = leaderless;
  return [
    `none heard since ${leaderless.since} (${formatDuration(forMs)})`,
    ...(last === null ? [] : [`the last was ${named(last)}`]),
  ];
}
