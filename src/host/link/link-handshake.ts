/**
 * Who is on the other side: runs the handshake of wire/handshake.ts over a connection, and makes the link when both sides have proved their key.
 *
 * Boundary: `acceptLink` and `dialLink` for control links; `acceptPeer` and `dialPeer` give the authenticated raw connection for the data plane.
 * Invariants:
 *   1. Until the other side has proved its key nothing is parsed but one small JSON frame of fixed shape, within HANDSHAKE_TIMEOUT_MS.
 *   2. All causes of a failed proof (unknown scope, wrong key, role that may not use the scope) give the same answer.
 *   3. A failed handshake ends the connection; frames that came early are never delivered to anybody.
 */
import type { z } from "zod";
import { bytesToHex, equalInConstantTime, hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import type { Env } from "../../env/env.js";
import type { Connection } from "../../env/transport.js";
import { parseControlJson } from "../../wire/control-json.js";
import type { Role } from "../../wire/envelope.js";
import { MAX_HANDSHAKE_FRAME_BYTES, PROTOCOL_VERSION } from "../../wire/envelope.js";
import type { Facts, Hello, Welcome } from "../../wire/handshake.js";
import {
  challengeOrRefused,
  HANDSHAKE_TIMEOUT_MS,
  hello,
  helloProofText,
  helloVersion,
  NONCE_BYTES,
  roleMayUseScope,
  welcomeOrRefused,
  welcomeProofText,
} from "../../wire/handshake.js";
import type { Link, LinkPeer, LinkSettings } from "./link.js";
import type { Channel } from "./link-channel.js";
import { createChannel, decodeText, encodeText } from "./link-channel.js";
import type { KeyFor } from "./link-keys.js";
import { malformed, otherVersion, refusal, unauthenticated, wrongCluster } from "./link-refusals.js";
import { createLink } from "./link-session.js";

export interface AcceptorSettings {
  readonly env: Env;
  epoch(): number;
  /** This process's own role and id. */
  readonly role: Role;
  readonly id: string;
  /** Null: not known yet (a standby before its first recovery, a worker that never registered). */
  clusterId(): string | null;
  readonly keyFor: KeyFor;
  /** Roles that may connect here. */
  readonly roles: readonly Role[];
  /** Told in the welcome; a master tells its `state` and the `leader` it knows. */
  facts(): Facts;
}

export interface DialerSettings {
  readonly env: Env;
  epoch(): number;
  readonly role: Role;
  readonly id: string;
  readonly scope: string;
  /** Key of the scope; NO_SECRET where the cluster has none. */
  readonly key: Uint8Array;
  /** Null: not known yet. */
  readonly clusterId: string | null;
  readonly facts?: Facts;
  readonly connectTimeoutMs: number;
  /** Ends the dialling, not the link. */
  readonly signal: AbortSignal;
}

export type AcceptSettings = LinkSettings & AcceptorSettings;
export type DialSettings = LinkSettings & DialerSettings;

/**
 * An authenticated connection for other frames than envelopes. Set the listener on the channel (`listen`), not on the connection; call `limit` with
 * the largest frame to be expected. Frames that arrived already are kept (at most 64).
 */
export interface AuthenticatedPeer {
  readonly peer: LinkPeer;
  readonly channel: Channel;
}

/** Rejects with UNAUTHENTICATED, FORBIDDEN, WRONG_CLUSTER, PROTOCOL_VERSION, PROTOCOL_VIOLATION, TIMEOUT or the connection's end, which it ends. */
export function acceptLink(connection: Connection, settings: AcceptSettings): Promise<Link> {
  return acceptWith(connection, settings, (peer, channel) => createLink(channel, peer, settings));
}

/** As `acceptLink`, and what `Transport.connect` rejects with. */
export async function dialLink(address: string, settings: DialSettings): Promise<Link> {
  return dialWith(address, settings, (peer, channel) => createLink(channel, peer, settings));
}

export function acceptPeer(connection: Connection, settings: AcceptorSettings): Promise<AuthenticatedPeer> {
  return acceptWith(connection, settings, (peer, channel) => ({ peer, channel }));
}

export async function dialPeer(address: string, settings: DialerSettings): Promise<AuthenticatedPeer> {
  return dialWith(address, settings, (peer, channel) => ({ peer, channel }));
}

type Finish<T> = (peer: LinkPeer, channel: Channel) => T;

function acceptWith<T>(connection: Connection, settings: AcceptorSettings, finish: Finish<T>): Promise<T> {
  const { env } = settings;
  const nonce = bytesToHex(env.random.bytes(NONCE_BYTES));
  return exchange(env, connection, { signal: null, tells: true }, (session) => {
    session.say({ kind: "challenge", protocol: PROTOCOL_VERSION, nonce });
    session.hear((message) => {
      const received = readHello(message);
      const key = admit(received, nonce, settings);
      const answer = {
        kind: "welcome" as const,
        clusterId: settings.clusterId(),
        role: settings.role,
        id: settings.id,
        epoch: settings.epoch(),
        facts: settings.facts(),
      };
      const { proof: _, ...said } = received;
      session.say({ ...answer, proof: prove(env, key, welcomeProofText(answer, said, nonce)) } satisfies Welcome);
      const { role, id, scope, clusterId, epoch, facts } = received;
      session.done(() => finish({ role, id, scope, clusterId, epoch, facts }, session.channel));
    });
  });
}

async function dialWith<T>(address: string, settings: DialerSettings, finish: Finish<T>): Promise<T> {
  const { env, signal } = settings;
  const connection = await env.transport.connect(address, { signal, timeoutMs: settings.connectTimeoutMs });
  return exchange(env, connection, { signal, tells: false }, (session) => {
    session.hear((message) => {
      const first = parseAs(challengeOrRefused, message);
      if (first.kind === "refused") throw refusal(connection, first.error);
      if (first.protocol !== PROTOCOL_VERSION) throw otherVersion(first.protocol);
      const { role, id, scope, clusterId } = settings;
      const said = {
        kind: "hello" as const,
        protocol: PROTOCOL_VERSION,
        clusterId,
        role,
        id,
        scope,
        epoch: settings.epoch(),
        nonce: bytesToHex(env.random.bytes(NONCE_BYTES)),
        facts: settings.facts ?? {},
      };
      session.say({ ...said, proof: prove(env, settings.key, helloProofText(said, first.nonce)) } satisfies Hello);
      session.hear((reply) => {
        const answer = parseAs(welcomeOrRefused, reply);
        if (answer.kind === "refused") throw refusal(connection, answer.error);
        const { proof, ...welcomed } = answer;
        if (!proves(env, settings.key, welcomeProofText(welcomed, said, first.nonce), proof))
          throw unauthenticated(connection.remote);
        if (clusterId !== null && welcomed.clusterId !== null && clusterId !== welcomed.clusterId)
          throw wrongCluster(clusterId, welcomed.clusterId);
        const { kind: __, ...peer } = welcomed;
        session.done(() => finish({ ...peer, scope }, session.channel));
      });
    });
  });
}

/** Parses the version first: a hello of another version may have another shape. */
function readHello(message: unknown): Hello {
  const version = parseAs(helloVersion, message);
  if (version.protocol !== PROTOCOL_VERSION) throw otherVersion(version.protocol);
  return parseAs(hello, message);
}

/** The key that was proved, or an error. The proof comes first: a stranger learns nothing about roles or clusters. */
function admit(received: Hello, nonce: string, settings: AcceptorSettings): Uint8Array {
  const { proof, ...said } = received;
  const key = settings.keyFor(received.scope);
  // An unknown scope takes the same path, with a key that nobody has, so that the time of the answer does not tell it from a wrong proof.
  const proved = proves(settings.env, key ?? settings.env.random.bytes(32), helloProofText(said, nonce), proof);
  if (key === null || !proved || !roleMayUseScope(received.role, received.scope)) throw unauthenticated(null);
  if (!settings.roles.includes(received.role)) {
    throw new CodedError("FORBIDDEN", `a ${received.role} may not connect to this ${settings.role}`, {
      hint: `It accepts: ${settings.roles.join(", ")}. The address may be that of another process.`,
    });
  }
  const own = settings.clusterId();
  if (own !== null && received.clusterId !== null && own !== received.clusterId) throw wrongCluster(received.clusterId, own);
  return key;
}

interface Session<T> {
  readonly channel: Channel;
  say(message: object): void;
  /** What to do with the next frame; throwing refuses the other side. */
  hear(next: (message: unknown) => void): void;
  /** Nothing is delivered between the end of the handshake and what `make` sets up. */
  done(make: () => T): void;
}

/** One handshake: bounded in time and size, ended by whatever happens first. */
function exchange<T>(
  env: Env,
  connection: Connection,
  /** `tells`: the acceptor says why it refuses; a dialler just goes, as the other side may have a link already. */
  { signal, tells }: { readonly signal: AbortSignal | null; readonly tells: boolean },
  start: (session: Session<T>) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let over = false;
    let next: ((message: unknown) => void) | null = null;
    const finish = () => {
      over = true;
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (reason: unknown, tell: boolean) => {
      if (over) return;
      finish();
      channel.listen(() => {});
      if (tell && tells && reason instanceof CodedError) {
        connection.send(
          encodeText(JSON.stringify({ kind: "refused", error: { code: reason.code, message: reason.message, hint: reason.hint } })),
        );
        connection.close();
      } else {
        connection.destroy();
      }
      reject(reason);
    };
    const onAbort = () => fail(signal?.reason, false);
    const timer = env.clock.at(env.clock.now() + HANDSHAKE_TIMEOUT_MS, () =>
      fail(
        new CodedError("TIMEOUT", `${connection.remote} did not complete the handshake within ${HANDSHAKE_TIMEOUT_MS} ms`),
        false,
      ),
    );
    const channel = createChannel(connection, MAX_HANDSHAKE_FRAME_BYTES, (broken) => {
      if (over) connection.destroy();
      else
        fail(
          new CodedError(
            "PROTOCOL_VIOLATION",
            `${connection.remote} sent ${broken === "too-large" ? "too large a frame" : "too many frames"}`,
          ),
          false,
        );
    });
    connection.ended.then((reason) => fail(reason, false));
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted === true) {
      onAbort();
      return;
    }
    const session: Session<T> = {
      channel,
      say: (message) => {
        connection.send(encodeText(JSON.stringify(message)));
      },
      hear: (listener) => {
        next = listener;
      },
      done: (make) => {
        finish();
        channel.listen(null);
        resolve(make());
      },
    };
    start(session);
    channel.listen((frame) => {
      const step = next;
      next = null;
      try {
        if (step === null) throw new CodedError("PROTOCOL_VIOLATION", `${connection.remote} sent a frame out of turn`);
        step(decodeHandshake(frame));
      } catch (thrown) {
        fail(CodedError.from(thrown, "PROTOCOL_VIOLATION"), true);
      }
    });
  });
}

function decodeHandshake(frame: Uint8Array): unknown {
  let text: string;
  try {
    text = decodeText(frame);
  } catch {
    throw malformed();
  }
  return parseControlJson(text);
}

function parseAs<S extends z.ZodType>(schema: S, message: unknown): z.infer<S> {
  const parsed = schema.safeParse(message);
  if (!parsed.success) throw malformed();
  return parsed.data;
}

const prove = (env: Env, key: Uint8Array, text: string): string => bytesToHex(env.digest.hmacSha256(key, encodeText(text)));

const proves = (env: Env, key: Uint8Array, text: string, proof: string): boolean =>
  equalInConstantTime(env.digest.hmacSha256(key, encodeText(text)), hexToBytes(proof));
