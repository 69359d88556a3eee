/** Checks of a cluster's records in ZooKeeper: whether sessions work and how fast, who may touch the path, how full it is. */
import { CodedError } from "../../base/errors.js";
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import { lookAtPath, lookAtServer, type PathLook, type ServerLook } from "../../node/zookeeper-store/inspection.js";
import type { Acl } from "../../zookeeper/index.js";
import { MAX_STORE_BYTES, MERGE_ENTRIES } from "../../zookeeper-store/limits.js";
import { formatBytes, formatCount } from "../terminal.js";
import { type Check, check, judge, medianOf } from "./check.js";
import { askServer, ensembleChecks, type ServerAnswer } from "./ensemble.js";

const LOOK_TIMEOUT_MS = 8_000;
const SLOW_READ_MS = 50;
const SLOW_SYNC_MS = 100;
/** Of MAX_STORE_BYTES, from which it is time to act. */
const FULL_SHARE = 0.75;
/** Beyond it the log is not merged into pages as it should be. */
const LONG_LOG_ENTRIES = 8 * MERGE_ENTRIES;

/** Everything about a `zk://` URL. `sessionTimeoutMs`: what masters ask for. */
export async function zooKeeper(url: ZooKeeperUrl, sessionTimeoutMs: number, signal: AbortSignal): Promise<readonly Check[]> {
  const answers = await Promise.all(url.servers.map((server) => askServer(server, signal)));
  const serving = answers.filter(({ state }) => state === "serving").map(({ server }) => server);
  const options = { sessionTimeoutMs, timeoutMs: LOOK_TIMEOUT_MS, signal };
  const sessions = await Promise.all(
    serving.map(async (server) =>
      lookAtServer(url, server, options).then(
        (look) => sessionChecks(server, look, sessionTimeoutMs),
        (thrown) => [sessionFailed(server, thrown)],
      ),
    ),
  );
  const path =
    serving.length === 0
      ? []
      : await lookAtPath(url, serving, options).then(
          (look) => pathChecks(url, look),
          (thrown) => [sessionFailed(url.address, thrown)],
        );
  return [...ensembleChecks(answers), ...sessions.flat(), ...path, exposure(answers, url)];
}

function sessionFailed(where: string, thrown: unknown): Check {
  return check(
    "session",
    "fail",
    `${where} gives no session: ${CodedError.from(thrown).message}`,
    "See its log: too many connections of one address (maxClientCnxns), or no majority.",
  );
}

export function sessionChecks(server: string, look: ServerLook, askedMs: number): readonly Check[] {
  const read = medianOf(look.readsMs);
  const sync = medianOf(look.syncsMs);
  return [
    judge(
      "latency",
      read <= SLOW_READ_MS && sync <= SLOW_SYNC_MS,
      "warn",
      `${server}: a read takes ${read.toFixed(1)} ms and a sync ${sync.toFixed(1)} ms from here (medians)`,
      "Each durable step of a master waits for a round trip and a disk: put masters near the ensemble, and its transaction log on a fast disk.",
    ),
    judge(
      "session",
      look.grantedTimeoutMs === askedMs,
      "warn",
      `${server}: a master asks for ${askedMs} ms of session and gets ${look.grantedTimeoutMs} ms`,
      look.grantedTimeoutMs < askedMs
        ? "Raise maxSessionTimeout (default: 20 ticks), or give masters that --session-timeout: they get the shorter one anyway."
        : "Lower tickTime or minSessionTimeout (default: 2 ticks): a lost machine is noticed only after its session.",
    ),
    judge(
      "requests",
      look.takesLargeRequests,
      "fail",
      `${server} ${look.takesLargeRequests ? "takes" : "does not take"} requests of 1 MB`,
      "Leave jute.maxbuffer at its default of 1,048,575 or above, on all servers alike.",
    ),
  ];
}

export function pathChecks(url: ZooKeeperUrl, look: PathLook): readonly Check[] {
  switch (look.kind) {
    case "missing":
      return [check("path", "ok", `${url.path} does not exist yet: the first master makes it`)];
    case "refused":
      return [
        check(
          "path",
          "fail",
          `${url.path} may not be read ${url.credentials === null ? "without a user" : "by this user"}`,
          "Check user and password in the URL; they are those of the masters.",
        ),
      ];
    case "foreign":
      return [
        check(
          "path",
          "fail",
          `${url.path} holds something that is not this release's`,
          "Give the cluster a path of its own, or start the release that wrote it.",
        ),
      ];
    case "store":
      return [
        ...look.acls.flatMap(({ path, acl }) => aclChecks(path, acl, url.credentials !== null)),
        judge(
          "size",
          look.sizeBytes <= FULL_SHARE * MAX_STORE_BYTES,
          "warn",
          `records take ${formatBytes(look.sizeBytes)} of at most ${formatBytes(MAX_STORE_BYTES)}`,
          "Lower --max-finished, and give applications smaller parameters and results: at the bound submissions are refused.",
        ),
        judge(
          "log",
          look.logEntries <= LONG_LOG_ENTRIES,
          "warn",
          `${formatCount(look.logEntries)} commits wait to be merged into pages`,
          "A master merges them; see its log for why it does not.",
        ),
      ];
  }
}

/** One line a path, as short as it may be: who may what. */
function aclChecks(path: string, acl: readonly Acl[], hasUser: boolean): readonly Check[] {
  const open = acl.filter(({ scheme, permissions }) => scheme === "world" && permissions.length > 0);
  const who = acl.map((entry) => `${nameOf(entry)}: ${entry.permissions.join(" ")}`).join("; ");
  if (open.length === 0) return [check("acl", "ok", `${path} is for ${who}`)];
  if (hasUser) {
    return [
      check(
        "acl",
        "fail",
        `${path} is open to everybody (${who})`,
        `Give it to the cluster's user: zkCli.sh, addauth digest USER:PASSWORD, then setAcl -R ${path} auth::cdrwa. Masters refuse it as it is.`,
      ),
    ];
  }
  return [
    check(
      "acl",
      "warn",
      `${path} is open to everybody who reaches ZooKeeper (${who})`,
      "Such people can read records and depose the leader. Use zk://USER:PASSWORD@..., or an ensemble that nobody else reaches.",
    ),
  ];
}

/** Never the digest itself: it is made from the password. */
const nameOf = ({ scheme, id }: Acl): string =>
  scheme === "digest" ? `user ${id.split(":")[0]}` : scheme === "world" ? "everybody" : `${scheme} ${id}`;

function exposure(answers: readonly ServerAnswer[], url: ZooKeeperUrl): Check {
  const far = answers.filter(({ server }) => !/^(?:127\.|localhost:|\[::1\])/.test(server));
  const text =
    far.length === 0
      ? "all servers are on this machine"
      : `masters speak to ${far.length} servers over the network without encryption${url.credentials === null ? "" : ", the password included"}`;
  return judge(
    "network",
    far.length === 0,
    "warn",
    text,
    "Keep ZooKeeper on a network of its own, a VPN, or behind a TLS tunnel: docs/operating-zookeeper.md.",
  );
}
