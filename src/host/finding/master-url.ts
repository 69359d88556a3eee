/**
 * Master URLs: where to look for masters.
 *
 *   holdfast://h1:7077,h2:7077                  a list (also without the scheme); any of them answers who leads
 *   zk://[user:password@]h1:2181,h2:2181/path   the --recovery of the masters: ZooKeeper lists them (coordination/zookeeper-url.ts)
 *   file:///path                                a file that holds one such URL, or one host:port a line; `#` begins a comment; read anew on every
 *                                               attempt
 *
 * Boundary: text to values; asking ZooKeeper is master-places.ts. Invariant: no text of an error, and nothing that `showMasterUrl` gives, holds
 * user or password.
 */
import { CodedError } from "../../base/errors.js";
import { isZooKeeperUrl, parseZooKeeperUrl, type ZooKeeperUrl } from "../../coordination/zookeeper-url.js";

export const DEFAULT_MASTER_PORT = 7077;
/** Of one URL; more are a mistake, and each is dialled at once. */
export const MAX_MASTER_ADDRESSES = 32;
const MAX_FILE_CHARACTERS = 64 * 1024;
const HINT =
  "Write it as holdfast://host:7077, holdfast://host1:7077,host2:7077, zk://host1:2181,host2:2181/path or file:///path/of/a/file.";

export type MasterUrl =
  | { readonly kind: "list"; readonly addresses: readonly string[] }
  | { readonly kind: "zookeeper"; readonly url: ZooKeeperUrl }
  | { readonly kind: "file"; readonly path: string };

export type ReadFile = (path: string) => Promise<string>;

/** Throws INVALID_ARGUMENT. */
export function parseMasterUrl(text: string): MasterUrl {
  const url = text.trim();
  if (url.startsWith("file://")) return parseFileUrl(url);
  if (isZooKeeperUrl(url)) return { kind: "zookeeper", url: parseZooKeeperUrl(url) };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1];
  if (scheme !== undefined && scheme !== "holdfast") {
    const message = `${JSON.stringify(showText(url))} has the scheme ${scheme}, which this release does not know`;
    throw new CodedError("INVALID_ARGUMENT", message, { hint: HINT });
  }
  const list = scheme === undefined ? url : url.slice("holdfast://".length);
  const addresses = list.split(",").map((part) => parseAddress(part, url));
  if (addresses.length > MAX_MASTER_ADDRESSES) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `${addresses.length} masters are too many; at most ${MAX_MASTER_ADDRESSES} are possible`,
    );
  }
  return { kind: "list", addresses: [...new Set(addresses)] };
}

/** As it may be shown: without user and password, whether it can be read or not. */
export function showMasterUrl(text: string): string {
  try {
    const parsed = parseMasterUrl(text);
    return parsed.kind === "zookeeper" ? parsed.url.address : showText(text.trim());
  } catch {
    return showText(text.trim());
  }
}

/** Nothing of an address or a path that is worth showing holds an @; what stands before one may be a password. */
const showText = (text: string): string => text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1...@");

/** What a file holds: addresses, or the URL of an ensemble that lists them. Rejects when it can't be read or holds none: a state that may pass. */
export async function readMasterFile(path: string, readFile: ReadFile): Promise<Exclude<MasterUrl, { readonly kind: "file" }>> {
  let text: string;
  try {
    text = await readFile(path);
  } catch (thrown) {
    if (thrown instanceof CodedError) throw thrown;
    throw new CodedError(
      "NO_MASTER",
      `the file ${path} cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      {
        cause: thrown,
      },
    );
  }
  return parseMasterFile(text, path);
}

/** The newest line is the last one (masters append theirs), so it comes first. Lines that are no addresses are left out: they may be half written. */
export function parseMasterFile(text: string, path: string): Exclude<MasterUrl, { readonly kind: "file" }> {
  const lines = text
    .slice(0, MAX_FILE_CHARACTERS)
    .split("\n")
    .map((line) => (isZooKeeperUrl(line) ? line : line.replace(/#.*$/, "")).trim())
    .filter((line) => line.length > 0);
  const addresses: string[] = [];
  let lastError: unknown = null;
  for (const line of lines.reverse()) {
    try {
      const url = parseMasterUrl(line);
      if (url.kind === "file")
        throw new CodedError("INVALID_ARGUMENT", `${path} names another file, ${url.path}; it has to hold addresses`);
      if (url.kind === "zookeeper") return url;
      addresses.push(...url.addresses);
    } catch (thrown) {
      lastError = thrown;
    }
  }
  if (addresses.length > 0) return { kind: "list", addresses: [...new Set(addresses)].slice(0, MAX_MASTER_ADDRESSES) };
  if (lastError !== null)
    throw new CodedError("NO_MASTER", `the file ${path} holds no address: ${(lastError as CodedError).message}`, {
      cause: lastError,
    });
  throw new CodedError("NO_MASTER", `the file ${path} is empty: no master has written its address there`);
}

function parseFileUrl(url: string): MasterUrl {
  const malformed = (why: string) => new CodedError("INVALID_ARGUMENT", `${JSON.stringify(showText(url))} ${why}`, { hint: HINT });
  let path: string;
  try {
    path = decodeURIComponent(url.slice("file://".length));
  } catch {
    throw malformed("has a malformed % escape");
  }
  if (!path.startsWith("/") || path.length < 2 || path.includes("\0"))
    throw malformed("is not the URL of a file: it needs three slashes and an absolute path");
  return { kind: "file", path };
}

function parseAddress(part: string, url: string): string {
  const match = /^(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\/?$/.exec(part.trim());
  const host = match?.[1];
  const port = match?.[2] === undefined ? DEFAULT_MASTER_PORT : Number(match[2]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(showText(part.trim()))} in the master URL ${JSON.stringify(showText(url))} is not host:port`,
      { hint: HINT },
    );
  }
  return `${host}:${port}`;
}
