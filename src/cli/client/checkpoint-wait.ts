/** Asks for a checkpoint or a savepoint, and waits for what becomes of it, through every failover. */
import { CodedError } from "../../base/errors.js";
import { isFinal } from "../../wire/application.js";
import type { OperationInput } from "../../wire/operations.js";
import type { CheckpointsView } from "../../wire/views.js";
import type { ClusterClient } from "./cluster-client.js";

type Answer = CheckpointsView["answers"][number];
/** How long the cluster holds back an answer when nothing changed. */
const POLL_WAIT_MS = 1_000;

export interface Asked extends Answer {
  readonly application: string;
}

/** `onProgress` is given a sentence whenever there is a new one. Rejects with what the driver said, or CONFLICT when the application ended before. */
export async function askForCheckpoint(
  client: ClusterClient,
  application: string,
  savepoint: OperationInput<"checkpoint">["savepoint"],
  onProgress: (text: string) => void,
): Promise<Asked> {
  const key = client.newSubmissionKey();
  const { id } = await client.call("checkpoint", { application, key, savepoint });
  let after: string | null = null;
  let told = "";
  for (;;) {
    const view = await client.call("checkpoints", { application: id });
    const answer = view.answers.find((one) => one.key === key);
    if (answer !== undefined) {
      const { error } = answer;
      if (error === null) return { ...answer, application: id };
      throw new CodedError(error.code, error.message, error.hint === null ? {} : { hint: error.hint });
    }
    if (isFinal(view.state) || view.state === "parked")
      throw new CodedError("CONFLICT", `${id} is ${view.state}: it took no checkpoint before that.`);
    const text = progressText(view);
    if (text !== told) onProgress(text);
    told = text;
    const status: { version: string } = await client.call("status", {
      application: id,
      after,
      waitMs: after === null ? 0 : POLL_WAIT_MS,
    });
    after = status.version;
  }
}

function progressText({ id, state, taking }: CheckpointsView): string {
  if (taking === null) return `${id} is ${state}: the request is durable, and its driver takes it as soon as it can.`;
  const { answered, of, stage } = taking;
  if (stage === "taking")
    return `checkpoint ${taking.id} (${taking.trigger}): ${answered} of ${of} executors have written their part`;
  return `checkpoint ${taking.id} (${taking.trigger}): ${stage}`;
}
