/** `holdfast forget`: removes what the cluster keeps of an application that has ended. */
import { setTimeout } from "node:timers/promises";
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, timeoutMsOf, withCluster } from "../command.js";

/** Between two looks whether what goes first is gone. */
const LOOK_MS = 200;

export function command(): Command {
  return withCluster(
    newCommand("forget", "Remove an ended application: its record, and the checkpoints that were retained.", [
      "holdfast forget app-3-1",
      "holdfast forget nightly-report",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .action(forget);
}

async function forget(app: string, options: ClusterOptions): Promise<void> {
  const interrupt = onInterrupt();
  await using client = await openClient(options, interrupt.signal);
  const deadline = performance.now() + timeoutMsOf(options);
  let answer = await client.call("forget", { application: app });
  while (!answer.forgotten) {
    if (performance.now() >= deadline) throw notYet(answer.id);
    await setTimeout(LOOK_MS, undefined, { signal: interrupt.signal });
    const known = answer;
    answer = await client.call("forget", { application: known.id }).catch((thrown: unknown) => {
      // Another leader may have carried out the wish, and does not know of it any more.
      if (CodedError.from(thrown).code === "NOT_FOUND") return { ...known, forgotten: true };
      throw thrown;
    });
  }
  if (options.json === true) printJson(answer);
  else print(`${answer.id} is forgotten.`);
}

const notYet = (id: string): CodedError =>
  new CodedError("TIMEOUT", `${id} is to be forgotten, but what is kept of it is not removed yet.`, {
    hint: `The cluster goes on with it. It waits for its last process, for a worker that can clean up after its sinks, or for its storage: holdfast status ${id}`,
  });
