/** `holdfast cancel APP`: polite signal, grace, then its process groups are killed; waits until it has ended unless told not to. */
import type { Command } from "commander";
import { isFinal } from "../../wire/application.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";

export function command(): Command {
  return withCluster(
    newCommand("cancel", "Cancel an application and wait until nothing of it runs.", [
      "holdfast cancel app-3-1",
      "holdfast cancel nightly-report --no-wait",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("--no-wait", "return as soon as the request is durable")
    .action(async (app: string, options: ClusterOptions & { readonly wait: boolean }) => {
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      let answer: { readonly id: string; readonly state: string } = await client.call("cancel", { application: app });
      if (options.wait && !isFinal(answer.state as never)) {
        const application = await client.waitForEnd(answer.id, () => {});
        answer = { id: application.id, state: application.state };
      }
      if (options.json === true) return printJson(answer);
      print(`${answer.id} is ${answer.state === "cancelled" ? "cancelled" : answer.state}.`);
    });
}
