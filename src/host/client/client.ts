/**
 * The client library: calls the cluster's operations (wire/operations.ts) at whoever leads, across failovers.
 *
 * Boundary: finding the leader is master-finder.ts; following an application's end, events and logs is client-follow.ts on top of `call`.
 * Invariants:
 *   1. A call ends with the operation's answer, with an error that no retry can heal, with NO_MASTER at its deadline, or by its signal.
 *   2. Calls whose outcome is unknown are sent again: every operation is idempotent by its own input (submission key, offset, cursor).
 *   3. After `close` nothing of it runs; open calls have rejected with CLOSED.
 */
import type { z } from "zod";
import { CodedError, hasCode } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import { randomId } from "../../env/random.js";
import { CLUSTER_SCOPE, NO_SECRET } from "../../wire/handshake.js";
import type { OperationInput, OperationName, OperationOutput } from "../../wire/operations.js";
import { OPERATIONS } from "../../wire/operations.js";
import type { Looking } from "../finding/master-finder.js";
import { followLeader } from "../finding/master-finder.js";
import { createPlaces, type OpenRegistry } from "../finding/master-places.js";
import type { ReadFile } from "../finding/master-url.js";
import { leaveForOther } from "../finding/other-leader.js";
import type { Link } from "../link/link.js";
import { DEFAULT_HEARTBEAT_MS, DEFAULT_SILENCE_MS } from "../link/link.js";
import { dialLink } from "../link/link-handshake.js";
import { explainLooking } from "./client-errors.js";
import { watchSilence } from "./client-silence.js";
import { createSlot } from "./client-slot.js";

/** One try of a call; a longer deadline is made of several tries. Longer than MAX_WAIT_MS, for which an operation may wait by itself. */
const MAX_TRY_MS = 60_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** What any master answers waits so long for a leader (at most a quarter of its time), whose answer says more, before a standby is asked. */
const LEADER_FIRST_MS = 2_000;
const MIN_RETRY_PAUSE_MS = 10;
const MAX_RETRY_PAUSE_MS = 1_000;

export interface ClientOptions {
  readonly env: Env;
  /** See master-url.ts. */
  readonly masterUrl: string;
  readonly readFile: ReadFile;
  /** Asks ZooKeeper; absent: a `zk://` URL is refused. */
  readonly openRegistry?: OpenRegistry;
  /** Null: the cluster has none (loopback). */
  readonly secret: Uint8Array | null;
  /** Ends the client. */
  readonly signal: AbortSignal;
  /** How long `connectClient` waits for a leader; Infinity: until the signal. */
  readonly timeoutMs: number;
  readonly heartbeatMs?: number;
  readonly silenceMs?: number;
  /** For people: what the client waits for. */
  onLooking?(looking: Looking): void;
  /** Addresses of all masters that are known, the likeliest first, whenever that changes. */
  onMasters?(addresses: readonly string[]): void;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** In all, across retries and failovers. Infinity: until the signal. */
  readonly timeoutMs: number;
}

export interface Client {
  call<N extends OperationName>(name: N, input: OperationInput<N>, options: CallOptions): Promise<OperationOutput<N>>;
  /** A link to a worker, for `logs.read`; the caller closes it. */
  dialWorker(address: string, options: { readonly signal: AbortSignal }): Promise<Link>;
  readonly env: Env;
  close(): Promise<void>;
}

/**
 * Resolves when a leader is found. Rejects with NO_MASTER after `timeoutMs` (names what was tried), at once with INVALID_ARGUMENT for the URL, or with
 * UNAUTHENTICATED, WRONG_CLUSTER, PROTOCOL_VERSION when every master refuses so.
 */
export async function connectClient(options: ClientOptions): Promise<Client> {
  const client = startClient(options);
  try {
    await client.connected({ signal: options.signal, timeoutMs: options.timeoutMs });
    return client;
  } catch (thrown) {
    await client.close();
    throw thrown;
  }
}

