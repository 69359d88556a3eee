/**
 * A TCP proxy that misbehaves as told: cuts with FIN or RST (also in the middle of what one side says), swallows either direction, delays,
 * refuses. Boundary: bytes only; whoever needs messages finds their borders in `onBytes`. After `close` no socket of it is left.
 */
import { createServer, connect as netConnect, type Server, type Socket } from "node:net";

/** `up`: from the client to the server; `down`: back. */
export type Direction = "up" | "down";
export type Ending = "fin" | "rst";

export interface ProxyLink {
  /** From 1, in the order in which clients came. */
  readonly id: number;
  /** Bytes that came from either side so far, forwarded or not. */
  seen(direction: Direction): number;
  /** Ends both sides: the client sees FIN or RST. */
  cut(ending: Ending): void;
  /** Still open. */
  open(): boolean;
}

/** What happens to a chunk: forward it; swallow it; forward the first `forward` bytes of it, then end the link. */
export type Verdict = "forward" | "swallow" | { readonly forward: number; readonly ending: Ending };

export interface TcpProxy {
  readonly port: number;
  /** `host:port`. */
  readonly address: string;
  links(): readonly ProxyLink[];
  /** Asked for every chunk before it goes on; the first word that is not "forward" counts. Returns what takes the question back. */
  onBytes(judge: (chunk: Buffer, direction: Direction, link: ProxyLink) => Verdict): () => void;
  /** Swallows everything in this direction, on all links, also new ones: connections are accepted and stay open, and their bytes are lost. */
  blackHole(direction: Direction | "both"): void;
  /** Ends `blackHole`. A link that lost bytes is of no more use to a protocol; its ends find that out by themselves. */
  heal(): void;
  /** Each chunk waits that long; order is kept. */
  delay(durationMs: number): void;
  /** Cuts the link once this many bytes went in this direction (counted from now, over all links). */
  cutAfter(direction: Direction, bytes: number, ending: Ending): void;
  /** Cuts the next time the client says something: before it is forwarded, or forwarded but before a word of the answer comes back. */
  cutNextRequest(when: "before-request" | "before-response", ending: Ending): Promise<void>;
  /** Ends all links. */
  cutAll(ending: Ending): void;
  /** New connections are reset at once. */
  refuse(refused: boolean): void;
  /** Where new connections go; those that are open stay. */
  target(port: number, host?: string): void;
  close(): Promise<void>;
}

export async function startTcpProxy(targetPort: number, targetHost = "127.0.0.1", listenHost = "127.0.0.1"): Promise<TcpProxy> {
  const state = new ProxyState(targetPort, targetHost);
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => state.accept(client));
  await new Promise<void>((resolve) => server.listen(0, listenHost, resolve));
  return state.proxy(server);
}

type Judge = (chunk: Buffer, direction: Direction, link: ProxyLink) => Verdict;

class ProxyState {
  readonly #links = new Set<Link>();
  readonly #judges = new Set<Judge>();
  #port: number;
  #host: string;
  #swallowed: ReadonlySet<Direction> = new Set();
  #delayMs = 0;
  #refuses = false;
  #nextId = 1;

  constructor(port: number, host: string) {
    this.#port = port;
    this.#host = host;
  }

  accept(client: Socket): void {
    if (this.#refuses) {
      client.resetAndDestroy();
      return;
    }
    const server = netConnect({ port: this.#port, host: this.#host, allowHalfOpen: true, noDelay: true });
    const link = new Link(this.#nextId++, client, server, {
      judge: (chunk, direction) => this.#judge(chunk, direction, link),
      delayMs: () => this.#delayMs,
      swallows: (direction) => this.#swallowed.has(direction),
      ended: () => void this.#links.delete(link),
    });
    this.#links.add(link);
  }

  #judge(chunk: Buffer, direction: Direction, link: Link): Verdict {
    for (const judge of this.#judges) {
      const verdict = judge(chunk, direction, link);
      if (verdict !== "forward") return verdict;
    }
    return this.#swallowed.has(direction) ? "swallow" : "forward";
  }

