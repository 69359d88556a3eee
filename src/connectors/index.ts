/**
 * The file formats of Holdfast: a connector for each descriptor of `dataflow/connector.ts`.
 *
 * Boundary: everything here runs in Node and touches files only through the paths of its descriptors.
 */
import { CodedError } from "../base/errors.js";
import type { SinkConnector, SinkDescriptor, SourceConnector, SourceDescriptor } from "../dataflow/connector.js";
import { consoleSink, type Print } from "./console-sink.js";
import { csvSource } from "./csv-source.js";
import type { PartsAppear } from "./file-sink.js";
import { followingSource } from "./following-source.js";
import { csvSink, ndjsonSink, textSink } from "./line-sinks.js";
import { ndjsonSource } from "./ndjson-source.js";
import { collectionSource, numbersSource } from "./numbers-source.js";
import { parquetSink } from "./parquet-sink.js";
import { parquetSource } from "./parquet-source.js";
import { textSource } from "./text-source.js";

export interface ConnectorOptions {
  /** What relative paths are relative to. Default: the working directory. On a cluster: the directory the job was submitted from. */
  readonly baseDir?: string;
  /** Where the console sink prints. Default: the standard output. */
  readonly print?: Print;
  /** The job takes checkpoints: file sinks write parts, which appear with their checkpoint or all together at the end. */
  readonly parts?: PartsAppear;
}

export function createSource(descriptor: SourceDescriptor, options: ConnectorOptions = {}): SourceConnector<unknown> {
  const baseDir = options.baseDir ?? process.cwd();
  if ("followEveryMs" in descriptor && descriptor.followEveryMs !== undefined)
    return follow(descriptor, descriptor.followEveryMs, baseDir);
  switch (descriptor.kind) {
    case "text":
      return textSource(descriptor, baseDir);
    case "ndjson":
      return ndjsonSource(descriptor, baseDir);
    case "csv":
      return csvSource(descriptor, baseDir);
    case "parquet":
      return parquetSource(descriptor, baseDir);
    case "numbers":
      return numbersSource(descriptor);
    case "collection":
      return collectionSource(descriptor);
    default:
      return unknownKind("source", descriptor);
  }
}

type FileDescriptor = Extract<SourceDescriptor, { readonly path: unknown }>;

function follow({ followEveryMs, ...descriptor }: FileDescriptor, everyMs: number, baseDir: string): SourceConnector<unknown> {
  const growing = "growing" in descriptor && descriptor.growing === true;
  if (growing && descriptor.kind === "csv" && descriptor.multiline !== false) {
    throw new CodedError("INVALID_ARGUMENT", "A CSV file that grows is read line by line, so no field may hold a line end.", {
      hint: "Give the source multiline: false.",
    });
  }
  const fileSource = (path: string) => createSource({ ...descriptor, path }, { baseDir });
  return followingSource({ path: descriptor.path, baseDir, everyMs, growing, fileSource });
}

export function createSink(descriptor: SinkDescriptor, options: ConnectorOptions = {}): SinkConnector<unknown> {
  const baseDir = options.baseDir ?? process.cwd();
  switch (descriptor.kind) {
    case "ndjson":
      return ndjsonSink(descriptor, baseDir, options.parts);
    case "csv":
      return csvSink(descriptor, baseDir, options.parts);
    case "text":
      return textSink(descriptor, baseDir, options.parts);
    case "parquet":
      return parquetSink(descriptor, baseDir, options.parts);
    case "console":
      return consoleSink(descriptor, options.print);
    default:
      return unknownKind("sink", descriptor);
  }
}

/** Descriptors come from outside the type system: out of a job graph. */
function unknownKind(what: string, descriptor: never): never {
  throw new CodedError("INVALID_JOB", `there is no built-in ${what} like ${JSON.stringify(descriptor)}`);
}
