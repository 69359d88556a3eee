/**
 * Runs the commands of a document as a reader would: in an empty directory, one block after the other, against real processes.
 *
 * A fence says how, when it is not simply run to its end:
 *   ```sh                      run with bash; every command has to succeed
 *   ```sh exit=3               its last command ends with that code
 *   ```sh background as=a,b    each command goes on in the background under that name until the document ends
 *   ```sh interrupt until=RE   runs until its output matches, then gets Ctrl-C and has to end with 130
 *   ```sh norun reason="..."   not run
 *   ```text output             lines that the block before has printed, in this order (ids, numbers and times may differ; `…` stands for anything)
 *   ```text log=a              lines that the background process has logged, in this order; waited for
 *   ```json file=x / ts file=x / csv file=x / text file=x    written to that file before
 *
 * `holdfast`, `npx holdfast` and `npx vitest` are the built ones; the ports 7077, 7078 and 7079 of the text are free ones of this machine;
 * z1:2181, z2:2181 and z3:2181 are three real ZooKeeper servers, started when a block that is run names one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { PROGRAM, ROOT, until } from "../../support/holdfast.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { at, type Block } from "./markdown.js";

const COMMAND_TIMEOUT_MS = 120_000;
const LOG_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 15_000;
const PORTS = ["7077", "7078", "7079"];
const ZOOKEEPER = /\bz([123]):2181\b/g;

export interface Session {
  readonly directory: string;
  run(block: Block): Promise<void>;
  /** Ends what still runs and removes the directory. */
  close(): Promise<void>;
}

interface Background {
  readonly name: string;
  readonly command: string;
  readonly child: ChildProcess;
  log(): string;
}

/** A directory in which `holdfast` and everything that this repository depends on is installed. */
export async function projectDirectory(): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-docs-"));
  const modules = path.join(directory, "node_modules");
  await mkdir(modules);
  for (const name of await readdir(path.join(ROOT, "node_modules"))) {
    if (!name.startsWith(".") && name !== "holdfast") symlinkSync(path.join(ROOT, "node_modules", name), path.join(modules, name));
  }
  symlinkSync(ROOT, path.join(modules, "holdfast"));
  for (const name of ["examples", "dist", "README.md"]) symlinkSync(path.join(ROOT, name), path.join(directory, name));
  writeFileSync(path.join(directory, "package.json"), '{ "private": true, "type": "module" }\n');
  return directory;
}

