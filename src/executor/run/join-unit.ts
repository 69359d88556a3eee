/**
 * join and broadcastJoin: the second input is read first and held by key (bounded), then the first one flows past it.
 *
 * Keys that are null or undefined match nothing, as in SQL. When the second input has ended, `buildEnded` is called; while it has not,
 * records of the first input are not read (`wait`) or held (`buffer`); see api/probe-modes.ts for which, and why nothing stands still.
 */
import type { JoinFunctions } from "../../api/built.js";
import { CodedError } from "../../base/errors.js";
import { keyIdentity } from "../../dataflow/hash.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Unit } from "./chain-nodes.js";
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

export class JoinUnit implements Unit {
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
  private heldProbe: unknown[] = [];
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
    await this.chain.run(this.chain.compile([{ kind: "node", node: this.node }]), held, held.length);
  }

  /** A record of the first input. True: `outputs` hold what it gave. False: it was deferred. */
  element(record: unknown): boolean {
    if (this.building) {
      this.heldProbe.push(record);
      if (this.heldProbe.length > this.config.maxBuildRecords) throw this.tooMany("probe", this.config.maxBuildRecords);
      return false;
    }
    const key = this.functions.leftKey(record, this.node.context);
    if (!isThenable(key)) return this.probe(record, this.groupOf(key), 0);
    this.chain.defer(this, PROBE_KEY, record, key, undefined);
    return false;
  }

  async resume({ stage, record, value, key }: Deferred): Promise<void> {
    const { chain, node } = this;
    const result = await chain.result(node, value);
    if (stage === BUILD_KEY) this.hold(result, record);
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
