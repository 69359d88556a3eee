/** The subtasks of one keyed operator `op`, whose state goes into a savepoint's blobs and from there to a job of another parallelism, or with other code. */
import type { JobBuilder } from "../../../src/api/index.js";
import { present } from "../../../src/base/assert.js";
import { firstCheckpoint } from "../../../src/checkpoint/rescale.js";
import { subtaskOfKey } from "../../../src/dataflow/partitioners.js";
import type { Chain } from "../../../src/executor/run/chain.js";
import { ChainStates } from "../../../src/executor/run/checkpoint/chain-states.js";
import type { StateEntry } from "../../../src/executor/run/keyed-state.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import type { SlicePart, StateHandle } from "../../../src/wire/checkpoint.js";
import { MADE, savepointOf } from "../checkpoint/savepoints.js";
import { MemoryBlobs } from "./checkpoint-run.js";
import { entriesOf, stateOf } from "./state-of.js";
import { chainOf } from "./time/hand-fed.js";

type Build = (job: JobBuilder) => void;
const MAX_PARALLELISM = 128;

export class SavepointRun {
  private readonly clock = createLogicalClock();
  private readonly access = {
    blobs: new MemoryBlobs(),
    text: createNodeTextCodec(),
    pacer: new Pacer(this.clock, async () => undefined),
  };

  /** Nothing restored, or what `slices` says. */
  async subtasks(build: Build, parallelism: number, slices: readonly SlicePart[] = []): Promise<Subtask[]> {
    const subtasks: Subtask[] = [];
    for (let subtask = 0; subtask < parallelism; subtask++) {
      const out: Record<string, unknown[]> = {};
      const chain = await chainOf(build, this.clock, out, { subtask, parallelism });
      const states = new ChainStates({ chain, access: this.access, maxParallelism: MAX_PARALLELISM, subtask });
      await states.restore(slices[subtask] ?? null);
      subtasks.push(new Subtask(chain, states, subtask, out));
    }
    return subtasks;
  }

  /** A job of `build` sees each key once at the one parallelism, and its state is that of the first checkpoint at the other one. */
  async slicesFor(build: Build, keys: readonly number[], before: number, after: number): Promise<readonly SlicePart[]> {
    const subtasks = await this.subtasks(build, before);
    for (const key of keys) await present(subtasks[subtaskOfKey(key, MAX_PARALLELISM, before)], "subtask").feed(key);
    const slices: SlicePart[] = [];
    for (const one of subtasks) slices.push({ finished: [], states: { op: await one.written(1) }, writers: {} });
    const operators = (parallelism: number) => [
      { uid: "op", kind: present(subtasks[0], "subtask").kind, subtasks: parallelism, vertex: "op" },
    ];
    const savepoint = { ...savepointOf(before, { slices, sources: {} }), operators: operators(before) };
    const job = { jobId: savepoint.jobId, maxParallelism: MAX_PARALLELISM, operators: operators(after) };
    return firstCheckpoint(savepoint, job, { ...MADE, parallelism: after }).slices;
  }
}

export class Subtask {
  private readonly chain: Chain;
  private readonly states: ChainStates;
  private readonly subtask: number;
  private readonly out: Record<string, unknown[]>;

  constructor(chain: Chain, states: ChainStates, subtask: number, out: Record<string, unknown[]>) {
    this.chain = chain;
    this.states = states;
    this.subtask = subtask;
    this.out = out;
  }

  private get node() {
    return present(this.chain.nodes[0], "op");
  }

  get kind(): string {
    return this.node.spec.kind;
  }

  get entries(): StateEntry[] {
    return entriesOf(present(stateOf(this.node.unit), "state of op"));
  }

  async feed(record: unknown): Promise<void> {
    await this.chain.run(this.chain.compile([{ kind: "node", node: this.node }]), [record], 1);
    this.chain.flush(true);
    await this.chain.settle();
  }

  taken(): unknown[] {
    return Object.values(this.out).flatMap((records) => records.splice(0));
  }

  /** Its state in a checkpoint. */
  async written(checkpoint: number): Promise<StateHandle[]> {
    const header = { applicationId: "app-1-1", checkpoint, attempt: "1.1", subtask: this.subtask };
    const { encoded, states } = this.states.snapshot(header, 0, () => true);
    await encoded;
    return [...((await states).op ?? [])];
  }
}