export async function openSession(): Promise<Session> {
  const directory = await projectDirectory();
  const ports = await freePorts(PORTS.length);
  let ensemble: ZooKeeperServers | null = null;
  const rewrite = (text: string) =>
    text
      .replace(/\b707[789]\b/g, (port) => String(ports[PORTS.indexOf(port)]))
      .replace(ZOOKEEPER, (name, number: string) => ensemble?.servers[Number(number) - 1]?.address ?? name);
  const tools = makeTools(directory);
  const env = {
    ...process.env,
    PATH: `${tools}:${process.env.PATH}`,
    NO_COLOR: "1",
    HOLDFAST_MASTER: rewrite("127.0.0.1:7077"),
    HOME: directory,
  };
  const background: Background[] = [];
  let output = "";

  const start = (text: string, stdout: number | "pipe") =>
    spawn("bash", ["-euo", "pipefail", "-c", rewrite(text)], {
      cwd: directory,
      env,
      stdio: ["ignore", stdout, stdout],
      // A group of its own, so that what it started ends with it.
      detached: true,
    });

  const runToEnd = async (block: Block, interruptAt: RegExp | null) => {
    const child = start(block.text, "pipe");
    output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk: Buffer) => {
        output += chunk.toString("utf8");
      });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    const timer = setTimeout(() => signalGroup(child, "SIGKILL"), COMMAND_TIMEOUT_MS);
    if (interruptAt !== null) {
      await until(`${interruptAt} in the output of ${at(block)}`, () => interruptAt.test(output) || child.exitCode !== null);
      signalGroup(child, "SIGINT");
    }
    const code = await ended;
    clearTimeout(timer);
    const wanted = Number(block.info.exit ?? (interruptAt === null ? 0 : 130));
    if (code !== wanted) throw new Error(`${at(block)} ended with ${code}, not ${wanted}:\n${block.text}\n--- printed:\n${output}`);
  };

  const startAll = async (block: Block) => {
    const commands = commandsOf(block.text);
    const names = typeof block.info.as === "string" ? block.info.as.split(",") : commands.map((_, index) => `process-${index}`);
    if (names.length !== commands.length) throw new Error(`${at(block)} names ${names.length} of ${commands.length} processes`);
    for (const [index, command] of commands.entries()) {
      const name = names[index] ?? "";
      const file = path.join(directory, ".logs", name);
      mkdirSync(path.dirname(file), { recursive: true });
      const log = openSync(file, "a");
      // `exec`, so that the shell does not stand between.
      const child = start(`exec ${command}`, log);
      closeSync(log);
      const started: Background = { name, command, child, log: () => readFileSync(file, "utf8") };
      background.push(started);
      const ready = /holdfast master\b/.test(command) ? /listening on/ : /holdfast worker\b/.test(command) ? /offering/ : null;
      await until(`${command} to be ready`, () => {
        if (child.exitCode !== null) throw new Error(`${at(block)}: ${command} ended with ${child.exitCode}:\n${started.log()}`);
        return ready === null || ready.test(started.log());
      });
    }
  };

  return {
    directory,
    async run(block) {
      const { info, language } = block;
      if (info.norun !== true && block.text.search(ZOOKEEPER) >= 0) ensemble ??= await startZooKeeper({ servers: 3 });
      if (typeof info.file === "string") {
        mkdirSync(path.dirname(path.join(directory, info.file)), { recursive: true });
        writeFileSync(path.join(directory, info.file), `${rewrite(block.text)}\n`);
      } else if (language === "text" && info.output === true) expectLines(block, output);
      else if (language === "json" && info.output === true) expectShape(block, output);
      else if (language === "text" && typeof info.log === "string") {
        const named = background.filter((entry) => entry.name === info.log).at(-1);
        if (named === undefined) throw new Error(`${at(block)}: no process is called ${info.log}`);
        await until(
          `the lines of ${at(block)} in the log of ${named.name}`,
          () => missingLine(block.text, named.log()) === null,
          LOG_TIMEOUT_MS,
        ).catch(() => expectLines(block, named.log()));
      } else if (language !== "sh" || info.norun === true) return;
      else if (info.background === true) await startAll(block);
      else await runToEnd(block, info.interrupt === true ? new RegExp(String(info.until ?? ".")) : null);
    },
    async close() {
      const last = (entry: Background) => (/holdfast master\b/.test(entry.command) ? 1 : 0);
      // Workers first: they stop what they started while a master still listens to them.
      for (const group of [0, 1]) {
        const members = background.filter((entry) => last(entry) === group);
        for (const { child } of members) signalGroup(child, "SIGTERM");
        await Promise.all(members.map(({ child }) => endedWithin(child, STOP_TIMEOUT_MS)));
      }
      for (const pid of processesOf(directory)) endAtOnce(pid);
      await ensemble?.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

/** One command a line; a line that ends in a backslash goes on in the next. Comments are dropped. */
export function commandsOf(text: string): readonly string[] {
  return text
    .replace(/\\\n\s*/g, " ")
    .split("\n")
    .map((line) => line.replace(/(^|\s+)#.*$/, "").trim())
    .filter((line) => line !== "");
}

/** Small programs that stand before those of the machine. */
function makeTools(directory: string): string {
  const tools = path.join(directory, ".tools");
  mkdirSync(tools);
  const script = (name: string, text: string) => writeFileSync(path.join(tools, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  script("holdfast", `exec '${process.execPath}' '${PROGRAM}' "$@"`);
  script(
    "npx",
    `program=$1; shift; case $program in
holdfast) exec '${process.execPath}' '${PROGRAM}' "$@";;
vitest) exec '${process.execPath}' '${path.join(ROOT, "node_modules/vitest/vitest.mjs")}' "$@";;
*) echo "the documentation runs npx with $program, which its test does not know" >&2; exit 1;; esac`,
  );
  // Enough of jq for a machine without it: a path of names and numbers.
  script(
    "jq",
    `for place in /usr/bin/jq /usr/local/bin/jq /bin/jq; do [ -x "$place" ] && exec "$place" "$@"; done
exec '${process.execPath}' -e '
let path; for (const word of process.argv.slice(1)) if (!word.startsWith("-")) path = word;
let value = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const name of path.match(/[A-Za-z]+|[0-9]+/g) ?? []) value = value[name];
console.log(typeof value === "string" && process.argv.includes("-r") ? value : JSON.stringify(value));' "$@"`,
  );
  return tools;
}

/** What differs from run to run, replaced by its kind. */
function normal(line: string): string {
  return line
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/\b\d\d:\d\d:\d\d(?:\.\d+)?\b/g, "TIME")
    .replace(/\bapp-\d+-\d+/g, "APP")
    .replace(/\b(master|worker|cluster)-[0-9a-z]{4,}\b/g, "$1-ID")
    .replace(/(?:\/[\w.-]+)*\/holdfast-docs-\w+/g, "DIR")
    .replace(/\b\d+(?:[.,]\d+)*\s*(?:ms|s|min)\b/g, "DURATION")
    .replace(/\b\d+(?:[.,]\d+)*\s*(?:B|KiB|MiB|GiB|TiB)\b/g, "SIZE")
    .replace(/[█▏▎▍▌▋▊▉░]+/g, "BAR")
    .replace(/\d+(?:[.,]\d+)*/g, "N")
    .replace(/\s+/g, " ")
    .trim();
}

/** The first line that the text does not have where it should, or null. */
function missingLine(wanted: string, printed: string): string | null {
  const lines = printed.split("\n").map(normal);
  let from = 0;
  for (const line of wanted.split("\n")) {
    if (line.trim() === "" || line.trim() === "…") continue;
    const pattern = new RegExp(
      normal(line)
        .split("…")
        .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
        .join(".*"),
    );
    const found = lines.findIndex((candidate, index) => index >= from && pattern.test(candidate));
    if (found < 0) return line;
    from = found + 1;
  }
  return null;
}

function expectLines(block: Block, printed: string): void {
  const missing = missingLine(block.text, printed);
  if (missing !== null) throw new Error(`${at(block)}: this line was not printed there:\n${missing}\n--- printed:\n${printed}`);
}

/** Every field that the block shows is there, with a value of the same kind. */
function expectShape(block: Block, printed: string): void {
  const line = printed.trim().split("\n").at(-1) ?? "";
  const compare = (shown: unknown, real: unknown, where: string): void => {
    if (shown === null || real === null) return;
    const kind = (value: unknown) => (Array.isArray(value) ? "array" : typeof value);
    if (kind(shown) !== kind(real))
      throw new Error(`${at(block)}: ${where} is ${JSON.stringify(real)}, not ${JSON.stringify(shown)}`);
    if (typeof shown !== "object") return;
    for (const [name, value] of Object.entries(shown)) {
      if (!(name in (real as object))) throw new Error(`${at(block)}: ${where}.${name} is not there: ${printed}`);
      compare(value, (real as Record<string, unknown>)[name], `${where}.${name}`);
    }
  };
  compare(JSON.parse(block.text), JSON.parse(line), "it");
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve, reject) => {
          const server = net.createServer().once("error", reject);
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

async function endedWithin(child: ChildProcess, timeoutMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => signalGroup(child, "SIGKILL"), timeoutMs);
  await new Promise((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
}

/** Processes that have the directory in their command line, working directory or environment: what a killed worker left running. */
function processesOf(directory: string): readonly number[] {
  const read = (pid: string, file: string) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, "utf8");
    } catch {
      return "";
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => read(pid, "cmdline").includes(directory) || read(pid, "environ").includes(directory))
    .map(Number);
}

function endAtOnce(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}
