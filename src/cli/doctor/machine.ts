/** Checks of this machine: Node, programs, disks, limits, the clock, the secret's file. */
import { execFile } from "node:child_process";
import { mkdtemp, open, readFile, rm, stat, statfs } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { CodedError } from "../../base/errors.js";
import { programPath } from "../../node/programs.js";
import { formatBytes, formatCount } from "../terminal.js";
import { type Check, check, judge, medianOf } from "./check.js";

const FSYNC_RUNS = 50;
const SLOW_FSYNC_MS = 20;
const LEAST_FREE_BYTES = 1024 ** 3;
const LEAST_FILES = 4_096;
const LEAST_PROCESSES = 4_096;
const CLOCK_SAMPLE_MS = 1_000;
/** Between the system's time and the monotonic clock. NTP slews by at most 500 ppm; more is a clock that is set or a machine that is stopped. */
const STRANGE_RATE_PPM = 2_000;
/** `f_type` of statfs. */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x65735546, "FUSE"],
]);

export function nodeVersion(): Check {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const good = major > 20 || (major === 20 && minor >= 19);
  return judge("node", good, "fail", `Node ${process.versions.node}`, "Holdfast needs Node 20.19 or newer.");
}

export async function programs(): Promise<Check> {
  try {
    await promisify(execFile)("/bin/sh", ["-c", "exit 0"]);
    return check("programs", "ok", `the runner is ${programPath("runner")}`);
  } catch (thrown) {
    return check("programs", "fail", CodedError.from(thrown).message, "Install the package again; workers also need /bin/sh.");
  }
}

/** How long a durable write takes there, and how much room is left. */
export async function disk(directory: string): Promise<readonly Check[]> {
  return [await durableWrites(directory), await freeSpace(directory)];
}

/** LevelDB's lock and its durability are a local file system's. */
export async function recoveryDirectory(directory: string): Promise<readonly Check[]> {
  const facts = await statfs(await existing(directory)).catch(() => null);
  const kind = facts === null ? undefined : NETWORK_FILE_SYSTEMS.get(facts.type);
  const local = judge(
    "recovery",
    kind === undefined,
    "fail",
    kind === undefined ? `${directory} is on a local file system` : `${directory} is on ${kind}`,
    "Keep records on a local disk (--recovery file:DIR), or use zk:// for masters on several machines.",
  );
  return [local, ...(await disk(await existing(directory)))];
}

