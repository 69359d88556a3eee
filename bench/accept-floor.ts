/**
 * The limit of a re-attaching cluster: a server that does nothing but take connections and answer three messages on each, of the sizes in which a worker
 * greets, proves itself and registers. No protocol, no parsing, no keys, no records; one event loop, as a master has.
 * `runAcceptServer` is that server's process; `acceptFloor` starts it, is all its clients, and measures.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { cpuMs } from "./cpu-time.js";

/** First word of the command line that makes this program the server. */
export const ACCEPT_SERVER = "accept-server";
const MESSAGES_BYTES = [300, 200, 1_500] as const;
const ANSWER = Buffer.alloc(200);
/** As many as the clients of load-cluster.ts dial at once. */
const DIALS_AT_ONCE = 90;

export interface AcceptFloor {
  readonly wallMs: number;
  readonly serverMs: number;
}

/** Until its parent lets go of it. */
export async function runAcceptServer(): Promise<void> {
  const server = net.createServer({ noDelay: true }, (socket) => {
    let left = MESSAGES_BYTES[0] as number;
    let message = 0;
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      left -= chunk.length;
      if (left > 0) return;
      socket.write(ANSWER);
      message += 1;
      left = MESSAGES_BYTES[message] ?? Number.POSITIVE_INFINITY;
    });
  });
  server.listen(0, "127.0.0.1", 4_096, () => process.send?.((server.address() as net.AddressInfo).port));
  await once(process, "disconnect");
  process.exit(0);
}

export async function acceptFloor(connections: number): Promise<AcceptFloor> {
  const server = fork(process.argv[1] ?? "", [ACCEPT_SERVER], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const sockets: net.Socket[] = [];
  try {
    const [port] = (await once(server, "message")) as [number];
    const before = cpuMs(server.pid ?? 0);
    const startedAt = performance.now();
    let next = 0;
    const dialler = async (): Promise<void> => {
      while (next++ < connections) sockets.push(await exchange(port));
    };
    await Promise.all(Array.from({ length: DIALS_AT_ONCE }, dialler));
    return { wallMs: performance.now() - startedAt, serverMs: cpuMs(server.pid ?? 0) - before };
  } finally {
    for (const socket of sockets) socket.destroy();
    if (server.connected) server.disconnect();
    if (server.exitCode === null) await once(server, "exit");
  }
}

async function exchange(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  for (const sizeBytes of MESSAGES_BYTES) {
    socket.write(Buffer.alloc(sizeBytes));
    let answered = 0;
    while (answered < ANSWER.length) answered += ((await once(socket, "data")) as [Buffer])[0].length;
  }
  return socket;
}
