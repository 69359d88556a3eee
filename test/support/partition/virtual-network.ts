/**
 * A network of virtual machines on this one: each host is a network namespace with an address of its own on one bridge, and the bridge
 * lies in a namespace too, so that neither interfaces nor rules of the machine itself are ever touched.
 *
 * Boundary: namespaces and packet filters; knows nothing of what runs there. Root only, see `virtualNetworkMissing`.
 * After `close` no process in its namespaces and no namespace is left. What a killed run left is removed by the next one: the names tell
 * the process that made them, and when it started.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type FilterRule, filterTable } from "./filter-rules.js";

export interface Host {
  readonly name: string;
  /** Exists only inside these namespaces. */
  readonly address: string;
  /** Words before a command that has to run there; they end in an exec, so that the pid is the command's. */
  readonly prefix: readonly string[];
}

/** `drop`: packets vanish. `reset`: each is answered by a TCP reset. */
export type CutKind = "drop" | "reset";

export interface VirtualNetwork {
  host(name: string): Host;
  /** Nothing that a host of `from` sends reaches a host of `to`; what `to` sends still reaches `from`. */
  cutOneWay(from: readonly string[], to: readonly string[], kind?: CutKind): Promise<void>;
  cut(group: readonly string[], others: readonly string[], kind?: CutKind): Promise<void>;
  /** Removes every cut. */
  heal(): Promise<void>;
  /** What is cut now, `from>to`. */
  cuts(): readonly string[];
  /** Pids of what runs in a host's namespace. */
  pids(name: string): Promise<readonly number[]>;
  close(): Promise<void>;
}

const NAMESPACE_PREFIX = "holdfast";
export const DIRECTORY_PREFIX = "holdfast-partition-";
const SUBNET = "10.77.0";
const FIRST_ADDRESS = 11;
const MAX_HOSTS = 64;
const COMMAND_TIMEOUT_MS = 20_000;
let made = 0;

/** Why this machine has no virtual network, as a sentence; null when it has. Tries it, because a container may forbid it to root too. */
export function virtualNetworkMissing(): string | null {
  if (process.getuid?.() !== 0) return "network namespaces need root, and this user is not root";
  for (const program of ["ip", "iptables-restore"]) {
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) return `${program} is not installed (bash scripts/setup.sh)`;
  }
  const name = `${NAMESPACE_PREFIX}-${owner()}-try`;
  const tried = spawnSync("ip", ["netns", "add", name], { encoding: "utf8" });
  const filtered =
    tried.status === 0
      ? spawnSync("ip", ["netns", "exec", name, "iptables-restore"], { input: filterTable([]), encoding: "utf8" })
      : tried;
  if (tried.status === 0) spawnSync("ip", ["netns", "del", name]);
  return filtered.status === 0 ? null : `the kernel or this container refuses network namespaces: ${filtered.stderr.trim()}`;
}

export async function createVirtualNetwork(names: readonly string[]): Promise<VirtualNetwork> {
  if (names.length > MAX_HOSTS) throw new Error(`${names.length} hosts are too many`);
  await sweepLeftovers();
  made += 1;
  const namespaceOf = (name: string) => `${NAMESPACE_PREFIX}-${owner()}-${made}-${name}`;
  const bridge = namespaceOf("bridge");
  const hosts = new Map(
    names.map((name, index): [string, Host] => {
      const prefix = ["ip", "netns", "exec", namespaceOf(name)];
      return [name, { name, address: `${SUBNET}.${FIRST_ADDRESS + index}`, prefix }];
    }),
  );
  const namespaces = [bridge, ...names.map(namespaceOf)];
  try {
    await run(["ip", "-batch", "-"], namespaces.map((name) => `netns add ${name}`).join("\n"));
    await run(["ip", "-n", bridge, "-batch", "-"], bridgeCommands([...hosts.values()], namespaceOf).join("\n"));
    for (const { name, address } of hosts.values()) {
      const lines = [`addr add ${address}/24 dev eth0`, "link set lo up", "link set eth0 up"];
      await run(["ip", "-n", namespaceOf(name), "-batch", "-"], lines.join("\n"));
    }
  } catch (thrown) {
    await removeNamespaces(namespaces);
    throw thrown;
  }
  return new NamespaceNetwork(hosts, namespaces);
}

function bridgeCommands(hosts: readonly Host[], namespaceOf: (name: string) => string): readonly string[] {
  return [
    "link add hub type bridge forward_delay 0",
    "link set hub up",
    ...hosts.flatMap(({ name }) => [
      `link add to-${name} type veth peer name eth0 netns ${namespaceOf(name)}`,
      `link set to-${name} master hub`,
      `link set to-${name} up`,
    ]),
  ];
}

class NamespaceNetwork implements VirtualNetwork {
  readonly #hosts: ReadonlyMap<string, Host>;
  readonly #namespaces: readonly string[];
  /** By the receiving host. */
  readonly #rules = new Map<string, FilterRule[]>();
  #lane: Promise<unknown> = Promise.resolve();

