/** The connector of a source or sink of a built job: the user's own, or made from its descriptor. Drivers and executors both ask here. */
import type { BuiltJob } from "../../api/built.js";
import { CodedError } from "../../base/errors.js";
import type { SinkConnector, SinkDescriptor, SourceConnector, SourceDescriptor } from "../../dataflow/connector.js";
import type { OperatorSpec } from "../../dataflow/graph.js";
import type { ConnectorFactory } from "./slice.js";

export function sourceConnectorOf(
  built: BuiltJob,
  uid: string,
  factory: Pick<ConnectorFactory, "source">,
): SourceConnector<unknown> {
  const functions = built.functions.get(uid);
  if (functions?.kind !== "source") throw notFound(built, uid, "source");
  if (functions.custom !== null) return functions.custom;
  return factory.source((operatorOf(built, uid).config as unknown as { readonly descriptor: SourceDescriptor }).descriptor);
}

/** Null for a `collect` sink, which has none. */
export function sinkConnectorOf(
  built: BuiltJob,
  uid: string,
  factory: Pick<ConnectorFactory, "sink">,
): SinkConnector<unknown> | null {
  const functions = built.functions.get(uid);
  if (functions?.kind !== "sink") throw notFound(built, uid, "sink");
  if (functions.custom !== null) return functions.custom;
  const config = operatorOf(built, uid).config as unknown as { readonly descriptor?: SinkDescriptor };
  return config.descriptor === undefined ? null : factory.sink(config.descriptor);
}

/** uids of the sources of a job, in the order of its graph. */
export function sourcesOf(built: BuiltJob): readonly string[] {
  return uidsOf(built, "source");
}

export function sinksOf(built: BuiltJob): readonly string[] {
  return uidsOf(built, "sink");
}

function uidsOf(built: BuiltJob, kind: OperatorSpec["kind"]): readonly string[] {
  return built.graph.operators.filter((operator) => operator.kind === kind).map((operator) => operator.uid);
}

function operatorOf(built: BuiltJob, uid: string): OperatorSpec {
  const operator = built.graph.operators.find((candidate) => candidate.uid === uid);
  if (operator === undefined) throw notFound(built, uid, "operator");
  return operator;
}

function notFound(built: BuiltJob, uid: string, what: string): CodedError {
  return new CodedError("NOT_FOUND", `Job '${built.graph.jobId}' has no ${what} '${uid}'.`);
}
