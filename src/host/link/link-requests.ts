/**
 * Requests that one side of a link has open: their deadlines, cancellation, replies and bound.
 *
 * Boundary: numbers requests and settles promises; sends nothing.
 * Invariants:
 *   1. Every opened request settles once: by its reply, its timeout, its signal, or the end of the link.
 *   2. A request given up by this side still counts as open until the other side answers it, because there it is. So neither side ever sees more
 *      than MAX_OPEN_REQUESTS.
 */
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { Envelope } from "../../wire/envelope.js";
import { MAX_OPEN_REQUESTS } from "../../wire/envelope.js";
import type { RequestOptions } from "./link.js";

interface OpenRequest {
  readonly kind: string;
  /** Settles once; later calls do nothing. */
  readonly resolve: (body: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

export interface Requests {
  /** `id` is null when it could not be opened; `reply` then rejects. */
  open<T>(kind: string, options: RequestOptions<T>): { readonly id: number | null; readonly reply: Promise<T> };
  fail(id: number, reason: CodedError): void;
  /** Throws PROTOCOL_VIOLATION for a reply that nobody can have asked for, or that its schema refuses. */
  settle(id: number, reply: Envelope): void;
  endAll(reasonFor: (kind: string) => CodedError): void;
}

export function createRequests(clock: Clock): Requests {
  const open = new Map<number, OpenRequest>();
  const abandoned = new Set<number>();
  let nextId = 1;

  const start = <T>(kind: string, options: RequestOptions<T>, id: number): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const finish = (): boolean => {
        timer.cancel();
        options.signal.removeEventListener("abort", onAbort);
        return open.delete(id);
      };
      const giveUp = (reason: unknown) => {
        if (!finish()) return;
        abandoned.add(id);
        reject(reason);
      };
      const onAbort = () => giveUp(options.signal.reason);
      const timer = clock.at(clock.now() + options.timeoutMs, () =>
        giveUp(new CodedError("TIMEOUT", `${kind} was not answered within ${Math.round(options.timeoutMs)} ms`)),
      );
      options.signal.addEventListener("abort", onAbort, { once: true });
      open.set(id, {
        kind,
        resolve: (body) => {
          if (!finish()) return;
          const parsed = options.reply?.safeParse(body);
          if (parsed === undefined || parsed.success) {
            resolve((parsed === undefined ? body : parsed.data) as T);
            return;
          }
          const issue = parsed.error.issues[0];
          const violation = new CodedError(
            "PROTOCOL_VIOLATION",
            `reply to ${kind}: ${issue?.path.join(".") ?? ""} ${issue?.message ?? "is malformed"}`,
          );
          reject(violation);
          throw violation;
        },
        reject: (reason) => {
          if (finish()) reject(reason);
        },
      });
    });

  return {
    open(kind, options) {
      if (options.signal.aborted) return { id: null, reply: Promise.reject(options.signal.reason) };
      if (open.size + abandoned.size >= MAX_OPEN_REQUESTS) {
        const hint = "Wait for answers before asking more.";
        return {
          id: null,
          reply: Promise.reject(new CodedError("LIMIT_EXCEEDED", `${MAX_OPEN_REQUESTS} requests are open on this link`, { hint })),
        };
      }
      const id = nextId++;
      return { id, reply: start(kind, options, id) };
    },
    fail(id, reason) {
      open.get(id)?.reject(reason);
    },
    settle(id, reply) {
      if (abandoned.delete(id)) return;
      const request = open.get(id);
      if (request === undefined) throw new CodedError("PROTOCOL_VIOLATION", `a reply to request ${id}, which is not open`);
      if (reply.error !== undefined)
        request.reject(CodedError.fromShape(reply.error as Parameters<typeof CodedError.fromShape>[0]));
      else request.resolve(reply.body);
    },
    endAll(reasonFor) {
      abandoned.clear();
      for (const request of [...open.values()]) request.reject(reasonFor(request.kind));
    },
  };
}
