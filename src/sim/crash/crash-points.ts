/**
 * The points at which a process (a master, a driver, an executor) can die, counted, and a process that dies exactly at one of them.
 *
 * A point is every moment between two things that the world can tell apart:
 *   before `X`       the process is about to ask something of the outside (a call of a store, a sink, a frame, a connection)
 *   applied `X`      the store has carried the call out, and the process does not know it yet
 *   after `X`        an event of the process, and all the code that was waiting for it, has run
 * Code between two points has no effect that anybody could see, so that a death there is a death at the next point.
 *
 * Invariant: a process that died at a point does nothing any more: not even the synchronous code that runs on in the same event.
 */
import type { SinkConnector } from "../../dataflow/connector.js";
import type { StateStore } from "../../env/blob-store.js";
import type { BundleStore } from "../../env/bundle-store.js";
import type { CoordinationSession, CoordinationStore } from "../../env/coordination-store.js";
import type { Connection, Transport } from "../../env/transport.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import { type Mutant, mutant } from "../mutants/mutant.js";
import type { SimProcess, World } from "../world.js";

/** The k-th point (from 0) at which the next process that is watched dies. */
export interface Crash {
  readonly process: string;
  readonly point: number;
}

const NEVER = new Promise<never>(() => {});

export class CrashPoints {
  /** What the watched processes went through, by process, in order. */
  readonly passed = new Map<string, string[]>();
  /** What is planned and has not come yet. */
  private planned: readonly Crash[];
  private isWatching: (process: SimProcess) => boolean = () => false;
  private kill: (process: SimProcess) => void = (process) => process.kill();
  /** At which points processes died. */
  readonly died: { readonly process: string; readonly label: string }[] = [];
  /** How far each had come when the latest of them died. */
  passedAtDeath: ReadonlyMap<string, number> = new Map();

  constructor(world: World, planned: readonly Crash[]) {
    this.planned = planned;
    const before = world.stepped;
    world.stepped = (process, label) => {
      before?.(process, label);
      this.pass(process, `after ${label}`);
    };
  }

  /** From now on the points of these processes are counted. `kill`: for those whose end somebody has to notice. */
  watch(isWatched: (process: SimProcess) => boolean, kill?: (process: SimProcess) => void): void {
    this.isWatching = isWatched;
    if (kill !== undefined) this.kill = kill;
  }

  /** False: the process is dead, now or before. */
  pass(process: SimProcess, label: string): boolean {
    if (process.state === "dead") return false;
    if (!this.isWatching(process)) return true;
    const points = this.passed.get(process.id) ?? [];
    this.passed.set(process.id, points);
    const index = points.length;
    points.push(label);
    const crash = this.planned.find((one) => one.process === process.id && one.point === index);
    if (crash === undefined) return true;
    this.planned = this.planned.filter((one) => one !== crash);
    this.died.push({ process: process.id, label });
    this.passedAtDeath = new Map([...this.passed].map(([id, { length }]) => [id, length]));
    this.kill(process);
    return false;
  }

  /** Processes whose every effect passes here; `inner` is a planted bug below it, or none. */
  instrument(inner: Mutant): Mutant {
    return mutant(inner.name, inner.mistake, {
      ...inner,
      master: (options, process) => this.gated(inner.master(options, process), process),
      runner: (env, role, process) => {
        const real = inner.runner(env, role, process);
        return { ...real, transport: this.transport(real.transport, process) };
      },
      state: (store, of) => this.state(inner.state(store, of), of.process),
      sink: (connector, of) => this.sink(inner.sink(connector, of), of.process),
    });
  }

  private state(store: StateStore, process: SimProcess): StateStore {
    return {
      put: (bytes) => this.call(process, "put state", () => store.put(bytes)),
      get: (handle) => this.call(process, "get state", () => store.get(handle)),
      list: () => this.call(process, "list state", () => store.list()),
      remove: (handle) => this.call(process, "remove state", () => store.remove(handle)),
      removeAll: () => this.call(process, "remove all state", () => store.removeAll()),
    };
  }

