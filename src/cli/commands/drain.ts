/** `holdfast drain W`: nothing new is placed on the worker, what is supervised moves elsewhere, what else runs may finish, or until a deadline. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import { createNodeClock } from "../../node/clock.js";
import type { WorkerView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, remark, withCluster } from "../command.js";
import { parseDurationMs } from "../parse.js";

interface DrainOptions extends ClusterOptions {
  readonly deadline?: string;
  readonly cancel?: boolean;
  readonly wait?: boolean;
}

const LOOK_MS = 500;

export function command(): Command {
  return withCluster(
    newCommand("drain", "Place nothing more on a worker and move what is supervised there elsewhere.", [
      "holdfast drain worker-4k2m9x",
      "holdfast drain worker-4k2m9x --deadline 10m --wait",
      "holdfast drain worker-4k2m9x --cancel",
    ]),
  )
    .argument("<worker>", "id of the worker (see: holdfast workers)")
    .option("--deadline <duration>", "stop what still runs there after this; default: it may finish")
    .option("--cancel", "let the worker take work again")
    .option("--wait", "show what is left, until nothing is")
    .action(async (worker: string, options: DrainOptions) => {
      if (options.cancel === true && (options.deadline !== undefined || options.wait === true))
        throw new CodedError("INVALID_ARGUMENT", "--cancel ends a drain: it goes with no --deadline and no --wait.", {
          hint: `holdfast drain ${worker} --cancel`,
        });
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const deadline = options.deadline === undefined ? {} : { deadlineMs: parseDurationMs("--deadline", options.deadline) };
      const answer = await client.call("drain", { worker, ...(options.cancel === true ? { cancel: true } : deadline) });
      if (options.wait !== true || answer.state !== "draining") {
        if (options.json === true) return printJson(answer);
        return print(`${answer.id} is ${answer.state}.`);
      }
      const look = async () => (await client.call("workers", { worker })).workers[0];
      const last = await untilDrained(look, interrupt.signal, (left) => {
        if (options.json !== true) remark(`${worker} is draining: ${left} ${left === 1 ? "process" : "processes"} left.`);
      });
      if (options.json === true) return printJson({ id: worker, state: last?.state ?? "gone" });
      print(
        last === undefined || last.processes === 0 ? `${worker} is drained: nothing runs on it.` : `${worker} is ${last.state}.`,
      );
    });
}

/** Follows it through failovers, until nothing is counted on it or it does not drain any more. */
async function untilDrained(
  look: () => Promise<WorkerView | undefined>,
  signal: AbortSignal,
  onLeft: (processes: number) => void,
): Promise<WorkerView | undefined> {
  const clock = createNodeClock();
  let shown = -1;
  for (;;) {
    const view = await look();
    // A worker that has not come to a new leader yet has told nothing; while it is away nobody knows what it runs.
    if (view === undefined || view.drain === null || (view.state === "draining" && view.processes === 0)) return view;
    if (view.processes !== shown) onLeft(view.processes);
    shown = view.processes;
    await sleep(clock, LOOK_MS, signal);
  }
}
