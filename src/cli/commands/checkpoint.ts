/** `holdfast checkpoint APP`: takes one now, beyond those that come by themselves, and waits until it is complete. */
import type { Command } from "commander";
import { askForCheckpoint } from "../client/checkpoint-wait.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, remark, withCluster } from "../command.js";

export function command(): Command {
  return withCluster(
    newCommand("checkpoint", "Take a checkpoint of a job now, and wait for it.", [
      "holdfast checkpoint app-3-1",
      "holdfast checkpoint nightly-report --json | jq .checkpoint",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .action(async (app: string, options: ClusterOptions) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const tell = options.json === true ? () => {} : remark;
      const { application, checkpoint } = await askForCheckpoint(client, app, null, tell);
      if (options.json === true) return printJson({ id: application, checkpoint });
      print(`Checkpoint ${checkpoint} of ${application} is complete.`);
    });
}
