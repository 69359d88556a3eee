/**
 * What a job's own sources and sinks do in the driver (enumerate, begin, commit, clean up), in a thread of its own: user code that keeps its
 * event loop busy, throws where nobody catches it, or fills its heap must not look like a dead driver.
 *
 * Boundary: the thread loads the job again and answers calls by message, JSON in and out; only connectors of the job's own go through it.
 * Invariant: when the thread dies its open calls reject, and the next call starts another one.
 */
import { getHeapStatistics } from "node:v8";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { CodedError, type ErrorCode, type ErrorShape } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { CancelSignal, Enumeration, SinkConnector, SourceConnector } from "../../dataflow/connector.js";
import { thrownAt } from "../../executor/run/user-errors.js";
import { isUpTo } from "../../job/driver-events.js";
import type { RunnerStart } from "../../wire/runner-start.js";
import { inputsOf, loadJob } from "./runner-job.js";

type CallName = "enumerate" | "begin" | "commit" | "cleanUp";
interface Call {
  readonly id: number;
  readonly call: CallName;
  readonly uid: string;
  readonly options: unknown;
}
type Request = Call | { readonly abort: number };
type Answer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly error: ErrorShape };

interface Open {
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: CodedError) => void;
  readonly code: ErrorCode;
}

const MARK = "holdfast-inputs";

export interface InputsThread {
  source(uid: string, bounded: boolean): SourceConnector<unknown>;
  /** `connector`: what the job's own says of itself. */
  sink(uid: string, connector: Pick<SinkConnector<unknown>, "appears" | "guarantee">): SinkConnector<unknown>;
}

/** In the driver. Nothing is started before the first call. `file`: this program. */
export function createInputsThread(file: URL, start: RunnerStart, attempt: number): InputsThread {
  const open = new Map<number, Open>();
  let worker: Worker | null = null;
  let calls = 0;

  const ended = (from: Worker, why: (code: ErrorCode) => CodedError) => {
    if (worker !== from) return;
    worker = null;
    for (const [id, { reject, code }] of open) {
      open.delete(id);
      reject(why(code));
    }
  };
  const living = (): Worker => {
    if (worker !== null) return worker;
    const heapMegabytes = Math.ceil(getHeapStatistics().heap_size_limit / 2 ** 20);
    const made = new Worker(file, { workerData: { mark: MARK, start }, resourceLimits: { maxOldGenerationSizeMb: heapMegabytes } });
    made.on("message", (answer: Answer) => {
      const waiting = open.get(answer.id);
      open.delete(answer.id);
      if ("error" in answer) waiting?.reject(CodedError.fromShape(answer.error));
      else waiting?.resolve(answer.value);
    });
    made.on("error", (thrown) => ended(made, (code) => uncaught(thrown, code)));
    made.on("exit", (exitCode) =>
      ended(
        made,
        (code) => new CodedError(code, `The thread of the job's own code in the driver ended with exit code ${exitCode}.`),
      ),
    );
    made.unref();
    worker = made;
    return made;
  };
  const call = (name: CallName, uid: string, options: unknown, code: ErrorCode, signal?: CancelSignal): Promise<unknown> => {
    signal?.throwIfAborted();
    const id = ++calls;
    const target = living();
    const onAbort = () => target.postMessage({ abort: id } satisfies Request);
    signal?.addEventListener("abort", onAbort, { once: true });
    const answered = new Promise((resolve, reject) => {
      open.set(id, { resolve, reject, code });
      target.postMessage({ id, call: name, uid, options } satisfies Request);
    });
    return answered.finally(() => signal?.removeEventListener("abort", onAbort));
  };

  return {
    source: (uid, bounded) => ({
      bounded,
      enumerate: async ({ signal, ...options }) => (await call("enumerate", uid, options, "SOURCE_FAILED", signal)) as Enumeration,
      open: () => Promise.reject(new CodedError("INTERNAL", "invariant broken: a driver reads no records")),
    }),
    sink: (uid, { appears, guarantee }) => ({
      ...(appears === undefined ? {} : { appears }),
      ...(guarantee === undefined ? {} : { guarantee }),
      begin: async ({ signal, ...options }) => void (await call("begin", uid, options, "SINK_FAILED", signal)),
      open: () => Promise.reject(new CodedError("INTERNAL", "invariant broken: a driver writes no records")),
      commit: async (committables, options) => void (await call("commit", uid, { committables, options }, "SINK_FAILED")),
      cleanUp: async ({ applicationId, keepAttempt, needed = [] }) =>
        void (await call("cleanUp", uid, { applicationId, keepAttempt, needed, attempt }, "SINK_FAILED")),
    }),
  };
}

