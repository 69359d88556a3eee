/**
 * Builds the chain of one subtask of a vertex: nodes, units, contexts, outputs to other vertices, and the counters of its operators.
 */
import type { BuiltJob, KeyFunction, OperatorFunctions } from "../../api/built.js";
import type { OperatorContext } from "../../api/context.js";
import { present } from "../../base/assert.js";
import { CodedError } from "../../base/errors.js";
import type { ExchangeEdge, Vertex } from "../../dataflow/chains.js";
import { channelsOf } from "../../dataflow/chains.js";
import type { SinkWriter } from "../../dataflow/connector.js";
import type { EdgeSpec, OperatorSpec } from "../../dataflow/graph.js";
import { hashKey, hashNumber, hashText } from "../../dataflow/hash.js";
import { keyGroupOf, subtaskOfKeyGroup } from "../../dataflow/key-groups.js";
import type { Clock } from "../../env/clock.js";
import type { ScratchStores } from "../../env/scratch-store.js";
import { AggregateUnit, type OpenDisk } from "./aggregate-unit.js";
import { AsyncUnit } from "./async-unit.js";
import { Chain } from "./chain.js";
import type { ChainNode, Outlet, Target, Unit } from "./chain-nodes.js";
import { DistinctUnit } from "./distinct-unit.js";
import { EdgeOutput, type Route } from "./edge-output.js";
import { JoinUnit } from "./join-unit.js";
import type { ExchangeNetwork } from "./network.js";
import type { Pacer } from "./pacer.js";
import { ProcessUnit } from "./process-unit.js";
import { SinkUnit } from "./sink-unit.js";
import { SortUnit } from "./sort-unit.js";
import { FixedWindowUnit } from "./time/fixed-window-unit.js";
import { IntervalJoinUnit } from "./time/interval-join-unit.js";
import { SessionWindowUnit } from "./time/session-window-unit.js";
import type { WindowConfig } from "./time/window-results.js";

export interface ChainInputs {
  readonly built: BuiltJob;
  readonly vertex: Vertex;
  readonly subtask: number;
  readonly network: ExchangeNetwork;
  readonly clock: Clock;
  readonly pacer: Pacer;
  readonly signal: AbortSignal;
  readonly contextOf: (operator: OperatorSpec) => OperatorContext;
  /** Opened before the chain is built. */
  readonly writers: ReadonlyMap<string, SinkWriter<unknown>>;
  /** For state that has no room in memory. Absent: all of it stays there. */
  readonly scratch?: ScratchStores;
}

/** Operators that give exactly one record for each, so that their output needs no counter of its own. */
const ONE_FOR_EACH: ReadonlySet<string> = new Set(["map", "keyBy", "union", "rebalance", "source"]);

export function buildChain(inputs: ChainInputs): Chain {
  const { vertex } = inputs;
  // One counter for the records that reach the vertex, and one for each outlet that changes their number.
  const outletCount = vertex.operators.length * 2 + [...vertex.fused, ...vertex.outputs].length;
  const chain = new Chain({
    nodes: vertex.operators.length,
    segments: 1 + outletCount,
    pacer: inputs.pacer,
    clock: inputs.clock,
    signal: inputs.signal,
  });
  new ChainBuilder(inputs, chain).build();
  return chain;
}

class ChainBuilder {
  private readonly inputs: ChainInputs;
  private readonly chain: Chain;
  private readonly byUid = new Map<string, ChainNode>();
  private segments = 1;

  constructor(inputs: ChainInputs, chain: Chain) {
    this.inputs = inputs;
    this.chain = chain;
  }

  build(): void {
    const targetsOf = new Map<Outlet, Target[]>();
    for (const spec of this.inputs.vertex.operators) this.addNode(spec, targetsOf);
    for (const edge of this.inputs.vertex.outputs) {
      const from = this.node(edge.from);
      const output = this.edgeOutput(edge, from);
      this.chain.edges.push(output);
      targetsOf.get(outletOf(from, edge.side))?.push({ kind: "edge", edge: output });
    }
    this.chain.seal();
  }

  private addNode(spec: OperatorSpec, targetsOf: Map<Outlet, Target[]>): void {
    const { vertex, built } = this.inputs;
    const functions = present(built.functions.get(spec.uid), `functions of operator ${spec.uid}`);
    const inEdge = vertex.fused.find((edge) => edge.to === spec.uid);
    const parent = inEdge === undefined ? null : outletOf(this.node(inEdge.from), inEdge.side);
    const segment = parent?.segment ?? 0;
    const outlet = (side: string | null): Outlet => {
      const counted = side !== null || !ONE_FOR_EACH.has(spec.kind);
      const targets: Target[] = [];
      const made: Outlet = { side, segment: counted ? this.segments++ : segment, counted, targets };
      targetsOf.set(made, targets);
      return made;
    };
    const node: { -readonly [P in keyof ChainNode]: ChainNode[P] } = {
      index: this.chain.nodes.length,
      spec,
      functions,
      context: this.inputs.contextOf(spec),
      segment,
      main: outlet(null),
      sides: this.sidesOf(spec.uid).map(outlet),
      unit: null,
    };
    node.unit = this.unitOf(node, functions);
    this.chain.nodes.push(node);
    this.byUid.set(spec.uid, node);
    if (parent !== null) targetsOf.get(parent)?.push({ kind: "node", node });
  }

