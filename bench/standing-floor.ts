/**
 * The limit of a cluster whose links stand already: a server that says one word on each, takes one registration on each, and answers it. No protocol, no
 * parsing, no records; one event loop, as a master has. `runStandingServer` is that server's process; `standingFloor` is all its clients, and measures.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { cpuMs } from "./cpu-time.js";

/** First word of the command line that makes this program the server. */
export const STANDING_SERVER = "standing-server";
/** As of a master's announcement, of a registration with ten executors, and of its answer. */
const WORD = Buffer.alloc(250);
const REGISTRATION = Buffer.alloc(1_600);
const ANSWER = Buffer.alloc(120);
const DIALS_AT_ONCE = 90;

export interface StandingFloor {
  readonly wallMs: number;
  readonly serverMs: number;
}

/** Until its parent lets go of it. */
export async function runStandingServer(): Promise<void> {
  const sockets: net.Socket[] = [];
  let answered = 0;
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    let left = REGISTRATION.length;
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      left -= chunk.length;
      if (left > 0) return;
      socket.write(ANSWER);
      answered += 1;
      if (answered === sockets.length) process.send?.("done");
    });
  });
  server.listen(0, "127.0.0.1", 4_096, () => process.send?.((server.address() as net.AddressInfo).port));
  process.on("message", (connections: number) => {
    // A client may know of its connection before this process does.
    if (sockets.length < connections) setTimeout(() => process.emit("message", connections, undefined), 1);
    else for (const socket of sockets) socket.write(WORD);
  });
  await once(process, "disconnect");
  process.exit(0);
}

export async function standingFloor(connections: number): Promise<StandingFloor> {
  const server = fork(process.argv[1] ?? "", [STANDING_SERVER], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const sockets: net.Socket[] = [];
  try {
    const [port] = (await once(server, "message")) as [number];
    let next = 0;
    const dialler = async (): Promise<void> => {
      while (next++ < connections) sockets.push(await stand(port));
    };
    await Promise.all(Array.from({ length: DIALS_AT_ONCE }, dialler));
    const before = cpuMs(server.pid ?? 0);
    const startedAt = performance.now();
    server.send(connections);
    await once(server, "message");
    return { wallMs: performance.now() - startedAt, serverMs: cpuMs(server.pid ?? 0) - before };
  } finally {
    for (const socket of sockets) socket.destroy();
    if (server.connected) server.disconnect();
    if (server.exitCode === null) await once(server, "exit");
  }
}

async function stand(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  let left = WORD.length;
  socket.on("data", (chunk) => {
    left -= chunk.length;
    if (left === 0) socket.write(REGISTRATION);
  });
  return socket;
}
