/**
 * The limit of a ZooKeeper client on this machine at this moment: the same fenced writes as bytes that were made before, sent over a bare socket with as
 * many in flight, whose answers are counted and not read. What it reaches is the server's rate; what is missing to it is the client's doing.
 */
import { once } from "node:events";
import net from "node:net";
import { OPEN_ACL } from "../src/zookeeper/acl.js";
import { closeSessionRequest, connectRequest, multiRequest, setXid } from "../src/zookeeper/requests.js";

const LENGTH_BYTES = 4;
const SESSION_MS = 30_000;

export interface RawRound {
  readonly host: string;
  readonly port: number;
  /** Exists, with version 0 of its data. */
  readonly root: string;
  readonly calls: number;
  readonly inFlight: number;
  readonly value: Uint8Array;
}

/** Calls a second. */
export async function rawFencedRate({ host, port, root, calls, inFlight, value }: RawRound): Promise<number> {
  const frames = Array.from({ length: calls }, (_, call) => {
    const create = { op: "create" as const, path: `${root}/${call}`, data: value };
    const frame = multiRequest([{ op: "check", path: root, version: 0 }, create], OPEN_ACL);
    setXid(frame, call + 1);
    return frame;
  });
  const socket = net.connect({ host, port, noDelay: true });
  await once(socket, "connect");
  try {
    socket.write(connectRequest({ lastZxid: 0n, timeoutMs: SESSION_MS, sessionId: 0n, password: new Uint8Array(16) }));
    await countAnswers(socket, 1, () => {});
    const startedAt = performance.now();
    let sent = 0;
    const answered = countAnswers(socket, calls, (count) => {
      const upTo = Math.min(calls, count + inFlight);
      if (upTo > sent) socket.write(Buffer.concat(frames.slice(sent, upTo)));
      sent = Math.max(sent, upTo);
    });
    socket.write(Buffer.concat(frames.slice(0, inFlight)));
    sent = Math.min(calls, inFlight);
    await answered;
    const rate = (calls * 1_000) / (performance.now() - startedAt);
    socket.write(closeSessionRequest());
    return rate;
  } finally {
    socket.destroy();
  }
}

/** Resolves when so many frames have come; `onCount` hears how many after each chunk. */
function countAnswers(socket: net.Socket, wanted: number, onCount: (count: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let kept: Buffer = Buffer.alloc(0);
    let count = 0;
    const onData = (chunk: Buffer) => {
      kept = kept.length === 0 ? chunk : Buffer.concat([kept, chunk]);
      let at = 0;
      while (kept.length - at >= LENGTH_BYTES) {
        const end = at + LENGTH_BYTES + kept.readInt32BE(at);
        if (end > kept.length) break;
        at = end;
        count += 1;
      }
      kept = kept.subarray(at);
      onCount(count);
      if (count < wanted) return;
      socket.off("data", onData);
      socket.off("error", reject);
      socket.off("close", onClose);
      resolve();
    };
    const onClose = () => reject(new Error("the server has closed the connection"));
    socket.on("data", onData);
    socket.once("error", reject);
    socket.once("close", onClose);
  });
}
