/**
 * Master URLs: where to look for masters.
 *
 *   holdfast://h1:7077,h2:7077    a list (also without the scheme); any of them answers who leads
 *   file:///path                  a file that holds one such URL, or one host:port a line; `#` begins a comment; read anew on every attempt
 *
 * Boundary: text to addresses. Reading the file is injected, because this folder knows no files.
 */
import { CodedError } from "../base/errors.js";

export const DEFAULT_MASTER_PORT = 7077;
/** Of one URL; more are a mistake, and each is dialled at once. */
export const MAX_MASTER_ADDRESSES = 32;
const MAX_FILE_CHARACTERS = 64 * 1024;
const HINT = "Write it as holdfast://host:7077, holdfast://host1:7077,host2:7077 or file:///path/of/a/file.";

export type MasterUrl =
  | { readonly kind: "list"; readonly addresses: readonly string[] }
  | { readonly kind: "file"; readonly path: string };

export type ReadFile = (path: string) => Promise<string>;

/** Throws INVALID_ARGUMENT. */
export function parseMasterUrl(text: string): MasterUrl {
  const url = text.trim();
  if (url.startsWith("file://")) return parseFileUrl(url);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1];
  if (scheme !== undefined && scheme !== "holdfast") {
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(url)} has the scheme ${scheme}, which this release does not know`, {
      hint: HINT,
    });
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

/** The addresses of this moment. Rejects when a file cannot be read or holds none: a state that may pass. */
export async function readMasterAddresses(url: MasterUrl, readFile: ReadFile): Promise<readonly string[]> {
  if (url.kind === "list") return url.addresses;
  let text: string;
  try {
    text = await readFile(url.path);
  } catch (thrown) {
    throw new CodedError(
      "NO_MASTER",
      `the file ${url.path} cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      { cause: thrown },
    );
  }
  return parseMasterFile(text, url.path);
}

/** The newest line is the last one (masters append theirs), so it comes first. Lines that are no addresses are left out: they may be half written. */
export function parseMasterFile(text: string, path: string): readonly string[] {
  const lines = text
    .slice(0, MAX_FILE_CHARACTERS)
    .split("\n")
    .map((line) => line.replace(/#.*$/, "").trim())
    .filter((line) => line.length > 0);
  const addresses: string[] = [];
  let lastError: unknown = null;
  for (const line of lines.reverse()) {
    try {
      const url = parseMasterUrl(line);
      if (url.kind === "file")
        throw new CodedError("INVALID_ARGUMENT", `${path} names another file, ${url.path}; it has to hold addresses`);
      addresses.push(...url.addresses);
    } catch (thrown) {
      lastError = thrown;
    }
  }
  if (addresses.length > 0) return [...new Set(addresses)].slice(0, MAX_MASTER_ADDRESSES);
  if (lastError !== null)
    throw new CodedError("NO_MASTER", `the file ${path} holds no address: ${(lastError as CodedError).message}`, {
      cause: lastError,
    });
  throw new CodedError("NO_MASTER", `the file ${path} is empty: no master has written its address there`);
}

function parseFileUrl(url: string): MasterUrl {
  const malformed = (why: string) => new CodedError("INVALID_ARGUMENT", `${JSON.stringify(url)} ${why}`, { hint: HINT });
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
      `${JSON.stringify(part.trim())} in the master URL ${JSON.stringify(url)} is not host:port`,
      { hint: HINT },
    );
  }
  return `${host}:${port}`;
}