  constructor(hosts: ReadonlyMap<string, Host>, namespaces: readonly string[]) {
    this.#hosts = hosts;
    this.#namespaces = namespaces;
  }

  host(name: string): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`there is no host ${name}`);
    return host;
  }

  cutOneWay(from: readonly string[], to: readonly string[], kind: CutKind = "drop"): Promise<void> {
    return this.#cutAll(
      to.map((receiver) => [receiver, from]),
      kind,
    );
  }

  cut(group: readonly string[], others: readonly string[], kind: CutKind = "drop"): Promise<void> {
    const both = [...group.map((one) => [one, others] as const), ...others.map((one) => [one, group] as const)];
    return this.#cutAll(both, kind);
  }

  #cutAll(pairs: readonly (readonly [string, readonly string[]])[], kind: CutKind): Promise<void> {
    for (const [receiver, senders] of pairs) {
      const rules = this.#rules.get(receiver) ?? [];
      for (const sender of senders) {
        const isNew = sender !== receiver && !rules.some((rule) => rule.sender === sender && rule.kind === kind);
        if (isNew) rules.push({ sender, address: this.host(sender).address, kind });
      }
      this.#rules.set(receiver, rules);
    }
    return this.#apply([...new Set(pairs.map(([receiver]) => receiver))]);
  }

  heal(): Promise<void> {
    const cutOff = [...this.#rules.keys()];
    this.#rules.clear();
    return this.#apply(cutOff);
  }

  cuts(): readonly string[] {
    return [...this.#rules].flatMap(([receiver, rules]) => rules.map(({ sender }) => `${sender}>${receiver}`)).sort();
  }

  async pids(name: string): Promise<readonly number[]> {
    return namespacePids(this.host(name).prefix[3] ?? "");
  }

  async close(): Promise<void> {
    await this.#lane.catch(() => {});
    await removeNamespaces(this.#namespaces);
  }

  /** Each host's whole table is replaced at once: the same call twice does nothing more. */
  #apply(receivers: readonly string[]): Promise<void> {
    const applied = this.#lane
      .catch(() => {})
      .then(async () => {
        await Promise.all(
          receivers.map((name) => run([...this.host(name).prefix, "iptables-restore"], filterTable(this.#rules.get(name) ?? []))),
        );
      });
    this.#lane = applied;
    return applied;
  }
}

/** Tells a process from a later one with the same pid. */
const owner = (): string => `${process.pid}-${startTicksOf(process.pid) ?? "0"}`;

/** A directory for one run, whose name tells its owner: what a killed run leaves is found and removed. */
export const directoryPrefix = (): string => path.join(os.tmpdir(), `${DIRECTORY_PREFIX}${owner()}-`);

const isOrphan = (name: string, prefix: string): boolean => {
  const [, pid, ticks] = new RegExp(`^${prefix}([0-9]+)-([0-9]+)-`).exec(name) ?? [];
  return pid !== undefined && startTicksOf(Number(pid)) !== ticks;
};

/** Namespaces, with what runs in them, and directories of runs whose process is gone. */
export async function sweepLeftovers(): Promise<void> {
  const namespaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  await removeNamespaces(namespaces.filter((name) => isOrphan(name, `${NAMESPACE_PREFIX}-`)));
  for (const name of readdirSync(os.tmpdir()).filter((entry) => isOrphan(entry, DIRECTORY_PREFIX)))
    rmSync(path.join(os.tmpdir(), name), { recursive: true, force: true });
}

async function removeNamespaces(namespaces: readonly string[]): Promise<void> {
  for (const name of namespaces) {
    // Until none is left: a process may have started another meanwhile.
    for (let pids = await namespacePids(name); pids.length > 0; pids = await namespacePids(name)) {
      for (const pid of pids) endAtOnce(pid);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  for (const name of namespaces) spawnSync("ip", ["netns", "del", name]);
}

async function namespacePids(namespace: string): Promise<readonly number[]> {
  const listed = await run(["ip", "netns", "pids", namespace]).catch(() => "");
  return listed
    .split("\n")
    .filter((line) => line !== "")
    .map(Number)
    .filter((pid) => startTicksOf(pid) !== null);
}

/** It may have ended meanwhile. */
function endAtOnce(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

export const isAlive = (pid: number): boolean => startTicksOf(pid) !== null;

/** Null for a process that is gone, and for a zombie. */
function startTicksOf(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** What it prints; rejects with what it says on standard error. */
export function run(argv: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["pipe", "pipe", "pipe"], timeout: COMMAND_TIMEOUT_MS });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.stdin.on("error", () => {});
    child.stdin.end(input === "" ? "" : `${input}\n`);
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(out);
      else reject(new Error(`${argv.join(" ")} ended with ${code}: ${err.trim()}`));
    });
  });
}
