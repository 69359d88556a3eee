/**
 * Where messages to a master are sorted: bytes are served here, what is for the leader goes to its core, and a standby answers by itself.
 *
 * Invariants:
 *   1. A request is answered by exactly one of them, or its link ends.
 *   2. A leader that is not certain any more that it leads (its session's local deadline has passed) answers nothing as the leader. What workers and
 *      drivers tell it goes to its core all the same: whatever the core decides then ends the leadership, and with it their links (master-leading.ts).
 */
import { CodedError } from "../../base/errors.js";
import { isoTime } from "../../base/iso-time.js";
import type { MasterEvent } from "../../master/effects.js";
import { isOperation } from "../../master/operations.js";
import { OPERATIONS, type OperationInput, type OperationOutput } from "../../wire/operations.js";
import type { ClusterView, MasterState } from "../../wire/views.js";
import type { Link, LinkMessage } from "../link/link.js";
import type { From } from "../turns/inbox.js";
import type { MasterArtifacts } from "./master-artifacts.js";
import type { Following } from "./master-following.js";
import type { Leading } from "./master-leading.js";
import { mayAsk } from "./master-links.js";

/** How long a standby waits for the leader's own view before it answers with what it knows. */
const FORWARD_TIMEOUT_MS = 2_000;

export interface MasterDeskOptions {
  readonly artifacts: MasterArtifacts;
  /** Null on a standby. */
  leading(): Leading | null;
  self(): {
    readonly id: string;
    readonly address: string;
    readonly pid: number;
    readonly build: string | null;
    readonly state: MasterState;
    readonly clusterId: string | null;
    readonly epoch: number;
  };
  /** Null: it does not listen yet. */
  following(): Following | null;
  handOver(input: OperationInput<"handover">): Promise<OperationOutput<"handover">>;
  readonly signal: AbortSignal;
}

export interface MasterDesk {
  take(link: Link, message: LinkMessage): void;
}

export function createMasterDesk(options: MasterDeskOptions): MasterDesk {
  const { artifacts } = options;
  return {
    take(link, { kind, body, requestId, sizeBytes }) {
      const leading = options.leading();
      const isInDoubt = leading?.active() === false;
      if (requestId !== null && isOperation(kind) && !mayAsk(link.peer, kind)) {
        const message = `a ${link.peer.role} with the key of ${link.peer.scope} may not ask for ${kind}`;
        link.replyError(requestId, new CodedError("FORBIDDEN", message).toShape());
      } else if (kind === "artifact.get" && requestId !== null) {
        answer(link, requestId, artifacts.get(body as OperationInput<"artifact.get">));
      } else if (leading === null || (isInDoubt && isOperation(kind))) {
        answerAsStandby(options, link, kind, requestId);
      } else if (kind === "handover" && requestId !== null) {
        answer(link, requestId, options.handOver(body as OperationInput<"handover">));
      } else if (kind === "artifact.put" && requestId !== null) {
        answer(link, requestId, artifacts.put(body as OperationInput<"artifact.put">));
      } else {
        const event: MasterEvent = { kind: "message", linkId: link.id, message: kind, body, requestId };
        const job = kind === "submit" ? (body as OperationInput<"submit">).spec.job : null;
        const from = { linkId: link.id, sizeBytes };
        if (job === null || requestId === null) post(leading, link, event, from);
        else void postWithBundle(artifacts, leading, link, requestId, event, from, job.artifact);
      }
    },
  };
}

function post(leading: Leading, link: Link, event: MasterEvent, from: From): boolean {
  if (leading.post(event, from)) return true;
  const message = `more messages of ${link.peer.role} ${link.peer.id} wait for this master than it keeps of one connection`;
  link.fail(new CodedError("LIMIT_EXCEEDED", message, { hint: "Wait for answers before asking more." }));
  return false;
}

function answer(link: Link, requestId: number, body: Promise<unknown>): void {
  body.then(
    (value) => link.reply(requestId, value),
    (thrown) => link.replyError(requestId, CodedError.from(thrown).toShape()),
  );
}

/** A job whose bundle is not here could never start. */
async function postWithBundle(
  artifacts: MasterArtifacts,
  leading: Leading,
  link: Link,
  requestId: number,
  event: MasterEvent,
  from: From,
  sha256: string,
): Promise<void> {
  try {
    if (!(await artifacts.expect(sha256))) {
      throw new CodedError("NOT_FOUND", `the job's bundle ${sha256} has not been uploaded to this cluster`, {
        hint: "Upload it again, then submit.",
        details: { bundle: sha256 },
      });
    }
    if (!post(leading, link, event, from)) artifacts.taken(sha256);
  } catch (thrown) {
    link.replyError(requestId, CodedError.from(thrown).toShape());
  }
}

function answerAsStandby(options: MasterDeskOptions, link: Link, kind: string, requestId: number | null): void {
  if (requestId === null) {
    link.close();
    return;
  }
  if (kind === "cluster") {
    answer(link, requestId, clusterOfStandby(options));
    return;
  }
  const leader = options.following()?.leader() ?? null;
  const where = leader === null ? "it knows no leader" : `the leader is ${leader.address}`;
  const hint = leader === null ? "Try again: a leader is being elected." : `Ask the master at ${leader.address}.`;
  const details = { leader: leader?.address ?? null };
  const message = `the master at ${options.self().address} is a standby; ${where}`;
  link.replyError(requestId, new CodedError("NOT_LEADER", message, { hint, details }).toShape());
}

/** The leader's own view; without a leader that answers, what can be known here: who of the masters answers, and since when nobody leads. */
async function clusterOfStandby(options: MasterDeskOptions): Promise<ClusterView> {
  const request = { signal: options.signal, timeoutMs: FORWARD_TIMEOUT_MS, reply: OPERATIONS.cluster.output };
  const following = options.following();
  const said = await following
    ?.link()
    ?.request("cluster", {}, request)
    .catch(() => undefined);
  if (said !== undefined) return said;
  const last = following?.lastLeader() ?? null;
  const since = isoTime(following?.heardAt() ?? 0);
  const { masters: others, silent } = (await following?.others()) ?? { masters: [], silent: [] };
  const { id, address, pid, build, state, clusterId, epoch } = options.self();
  const leading = others.find((other) => other.state === "ALIVE" || other.state === "RECOVERING");
  const leader = leading === undefined ? null : refOf(leading);
  return {
    clusterId: clusterId ?? "",
    epoch: Math.max(epoch, ...others.map((other) => other.epoch ?? 0)),
    state: leading?.state ?? state,
    leader,
    leaderless: leader === null ? { since, last: last === null ? null : refOf(last) } : null,
    masters: [...others, { id, address, pid, state, epoch, build }].sort((a, b) => (a.address < b.address ? -1 : 1)),
    silentMasters: [...silent],
    workers: { alive: 0, suspect: 0, lost: 0, draining: 0, gone: 0 },
    applications: { waiting: 0, running: 0 },
    recovery: null,
    removals: null,
    quarantined: [],
  };
}

const refOf = ({ id, address, pid }: { readonly id: string; readonly address: string; readonly pid: number }) => ({
  id,
  address,
  pid,
});