  /** Side outputs that somebody consumes. */
  private sidesOf(uid: string): string[] {
    const { vertex } = this.inputs;
    const edges: readonly EdgeSpec[] = [...vertex.fused, ...vertex.outputs];
    return [...new Set(edges.flatMap((edge) => (edge.from === uid && edge.side !== null ? [edge.side] : [])))];
  }

  private node(uid: string): ChainNode {
    return present(this.byUid.get(uid), `operator ${uid} of a chain`);
  }

  private unitOf(node: ChainNode, functions: OperatorFunctions): Unit | null {
    const { chain } = this;
    switch (functions.kind) {
      case "combine":
      case "aggregate":
      case "reduce":
        return new AggregateUnit(chain, node, functions, this.diskOf(node));
      case "process":
        return new ProcessUnit(chain, node, functions, this.inputs.clock, this.diskOf(node));
      case "join":
      case "broadcastJoin":
        return new JoinUnit(chain, node, functions);
      case "window": {
        const { windows } = node.spec.config as unknown as WindowConfig;
        return windows.kind === "session"
          ? new SessionWindowUnit(chain, node, functions, windows)
          : new FixedWindowUnit(chain, node, functions, windows);
      }
      case "intervalJoin":
        return new IntervalJoinUnit(chain, node, functions);
      case "distinct":
        return new DistinctUnit(chain, node, functions.key);
      case "sort":
        return new SortUnit(chain, node, functions.compare);
      case "mapAsync":
        return new AsyncUnit(chain, node, functions.run, this.inputs.clock);
      case "sink": {
        const sink = new SinkUnit(chain, node, present(this.inputs.writers.get(node.spec.uid), `writer of sink ${node.spec.uid}`));
        chain.sinks.push(sink);
        return sink;
      }
      default:
        return null;
    }
  }

  /** What a combine holds is bounded, and handed on at each barrier. */
  private diskOf({ spec }: ChainNode): OpenDisk | null {
    const { scratch } = this.inputs;
    return scratch === undefined || spec.kind === "combine" ? null : () => scratch.open(spec.uid);
  }

  private edgeOutput(edge: ExchangeEdge, from: ChainNode): EdgeOutput {
    const { network, subtask, built } = this.inputs;
    const ends = channelsOf(edge).filter((channel) => channel.fromSubtask === subtask);
    const run = edge.exchange === "hash" && ends.length > 1 ? this.keyOfEdge(edge, from) : null;
    return new EdgeOutput({
      kind: edge.exchange === "forward" ? "single" : edge.exchange,
      outputs: ends.map((end) => network.output({ edge: edge.id, ...end })),
      control: this.chain,
      key:
        run === null
          ? null
          : { run, context: from.context, index: this.chain.label(from.spec.kind === "keyBy" ? from.spec.uid : edge.to) },
      route: routeTo(ends.length, built.graph.maxParallelism),
      first: subtask,
    });
  }

  /** By what a hash exchange chooses: the key of the keyBy before it, or that of the operator behind it. */
  private keyOfEdge(edge: ExchangeEdge, from: ChainNode): KeyFunction {
    if (from.functions.kind === "keyBy") return from.functions.key;
    if (from.functions.kind === "combine") return (record) => (record as { readonly key: unknown }).key;
    const to = present(this.inputs.built.functions.get(edge.to), `functions of operator ${edge.to}`);
    if (to.kind === "join") return edge.input === 0 ? to.leftKey : to.rightKey;
    if (to.kind === "distinct") return to.key;
    throw new CodedError("INTERNAL", `invariant broken: the hash exchange to ${edge.to} has no key`);
  }
}

function outletOf(node: ChainNode, side: string | null): Outlet {
  if (side === null) return node.main;
  return present(
    node.sides.find((outlet) => outlet.side === side),
    `side output ${side} of ${node.spec.uid}`,
  );
}

/** Key id -> subtask, by key groups. */
function routeTo(targets: number, maxParallelism: number): Route {
  if (targets <= 1) return () => 0;
  const targetOfGroup = Uint16Array.from({ length: maxParallelism }, (_, group) =>
    subtaskOfKeyGroup(group, maxParallelism, targets),
  );
  return (id) => {
    const hash = typeof id === "string" ? hashText(id) : typeof id === "number" ? hashNumber(id) : hashKey(id);
    return targetOfGroup[keyGroupOf(hash, maxParallelism)] ?? 0;
  };
}
