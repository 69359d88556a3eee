/**
 * Random sequences of ZooKeeper's operations, and what one ensemble makes of them: played to the real one and to the simulator's, the two transcripts
 * have to be equal.
 *
 * Three clients: one that has shown nobody, two that have shown to be different users. After each operation every client makes a read, so that all watch
 * events of the operation have arrived. Numbers of transactions are compared by their order, sessions by their clients; clocks are left out.
 */

import type { SeededRandom } from "../../src/sim/seed.js";
import type { Acl, Permission, Stat, WriteOperation } from "../../src/sim/zookeeper/operations.js";

/** What both clients can do. */
export interface PlayedClient {
  readonly id: () => string;
  create(path: string, data: Uint8Array, options?: { mode?: Mode; acl?: readonly Acl[] }): Promise<{ path: string; stat: Stat }>;
  delete(path: string, version: number): Promise<void>;
  setData(path: string, data: Uint8Array, version: number): Promise<Stat>;
  setAcl(path: string, acl: readonly Acl[], version: number): Promise<Stat>;
  check(path: string, version: number): Promise<void>;
  multi(operations: readonly WriteOperation[]): Promise<{ readonly zxid: bigint; readonly results: readonly unknown[] }>;
  exists(path: string, options?: { watch?: Heard }): Promise<Stat | null>;
  getData(path: string, options?: { watch?: Heard }): Promise<{ readonly data: Uint8Array; readonly stat: Stat }>;
  getChildren(path: string, options?: { watch?: Heard }): Promise<{ readonly children: readonly string[]; readonly stat: Stat }>;
  getAcl(path: string): Promise<{ readonly acl: readonly Acl[]; readonly stat: Stat }>;
  sync(path: string): Promise<void>;
  addWatch(path: string, mode: "persistent" | "persistent-recursive", heard: Heard): Promise<{ close(): void }>;
  close(): Promise<void>;
}

type Mode = "persistent" | "ephemeral" | "persistent-sequential" | "ephemeral-sequential";
type Heard = (event: { readonly type: string; readonly path: string }) => void;

export interface PlayedEnsemble {
  connect(auth: string | null): Promise<PlayedClient>;
  /** Lets time pass until it has settled; the real one needs no help. */
  settle<T>(promise: Promise<T>): Promise<T>;
  digestId(auth: string): string;
}

export const USERS: readonly (string | null)[] = [null, "ann:secret", "ben:other"];

export interface Step {
  readonly what: string;
  readonly answer: unknown;
  /** By client: changes in the order in which they came, and who heard of them. */
  readonly events: readonly string[];
}

const ALL: readonly Permission[] = ["read", "write", "create", "delete", "admin"];
const LARGE_BYTES = 1_040_000;
const TOO_LARGE_BYTES = 1_060_000;

export async function play(ensemble: PlayedEnsemble, root: string, random: SeededRandom, steps: number): Promise<readonly Step[]> {
  return new Player(ensemble, root, random).play(steps);
}

class Player {
  private readonly ensemble: PlayedEnsemble;
  private readonly root: string;
  private readonly random: SeededRandom;
  private readonly clients: PlayedClient[] = [];
  private readonly sessions = new Map<string, string>();
  private readonly paths: string[] = [];
  private heard: { readonly client: number; readonly listener: number; readonly change: string }[] = [];
  private readonly persistent: { close(): void }[] = [];
  private listeners = 0;

  constructor(ensemble: PlayedEnsemble, root: string, random: SeededRandom) {
    this.ensemble = ensemble;
    this.root = root;
    this.random = random;
  }

  async play(count: number): Promise<readonly Step[]> {
    for (let index = 0; index < USERS.length; index += 1) await this.connect(index);
    const steps: Step[] = [];
    const open: readonly Acl[] = [{ permissions: ALL, scheme: "world", id: "anyone" }];
    // Nothing of other sequences is above it: numbers of sequential nodes count what was ever created there.
    for (const path of [this.root.slice(0, this.root.lastIndexOf("/")), this.root])
      await this.ensemble.settle(this.client(0).create(path, new Uint8Array(0), { acl: open }));
    for (const name of ["a", "b", "a/x", "a/y", "b/x", "a/x/p", "b/x/q"]) this.paths.push(`${this.root}/${name}`);
    this.paths.push(this.root);
    for (let step = 0; step < count; step += 1) steps.push(await this.step());
    for (const client of this.clients) await this.ensemble.settle(client.close());
    return this.comparable(steps);
  }

