/**
 * `zk://[user:password@]host1:2181,host2:2181/path`: which ensemble, which path in it, and as whom.
 *
 * Boundary: text to values. Invariant: no error and no `address` of it holds the password; `secretsOf` names what a log must never show.
 */
import { CodedError } from "../base/errors.js";

export interface ZooKeeperUrl {
  /** `host:port`, IPv6 addresses in brackets. */
  readonly servers: readonly string[];
  /** Absolute, of the cluster alone. */
  readonly path: string;
  readonly credentials: ZooKeeperCredentials | null;
  /** As it may be shown: without user and password. */
  readonly address: string;
}

export interface ZooKeeperCredentials {
  readonly user: string;
  readonly password: string;
}

const SCHEME = "zk://";
const DEFAULT_PORT = 2181;
const MAX_SERVERS = 32;
const HINT = "Write it as zk://host1:2181,host2:2181/path, with a user as zk://user:password@host1:2181/path.";

export const isZooKeeperUrl = (text: string): boolean => text.trim().toLowerCase().startsWith(SCHEME);

/** Throws INVALID_ARGUMENT, with a text that holds nothing of user or password. */
export function parseZooKeeperUrl(text: string): ZooKeeperUrl {
  const url = text.trim();
  if (!isZooKeeperUrl(url)) throw invalid("it does not begin with zk://");
  const rest = url.slice(SCHEME.length);
  // A password may hold anything but what must be escaped anyway; hosts hold no @.
  const at = rest.lastIndexOf("@");
  const credentials = at < 0 ? null : parseCredentials(rest.slice(0, at));
  const place = rest.slice(at + 1);
  const slash = place.indexOf("/");
  const path = slash < 0 ? "" : place.slice(slash).replace(/\/+$/, "");
  if (path === "") throw invalid("it has no path, and a cluster needs one of its own");
  const servers = [...new Set(place.slice(0, slash).split(",").map(parseServer))];
  if (servers.length > MAX_SERVERS) throw invalid(`it names ${servers.length} servers; at most ${MAX_SERVERS} are possible`);
  return { servers, path, credentials, address: `${SCHEME}${servers.join(",")}${path}` };
}

/** Every form in which the password may come up. */
export function secretsOf({ credentials }: ZooKeeperUrl): readonly string[] {
  if (credentials === null || credentials.password === "") return [];
  const { password } = credentials;
  return [...new Set([password, encodeURIComponent(password)])];
}

function parseCredentials(text: string): ZooKeeperCredentials {
  const colon = text.indexOf(":");
  if (colon < 1) throw invalid("what stands before the @ is not user:password");
  try {
    const user = decodeURIComponent(text.slice(0, colon));
    const password = decodeURIComponent(text.slice(colon + 1));
    if (user.includes(":") || password === "") throw invalid("what stands before the @ is not user:password");
    return { user, password };
  } catch (thrown) {
    if (thrown instanceof CodedError) throw thrown;
    throw invalid("user or password has a malformed % escape");
  }
}

function parseServer(text: string): string {
  const match = /^(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$/.exec(text.trim());
  const port = match?.[2] === undefined ? DEFAULT_PORT : Number(match[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) throw invalid("a server in it is not host:port");
  return `${match[1]}:${port}`;
}

const invalid = (why: string): CodedError =>
  new CodedError("INVALID_ARGUMENT", `the ZooKeeper URL cannot be read: ${why}`, { hint: HINT });
