/** Files that a job keeps in the storage of a scenario's cluster, and waiting for a state. */
import { statSync } from "node:fs";
import type { ApplicationView } from "../../src/wire/views.js";
import { stateOf } from "./checkpointed-jobs.js";
import { until } from "./holdfast.js";
import type { Stage } from "./scenario.js";

/** Waits for this state, and gives the view. */
export async function stateIs(stage: Stage, job: string, state: ApplicationView["state"]): Promise<ApplicationView> {
  let view = await stage.status(job);
  await until(`${job} to be ${state}`, async () => {
    view = await stage.status(job);
    return view.state === state;
  });
  return view;
}

/** Paths of its files, in order. */
export function stateFiles(stage: Stage, job: string): readonly string[] {
  return stateOf(stage, job)
    .map((name) => stage.cluster.file(name))
    .filter((file) => statSync(file).isFile())
    .sort();
}