  private client(index: number): PlayedClient {
    const client = this.clients[index];
    if (client === undefined) throw new Error(`there is no client ${index}`);
    return client;
  }

  private async connect(index: number): Promise<void> {
    const client = await this.ensemble.connect(USERS[index] ?? null);
    this.clients[index] = client;
    this.sessions.set(client.id(), `client ${index}.${this.sessions.size}`);
  }

  private async step(): Promise<Step> {
    const index = this.random.below(USERS.length);
    this.heard = [];
    const { what, call, sorted } = this.draw(index);
    const answer = await this.ensemble.settle(call()).then(
      (value) => this.plain(value),
      (thrown: { code?: string; failed?: { index: number; code: string }; outcome?: string }) => ({
        error: thrown.code,
        outcome: thrown.outcome,
        failed: thrown.failed === undefined ? null : `${thrown.failed.index}: ${thrown.failed.code}`,
      }),
    );
    for (const client of this.clients) await this.ensemble.settle(client.exists(this.root));
    return { what: `client ${index} ${what}`, answer, events: this.events(sorted === true) };
  }

  private events(isSorted: boolean): readonly string[] {
    const lines: string[] = [];
    for (let client = 0; client < USERS.length; client += 1) {
      const own = this.heard.filter((one) => one.client === client);
      const changes = own.map(({ change }) => change).filter((change, index, all) => all.indexOf(change) === index);
      if (isSorted) changes.sort();
      const listeners = own.map(({ listener, change }) => `${listener} ${change}`).sort();
      if (own.length > 0) lines.push(`client ${client}: ${changes.join(", ")} | ${listeners.join(", ")}`);
    }
    return lines;
  }

  private listener(client: number): Heard {
    this.listeners += 1;
    const listener = this.listeners;
    return ({ type, path }) => void this.heard.push({ client, listener, change: `${type} ${path}` });
  }

  private draw(index: number): { readonly what: string; readonly call: () => Promise<unknown>; readonly sorted?: boolean } {
    const { random } = this;
    const client = this.client(index);
    const path = this.path();
    const draw = random.below(100);
    if (draw < 40) return this.drawWrite(index, path, draw);
    const watch = random.chance(0.4) ? { watch: this.listener(index) } : {};
    const watched = "watch" in watch ? " and watches" : "";
    if (draw < 52) return { what: `exists ${path}${watched}`, call: () => client.exists(path, watch) };
    if (draw < 62) return { what: `reads ${path}${watched}`, call: () => client.getData(path, watch) };
    if (draw < 72) return { what: `lists ${path}${watched}`, call: () => client.getChildren(path, watch) };
    if (draw < 76) return { what: `reads the ACL of ${path}`, call: () => client.getAcl(path) };
    if (draw < 79) return { what: `syncs ${path}`, call: () => client.sync(path) };
    if (draw < 83) return this.drawWatch(index, path);
    if (draw < 84) return { what: "closes its session and opens another", sorted: true, call: () => this.replace(index) };
    if (draw < 87) {
      const version = this.version();
      return { what: `checks ${path} at ${version}`, call: () => client.check(path, version) };
    }
    const operations = Array.from({ length: 1 + random.below(4) }, () => this.operation());
    const text = operations.map(
      (operation) => `${operation.op} ${operation.path}${"version" in operation ? `@${operation.version}` : ""}`,
    );
    return { what: `multi ${text.join(", ")}`, call: () => client.multi(operations) };
  }

  private drawWrite(index: number, path: string, draw: number): { readonly what: string; readonly call: () => Promise<unknown> } {
    const client = this.client(index);
    const version = this.version();
    if (draw < 20) {
      const options = { mode: this.mode(), ...this.acl() };
      const data = this.data();
      return {
        what: `creates ${path} ${options.mode} ${data.length} bytes ${JSON.stringify(options.acl ?? "default")}`,
        call: () =>
          client.create(path, data, options).then((made) => {
            if (!this.paths.includes(made.path)) this.paths.push(made.path);
            return made;
          }),
      };
    }
    if (draw < 28) return { what: `deletes ${path} at ${version}`, call: () => client.delete(path, version) };
    if (draw < 37) {
      const data = this.data();
      return { what: `sets ${path} at ${version}, ${data.length} bytes`, call: () => client.setData(path, data, version) };
    }
    const acl = this.acl().acl ?? [{ permissions: ALL, scheme: "auth", id: "" }];
    return {
      what: `sets the ACL of ${path} at ${version} to ${JSON.stringify(acl)}`,
      call: () => client.setAcl(path, acl, version),
    };
  }