  #onBytes(judge: Judge): () => void {
    this.#judges.add(judge);
    return () => void this.#judges.delete(judge);
  }

  #cutAfter(direction: Direction, bytes: number, ending: Ending): void {
    let left = bytes;
    const stop = this.#onBytes((chunk, where) => {
      if (where !== direction) return "forward";
      if (chunk.length < left) {
        left -= chunk.length;
        return "forward";
      }
      stop();
      return { forward: left, ending };
    });
  }

  #cutNextRequest(when: "before-request" | "before-response", ending: Ending): Promise<void> {
    return new Promise((resolve) => {
      let asked: ProxyLink | null = null;
      const stop = this.#onBytes((_chunk, direction, link) => {
        if (direction === "up" && when === "before-response") {
          asked ??= link;
          return "forward";
        }
        if (direction === "down" && (when === "before-request" || asked !== link)) return "forward";
        stop();
        resolve();
        return { forward: 0, ending };
      });
    });
  }

  proxy(server: Server): TcpProxy {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy has no port");
    const cutAll = (ending: Ending) => {
      for (const link of [...this.#links]) link.cut(ending);
    };
    return {
      port: address.port,
      address: address.address.includes(":") ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`,
      links: () => [...this.#links],
      onBytes: (judge) => this.#onBytes(judge),
      blackHole: (direction) => {
        this.#swallowed = new Set(direction === "both" ? ["up", "down"] : [direction]);
      },
      heal: () => {
        this.#swallowed = new Set();
      },
      delay: (durationMs) => {
        this.#delayMs = durationMs;
      },
      cutAfter: (direction, bytes, ending) => this.#cutAfter(direction, bytes, ending),
      cutNextRequest: (when, ending) => this.#cutNextRequest(when, ending),
      cutAll,
      refuse: (refused) => {
        this.#refuses = refused;
      },
      target: (port, host) => {
        this.#port = port;
        this.#host = host ?? this.#host;
      },
      close: async () => {
        const closed = new Promise((resolve) => server.close(resolve));
        cutAll("rst");
        await closed;
      },
    };
  }
}

interface LinkRules {
  judge(chunk: Buffer, direction: Direction): Verdict;
  delayMs(): number;
  /** A side that ends while its words are swallowed ends unheard, too. */
  swallows(direction: Direction): boolean;
  ended(): void;
}

class Link implements ProxyLink {
  readonly id: number;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #rules: LinkRules;
  readonly #seen = { up: 0, down: 0 };
  #open = true;

  constructor(id: number, client: Socket, server: Socket, rules: LinkRules) {
    this.id = id;
    this.#client = client;
    this.#server = server;
    this.#rules = rules;
    this.#pipe("up", client, server);
    this.#pipe("down", server, client);
  }

  seen(direction: Direction): number {
    return this.#seen[direction];
  }

  open(): boolean {
    return this.#open;
  }

  cut(ending: Ending): void {
    if (!this.#open) return;
    this.#open = false;
    if (ending === "rst") this.#client.resetAndDestroy();
    else this.#client.destroySoon();
    this.#server.resetAndDestroy();
    this.#rules.ended();
  }

  #pipe(direction: Direction, from: Socket, to: Socket): void {
    let order: Promise<void> = Promise.resolve();
    const later = (run: () => void): void => {
      const delayMs = this.#rules.delayMs();
      const due = delayMs === 0 ? undefined : new Promise<void>((resolve) => setTimeout(resolve, delayMs));
      order = order.then(() => due).then(run);
    };
    from.on("data", (chunk: Buffer) => {
      this.#seen[direction] += chunk.length;
      const verdict = this.#rules.judge(chunk, direction);
      if (verdict === "swallow") return;
      const part = verdict === "forward" ? chunk : chunk.subarray(0, verdict.forward);
      later(() => {
        if (this.#open && part.length > 0) to.write(part);
        // What was forwarded is on its way before the end: write comes before it in the kernel's order, except that a reset overtakes.
        if (verdict !== "forward") this.#finish(verdict.ending, direction);
      });
    });
    from.on("end", () => later(() => this.#open && !this.#rules.swallows(direction) && this.cut("fin")));
    from.on("error", () => later(() => this.#open && !this.#rules.swallows(direction) && this.cut("rst")));
    from.on("close", () => {
      if (this.#open && this.#client.destroyed && this.#server.destroyed) this.cut("rst");
    });
  }

  /** A reset would throw away bytes that the receiver has not read yet, so the part is given time to arrive. */
  #finish(ending: Ending, direction: Direction): void {
    const receiver = direction === "up" ? this.#server : this.#client;
    if (ending === "fin") this.cut("fin");
    else if (receiver.writableLength === 0) setTimeout(() => this.cut("rst"), 20);
    else receiver.once("drain", () => setTimeout(() => this.cut("rst"), 20));
  }
}
