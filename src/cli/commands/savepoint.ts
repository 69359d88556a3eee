/** `holdfast savepoint APP`: a checkpoint that is copied to a directory of its own, from which the job, or a changed one, can begin anywhere. */
import type { Command } from "commander";
import { askForCheckpoint } from "../client/checkpoint-wait.js";
import { openClient } from "../client/cluster-client.js";
import { savepointDirectory } from "../client/savepoint-option.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, remark, withCluster } from "../command.js";
import { formatBytes } from "../terminal.js";

interface SavepointOptions extends ClusterOptions {
  readonly stop?: boolean;
  readonly to?: string;
}

export function command(): Command {
  return withCluster(
    newCommand("savepoint", "Write the state of a job to a directory from which it can begin again.", [
      "holdfast savepoint app-3-1 --to /shared/savepoints",
      "holdfast savepoint nightly-report --stop",
      "holdfast savepoint app-3-1 --stop --json | jq -r .directory",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("--stop", "end the job with it, exactly there; its output up to there is shown")
    .option("--to <dir>", "where its directory is made; default: beside the masters' bundles")
    .action(async (app: string, options: SavepointOptions) => {
      const directory = options.to === undefined ? null : savepointDirectory("--to", options.to);
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const tell = options.json === true ? () => {} : remark;
      const wanted = { directory, stop: options.stop === true };
      const { application, checkpoint, savepoint } = await askForCheckpoint(client, app, wanted, tell);
      const state = wanted.stop ? (await client.waitForEnd(application, () => {})).state : null;
      const made = savepoint ?? { directory: "", sizeBytes: 0, sha256: "" };
      if (options.json === true) return printJson({ id: application, checkpoint, ...made, ...(state === null ? {} : { state }) });
      print(`The savepoint of ${application} is in ${made.directory} (${formatBytes(made.sizeBytes)}).`);
      if (state !== null) print(`${application} is ${state}.`);
      remark(`Begin from it with: holdfast submit JOB.ts --from ${made.directory}`);
    });
}
