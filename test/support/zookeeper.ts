/**
 * Real ZooKeeper servers of Debian's package, alone or as an ensemble, on free ports of the loopback and in a directory of their own.
 * Boundary: starts, signals, asks and ends them; speaks no protocol but the four-letter words.
 * After `close` no process and no file of theirs is left; they also die with the process that started them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import os from "node:os";
import path from "node:path";

const JARS = "/usr/share/java";
/** The manifest of zookeeper.jar leaves out three parts of Netty, which TLS needs, and a logger. */
const CLASS_PATH = ["zookeeper", "slf4j-simple", "netty-codec", "netty-resolver", "netty-transport-native-unix-common"]
  .map((jar) => `${JARS}/${jar}.jar`)
  .join(":");
const START_TIMEOUT_MS = 150_000;
const WORD_TIMEOUT_MS = 2_000;
/** A port may be taken between the choice and the start; the log says so, and others are chosen. */
const START_TRIES = 5;

export interface ZooKeeperTls {
  /** Java key stores (PKCS12). */
  readonly keyStore: string;
  readonly keyStorePassword: string;
  readonly trustStore: string;
  readonly trustStorePassword: string;
}

export interface ZooKeeperServersOptions {
  /** Default 1: standalone. More: an ensemble. */
  readonly servers?: number;
  /** Default 200. Sessions last 2 to 20 ticks, unless `maxSessionTimeoutMs` says more. */
  readonly tickTimeMs?: number;
  /** Default 60,000. */
  readonly maxSessionTimeoutMs?: number;
  /** Ticks that a follower may be silent. Default 10. */
  readonly syncLimit?: number;
  /** Words of Java, after the defaults, e.g. `-Xmx512m` or `-Dzookeeper.forceSync=no`. */
  readonly java?: readonly string[];
  /** Further lines of zoo.cfg. */
  readonly config?: readonly string[];
  /** Serves TLS with client certificates on a second port. */
  readonly tls?: ZooKeeperTls;
  /** Address of each server; default 127.0.0.1 for all. */
  readonly hosts?: readonly string[];
  /** Words before the command of server `index`, e.g. ["ip", "netns", "exec", "z1"]. They must end in an exec, so that the pid is Java's. */
  readonly prefix?: (index: number) => readonly string[];
  /** How a four-letter word gets to a server that this process cannot reach. */
  readonly ask?: (host: string, port: number, word: string) => Promise<string>;
  /** The servers' first directory; default: a temporary one, which `close` removes. */
  readonly directory?: string;
}

