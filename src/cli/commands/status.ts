/** `holdfast status APP`: one application in full: state, reason, attempts, processes, progress. */
import type { Command } from "commander";
import type { ApplicationView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import { restoredText } from "../client/progress-view.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";
import { formatAge, formatCount, harmless, type Style, styleFor, styleOfState, table } from "../terminal.js";

export function command(): Command {
  return withCluster(
    newCommand("status", "Show one application: its state and reason, attempts, processes and progress.", [
      "holdfast status app-3-1",
      "holdfast status nightly-report --json",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .action(async (app: string, options: ClusterOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const { application } = await client.call("status", { application: app, after: null, waitMs: 0 });
      if (options.json === true) return printJson(application);
      print(describe(application, styleFor(process.stdout), Date.now()));
    });
}

function describe(view: ApplicationView, style: Style, now: number): string {
  const line = (name: string, value: string) => `${style.bold(name.padEnd(11))}${value}`;
  const lines = [
    line("id", view.id),
    line("name", `${harmless(view.name)} (${view.kind})`),
    line("state", styleOfState(style, view.state)(view.state) + (view.restarts > 0 ? `, restarted ${view.restarts} times` : "")),
  ];
  if (view.submissionKey !== view.id)
    lines.push(line("submitted", `as ${harmless(view.submissionKey)}, ${formatAge(view.submittedAt, now)} ago`));
  if (view.reason !== null) {
    lines.push(line("reason", `${harmless(view.reason.message)} [${view.reason.code}]`));
    if (view.reason.hint !== null) lines.push(line("", harmless(view.reason.hint)));
  }
  if (view.state === "parked")
    lines.push(line("", `Your choice: holdfast resume ${view.id} --from latest | --from CHECKPOINT | --fresh`));
  if (view.exitCode !== null) lines.push(line("exit code", String(view.exitCode)));
  if (view.progress !== null) {
    const { progress } = view;
    const total = progress.totalRecords === null ? "" : ` of ${formatCount(progress.totalRecords)}`;
    lines.push(
      line(
        "progress",
        `${progress.phase}: ${formatCount(progress.recordsIn)}${total} records in, ${formatCount(progress.recordsOut)} out`,
      ),
    );
    if (progress.badRecords > 0) lines.push(line("bad", `${formatCount(progress.badRecords)} records, first: ${badRecord(view)}`));
    if (progress.jobRestarts > 0)
      lines.push(line("tries", `${progress.jobRestarts} restarts of the job, last: ${harmless(progress.lastRestartReason ?? "")}`));
    for (const tried of progress.failedTries ?? [])
      lines.push(line(`  try ${tried.try}`, `${harmless(tried.message)} [${tried.code}]`));
  }
  if (view.checkpoint !== null) lines.push(line("checkpoint", checkpointLine(view.checkpoint, now)));
  const restored = view.progress?.restored;
  if (restored !== undefined) lines.push(line("restored", restoredText(restored)));
  const processes = [
    ...(view.driver === null ? [] : [{ id: "driver", ...view.driver }]),
    ...view.executors.map((executor) => ({ ...executor })),
  ];
  if (processes.length > 0) {
    lines.push(
      "",
      table(
        [
          { title: "PROCESS", of: (row) => row.id },
          { title: "STATE", of: (row) => row.state },
          { title: "PID", of: (row) => (row.pid === null ? "-" : String(row.pid)), align: "right" },
          { title: "WORKER", of: (row) => row.worker ?? "-", shrink: true },
        ],
        processes,
        style,
      ),
    );
  }
  if (view.attempts.length > 0) {
    lines.push(
      "",
      table(
        [
          { title: "ATTEMPT", of: (row) => String(row.attempt), align: "right" },
          { title: "EXIT", of: (row) => (row.exitCode === null ? "-" : String(row.exitCode)), align: "right" },
          { title: "WORKER", of: (row) => row.worker ?? "-" },
          { title: "REASON", of: (row) => row.reason?.message ?? "", shrink: true },
        ],
        view.attempts,
        style,
      ),
    );
  }
  return lines.join("\n");
}

function checkpointLine({ id, completedAt, sizeBytes, records }: NonNullable<ApplicationView["checkpoint"]>, now: number): string {
  const size = `${formatCount(Math.ceil(sizeBytes / 1024))} KiB`;
  return `${id}, ${formatAge(completedAt, now)} ago, at ${formatCount(records.in)} records in, ${size}`;
}

function badRecord(view: ApplicationView): string {
  const first = view.progress?.firstBadRecords[0];
  if (first === undefined) return "unknown";
  return harmless(`${first.file}${first.line === null ? ` at byte ${first.offset ?? "?"}` : `:${first.line}`}: ${first.reason}`);
}
