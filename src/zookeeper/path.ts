/**
 * Paths of nodes, and the chroot: a prefix that the client adds to every path it sends and takes from every path it is given.
 *
 * The rules are those of ZooKeeper's PathUtils, checked here so that a wrong path is refused before it is sent.
 */
import { ZooKeeperError } from "./errors.js";

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what ZooKeeper refuses
const REFUSED = /[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff]/;

/** Why it is no path, or null. A sequential node's path may end in a slash: its name is then the number alone. */
export function pathProblem(path: string, sequential = false): string | null {
  if (!path.startsWith("/")) return "it does not begin with a slash";
  if (path === "/") return null;
  const parts = path.slice(1).split("/");
  if (sequential && parts.at(-1) === "") parts.pop();
  if (parts.includes("")) return "a part of it is empty";
  if (parts.includes(".") || parts.includes("..")) return "a part of it is . or ..";
  if (REFUSED.test(path)) return "it has a character that ZooKeeper refuses";
  return null;
}

export function requirePath(path: string, sequential = false): void {
  const problem = typeof path === "string" ? pathProblem(path, sequential) : "it is not a text";
  if (problem !== null) throw new ZooKeeperError("INVALID_ARGUMENT", `${JSON.stringify(path)} is not a path: ${problem}`, { path });
}

/** `chroot` is "" or a path without a slash at its end. */
export const toServerPath = (chroot: string, path: string): string =>
  chroot === "" ? path : path === "/" ? chroot : `${chroot}${path}`;

/** Null for a path outside the chroot. */
export function toClientPath(chroot: string, path: string): string | null {
  if (chroot === "") return path;
  if (path === chroot) return "/";
  return path.startsWith(`${chroot}/`) ? path.slice(chroot.length) : null;
}

/** The path itself is no ancestor. `/` has none. */
export function* ancestorsOf(path: string): Generator<string> {
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) yield path.slice(0, end);
  if (path !== "/") yield "/";
}
