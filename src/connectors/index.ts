/**
 * The file formats of Holdfast: a connector for each descriptor of `dataflow/connector.ts`.
 *
 * Boundary: everything here runs in Node and touches files only through the paths of its descriptors.
 */
import { CodedError } from "../base/errors.js";
import type { SourceConnector, SourceDescriptor } from "../dataflow/connector.js";
import { ndjsonSource } from "./ndjson-source.js";
import { collectionSource, numbersSource } from "./numbers-source.js";
import { parquetSource } from "./parquet-source.js";
import { textSource } from "./text-source.js";

export interface ConnectorOptions {
  /** What relative paths are relative to. Default: the working directory. On a cluster: the directory the job was submitted from. */
  readonly baseDir?: string;
}

export function createSource(descriptor: SourceDescriptor, options: ConnectorOptions = {}): SourceConnector<unknown> {
  const baseDir = options.baseDir ?? process.cwd();
  switch (descriptor.kind) {
    case "text":
      return textSource(descriptor, baseDir);
    case "ndjson":
      return ndjsonSource(descriptor, baseDir);
    case "parquet":
      return parquetSource(descriptor, baseDir);
    case "numbers":
      return numbersSource(descriptor);
    case "collection":
      return collectionSource(descriptor);
    default:
      throw new CodedError("INVALID_JOB", `there is no source of kind ${JSON.stringify(descriptor.kind)}`);
  }
}
