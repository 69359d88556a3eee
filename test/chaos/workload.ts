/**
 * What a cluster does while it is disturbed: a client that submits programs all the time and repeats some submissions, programs that run
 * for ever, and a job that checks itself. Everything that a client was told is kept, and written to a history as it happens.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { CodedError } from "../../src/base/errors.js";
import type { ApplicationSpec } from "../../src/wire/application.js";
import { ROOT, until } from "../support/holdfast.js";
import { program } from "../support/partition/applications.js";
import type { Acknowledged } from "../support/partition/ground-truth.js";
import type { Machines } from "../support/partition/machines.js";
import { readTicks, tickingProgram } from "../support/partition/ticks.js";

export interface Submitted extends Acknowledged {
  readonly kind: "short" | "supervised" | "single" | "steady" | "job";
  /** Of its lines, see ticks.ts; of its output, when it is a job. */
  readonly file: string;
  readonly count: number;
}

const LANES = 2;
const PAUSE_MS = 250;
const REPEAT_EVERY = 4;
const JOB_COUNT = 3_000;
const JOB_RATE = 1_000;
/** It looks for a leader at most three times as long as `--timeout` says, and ends then whatever became of it. */
const COMMAND_MS = 100_000;

export class Workload {
  /** What the client was told, in the order of the answers. */
  readonly acknowledged: Submitted[] = [];
  /** Answers that contradict an earlier one. */
  readonly problems: string[] = [];
  private readonly machines: Machines;
  private over = false;
  private count = 0;

  constructor(machines: Machines) {
    this.machines = machines;
    for (const name of ["marks", "history"]) mkdirSync(machines.cluster.file(name), { recursive: true });
  }

  /** Begins, and resolves when what runs for ever does run. */
  async begin(): Promise<void> {
    await this.submit("steady", { supervise: true, onPartition: "continue" });
    await this.submit("single", { supervise: true, onPartition: "stop" });
    await until("the programs that run for ever", () => this.acknowledged.every(({ file }) => readTicks(file).length > 0));
    for (let lane = 0; lane < LANES; lane++) void this.submitAllTheTime();
  }

  /** Nothing more is submitted, and nothing more written to the history. */
  end(): void {
    this.over = true;
  }

  private async submitAllTheTime(): Promise<void> {
    while (!this.over) {
      await this.submit(this.count % 3 === 0 ? "supervised" : "short", { supervise: this.count % 3 === 0 });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Submits a program; null when the client does not know what became of it. */
  async submit(
    kind: Exclude<Submitted["kind"], "job">,
    options: { readonly supervise: boolean; readonly onPartition?: "continue" | "stop" },
  ): Promise<Submitted | null> {
    this.count += 1;
    const key = `${kind}-${this.count}`;
    const file = this.machines.cluster.file("marks", key);
    const after = kind === "short" ? { ticks: 2, do: "exit 0" } : kind === "supervised" ? { ticks: 4, do: "exit 0" } : null;
    const spec = program(tickingProgram(file, after), options);
    const first = await this.ask(key, spec);
    if (first === null) return null;
    const submitted: Submitted = { key, id: first, kind, file, count: 0 };
    this.acknowledged.push(submitted);
    // A client that did not get its answer would ask again.
    const again = this.count % REPEAT_EVERY === 0 ? await this.ask(key, spec) : null;
    if (again !== null && again !== first) this.problems.push(`${key} was ${first}, and ${again} when it was submitted again`);
    return submitted;
  }

  /** The id; null when the client does not know what became of it. */
  private async ask(key: string, spec: ApplicationSpec): Promise<string | null> {
    this.note({ invoke: key });
    try {
      const { id, created } = await this.machines.client.call("submit", { key, spec });
      this.note({ ok: key, id, created });
      return id;
    } catch (thrown) {
      this.note({ unknown: key, error: CodedError.from(thrown).code });
      return null;
    }
  }

  /** Submits the job that checks itself; null when it was not accepted. `hold`: it ends when this file exists. */
  async job({ hold, args = [] }: { readonly hold?: string; readonly args?: readonly string[] } = {}): Promise<Submitted | null> {
    this.count += 1;
    const key = `job-${this.count}`;
    const file = this.machines.cluster.file("marks", `${key}-out`);
    const held = hold === undefined ? [] : [`hold=${hold}`];
    const params = [`count=${JOB_COUNT}`, `rate=${JOB_RATE}`, `output=${file}`, ...held].flatMap((param) => ["--param", param]);
    this.note({ invoke: key });
    const ran = await this.machines.command(
      [
        ...["submit", `${ROOT}/test/integration/jobs/buckets.job.ts`, "--id", key, "--json", ...params, "--timeout", "30s"],
        ...["--parallelism", "2", "--executor-memory", "256m", "--max-restarts", "100", ...args],
      ],
      { timeoutMs: COMMAND_MS },
    );
    if (ran.exitCode === null) this.problems.push(`the command that submits ${key} did not end within ${COMMAND_MS} ms`);
    if (ran.exitCode !== 0) {
      this.note({ unknown: key, error: ran.stderr.slice(0, 500) });
      return null;
    }
    const { id } = JSON.parse(ran.stdout) as { id: string };
    this.note({ ok: key, id });
    const submitted: Submitted = { key, id, kind: "job", file, count: JOB_COUNT };
    this.acknowledged.push(submitted);
    return submitted;
  }

  note(event: object): void {
    if (this.over) return;
    const line = `${JSON.stringify({ at: new Date().toISOString(), ...event })}\n`;
    appendFileSync(this.machines.cluster.file("history", "client.jsonl"), line);
  }
}