function uncaught(thrown: unknown, code: ErrorCode): CodedError {
  if ((thrown as { readonly code?: unknown }).code === "ERR_WORKER_OUT_OF_MEMORY") {
    return new CodedError("OUT_OF_MEMORY", "The job's own code in the driver needed more memory than the driver has.", {
      hint: "Submit it with more memory for the driver: --memory.",
    });
  }
  const { message } = CodedError.from(thrown);
  return new CodedError(code, `Uncaught error in the driver: ${message}`, { ...thrownAt(thrown), cause: thrown });
}

// ------------------------------------------------------------------------------------------------ in the thread

/** Whether this is the thread, not the program itself. */
export const isInputsThread = (): boolean => (workerData as { readonly mark?: unknown } | null)?.mark === MARK;

export function serveInputs(): void {
  process.setSourceMapsEnabled(true);
  const { start } = workerData as { readonly start: RunnerStart };
  const job = loadJob(start.application, start.artifactPath).then((loaded) => inputsOf(loaded));
  job.catch(() => undefined);
  const aborting = new Map<number, AbortController>();
  parentPort?.on("message", async (request: Request) => {
    if ("abort" in request) {
      aborting.get(request.abort)?.abort(new CodedError("ABORTED", "the driver no longer waits for this"));
      return;
    }
    const controller = new AbortController();
    aborting.set(request.id, controller);
    let answer: Answer;
    try {
      answer = { id: request.id, value: await serve(await job, request, controller.signal) };
    } catch (thrown) {
      answer = { id: request.id, error: asUserError(thrown, request).toShape() };
    }
    aborting.delete(request.id);
    parentPort?.postMessage(answer);
  });
}

async function serve(job: Awaited<ReturnType<typeof inputsOf>>, request: Call, signal: AbortSignal): Promise<unknown> {
  const { uid, options } = request;
  if (request.call === "enumerate") {
    const source = job.sources.get(uid)?.connector;
    const enumeration = await source?.enumerate({ ...(options as { readonly parallelism: number }), signal });
    // Only what JSON holds goes to executors anyway; it is found out here what does not.
    return JSON.parse(JSON.stringify(enumeration));
  }
  const sink = job.sinks.get(uid)?.connector;
  if (request.call === "begin") {
    await sink?.begin?.({ ...(options as Parameters<NonNullable<SinkConnector<unknown>["begin"]>>[0]), signal });
  } else if (request.call === "commit") {
    const given = options as {
      readonly committables: readonly JsonValue[];
      readonly options: Parameters<SinkConnector<unknown>["commit"]>[1];
    };
    await sink?.commit(given.committables, given.options);
  } else {
    const { attempt, ...given } = options as {
      readonly applicationId: string;
      readonly keepAttempt: string | null;
      readonly needed: readonly string[];
      readonly attempt: number;
    };
    const needed = new Set(given.needed);
    await sink?.cleanUp({ ...given, isOver: (name) => isUpTo(attempt, name) && !needed.has(name) });
  }
  return null;
}

function asUserError(thrown: unknown, { call, uid }: Call): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const isSource = call === "enumerate";
  const { message } = CodedError.from(thrown);
  const what = isSource ? `Source '${uid}' could not be enumerated` : `Sink '${uid}' failed in ${call}`;
  return new CodedError(isSource ? "SOURCE_FAILED" : "SINK_FAILED", `${what}: ${message}`, {
    ...thrownAt(thrown),
    details: { operator: uid, stack: thrown instanceof Error ? (thrown.stack ?? null) : null },
    cause: thrown,
  });
}
