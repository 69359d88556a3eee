/** What the checks of the conformance suite are written with. */
import { expect } from "vitest";
import { CodedError, type ErrorCode } from "../base/errors.js";
import type {
  CommitResult,
  CoordinationSession,
  CoordinationStore,
  StoredRecord,
  WatchEvent,
  Write,
} from "../env/coordination-store.js";

export const live: { readonly signal: AbortSignal } = { signal: new AbortController().signal };
export const TTL_MS = 6_000;

export function openSession(store: CoordinationStore, candidate = "conformance"): Promise<CoordinationSession> {
  return store.openSession({ ttlMs: TTL_MS, signal: live.signal, candidate });
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

export function put(
  session: CoordinationSession,
  key: string,
  value: string,
  more: { readonly ephemeral?: boolean } = {},
): Promise<CommitResult> {
  return session.commit({ guards: [], writes: [{ put: key, value: bytes(value), ...more }] }, live);
}

export function commitAll(session: CoordinationSession, ...writes: Write[]): Promise<CommitResult> {
  return session.commit({ guards: [], writes }, live);
}

export async function read(session: CoordinationSession, key: string): Promise<string | undefined> {
  return text((await session.get(key, live))?.value);
}

export async function versionOf(session: CoordinationSession, key: string): Promise<number | undefined> {
  return (await session.get(key, live))?.version;
}

export async function listAll(session: CoordinationSession, prefix: string, limit = 100): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  let after: string | undefined;
  do {
    const page = await session.list({ prefix, limit, ...(after === undefined ? {} : { after }) }, live);
    expect(page.records.length).toBeLessThanOrEqual(limit);
    records.push(...page.records);
    after = page.next;
  } while (after !== undefined);
  return records;
}

export async function keysOf(session: CoordinationSession, prefix: string): Promise<string[]> {
  return (await listAll(session, prefix)).map((record) => record.key);
}

/** The code that the call is rejected with; fails when it resolves, or rejects with something else than a CodedError. */
export async function codeOf(call: Promise<unknown>): Promise<ErrorCode> {
  const outcome = await call.then(
    () => "it resolved" as const,
    (thrown: unknown) => thrown,
  );
  if (outcome instanceof CodedError) return outcome.code;
  throw new Error(`a rejection with a CodedError was expected, got: ${String(outcome)}`);
}

/** Everything a watch reports, with a wait for the event that matters. */
export function watching(session: CoordinationSession, prefix: string) {
  const events: WatchEvent[] = [];
  let onEvent: () => void = () => {};
  const watch = session.watch(prefix, (event) => {
    events.push(event);
    onEvent();
  });
  return {
    events,
    close: () => watch.close(),
    keys: () => events.flatMap((event) => (event.kind === "changed" ? [event.key] : [])),
    until: (condition: (events: readonly WatchEvent[]) => boolean | Promise<boolean>) =>
      within(
        (async () => {
          for (;;) {
            const before = events.length;
            if (await condition(events)) return;
            // An event that came during the condition counts.
            if (events.length > before) continue;
            await new Promise<void>((resolve) => {
              onEvent = resolve;
            });
          }
        })(),
        `a watch of ${prefix} has not seen what it waits for; it saw ${JSON.stringify(events)}`,
      ),
  };
}

/** A deadline for what must happen: a hanging store fails its check with a sentence. */
export async function within<T>(promise: Promise<T>, what: string, deadlineMs = 5_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${deadlineMs} ms: ${what}`)), deadlineMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