async function durableWrites(directory: string): Promise<Check> {
  let folder: string | null = null;
  try {
    folder = await mkdtemp(path.join(path.resolve(directory), ".holdfast-doctor-"));
    const times = await fsyncTimes(path.join(folder, "probe"));
    const median = medianOf(times);
    const text = `${directory}: a durable write of 1 KiB takes ${median.toFixed(2)} ms (median), ${Math.max(...times).toFixed(2)} ms at most`;
    return judge("disk", median <= SLOW_FSYNC_MS, "warn", text, "Submissions wait for this; use a faster disk for --recovery.");
  } catch (thrown) {
    const why = `${directory} cannot be written: ${CodedError.from(thrown).message}`;
    return check("disk", "fail", why, "Choose another directory with --dir, free space, or see who owns it.");
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

async function fsyncTimes(place: string): Promise<readonly number[]> {
  const file = await open(place, "w");
  const times: number[] = [];
  try {
    for (let run = 0; run < FSYNC_RUNS; run += 1) {
      const startedAt = performance.now();
      await file.write(new Uint8Array(1024));
      await file.datasync();
      times.push(performance.now() - startedAt);
    }
  } finally {
    await file.close();
  }
  return times;
}

async function freeSpace(directory: string): Promise<Check> {
  const facts = await statfs(path.resolve(directory)).catch(() => null);
  if (facts === null) return check("space", "warn", `the free space of ${directory} is unknown`);
  const free = facts.bavail * facts.bsize;
  const text = `${directory}: ${formatBytes(free)} free; ${formatBytes(os.totalmem())} of memory, ${os.availableParallelism()} cores`;
  return judge(
    "space",
    free >= LEAST_FREE_BYTES,
    "warn",
    text,
    "Logs and records need room: remove something, or choose another disk.",
  );
}

/** A directory that a master would make: the nearest one that is there. */
async function existing(directory: string): Promise<string> {
  let place = path.resolve(directory);
  while ((await stat(place).catch(() => null)) === null && place !== path.dirname(place)) place = path.dirname(place);
  return place;
}

export async function limits(): Promise<readonly Check[]> {
  const text = await readFile("/proc/self/limits", "utf8").catch(() => "");
  const files = softLimit(text, "Max open files");
  const processes = softLimit(text, "Max processes");
  return [
    judge(
      "files",
      !(files < LEAST_FILES),
      "warn",
      `at most ${shown(files)} open files`,
      "A master needs one for each worker and driver: raise it with ulimit -n, or LimitNOFILE= in its unit.",
    ),
    judge(
      "processes",
      !(processes < LEAST_PROCESSES),
      "warn",
      `at most ${shown(processes)} processes and threads of this user`,
      "Each driver and executor takes about a dozen threads: raise it with ulimit -u, or LimitNPROC= and TasksMax= in its unit.",
    ),
  ];
}

/** NaN: unknown. */
export function softLimit(text: string, name: string): number {
  const value = new RegExp(`^${name}\\s+(\\S+)`, "m").exec(text)?.[1];
  return value === "unlimited" ? Number.POSITIVE_INFINITY : Number(value ?? Number.NaN);
}

const shown = (limit: number): string =>
  Number.isNaN(limit) ? "an unknown number of" : limit === Number.POSITIVE_INFINITY ? "any number of" : formatCount(limit);

/** Every deadline is counted on the monotonic clock, and safety rests on fencing: this is for logs, and for machines that are stopped. */
export async function clockRate(): Promise<Check> {
  const [monotonicAt, wallAt] = readClocks();
  await new Promise((resolve) => setTimeout(resolve, CLOCK_SAMPLE_MS));
  const [monotonicThen, wallThen] = readClocks();
  const elapsedMs = monotonicThen - monotonicAt;
  return clockCheck(((wallThen - wallAt - elapsedMs) / elapsedMs) * 1_000_000);
}

export function clockCheck(ratePpm: number): Check {
  return judge(
    "clock",
    Math.abs(ratePpm) <= STRANGE_RATE_PPM,
    "warn",
    `the system's time runs ${Math.abs(ratePpm).toFixed(0)} ppm ${ratePpm < 0 ? "slower" : "faster"} than the monotonic clock (no deadline and no fence depends on it)`,
    "Times in logs and events will be wrong: look at chrony or systemd-timesyncd, and whether the virtual machine is stopped now and then.",
  );
}

/** At a tick of the system's time, which counts whole milliseconds: the best of some tries, as a try may be interrupted between both readings. */
function readClocks(): readonly [monotonicMs: number, wallMs: number] {
  const TRIES = 5;
  let best: readonly [number, number] = [0, Number.NEGATIVE_INFINITY];
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const before = Date.now();
    let wall = before;
    while (wall === before) wall = Date.now();
    const monotonic = performance.now();
    if (wall - monotonic > best[1] - best[0]) best = [monotonic, wall];
  }
  return best;
}

export async function secret(file: string | undefined): Promise<readonly Check[]> {
  if (file === undefined) return [check("secret", "ok", "none: only this machine may be listened on", null)];
  const facts = await stat(file).catch(() => null);
  if (facts === null) return [check("secret", "fail", `${file} does not exist`, `holdfast secret ${file}`)];
  const mode = `${file} has mode 0${(facts.mode & 0o777).toString(8)}`;
  return [judge("secret", (facts.mode & 0o077) === 0, "fail", mode, `chmod 600 ${file}`)];
}