export interface ZooKeeperServer {
  /** From 1, as in its `myid`. */
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly securePort: number | null;
  /** `host:port` of its client port. */
  readonly address: string;
  readonly directory: string;
  /** Undefined while it does not run. */
  pid(): number | undefined;
  /** Starts it, on the same ports and data; resolves when the process runs, see `serving`. */
  start(): void;
  /** Resolves when it serves clients: standalone, or with a quorum. */
  serving(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGSTOP; resolves when it is stopped. */
  stop(): Promise<void>;
  /** SIGCONT. */
  cont(): void;
  /** `kill`, `start`, `serving`. */
  restart(): Promise<void>;
  /** Removes its data; only while it does not run. */
  wipe(): Promise<void>;
  /** A four-letter word: `ruok`, `srvr`, `mntr`, `cons`, `dump` ... */
  ask(word: string): Promise<string>;
  log(): string;
}

export interface ZooKeeperServers {
  readonly directory: string;
  readonly servers: readonly ZooKeeperServer[];
  /** `host:port,host:port` of all. */
  readonly connectString: string;
  /** Of those that run: the one that leads (or stands alone). */
  leader(): Promise<ZooKeeperServer>;
  followers(): Promise<readonly ZooKeeperServer[]>;
  close(): Promise<void>;
}

/** Why there is no ZooKeeper on this machine, or null. */
export function zooKeeperMissing(): string | null {
  if (!existsSync(`${JARS}/zookeeper.jar`)) return "Debian's package zookeeper is not installed (bash scripts/setup.sh)";
  return null;
}

/** Resolves when all serve. */
export async function startZooKeeper(options: ZooKeeperServersOptions = {}): Promise<ZooKeeperServers> {
  const missing = zooKeeperMissing();
  if (missing !== null) throw new Error(missing);
  const directory = options.directory ?? (await mkdtemp(path.join(os.tmpdir(), "holdfast-zookeeper-")));
  await mkdir(directory, { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const servers = await layOut(directory, options);
    const close = async () => {
      await Promise.all(servers.map((server) => server.kill()));
      await rm(directory, { recursive: true, force: true });
    };
    try {
      for (const server of servers) server.start();
      await Promise.all(servers.map((server) => server.serving()));
      return { directory, servers, connectString: servers.map(({ address }) => address).join(","), ...roles(servers), close };
    } catch (thrown) {
      const taken = servers.some((server) => server.log().includes("Address already in use"));
      await Promise.all(servers.map((server) => server.kill()));
      if (taken && attempt < START_TRIES) continue;
      await rm(directory, { recursive: true, force: true });
      throw thrown;
    }
  }
}

function roles(servers: readonly ZooKeeperServer[]): Pick<ZooKeeperServers, "leader" | "followers"> {
  const withMode = async (pattern: RegExp) => {
    const running = servers.filter((server) => server.pid() !== undefined);
    const answers = await Promise.all(running.map((server) => server.ask("srvr").catch(() => "")));
    return running.filter((_, index) => pattern.test(answers[index] ?? ""));
  };
  return {
    leader: async () => {
      const until = performance.now() + START_TIMEOUT_MS;
      for (;;) {
        const [leader] = await withMode(/^Mode: (?:leader|standalone)$/m);
        if (leader !== undefined) return leader;
        if (performance.now() > until) throw new Error("no server leads");
        await pause(50);
      }
    },
    followers: () => withMode(/^Mode: follower$/m),
  };
}

/** Below the range of ports that the kernel gives to outgoing connections, so that none of these takes one in between. */
async function freePort(host: string): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 18_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRNOTAVAIL"));
      server.listen(port, host, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

async function layOut(directory: string, options: ZooKeeperServersOptions): Promise<readonly ZooKeeperServer[]> {
  const count = options.servers ?? 1;
  const places: Place[] = [];
  for (let index = 0; index < count; index++) {
    const host = options.hosts?.[index] ?? "127.0.0.1";
    const place: Place = {
      id: index + 1,
      host,
      port: await freePort(host),
      securePort: options.tls === undefined ? null : await freePort(host),
      quorumPorts: [await freePort(host), await freePort(host)],
      directory: path.join(directory, `server-${index + 1}`),
    };
    places.push(place);
  }
  for (const place of places) {
    await mkdir(path.join(place.directory, "data"), { recursive: true });
    await writeFile(path.join(place.directory, "zoo.cfg"), configOf(place, places, options).join("\n"));
    await writeFile(path.join(place.directory, "data", "myid"), String(place.id));
  }
  return places.map((place, index) => createZooKeeperServer(place, options, options.prefix?.(index) ?? []));
}

interface Place {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly securePort: number | null;
  readonly quorumPorts: readonly [number, number];
  readonly directory: string;
}

function configOf(place: Place, places: readonly Place[], options: ZooKeeperServersOptions): readonly string[] {
  const { tls } = options;
  return [
    `tickTime=${options.tickTimeMs ?? 200}`,
    `maxSessionTimeout=${options.maxSessionTimeoutMs ?? 60_000}`,
    "initLimit=50",
    `syncLimit=${options.syncLimit ?? 10}`,
    `dataDir=${path.join(place.directory, "data")}`,
    `clientPort=${place.port}`,
    `clientPortAddress=${place.host}`,
    "admin.enableServer=false",
    "4lw.commands.whitelist=*",
    "maxClientCnxns=0",
    ...(places.length === 1
      ? []
      : places.map(({ id, host, quorumPorts }) => `server.${id}=${host}:${quorumPorts[0]}:${quorumPorts[1]}`)),
    ...(tls === undefined
      ? []
      : [
          `secureClientPort=${place.securePort}`,
          `secureClientPortAddress=${place.host}`,
          "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
          "ssl.clientAuth=need",
          `ssl.keyStore.location=${tls.keyStore}`,
          `ssl.keyStore.password=${tls.keyStorePassword}`,
          "ssl.keyStore.type=PKCS12",
          `ssl.trustStore.location=${tls.trustStore}`,
          `ssl.trustStore.password=${tls.trustStorePassword}`,
          "ssl.trustStore.type=PKCS12",
        ]),
    ...(options.config ?? []),
    "",
  ];
}

/** A small heap and a JVM that starts fast; the log file is not filled with zeros in advance, so that the directory stays small. */
const JAVA = [
  "-Xms32m",
  "-Xmx128m",
  "-XX:TieredStopAtLevel=1",
  "-XX:+UseSerialGC",
  "-Xshare:auto",
  "-Dzookeeper.preAllocSize=1024",
  "-Dzookeeper.extendedTypesEnabled=true",
  "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
];

function createZooKeeperServer(place: Place, options: ZooKeeperServersOptions, prefix: readonly string[]): ZooKeeperServer {
  const { directory, host, port } = place;
  const logFile = path.join(directory, "log");
  let child: ChildProcess | null = null;
  let exited: Promise<unknown> = Promise.resolve();
  const running = () => child !== null && child.exitCode === null && child.signalCode === null;
  const log = () => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  const ask = (word: string) => (options.ask ?? askFourLetterWord)(host, port, word);
  const server: ZooKeeperServer = {
    id: place.id,
    host,
    port,
    securePort: place.securePort,
    address: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
    directory,
    pid: () => (running() ? child?.pid : undefined),
    start: () => {
      if (running()) throw new Error(`server ${place.id} runs already`);
      const argv = [
        ...prefix,
        ...["setpriv", "--pdeathsig", "KILL"],
        ...["java", ...JAVA, ...(options.java ?? []), "-cp", CLASS_PATH],
        ...["org.apache.zookeeper.server.quorum.QuorumPeerMain", path.join(directory, "zoo.cfg")],
      ];
      const out = openSync(logFile, "a");
      const started = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["ignore", out, out], cwd: directory });
      closeSync(out);
      child = started;
      exited = Promise.race([once(started, "exit"), once(started, "error")]);
    },
    serving: async () => {
      const until = performance.now() + START_TIMEOUT_MS;
      for (;;) {
        const answer = await ask("srvr").catch((thrown) => `no answer (${thrown})`);
        if (/^Mode: /m.test(answer)) return;
        if (!running()) throw new Error(`ZooKeeper server ${place.id} ended while it started:\n${log().slice(-4_000)}`);
        if (performance.now() > until)
          throw new Error(`ZooKeeper server ${place.id} does not serve: ${answer}\n${log().slice(-4_000)}`);
        await pause(25);
      }
    },
    kill: async () => {
      if (running()) child?.kill("SIGKILL");
      await exited;
    },
    stop: async () => {
      child?.kill("SIGSTOP");
      const pid = child?.pid;
      while (running() && pid !== undefined && !isStopped(pid)) await pause(1);
    },
    cont: () => void child?.kill("SIGCONT"),
    restart: async () => {
      await server.kill();
      server.start();
      await server.serving();
    },
    wipe: async () => {
      if (running()) throw new Error(`server ${place.id} still runs`);
      await rm(path.join(directory, "data", "version-2"), { recursive: true, force: true });
    },
    ask,
    log,
  };
  return server;
}

const isStopped = (pid: number): boolean => /\) T /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

/** The tests' own way to ask, independent of the client that is tested. A server that has just begun to listen may never answer. */
function askFourLetterWord(host: string, port: number, word: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    let text = "";
    socket.setTimeout(WORD_TIMEOUT_MS, () => socket.destroy(new Error(`${host}:${port} does not answer ${word}`)));
    socket.on("connect", () => socket.write(word));
    socket.on("data", (chunk) => {
      text += chunk.toString("utf8");
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
  });
}
