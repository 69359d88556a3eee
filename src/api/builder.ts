/**
 * Records operators and edges while a job's `build` runs, and checks what can be checked at that moment.
 *
 * Invariants: operators are recorded after their inputs, so they stand in topological order; uids are unique; nothing is added after `build`.
 */
import { CodedError } from "../base/errors.js";
import type { EdgeSpec, ExchangeKind, OperatorKind, OperatorSpec } from "../dataflow/graph.js";
import type { OperatorFunctions } from "./built.js";
import { toJson } from "./to-json.js";

const UID = /^[A-Za-z0-9._-]{1,128}$/;

/** One output of an operator: what a stream stands for. */
export interface StreamRef {
  readonly uid: string;
  readonly side: string | null;
  /** Of the operator; null is the application's. Operators that need no exchange inherit it. */
  readonly parallelism: number | null;
  readonly bounded: boolean;
  /** Its records come with event time: all sources above have it, and nothing between held records back until the end. */
  readonly timed: boolean;
}

export interface InputRef {
  readonly from: StreamRef;
  readonly exchange: ExchangeKind;
  readonly input?: number;
}

export interface NewOperator {
  /** Null: made from the kind and a count. */
  readonly uid: string | null;
  readonly kind: OperatorKind;
  readonly config?: unknown;
  readonly functions: OperatorFunctions;
  readonly inputs: readonly InputRef[];
  readonly parallelism: number | null;
  /** Default: as its inputs. */
  readonly bounded?: boolean;
  /** Default: as its inputs. */
  readonly timed?: boolean;
}

export class GraphBuilder {
  readonly jobId: string;
  readonly operators: OperatorSpec[] = [];
  readonly edges: EdgeSpec[] = [];
  readonly functions = new Map<string, OperatorFunctions>();
  private readonly counts = new Map<OperatorKind, number>();
  private closed = false;

  constructor(jobId: string) {
    this.jobId = jobId;
  }

  add(operator: NewOperator): StreamRef {
    const uid = operator.uid ?? this.nextUid(operator.kind);
    if (this.closed) throw planFailed(uid, "is added after build has returned", "Make all operators synchronously in build.");
    if (typeof uid !== "string" || !UID.test(uid)) {
      throw new CodedError(
        "INVALID_JOB",
        `The uid ${JSON.stringify(uid)} of a ${operator.kind} in job '${this.jobId}' is not valid.`,
        {
          hint: "A uid is 1 to 128 of the characters A-Z a-z 0-9 . _ -",
        },
      );
    }
    if (this.functions.has(uid)) {
      throw planFailed(uid, `stands twice in job '${this.jobId}'`, "Give every operator its own uid.", "duplicate uid");
    }
    this.operators.push({
      uid,
      kind: operator.kind,
      parallelism: checkedParallelism(uid, operator.parallelism),
      config: toJson(operator.config ?? null, (path, what) =>
        planFailed(uid, `has ${what} in its options (${path})`, "Options are plain JSON values."),
      ),
    });
    this.functions.set(uid, operator.functions);
    for (const { from, exchange, input = 0 } of operator.inputs) {
      this.edges.push({ from: from.uid, to: uid, input, exchange, side: from.side });
    }
    const bounded = operator.bounded ?? operator.inputs.every((input) => input.from.bounded);
    const timed = operator.timed ?? (operator.inputs.length > 0 && operator.inputs.every((input) => input.from.timed));
    return { uid, side: null, parallelism: operator.parallelism, bounded, timed };
  }

  close(): void {
    this.closed = true;
  }

  private nextUid(kind: OperatorKind): string {
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    return `${kind}-${count}`;
  }
}

function checkedParallelism(uid: string, parallelism: number | null): number | null {
  if (parallelism === null || (Number.isInteger(parallelism) && parallelism >= 1 && parallelism <= 1_024)) return parallelism;
  throw planFailed(uid, `has a parallelism of ${parallelism}`, "A parallelism is a whole number from 1 to 1024.");
}

/** An error of the plan that names the operator and the cause. */
export function planFailed(uid: string, cause: string, hint: string, problem?: string): CodedError {
  return new CodedError("PLAN_FAILED", `Operator '${uid}' ${cause}.`, {
    hint,
    details: { operator: uid, ...(problem === undefined ? {} : { problem }) },
  });
}