/** As `connectClient`, without waiting for the first leader: calls wait for it. Throws INVALID_ARGUMENT. */
export function startClient(options: ClientOptions): Client & { connected(options: CallOptions): Promise<void> } {
  const { env } = options;
  const { masterUrl, readFile, openRegistry, onMasters } = options;
  const places = createPlaces({
    env,
    masterUrl,
    readFile,
    ...(openRegistry === undefined ? {} : { openRegistry }),
    ...(onMasters === undefined ? {} : { onKnown: onMasters }),
  });
  const heartbeatMs = options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
  const id = `client-${randomId(env.random, 12)}`;
  const control = new AbortController();
  const closed = new CodedError("CLOSED", "the client was closed");
  const slot = createSlot(env.clock);
  const close = () => {
    if (control.signal.aborted) return;
    options.signal.removeEventListener("abort", close);
    control.abort(closed);
    slot.close(closed);
  };

  const dial = (address: string, signal: AbortSignal): Promise<Link> =>
    dialLink(address, {
      env,
      epoch: () => slot.epoch(),
      incoming: {},
      heartbeatMs,
      silenceMs: options.silenceMs ?? DEFAULT_SILENCE_MS,
      role: "client",
      id,
      scope: CLUSTER_SCOPE,
      key: options.secret ?? NO_SECRET,
      clusterId: null,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      signal,
    });

  const search = { env, masterUrl, readFile, places, dial };
  const askOthers = (link: Link, signal: AbortSignal): Promise<void> =>
    leaveForOther(link, { ...search, signal: AbortSignal.any([signal, control.signal]) });

  const following = followLeader({
    ...search,
    signal: control.signal,
    onLink: (link) => {
      slot.fill(link);
      watchSilence(link, { env, heartbeatMs, askOthers: (signal) => askOthers(link, signal) });
    },
    onLooking: (looking) => {
      slot.looking(looking);
      options.onLooking?.(looking);
    },
  });
  options.signal.addEventListener("abort", close, { once: true });
  if (options.signal.aborted) close();

  /** Operations that any master answers do not wait for a leader when there is none. */
  const anyMaster = async (signal: AbortSignal): Promise<Link | null> => {
    const { addresses } = await places.look();
    const dialled = addresses.map((address) => dial(address, signal));
    const first = await Promise.any(dialled).catch(() => null);
    for (const one of dialled) {
      one.then(
        (link) => link !== first && link.close(),
        () => {},
      );
    }
    return first;
  };

  return {
    env,
    connected: async (callOptions) => {
      const deadline = env.clock.now() + callOptions.timeoutMs;
      await slot.take(callOptions.signal, deadline).catch((thrown) => {
        throw explainLooking(thrown, slot.lastLooking(), masterUrl, callOptions.timeoutMs);
      });
    },
    call: (name, input, callOptions) =>
      callOperation(name, input, callOptions, {
        env,
        slot,
        anyMaster,
        explain: (thrown) => explainLooking(thrown, slot.lastLooking(), masterUrl, callOptions.timeoutMs),
      }),
    dialWorker: (address, callOptions) => dial(address, callOptions.signal),
    close: async () => {
      close();
      await following;
      await places.close();
    },
  };
}

interface CallContext {
  readonly env: Env;
  readonly slot: ReturnType<typeof createSlot>;
  anyMaster(signal: AbortSignal): Promise<Link | null>;
  explain(thrown: unknown): unknown;
}

async function callOperation<N extends OperationName>(
  name: N,
  input: OperationInput<N>,
  options: CallOptions,
  context: CallContext,
): Promise<OperationOutput<N>> {
  const { env, slot } = context;
  const deadline = env.clock.now() + options.timeoutMs;
  for (let attempt = 1; ; attempt += 1) {
    const link = await linkFor(name, options.signal, deadline, context);
    const isAside = link !== slot.current();
    try {
      const timeoutMs = Math.min(MAX_TRY_MS, Math.max(1, deadline - env.clock.now()));
      const reply = OPERATIONS[name].output as unknown as z.ZodType<OperationOutput<N>>;
      return await link.request(name, input, { signal: options.signal, timeoutMs, reply });
    } catch (thrown) {
      if (options.signal.aborted || slot.closedReason() !== null) throw slot.closedReason() ?? thrown;
      const error = CodedError.from(thrown);
      if (error.retry === "no") throw error;
      // A leader that does not lead any more is left; the finder looks again.
      if (error.retry === "after-leader-lookup") link.close();
      if (env.clock.now() >= deadline) throw error.code === "TIMEOUT" ? context.explain(error) : error;
      if (error.code !== "CONNECTION_LOST") await sleep(env.clock, retryPauseMs(env, attempt, deadline), options.signal);
    } finally {
      // One that was dialled for this call only.
      if (isAside) link.close();
    }
  }
}

/** To the leader; for what any master answers, after a while, to a standby. */
async function linkFor(name: OperationName, signal: AbortSignal, deadline: number, context: CallContext): Promise<Link> {
  const { slot, env } = context;
  const isForAny = OPERATIONS[name].answeredBy === "master";
  for (;;) {
    const { now } = env.clock;
    const leaderFirstMs = Math.max(MIN_RETRY_PAUSE_MS, Math.min(LEADER_FIRST_MS, (deadline - now()) / 4));
    try {
      return await slot.take(signal, isForAny ? now() + leaderFirstMs : deadline);
    } catch (thrown) {
      if (!isForAny || !hasCode(thrown, "TIMEOUT") || now() >= deadline) throw context.explain(thrown);
    }
    const other = await context.anyMaster(signal);
    if (other === null) continue;
    slot.owns(other);
    return other;
  }
}

function retryPauseMs(env: Env, attempt: number, deadline: number): number {
  const full = Math.min(MAX_RETRY_PAUSE_MS, MIN_RETRY_PAUSE_MS * 2 ** Math.min(attempt, 10));
  return Math.max(0, Math.min(full * (0.5 + env.random.fraction() / 2), deadline - env.clock.now()));
}