  /** A path can have one mode in a client. */
  private drawWatch(index: number, path: string): { readonly what: string; readonly call: () => Promise<unknown> } {
    if (this.persistent.length > 0 && this.random.chance(0.4)) {
      const [watch] = this.persistent.splice(this.random.below(this.persistent.length), 1);
      return { what: "closes a persistent watch", call: async () => watch?.close() };
    }
    const mode = path.length % 2 === 0 ? "persistent" : "persistent-recursive";
    const call = async () => {
      this.persistent.push(await this.client(index).addWatch(path, mode, this.listener(index)));
    };
    return { what: `watches ${path} ${mode}`, call };
  }

  private async replace(index: number): Promise<void> {
    await this.client(index).close();
    await this.connect(index);
  }

  private operation(): WriteOperation {
    const path = this.path();
    const version = this.version();
    const draw = this.random.below(10);
    if (draw < 4) return { op: "create", path, data: this.data(), mode: this.mode(), ...this.acl() };
    if (draw < 6) return { op: "delete", path, version };
    if (draw < 8) return { op: "setData", path, data: this.data(), version };
    return { op: "check", path, version };
  }

  private path(): string {
    const known = this.random.pick(this.paths) ?? this.root;
    if (!this.random.chance(0.15)) return known;
    return `${known}/${this.random.pick(["x", "n-", "z"]) ?? "x"}`;
  }

  private version(): number {
    return this.random.pick([-1, -1, -1, 0, 0, 1, 2]) ?? -1;
  }

  private mode(): Mode {
    const modes: readonly Mode[] = [
      "persistent",
      "persistent",
      "persistent",
      "ephemeral",
      "persistent-sequential",
      "ephemeral-sequential",
    ];
    return this.random.pick(modes) ?? "persistent";
  }

  private acl(): { readonly acl?: readonly Acl[] } {
    const draw = this.random.below(20);
    if (draw < 11) return { acl: [{ permissions: ALL, scheme: "world", id: "anyone" }] };
    if (draw < 14) return {};
    if (draw < 16) return { acl: [{ permissions: ALL, scheme: "auth", id: "" }] };
    if (draw < 17) return { acl: [{ permissions: ["read"], scheme: "world", id: "anyone" }] };
    const ann = this.ensemble.digestId(USERS[1] ?? "");
    const own: Acl = {
      permissions: this.random.pick([ALL, ["read"], ["read", "create"], ["write"]]) ?? ALL,
      scheme: "digest",
      id: ann,
    };
    return { acl: draw < 19 ? [own] : [own, { permissions: ["read"], scheme: "world", id: "anyone" }] };
  }

  private data(): Uint8Array {
    const draw = this.random.below(1_000);
    if (draw === 0) return new Uint8Array(LARGE_BYTES);
    if (draw === 1) return new Uint8Array(TOO_LARGE_BYTES);
    return this.random.bytes(this.random.below(20));
  }

  /** Without clocks and numbers that are nobody's business. */
  private plain(value: unknown): unknown {
    if (value instanceof Uint8Array) return value.length > 100 ? `${value.length} bytes` : Buffer.from(value).toString("hex");
    if (Array.isArray(value)) return value.map((item) => this.plain(item));
    if (value === null || typeof value !== "object") return value;
    const fields: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(value)) {
      if (name === "createdAt" || name === "changedAt" || typeof field === "function") continue;
      if (name === "ephemeralOwner") fields[name] = field === null ? null : (this.sessions.get(String(field)) ?? "somebody else");
      else if (name === "children" && Array.isArray(field)) fields[name] = [...field].sort();
      else fields[name] = this.plain(field);
    }
    // Only a single create says what it made but its path.
    if (fields.op === "create") delete fields.stat;
    return fields;
  }

  /** Each number of a transaction becomes its place among all that were seen. */
  private comparable(steps: readonly Step[]): readonly Step[] {
    const numbers = new Set<bigint>();
    const walk = (value: unknown, seen: (number: bigint) => unknown): unknown => {
      if (typeof value === "bigint") return seen(value);
      if (Array.isArray(value)) return value.map((item) => walk(item, seen));
      if (value === null || typeof value !== "object") return value;
      return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, walk(field, seen)]));
    };
    for (const { answer } of steps) walk(answer, (number) => numbers.add(number));
    const order = [...numbers].sort((one, other) => (one < other ? -1 : 1));
    const rank = new Map(order.map((number, index) => [number, `zxid ${index}`]));
    return steps.map((step) => ({ ...step, answer: walk(step.answer, (number) => rank.get(number)) }));
  }
}
