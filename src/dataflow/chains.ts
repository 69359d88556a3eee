/**
 * From the job graph to what runs: operators are fused into vertices (chains, or trees where a stream has several consumers), and what is
 * left of the edges between them are the exchanges. Drivers and executors call it with the same arguments and get the same plan.
 *
 * Boundary: pure; knows operators by kind only, never their functions.
 *
 * Invariants:
 *   1. Every operator stands in exactly one vertex; vertices and their operators are in the topological order of the graph.
 *   2. Only the first operator of a vertex has inputs from other vertices, and only it may have more than one.
 *   3. An edge inside a vertex moves no records between subtasks: it is forward between equal parallelisms, or both have one subtask.
 */
import type { EdgeSpec, ExchangeKind, JobGraph, OperatorSpec } from "./graph.js";

export interface Vertex {
  /** uid of its first operator. */
  readonly id: string;
  readonly operators: readonly OperatorSpec[];
  readonly parallelism: number;
  /** Edges between its operators. */
  readonly fused: readonly EdgeSpec[];
  readonly inputs: readonly ExchangeEdge[];
  readonly outputs: readonly ExchangeEdge[];
}

/** An edge between two vertices. */
export interface ExchangeEdge extends EdgeSpec {
  /** Unique in the plan. */
  readonly id: string;
  readonly fromVertex: string;
  readonly toVertex: string;
  readonly fromParallelism: number;
  readonly toParallelism: number;
}

export interface ExecutionPlan {
  /** Number of executors; at least the parallelism of every vertex. */
  readonly parallelism: number;
  readonly vertices: readonly Vertex[];
  readonly edges: readonly ExchangeEdge[];
}

export interface ChannelEnds {
  readonly fromSubtask: number;
  readonly toSubtask: number;
}

/**
 * `wanted`: the parallelism of the application, for operators that do not name their own; theirs is cut down to it. At most one subtask
 * for each key group.
 */
export function executionPlan(graph: JobGraph, wanted: number): ExecutionPlan {
  const parallelism = Math.max(1, Math.min(wanted, graph.maxParallelism));
  const parallelismOf = new Map(
    graph.operators.map((operator) => [operator.uid, Math.min(operator.parallelism ?? parallelism, parallelism)]),
  );
  const incoming = groupBy(graph.edges, (edge) => edge.to);
  const vertexOf = new Map<string, string>();
  const members = new Map<string, OperatorSpec[]>();
  const fused = new Map<string, EdgeSpec[]>();
  for (const operator of graph.operators) {
    const edges = incoming.get(operator.uid) ?? [];
    const [edge] = edges;
    const host = edges.length === 1 && edge !== undefined && isFusable(edge, parallelismOf) ? vertexOf.get(edge.from) : undefined;
    const vertex = host ?? operator.uid;
    vertexOf.set(operator.uid, vertex);
    append(members, vertex, operator);
    if (host !== undefined && edge !== undefined) append(fused, vertex, edge);
  }
  const edges = graph.edges.flatMap((edge, index) => exchangeOf(edge, index, vertexOf, parallelismOf));
  const vertices = [...members].map(([id, operators]) => ({
    id,
    operators,
    parallelism: parallelismOf.get(id) ?? parallelism,
    fused: fused.get(id) ?? [],
    inputs: edges.filter((edge) => edge.toVertex === id),
    outputs: edges.filter((edge) => edge.fromVertex === id),
  }));
  return { parallelism, vertices, edges };
}

function isFusable(edge: EdgeSpec, parallelismOf: ReadonlyMap<string, number>): boolean {
  const from = parallelismOf.get(edge.from);
  const to = parallelismOf.get(edge.to);
  return (from === 1 && to === 1) || (edge.exchange === "forward" && from === to);
}

function exchangeOf(
  edge: EdgeSpec,
  index: number,
  vertexOf: ReadonlyMap<string, string>,
  parallelismOf: ReadonlyMap<string, number>,
): ExchangeEdge[] {
  const fromVertex = vertexOf.get(edge.from);
  const toVertex = vertexOf.get(edge.to);
  const isBetween = edge.to === toVertex && fromVertex !== undefined && fromVertex !== toVertex;
  if (!isBetween) return [];
  const fromParallelism = parallelismOf.get(edge.from) ?? 1;
  const toParallelism = parallelismOf.get(edge.to) ?? 1;
  return [
    {
      ...edge,
      exchange: exchangeBetween(edge.exchange, fromParallelism, toParallelism),
      id: `${index}:${edge.from}>${edge.to}`,
      fromVertex,
      toVertex,
      fromParallelism,
      toParallelism,
    },
  ];
}

/** A forward edge between different parallelisms can't be forward. */
function exchangeBetween(exchange: ExchangeKind, from: number, to: number): ExchangeKind {
  return exchange === "forward" && from !== to ? "rebalance" : exchange;
}

/** The subtasks that the edge joins. */
export function channelsOf(edge: ExchangeEdge): readonly ChannelEnds[] {
  const ends: ChannelEnds[] = [];
  for (let from = 0; from < edge.fromParallelism; from++) {
    if (edge.exchange === "forward") {
      ends.push({ fromSubtask: from, toSubtask: from });
      continue;
    }
    for (let to = 0; to < edge.toParallelism; to++) ends.push({ fromSubtask: from, toSubtask: to });
  }
  return ends;
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

function groupBy<K, V>(values: readonly V[], keyOf: (value: V) => K): Map<K, V[]> {
  const groups = new Map<K, V[]>();
  for (const value of values) append(groups, keyOf(value), value);
  return groups;
}
