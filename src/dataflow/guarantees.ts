/**
 * What is promised of the way from each source to each sink that its records reach, told from the job graph alone: so it is known before a job runs.
 *
 * The engine keeps its part by itself: with checkpoints state and positions go back together, without them a restarted job reads everything again and
 * nothing of the try before has become visible. So the ends decide: whether the source can be read again, and what becomes of what a try wrote.
 */
import type { SinkDescriptor, SinkGuarantee } from "./connector.js";
import type { JobGraph, OperatorSpec } from "./graph.js";

/** best-effort: a restart may lose records. */
export type Guarantee = SinkGuarantee | "best-effort";

/** From the strongest. */
export const GUARANTEES: readonly Guarantee[] = ["exactly-once", "effectively-once", "at-least-once", "best-effort"];

export interface PathGuarantee {
  readonly source: string;
  readonly sink: string;
  readonly guarantee: Guarantee;
  /** Which end keeps it from being exactly-once, and why; null: none does. */
  readonly limit: { readonly operator: string; readonly reason: string } | null;
}

interface EndGuarantee {
  readonly guarantee: Guarantee;
  readonly reason: string | null;
}

type Graph = Pick<JobGraph, "operators" | "edges">;

/** One for each pair of a source and a sink that it leads to, in the order of the graph. */
export function pathGuarantees(graph: Graph, takesCheckpoints: boolean): PathGuarantee[] {
  const sinks = graph.operators.filter(({ kind }) => kind === "sink");
  return graph.operators
    .filter(({ kind }) => kind === "source")
    .flatMap((source) => {
      const reached = reachedFrom(graph, source.uid);
      return sinks.filter(({ uid }) => reached.has(uid)).map((sink) => pathOf(source, sink, takesCheckpoints));
    });
}

/** The first path that promises less than was asked for; null: all do what was asked. */
export function weakerPath(paths: readonly PathGuarantee[], asked: Guarantee): PathGuarantee | null {
  return paths.find(({ guarantee }) => GUARANTEES.indexOf(guarantee) > GUARANTEES.indexOf(asked)) ?? null;
}

/** A sink whose output appears with checkpoints, in a job that never ends and takes none: nothing would ever appear. */
export function invisibleSink(
  { operators, bounded }: Pick<JobGraph, "operators" | "bounded">,
  takesCheckpoints: boolean,
): string | null {
  if (bounded || takesCheckpoints) return null;
  const sink = operators.find(({ kind, config }) => kind === "sink" && (config as SinkConfig | null)?.appears === "at-checkpoint");
  return sink?.uid ?? null;
}

function pathOf(source: OperatorSpec, sink: OperatorSpec, takesCheckpoints: boolean): PathGuarantee {
  const [from, to] = [sourceGuarantee(source), sinkGuarantee(sink, takesCheckpoints)];
  const isSource = GUARANTEES.indexOf(from.guarantee) > GUARANTEES.indexOf(to.guarantee);
  const weaker = isSource ? from : to;
  const operator = isSource ? source.uid : sink.uid;
  return {
    source: source.uid,
    sink: sink.uid,
    guarantee: weaker.guarantee,
    limit: weaker.reason === null ? null : { operator, reason: weaker.reason },
  };
}

function sourceGuarantee({ config }: OperatorSpec): EndGuarantee {
  const { replayable } = (config ?? {}) as { readonly replayable?: boolean | null };
  return replayable === false
    ? { guarantee: "best-effort", reason: "it says that it can't be read again from a position" }
    : { guarantee: "exactly-once", reason: null };
}

interface SinkConfig {
  readonly descriptor?: SinkDescriptor;
  readonly custom?: boolean;
  readonly appears?: string | null;
  readonly guarantee?: SinkGuarantee | null;
}

function sinkGuarantee({ config }: OperatorSpec, takesCheckpoints: boolean): EndGuarantee {
  const { descriptor, custom, appears, guarantee } = (config ?? {}) as SinkConfig;
  if (custom === true) return ownGuarantee(guarantee ?? (appears === null || appears === undefined ? null : "exactly-once"));
  if (descriptor === undefined) return { guarantee: "exactly-once", reason: null };
  if (descriptor.kind === "console") return { guarantee: "at-least-once", reason: "what is printed can't be taken back" };
  const rolls = descriptor.rollEveryMs !== undefined || descriptor.rollRecords !== undefined;
  return rolls && !takesCheckpoints
    ? { guarantee: "at-least-once", reason: "without checkpoints its parts appear as soon as they are closed" }
    : { guarantee: "exactly-once", reason: null };
}

function ownGuarantee(said: SinkGuarantee | null): EndGuarantee {
  switch (said) {
    case "exactly-once":
      return { guarantee: said, reason: null };
    case "effectively-once":
      return { guarantee: said, reason: "a restart writes records again, which replace themselves" };
    case "at-least-once":
      return { guarantee: said, reason: "a restart writes records again" };
    case null:
      return { guarantee: "at-least-once", reason: "it doesn't say what it guarantees" };
  }
}

function reachedFrom({ operators, edges }: Graph, source: string): ReadonlySet<string> {
  const reached = new Set([source]);
  // Operators stand in topological order.
  for (const { uid } of operators) if (edges.some(({ from, to }) => to === uid && reached.has(from))) reached.add(uid);
  return reached;
}
