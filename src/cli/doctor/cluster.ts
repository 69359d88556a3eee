/** Checks of a running cluster, as its masters tell, and of who is let in at its listeners. */
import { CodedError, hasCode } from "../../base/errors.js";
import { dialPeer } from "../../host/link/link-handshake.js";
import { createNodeEnv } from "../../node/env.js";
import { createLog } from "../../node/log.js";
import { isLoopback } from "../../node/network/listen-policy.js";
import { parseHostPort } from "../../node/network/tcp-transport.js";
import { CLUSTER_SCOPE, NO_SECRET } from "../../wire/handshake.js";
import type { ClusterView, WorkerView } from "../../wire/views.js";
import { openClient } from "../client/cluster-client.js";
import type { ClusterOptions } from "../command.js";
import { removalsText } from "../commands/removals.js";
import { formatCount, formatDuration } from "../terminal.js";
import { type Check, check, judge } from "./check.js";

const DIAL_TIMEOUT_MS = 2_000;
/** Of a large cluster some: they are started alike. */
const MAX_LISTENERS = 32;

export async function cluster(options: ClusterOptions, signal: AbortSignal): Promise<readonly Check[]> {
  try {
    await using client = await openClient(options, signal, { awaitLeader: false });
    const view = await client.call("cluster", {});
    const { workers } = view.leaderless === null ? await client.call("workers", {}) : { workers: [] };
    return [...viewChecks(view), ...(await listeners(view, workers, signal))];
  } catch (thrown) {
    const error = CodedError.from(thrown);
    return [
      check(
        "masters",
        error.code === "NO_MASTER" ? "warn" : "fail",
        error.message,
        error.hint ?? `See docs/errors/${error.code}.md.`,
      ),
    ];
  }
}

export function viewChecks(view: ClusterView): readonly Check[] {
  const { masters, recovery, workers, quarantined, removals, leaderless } = view;
  const shown = masters.map((master) => `${master.address} ${master.state}`).join(", ");
  if (leaderless !== null) {
    const hint = "Look at the log of each master for what it waits for: the store, another process's lock, a full disk.";
    const silent = view.silentMasters.map(({ address }) => `, ${address} does not answer`).join("");
    return [check("masters", "fail", `nobody leads since ${leaderless.since} (epoch ${view.epoch}): ${shown}${silent}`, hint)];
  }
  const found = [
    judge(
      "masters",
      masters.length > 1,
      "warn",
      `epoch ${view.epoch}: ${shown}`,
      "With one master nobody takes over: start a standby.",
    ),
  ];
  const builds = new Set(masters.map(({ build }) => build ?? "unknown"));
  if (builds.size > 1) {
    const text = `masters run ${builds.size} builds: ${masters.map(({ id, build }) => `${id} ${build ?? "unknown"}`).join(", ")}`;
    found.push(
      check("builds", "warn", text, "An upgrade is under way: bring the others to the same build (docs/operating-zookeeper.md)."),
    );
  }
  if (recovery?.durationMs != null) found.push(check("recovery", "ok", `the last one took ${formatDuration(recovery.durationMs)}`));
  const counts = `${workers.alive} alive, ${workers.suspect} suspect, ${workers.lost} lost`;
  found.push(judge("workers", workers.alive > 0, "warn", counts, "Start one with: holdfast worker"));
  if (removals !== null && (removals.waiting > 0 || removals.held)) {
    const hint = "Look at the network between masters and workers. Then: holdfast removals --continue, or --hold.";
    found.push(check("removals", "warn", removalsText(removals), hint));
  }
  for (const record of quarantined)
    found.push(check("records", "warn", `${record.key}: ${record.reason}`, "See docs/errors/RECORD_QUARANTINED.md."));
  return found;
}

type Admission = "open" | "guarded" | "unreached";

/** Each is tried without a secret: who is let in could run programs. */
async function listeners(view: ClusterView, workers: readonly WorkerView[], signal: AbortSignal): Promise<readonly Check[]> {
  const all = [
    ...view.masters.map(({ id, address }) => ({ id, address })),
    ...workers.filter(({ state }) => state === "alive").map(({ id, address }) => ({ id, address })),
  ];
  const tried = await Promise.all(
    all.slice(0, MAX_LISTENERS).map(async (listener) => ({ ...listener, admission: await admissionAt(listener.address, signal) })),
  );
  return tried
    .map(({ id, address, admission }) => listenerCheck(id, address, admission))
    .concat(
      all.length <= MAX_LISTENERS
        ? []
        : [check("listener", "ok", `${formatCount(all.length - MAX_LISTENERS)} more were not tried`)],
    );
}

export function listenerCheck(id: string, address: string, admission: Admission): Check {
  const local = isLoopback(parseHostPort(address).host);
  const where = `${id} at ${address}`;
  if (admission === "unreached")
    return check(
      "listener",
      "warn",
      `${where} is not reached from here`,
      "See --public-address, --advertise-host, and the firewall between.",
    );
  if (admission === "guarded")
    return check("listener", "ok", `${where} asks for the cluster secret${local ? "" : "; what is said there is not encrypted"}`);
  if (local) return check("listener", "ok", `${where} lets in every user of this machine, and nobody else`);
  return check(
    "listener",
    "fail",
    `${where} lets in anybody who reaches it, without a secret`,
    "Stop it, make a secret with holdfast secret FILE, and give --secret-file FILE to every process.",
  );
}

async function admissionAt(address: string, signal: AbortSignal): Promise<Admission> {
  const log = createLog({ format: "text", stream: process.stderr, role: "client", id: "doctor", level: "error" });
  try {
    const { channel } = await dialPeer(address, {
      env: createNodeEnv({ log }),
      epoch: () => 0,
      role: "client",
      id: "doctor",
      scope: CLUSTER_SCOPE,
      key: NO_SECRET,
      clusterId: null,
      connectTimeoutMs: DIAL_TIMEOUT_MS,
      signal,
    });
    channel.connection.destroy();
    return "open";
  } catch (thrown) {
    signal.throwIfAborted();
    return hasCode(thrown, "UNAUTHENTICATED") ? "guarded" : "unreached";
  }
}
