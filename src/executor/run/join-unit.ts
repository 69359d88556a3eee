/**
 * join and broadcastJoin: the second input is read first and held by key (bounded), then the first one flows past it.
 *
 * Keys that are null or undefined match nothing, as in SQL. When the second input has ended, `buildEnded` is called; while it has not,
 * records of the first input are not read (`wait`) or held (`buffer`); see api/probe-modes.ts for which, and why nothing stands still.
 *
 * In a checkpoint: the records of the second input by key, with whether one of them has found a partner, and held ones of the first input. That the second
 * input has ended is not kept: who sends it is finished in the same checkpoint, and ends it again.
 */
import type { JoinFunctions } from "../../api/built.js";
import { CodedError } from "../../base/errors.js";
import { hashKey, keyIdentity } from "../../dataflow/hash.js";
import { keyGroupOf } from "../../dataflow/key-groups.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Unit } from "./chain-nodes.js";
import { EVERY_SUBTASK, HELD_RECORDS, type KeyedState, type StateEntry } from "./keyed-state.js";
import { BATCH_RECORDS } from "./network.js";
import { isThenable } from "./thenable.js";

const PROBE_KEY = 0;
const BUILD_KEY = 1;
const PAIR = 2;

interface Group {
  readonly records: unknown[];
  matched: boolean;
}

const NO_GROUP: Group = { records: [], matched: true };

interface JoinConfig {
  readonly type: "inner" | "left" | "right" | "full";
  readonly maxBuildRecords: number;
  readonly probe: "wait" | "buffer";
}

/** A record of the first input that waits for the end of the second. */
interface HeldProbe {
  readonly id: unknown;
  readonly record: unknown;
}

/** What an entry of a checkpoint holds; its key is the id, null: records without a key. */
type HeldState =
  | { readonly build: readonly unknown[]; readonly matched: boolean }
  /** Of the first input. */
  | { readonly probe: unknown };

export class JoinUnit implements Unit, KeyedState {
  readonly buffersProbe: boolean;
  /** Read by generated code, as those of ProcessUnit. */
  readonly key = null;
  readonly outputs: readonly [unknown[]] = [[]];
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly functions: Omit<JoinFunctions, "kind">;
  private readonly config: JoinConfig;
  private readonly keepsLeft: boolean;
  private readonly keepsRight: boolean;
  private groups = new Map<unknown, Group>();
  /** Build records without a key: they match nothing, but right and full joins keep them. */
  private keyless: unknown[] = [];
  private buildRecords = 0;
  private heldProbe: HeldProbe[] = [];
  private building = true;

  constructor(chain: Chain, node: ChainNode, functions: Omit<JoinFunctions, "kind">) {
    this.chain = chain;
    this.node = node;
    this.functions = functions;
    this.config = node.spec.config as unknown as JoinConfig;
    this.buffersProbe = this.config.probe === "buffer";
    this.keepsLeft = this.config.type === "left" || this.config.type === "full";
    this.keepsRight = this.config.type === "right" || this.config.type === "full";
  }

  /** A record of the second input. */
  build(record: unknown): void {
    this.buildRecords++;
    if (this.buildRecords > this.config.maxBuildRecords) throw this.tooMany("build", this.config.maxBuildRecords);
    const key = this.functions.rightKey(record, this.node.context);
    if (isThenable(key)) this.chain.defer(this, BUILD_KEY, record, key, undefined);
    else this.hold(key, record);
  }

  /** The second input has ended; emits what the first one gave meanwhile. */
  async buildEnded(): Promise<void> {
    this.building = false;
    const held = this.heldProbe;
    this.heldProbe = [];
    const records = held.map(({ record }) => record);
    await this.chain.run(this.chain.compile([{ kind: "node", node: this.node }]), records, records.length);
  }

  /** A record of the first input. True: `outputs` hold what it gave. False: it was deferred. */
  element(record: unknown): boolean {
    const key = this.functions.leftKey(record, this.node.context);
    if (isThenable(key)) {
      this.chain.defer(this, PROBE_KEY, record, key, undefined);
      return false;
    }
    if (!this.building) return this.probe(record, this.groupOf(key), 0);
    this.holdProbe(key, record);
    return false;
  }

  /** Whether another batch of the first input can be held. */
  get hasRoom(): boolean {
    return this.heldProbe.length + BATCH_RECORDS <= this.config.maxBuildRecords;
  }

  noRoom(): CodedError {
    const { uid } = this.node.spec;
    const what = `the barrier of its first input stands behind more records than it may hold (${this.config.maxBuildRecords})`;
    return new CodedError("CHECKPOINT_FAILED", `Join '${uid}' still reads its second input, and ${what}.`, {
      hint: "Raise maxBuildRecords, or let checkpoints begin when the second input has been read.",
      details: { operator: uid },
    });
  }

