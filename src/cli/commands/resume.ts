/** `holdfast resume APP --from CHECKPOINT | --fresh`: the operator's choice what a parked job goes on from. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import type { OperationInput } from "../../wire/operations.js";
import { openClient } from "../client/cluster-client.js";
import { referenceOf } from "../client/savepoint-option.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, withCluster } from "../command.js";

interface ResumeOptions extends ClusterOptions {
  readonly from?: string;
  readonly fresh?: boolean;
}

export function command(): Command {
  return withCluster(
    newCommand("resume", "Let a parked job go on from what you choose.", [
      "holdfast resume app-3-1 --from latest",
      "holdfast resume nightly-report --from 17",
      "holdfast resume nightly-report --fresh",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("--from <checkpoint>", "latest, a completed one of its history, or a savepoint's path")
    .option("--fresh", "its input from the start, without any state")
    .action(async (app: string, options: ResumeOptions) => {
      const choice = await choiceOf(options);
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const answer = await client.call("resume", { application: app, choice });
      if (options.json === true) return printJson(answer);
      print(`${answer.id} is ${answer.state}. Follow it with: holdfast status ${answer.id}`);
    });
}

async function choiceOf({ from, fresh }: ResumeOptions): Promise<OperationInput<"resume">["choice"]> {
  if ((from === undefined) === (fresh !== true))
    throw new CodedError("INVALID_ARGUMENT", "Say either --from CHECKPOINT or --fresh.", {
      hint: "--from latest goes on from the last completed checkpoint; --fresh begins anew, and what sinks have shown may come twice.",
    });
  if (from === undefined) return { kind: "fresh" };
  if (from === "latest") return { kind: "latest" };
  const id = Number(from);
  if (Number.isSafeInteger(id) && id > 0) return { kind: "checkpoint", id };
  if (from.includes("/") || from.startsWith("file:")) return { kind: "savepoint", savepoint: await referenceOf("--from", from) };
  throw new CodedError("INVALID_ARGUMENT", `--from is ${from}: a checkpoint is a number, or latest; a savepoint is a path.`);
}
