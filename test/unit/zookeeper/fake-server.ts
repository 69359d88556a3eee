/** Connections whose server end is played by the test, on a clock that the test moves. Boundary: no sockets, no rules of ZooKeeper. */

import { createZooKeeper } from "../../../src/zookeeper/connect.js";
import type { ServerAddress } from "../../../src/zookeeper/connect-string.js";
import type { Dial, WireListener } from "../../../src/zookeeper/dial.js";
import { FrameSplitter } from "../../../src/zookeeper/frames.js";
import { JuteReader, JuteWriter } from "../../../src/zookeeper/jute.js";
import type { ZooKeeper, ZooKeeperOptions } from "../../../src/zookeeper/zookeeper.js";
import { createManualClock, type ManualClock, settle } from "../../support/manual-clock.js";

export interface FakeRequest {
  readonly xid: number;
  readonly type: number;
  readonly body: Buffer;
}

export class FakeConnection {
  readonly server: ServerAddress;
  /** One for each write. */
  readonly writes: number[] = [];
  readonly requests: FakeRequest[] = [];
  connectRequest: Buffer | null = null;
  destroyed = false;
  readonly #listener: WireListener;
  readonly #frames = new FrameSplitter(1 << 24);

  constructor(server: ServerAddress, listener: WireListener) {
    this.server = server;
    this.#listener = listener;
  }

  write(bytes: Uint8Array): void {
    this.writes.push(bytes.length);
    this.#frames.push(Buffer.from(bytes), (message) => {
      if (this.connectRequest === null) {
        this.connectRequest = Buffer.from(message);
        return;
      }
      const reader = new JuteReader(message);
      this.requests.push({ xid: reader.int(), type: reader.int(), body: Buffer.from(message.subarray(8)) });
    });
  }

  opened(): void {
    this.#listener.opened();
  }

  /** Any bytes. */
  send(bytes: Buffer): void {
    if (!this.destroyed) this.#listener.received(bytes);
  }

  ended(reason = "the server closed the connection"): void {
    if (!this.destroyed) this.#listener.ended(reason);
  }

  accept(sessionId: bigint, timeoutMs: number): void {
    this.opened();
    this.send(framed((writer) => writer.int(0).int(timeoutMs).long(sessionId).buffer(new Uint8Array(16)).boolean(false)));
  }

  reply(xid: number, errorNumber = 0, zxid = 1n, body: (writer: JuteWriter) => unknown = () => {}): void {
    this.send(framed((writer) => body(writer.int(xid).long(zxid).int(errorNumber))));
  }

  notify(type: number, path: string): void {
    this.send(framed((writer) => writer.int(-1).long(-1n).int(0).int(type).int(3).string(path)));
  }

  /** The requests of that type. */
  of(type: number): readonly FakeRequest[] {
    return this.requests.filter((request) => request.type === type);
  }
}

export function framed(write: (writer: JuteWriter) => unknown): Buffer {
  const writer = new JuteWriter().int(0);
  write(writer);
  return writer.intAt(0, writer.length - 4).bytes();
}

export const writeStat = (writer: JuteWriter, version = 0): JuteWriter =>
  writer.long(1n).long(1n).long(0n).long(0n).int(version).int(0).int(0).long(0n).int(0).int(0).long(1n);

export interface Fake {
  readonly zk: ZooKeeper;
  readonly clock: ManualClock;
  readonly connections: readonly FakeConnection[];
  /** The last one. */
  now(): FakeConnection;
  /** Lets promises and the end of the turn come. */
  settle(): Promise<void>;
}

export const SESSION = 0x1234n;

/** A client whose first connection is being made. Chance is one half, always. */
export async function fakeClient(options: Partial<ZooKeeperOptions> = {}): Promise<Fake> {
  const clock = createManualClock();
  const connections: FakeConnection[] = [];
  const dial: Dial = (server, listener) => {
    const connection = new FakeConnection(server, listener);
    connections.push(connection);
    return {
      write: (bytes) => connection.write(bytes),
      destroy: () => {
        connection.destroyed = true;
      },
    };
  };
  const zk = createZooKeeper(
    { servers: "one:1,two:2,three:3", sessionTimeoutMs: 3_000, clock, random: { fraction: () => 0.5 }, ...options },
    dial,
  );
  await clock.advance(0);
  const now = () => {
    const last = connections.at(-1);
    if (last === undefined) throw new Error("nobody was dialled");
    return last;
  };
  return { zk, clock, connections, now, settle };
}

export async function connectedClient(options: Partial<ZooKeeperOptions> = {}): Promise<Fake> {
  const fake = await fakeClient(options);
  fake.now().accept(SESSION, options.sessionTimeoutMs ?? 3_000);
  await settle();
  return fake;
}

/** What it rejects with. */
export const failureOf = async (promise: Promise<unknown>): Promise<{ code: string; outcome: string; message: string }> =>
  promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (thrown) => thrown as { code: string; outcome: string; message: string },
  );
