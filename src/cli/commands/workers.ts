/** `holdfast workers`: every worker with its state and what is used of it. */
import type { Command } from "commander";
import { showMasterUrl } from "../../host/finding/master-url.js";
import type { WorkerView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatBytes, formatDuration, styleFor, styleOfState, table } from "../terminal.js";

interface WorkersOptions extends ClusterOptions {
  readonly lost?: boolean;
  readonly gone?: boolean;
}

export function command(): Command {
  return withCluster(
    newCommand("workers", "List workers with their state and use.", [
      "holdfast workers",
      "holdfast workers --lost --gone",
      "holdfast workers --json",
    ]),
  )
    .option("--lost", "only those that were declared lost")
    .option("--gone", "only those that were stopped, or are gone for good")
    .action(list);
}

async function list(options: WorkersOptions): Promise<void> {
  const interrupt = onInterrupt();
  await using client = await openClient(options, interrupt.signal);
  const states = [...(options.lost === true ? (["lost"] as const) : []), ...(options.gone === true ? (["gone"] as const) : [])];
  const { workers } = await client.call("workers", states.length === 0 ? {} : { states });
  if (options.json === true) return printJson({ workers });
  if (workers.length === 0 && states.length > 0) return print(`No worker is ${states.join(" or ")}.`);
  if (workers.length === 0) return print(`No workers. Start one with: holdfast worker --master ${showMasterUrl(options.master)}`);
  const style = styleFor(process.stdout);
  print(
    table(
      [
        { title: "WORKER", of: (row) => row.id, shrink: true },
        { title: "STATE", of: stateText, paint: (row, text) => styleOfState(style, row.state)(text) },
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
  const overdue = workers.filter(({ overdueSince }) => overdueSince !== null).length;
  if (overdue > 0) print(`${overdue} ${overdue === 1 ? "waits" : "wait"} to be declared lost; see: holdfast removals`);
}

function stateText({ state, overdueSince, retired }: WorkerView): string {
  if (overdueSince !== null) return `${state}, overdue`;
  return retired ? `${state} for good` : state;
}
