/** `holdfast checkpoints APP`: the history of a job's checkpoints, what each cost, and what was given up. */
import type { Command } from "commander";
import type { CheckpointsView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatAge, formatBytes, formatCount, formatDuration, harmless, type Style, styleFor, table } from "../terminal.js";

interface CheckpointsOptions extends ClusterOptions {
  readonly subtasks?: boolean;
}

export function command(): Command {
  return withCluster(
    newCommand("checkpoints", "List the checkpoints of a job, newest first.", [
      "holdfast checkpoints app-3-1",
      "holdfast checkpoints app-3-1 --subtasks",
      "holdfast checkpoints nightly-report --json | jq .completed[-1].id",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("--subtasks", "also what each executor had to do")
    .action(async (app: string, options: CheckpointsOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const view = await client.call("checkpoints", { application: app });
      if (options.json === true) return printJson(view);
      print(describe(view, options.subtasks === true, styleFor(process.stdout), Date.now()));
    });
}

type Completed = CheckpointsView["completed"][number];

function describe(view: CheckpointsView, subtasks: boolean, style: Style, now: number): string {
  if (view.intervalMs === null) return `${view.id} takes no checkpoints.`;
  const newest = [...view.completed].reverse();
  const lines =
    newest.length === 0
      ? [`${view.id} has no completed checkpoint; one is due every ${formatDuration(view.intervalMs)}.`]
      : [completedTable(newest, style, now)];
  if (subtasks) for (const one of newest) lines.push("", subtaskTable(one, style));
  for (const { id, trigger, failedAt, reason } of [...view.failed].reverse())
    lines.push(`${id} (${trigger}) was given up ${formatAge(failedAt, now)} ago: ${harmless(reason)}`);
  for (const { kind, requestedAt } of view.requests) lines.push(`a ${kind} was asked for ${formatAge(requestedAt, now)} ago`);
  if (view.taking !== null)
    lines.push(
      `${view.taking.id} (${view.taking.trigger}) is under way: ${view.taking.answered} of ${view.taking.of} executors, ${view.taking.stage}`,
    );
  return lines.join("\n");
}

const completedTable = (rows: readonly Completed[], style: Style, now: number): string =>
  table<Completed>(
    [
      { title: "ID", of: ({ id }) => String(id), align: "right" },
      { title: "TRIGGER", of: ({ trigger }) => trigger },
      { title: "AGE", of: ({ completedAt }) => formatAge(completedAt, now), align: "right" },
      { title: "SIZE", of: ({ sizeBytes }) => formatBytes(sizeBytes), align: "right" },
      { title: "TOOK", of: ({ durationMs }) => formatDuration(durationMs), align: "right" },
      { title: "ALIGNED", of: ({ alignmentMs }) => (alignmentMs === null ? "-" : formatDuration(alignmentMs)), align: "right" },
      { title: "RECORDS", of: ({ records }) => formatCount(records.in), align: "right" },
    ],
    rows,
    style,
  );

const subtaskTable = ({ id, subtasks }: Completed, style: Style): string =>
  `checkpoint ${id}\n${table<Completed["subtasks"][number]>(
    [
      { title: "EXECUTOR", of: ({ subtask }) => String(subtask), align: "right" },
      { title: "STATE", of: ({ stateBytes }) => formatBytes(stateBytes), align: "right" },
      { title: "TOOK", of: ({ durationMs }) => formatDuration(durationMs), align: "right" },
      { title: "ALIGNED", of: ({ alignmentMs }) => formatDuration(alignmentMs), align: "right" },
    ],
    subtasks,
    style,
  )}`;