  private sink(connector: SinkConnector<unknown>, process: SimProcess): SinkConnector<unknown> {
    return {
      ...connector,
      begin: (options) => this.call(process, "begin sink", async () => connector.begin?.(options)),
      open: (options) => this.call(process, "open sink", () => connector.open(options)),
      commit: (committables, options) => this.call(process, "commit sink", () => connector.commit(committables, options)),
      cleanUp: (options) => this.call(process, "clean up sink", () => connector.cleanUp(options)),
    };
  }

  private gated(options: MasterHostOptions, process: SimProcess): MasterHostOptions {
    const { env } = options;
    return {
      ...options,
      env: { ...env, transport: this.transport(env.transport, process) },
      store: this.store(options.store, process),
      bundles: this.bundles(options.bundles, process),
    };
  }

  private call<T>(process: SimProcess, label: string, ask: () => Promise<T>): Promise<T> {
    if (!this.pass(process, `before ${label}`)) return NEVER;
    return ask().then(
      (answer) => (this.pass(process, `applied ${label}`) ? answer : NEVER),
      (error) => (this.pass(process, `refused ${label}`) ? Promise.reject(error) : NEVER),
    );
  }

  private store(store: CoordinationStore, process: SimProcess): CoordinationStore {
    return {
      limits: store.limits,
      nudge: () => store.nudge(),
      stoppedOwner: () => store.stoppedOwner?.() ?? null,
      close: () => this.call(process, "close of the store", () => store.close()),
      openSession: async (open) => this.session(await this.call(process, "open", () => store.openSession(open)), process),
    };
  }

  private session(session: CoordinationSession, process: SimProcess): CoordinationSession {
    return {
      id: session.id,
      ended: session.ended,
      deadline: () => session.deadline(),
      get: (key, call) => this.call(process, `get ${key}`, () => session.get(key, call)),
      list: (request, call) => this.call(process, `list ${request.prefix}`, () => session.list(request, call)),
      commit: (transaction, call) => this.call(process, "commit", () => session.commit(transaction, call)),
      watch: (prefix, listener) => session.watch(prefix, listener),
      close: () => this.call(process, "close of the session", () => session.close()),
    };
  }

  private bundles(bundles: BundleStore, process: SimProcess): BundleStore {
    return {
      put: (folder, bytes) => this.call(process, "put bundle", () => bundles.put(folder, bytes)),
      has: (bundle) => this.call(process, "has bundle", () => bundles.has(bundle)),
      get: (bundle) => this.call(process, "get bundle", () => bundles.get(bundle)),
      folders: () => this.call(process, "list folders of bundles", () => bundles.folders()),
      list: (folder) => this.call(process, "list bundles", () => bundles.list(folder)),
      removeUnfinished: (folder) => bundles.removeUnfinished(folder),
      remove: (bundle) => this.call(process, "remove bundle", () => bundles.remove(bundle)),
    };
  }

  private transport(transport: Transport, process: SimProcess): Transport {
    return {
      listen: (address, onConnection) =>
        this.call(process, "listen", () =>
          transport.listen(address, (connection) => onConnection(this.connection(connection, process))),
        ),
      connect: async (address, options) => {
        const connection = await this.call(process, "connect", () => transport.connect(address, options));
        return this.connection(connection, process);
      },
    };
  }

  private connection(connection: Connection, process: SimProcess): Connection {
    return {
      remote: connection.remote,
      ended: connection.ended,
      send: (frame) => (this.pass(process, "before frame") ? connection.send(frame) : true),
      onFrame: (listener) => connection.onFrame(listener),
      drained: () => connection.drained(),
      pause: () => connection.pause(),
      resume: () => connection.resume(),
      close: () => connection.close(),
      destroy: () => connection.destroy(),
      limitFrames: (bytes) => connection.limitFrames?.(bytes),
    };
  }
}
