/** What the operator of a simulated cluster does, once a run: drains a worker, takes that back, says that it is gone, holds removals and lets them go. */
import { CodedError } from "../base/errors.js";
import { sleep } from "../env/clock.js";
import type { Client } from "../host/client/client.js";
import type { OperationInput } from "../wire/operations.js";
import type { Cluster } from "./cluster.js";
import type { SeededRandom } from "./seed.js";

type Duty =
  | { readonly atMs: number; readonly name: "drain"; readonly input: OperationInput<"drain"> }
  | { readonly atMs: number; readonly name: "gone"; readonly input: OperationInput<"gone"> }
  | { readonly atMs: number; readonly name: "removals"; readonly input: OperationInput<"removals"> };

const CALL_MS = 20_000;
const RETRY_MS = 500;

/** Duties outlive the client process that carries them out. */
export class Operator {
  private readonly cluster: Cluster;
  private readonly duties: Duty[];

  constructor(cluster: Cluster, random: SeededRandom) {
    this.cluster = cluster;
    this.duties = drawDuties(cluster, random);
  }

  async run(client: Client, signal: AbortSignal): Promise<void> {
    const { clock } = client.env;
    for (;;) {
      const [duty] = this.duties;
      if (duty === undefined) return;
      await sleep(clock, Math.max(0, duty.atMs - clock.now()), signal);
      try {
        await client.call(duty.name, duty.input as never, { signal, timeoutMs: CALL_MS });
        this.duties.shift();
        this.cluster.tell((observer) => observer.operator?.(duty.name, duty.input));
      } catch (thrown) {
        const error = CodedError.from(thrown);
        if (!["NO_MASTER", "TIMEOUT", "NOT_FOUND"].includes(error.code))
          this.cluster.world.fail(new Error(`an operator got an answer that none should get: ${error.code} ${error.message}`));
        await sleep(clock, RETRY_MS, signal);
      }
    }
  }
}

function drawDuties({ options, workers }: Cluster, random: SeededRandom): Duty[] {
  const duties: Duty[] = [];
  const { safetyMs, workerDuty, isHolding } = options;
  const worker = random.pick(workers)?.name ?? "worker-1";
  const atMs = random.between(0, safetyMs);
  if (workerDuty === "gone") duties.push({ atMs, name: "gone", input: { worker } });
  else if (workerDuty !== "none") {
    const deadline = workerDuty === "drain-deadline" ? { deadlineMs: Math.round(random.between(0, 15_000)) } : {};
    duties.push({ atMs, name: "drain", input: { worker, ...deadline } });
    if (workerDuty === "undrain") {
      const input = { worker, cancel: true };
      duties.push({ atMs: atMs + random.between(0, 10_000), name: "drain", input });
    }
  }
  if (isHolding) {
    const from = random.between(0, safetyMs / 2);
    duties.push({ atMs: from, name: "removals", input: { decision: "hold" } });
    duties.push({ atMs: from + random.between(5_000, safetyMs / 2), name: "removals", input: { decision: "continue" } });
  }
  return duties.sort((a, b) => a.atMs - b.atMs);
}
