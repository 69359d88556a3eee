/** Standard Schema v1 (https://standardschema.dev): params and records may be described with zod, valibot, arktype or any other vendor. */
import type { StandardSchemaV1 } from "@standard-schema/spec";

export type { StandardSchemaV1 } from "@standard-schema/spec";

export type SchemaInput<S extends StandardSchemaV1> = StandardSchemaV1.InferInput<S>;
export type SchemaOutput<S extends StandardSchemaV1> = StandardSchemaV1.InferOutput<S>;

/** One line per issue: `input: expected string`. */
export function issueLines(issues: readonly StandardSchemaV1.Issue[]): readonly string[] {
  return issues.map((issue) => {
    const path = (issue.path ?? []).map((part) => String(typeof part === "object" && part !== null ? part.key : part)).join(".");
    return path === "" ? issue.message : `${path}: ${issue.message}`;
  });
}