  async resume({ stage, record, value, key }: Deferred): Promise<void> {
    const { chain, node } = this;
    const result = await chain.result(node, value);
    if (stage === BUILD_KEY) this.hold(result, record);
    else if (stage === PROBE_KEY && this.building) this.holdProbe(result, record);
    else if (stage === PROBE_KEY) await this.probeAll(record, this.groupOf(result), 0);
    else {
      // The selection for one pair was a promise: those before it are in `outputs`, those after it are still to be done.
      const [outputs] = this.outputs;
      const before = outputs.splice(0);
      await chain.emitBatch(node.main, before, before.length);
      await chain.emit(node.main, result);
      const { group, next } = key as { readonly group: Group; readonly next: number };
      await this.probeAll(record, group, next);
    }
  }

  async end(): Promise<void> {
    if (this.keepsRight) {
      for (const group of this.groups.values()) if (!group.matched) await this.emitRights(group.records);
      await this.emitRights(this.keyless);
    }
    this.groups = new Map();
    this.keyless = [];
  }

  get size(): number {
    return this.buildRecords + this.heldProbe.length;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    const groupOf = (id: unknown) => keyGroupOf(hashKey(id), maxParallelism);
    const groupOfBuild = this.node.spec.kind === "broadcastJoin" ? () => EVERY_SUBTASK : groupOf;
    for (const [id, group] of this.groups) yield* heldEntries(groupOfBuild(id), id, group);
    yield* heldEntries(groupOfBuild(null), null, { records: this.keyless, matched: false });
    for (const { id, record } of this.heldProbe) yield { keyGroup: groupOf(id), key: id, value: { probe: record } };
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key: id, value } of entries) {
      const state = value as HeldState;
      if ("probe" in state) this.heldProbe.push({ id, record: state.probe });
      else this.restoreBuild(id, state.build, state.matched);
    }
  }

  private restoreBuild(id: unknown, build: readonly unknown[], matched: boolean): void {
    this.buildRecords += build.length;
    const group = this.groups.get(id);
    const records = id === null ? this.keyless : (group?.records ?? []);
    for (const record of build) records.push(record);
    if (id !== null && group === undefined) this.groups.set(id, { records, matched });
  }

  private holdProbe(key: unknown, record: unknown): void {
    this.heldProbe.push({ id: keyIdentity(key), record });
    if (this.heldProbe.length > this.config.maxBuildRecords) throw this.tooMany("probe", this.config.maxBuildRecords);
  }

  private hold(key: unknown, record: unknown): void {
    if (key === null || key === undefined) {
      if (this.keepsRight) this.keyless.push(record);
      return;
    }
    const id = keyIdentity(key);
    const group = this.groups.get(id);
    if (group === undefined) this.groups.set(id, { records: [record], matched: false });
    else group.records.push(record);
  }

  private groupOf(key: unknown): Group | undefined {
    return key === null || key === undefined ? undefined : this.groups.get(keyIdentity(key));
  }

  /** Selects for each pair of the record, into `outputs`; false when one selection has to be waited for. */
  private probe(record: unknown, group: Group | undefined, from: number): boolean {
    if (group === undefined) return this.keepsLeft ? this.select(record, undefined, NO_GROUP, 0) : true;
    group.matched = true;
    const { records } = group;
    for (let i = from; i < records.length; i++) if (!this.select(record, records[i], group, i + 1)) return false;
    return true;
  }

  private select(left: unknown, right: unknown, group: Group, next: number): boolean {
    const joined = this.functions.select(left, right, this.node.context);
    if (isThenable(joined)) {
      this.chain.defer(this, PAIR, left, joined, { group, next });
      return false;
    }
    this.outputs[0].push(joined);
    return true;
  }

  private async probeAll(record: unknown, group: Group | undefined, from: number): Promise<void> {
    if (group === undefined) {
      if (this.keepsLeft) await this.selected(record, undefined);
      return;
    }
    group.matched = true;
    for (let i = from; i < group.records.length; i++) await this.selected(record, group.records[i]);
  }

  private async emitRights(records: readonly unknown[]): Promise<void> {
    for (const record of records) {
      await this.selected(undefined, record);
      await this.chain.breathe();
    }
  }

  private async selected(left: unknown, right: unknown): Promise<void> {
    const { chain, node } = this;
    const joined = await chain.result(node, new Promise((resolve) => resolve(this.functions.select(left, right, node.context))));
    await chain.emit(node.main, joined);
  }

  private tooMany(side: "build" | "probe", limit: number): CodedError {
    const what = side === "build" ? "its second input" : "its first input, while the second was being read,";
    return new CodedError(
      "LIMIT_EXCEEDED",
      `Join '${this.node.spec.uid}' holds more than ${limit} records of ${what} in one subtask.`,
      {
        hint: "Let the smaller stream be the second one, run with a higher parallelism, or raise maxBuildRecords when memory allows it.",
        details: { operator: this.node.spec.uid, limit },
      },
    );
  }
}

function* heldEntries(keyGroup: number, id: unknown, { records, matched }: Group): Iterable<StateEntry> {
  for (let at = 0; at < records.length; at += HELD_RECORDS)
    yield { keyGroup, key: id, value: { build: records.slice(at, at + HELD_RECORDS), matched } };
}
