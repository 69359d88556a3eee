/**
 * The file in which masters write their addresses (`--advertise-file`), so that whoever holds `file:///path` finds a master that came
 * back on another port. One `host:port` a line with the master's id behind `#`.
 *
 * Invariants: a reader sees a whole file (write beside it, rename over it); a master only adds and removes its own line; as two masters
 * may replace the file at the same time, each looks again every RECHECK_MS and puts its line back when it is missing. At most
 * MAX_ADVERTISED lines are kept, newest last, so that lines of masters that were killed do not gather for ever.
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";

const RECHECK_MS = 1000;
export const MAX_ADVERTISED = 16;

export interface Advertisement {
  /** Removes this master's line. */
  close(): Promise<void>;
}

export interface AdvertiseOptions {
  readonly file: string;
  readonly address: string;
  readonly masterId: string;
}

export async function advertise(options: AdvertiseOptions): Promise<Advertisement> {
  let over = false;
  let writing = Promise.resolve();
  const refresh = async () => {
    if (over || (await linesOf(options.file)).includes(lineOf(options))) return;
    await change(options, (others) => [...others, lineOf(options)]);
  };
  try {
    await mkdir(path.dirname(options.file), { recursive: true });
    await refresh();
  } catch (thrown) {
    throw new CodedError("DISK_FAILED", `The advertise file ${options.file} cannot be written: ${(thrown as Error).message}.`, {
      hint: "Give --advertise-file a path in a directory that the master may write.",
      cause: thrown,
    });
  }
  const timer = setInterval(() => {
    // A failed look (full disk) is tried again at the next one; readers keep what was there.
    writing = writing.then(refresh).catch(() => {});
  }, RECHECK_MS);
  timer.unref();
  return {
    close: async () => {
      over = true;
      clearInterval(timer);
      await writing;
      await change(options, (others) => others).catch(() => {});
    },
  };
}

/** The addresses that stand there; none when it cannot be read. */
export async function readAdvertised(file: string): Promise<readonly string[]> {
  const lines = await linesOf(file).catch(() => []);
  return lines.map((line) => (line.split("#")[0] ?? "").trim()).filter((address) => address !== "");
}

const lineOf = ({ address, masterId }: AdvertiseOptions): string => `${address} # ${masterId}`;

async function linesOf(file: string): Promise<readonly string[]> {
  try {
    return (await readFile(file, "utf8")).split("\n").filter((line) => line.trim() !== "");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw thrown;
  }
}

async function change(options: AdvertiseOptions, edit: (others: readonly string[]) => readonly string[]): Promise<void> {
  // Another line with the same address is of a master that is gone: the port is ours now.
  const others = (await linesOf(options.file)).filter(
    (line) => !line.startsWith(`${options.address} `) && !line.endsWith(` # ${options.masterId}`),
  );
  const lines = edit(others).slice(-MAX_ADVERTISED);
  const temporary = `${options.file}.${options.masterId}.tmp`;
  try {
    await writeFile(temporary, lines.map((line) => `${line}\n`).join(""), { mode: 0o644 });
    await rename(temporary, options.file);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}
