/**
 * Failover regions: what restarts together when an executor is lost. An executor runs a slice, subtask i of every vertex, and what exchanges records with a
 * slice that is gone can't go on. So parts of the graph that no edge joins are looked at each for itself: if none of a part's edges leads from one slice to
 * another, each slice of it is a region of its own; else all of them are one.
 *
 * Boundary: pure; who restarts, and from where, is the driver's affair (job/driver-regions.ts).
 *
 * Invariant: an executor runs its slice of every part, so slices restart alone only when no part joins them.
 */
import { type ExchangeEdge, executionPlan, type Vertex } from "./chains.js";
import type { ExchangeKind, JobGraph } from "./graph.js";

/** A part of the graph that no edge joins with the rest. */
export interface FailoverPart {
  /** uids, in the order of the graph. */
  readonly operators: readonly string[];
  /** Executors that run some of it. */
  readonly executors: number;
  /** The first edge between slices; null: there is none, each slice is a region. */
  readonly joinedBy: { readonly from: string; readonly to: string; readonly exchange: ExchangeKind } | null;
}

export interface FailoverRegions {
  readonly parts: readonly FailoverPart[];
  /** slice: a lost executor's alone. job: everything. */
  readonly restarts: "slice" | "job";
}

/** `parallelism`: of the application. */
export function failoverRegions(graph: JobGraph, parallelism: number): FailoverRegions {
  const plan = executionPlan(graph, parallelism);
  const parts = partsOf(plan.vertices).map((vertices): FailoverPart => {
    const edge = vertices.flatMap(({ outputs }) => outputs).find(crossesSlices);
    const among = new Set(vertices.flatMap(({ operators }) => operators.map(({ uid }) => uid)));
    return {
      operators: graph.operators.flatMap(({ uid }) => (among.has(uid) ? [uid] : [])),
      executors: Math.max(...vertices.map((vertex) => vertex.parallelism)),
      joinedBy: edge === undefined ? null : { from: edge.from, to: edge.to, exchange: edge.exchange },
    };
  });
  const isJoined = parts.some(({ joinedBy }) => joinedBy !== null);
  return { parts, restarts: isJoined || plan.parallelism === 1 ? "job" : "slice" };
}

/** Whether a record of it may go to another executor. */
function crossesSlices({ exchange, fromParallelism, toParallelism }: ExchangeEdge): boolean {
  return exchange !== "forward" && Math.max(fromParallelism, toParallelism) > 1;
}

/** Vertices that edges join, in whatever direction. */
function partsOf(vertices: readonly Vertex[]): Vertex[][] {
  let parts: Vertex[][] = [];
  for (const vertex of vertices) {
    const neighbours = new Set(vertex.inputs.map(({ fromVertex }) => fromVertex));
    // Vertices stand in topological order: whatever leads here is in a part already.
    const joined = parts.filter((part) => part.some(({ id }) => neighbours.has(id)));
    parts = [...parts.filter((part) => !joined.includes(part)), [...joined.flat(), vertex]];
  }
  const orderOf = new Map(vertices.map((vertex, index) => [vertex, index]));
  const first = (part: readonly Vertex[]): number => Math.min(...part.map((vertex) => orderOf.get(vertex) ?? 0));
  return parts.sort((a, b) => first(a) - first(b));
}
