/** `host:port,host,[::1]:port/chroot`: the servers of an ensemble and the path that all paths are below. */
import { ZooKeeperError } from "./errors.js";
import { pathProblem } from "./path.js";

export interface ServerAddress {
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface ConnectString {
  readonly servers: readonly ServerAddress[];
  /** "" for none, otherwise a path. */
  readonly chroot: string;
}

export const DEFAULT_PORT = 2181;
const MAX_SERVERS = 64;

export const addressText = ({ host, port }: ServerAddress): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

export function parseConnectString(text: string): ConnectString {
  const slash = text.indexOf("/");
  const list = slash < 0 ? text : text.slice(0, slash);
  const chroot = slash < 0 ? "" : text.slice(slash);
  const problem = chroot === "" ? null : pathProblem(chroot);
  if (problem !== null) throw invalid(`its path ${JSON.stringify(chroot)} is none: ${problem}`);
  // Whoever writes user:password@ here is not to find the password in a log.
  if (list.includes("@")) throw invalid("it has an @; credentials are given as an option, not in the list of servers");
  const servers = list.split(",").map((part) => parseAddress(part.trim()));
  if (servers.length > MAX_SERVERS) throw invalid(`it names ${servers.length} servers, and at most ${MAX_SERVERS} are allowed`);
  return { servers, chroot: chroot === "/" ? "" : chroot };
}

function parseAddress(text: string): ServerAddress {
  const match = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined) throw invalid(`${JSON.stringify(text)} is not host, host:port or [IPv6]:port`);
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (port < 1 || port > 65_535) throw invalid(`${JSON.stringify(text)} has no port between 1 and 65535`);
  return { host, port };
}

const invalid = (why: string): ZooKeeperError =>
  new ZooKeeperError("INVALID_ARGUMENT", `The list of ZooKeeper servers is not valid: ${why}`, {
    hint: 'Write it as "host1:2181,host2:2181,[::1]:2181/path".',
  });
