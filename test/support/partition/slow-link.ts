/**
 * Delay and reordering for one server of the virtual network. This kernel has no netem, so a proxy on the server's machine does it; new
 * connections from other machines are redirected to it. After `close` new connections are direct again, and those that went through it are reset.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type Host, run } from "./virtual-network.js";

export interface SlowLink {
  close(): Promise<void>;
}

export interface SlowLinkOptions {
  readonly host: Host;
  /** Of the server. */
  readonly port: number;
  readonly maxDelayMs: number;
  /** The bundled slow-link-program.ts. */
  readonly program: string;
}

const PROXY_PORT = 9_999;
const START_TIMEOUT_MS = 20_000;

export async function startSlowLink({ host, port, maxDelayMs, program }: SlowLinkOptions): Promise<SlowLink> {
  const words = [PROXY_PORT, host.address, port, maxDelayMs].map(String);
  const argv = [...host.prefix, "setpriv", "--pdeathsig", "KILL", process.execPath, program, ...words];
  const child = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["ignore", "pipe", "ignore"] });
  await Promise.race([
    once(child.stdout, "data", { signal: AbortSignal.timeout(START_TIMEOUT_MS) }),
    once(child, "exit").then(() => Promise.reject(new Error("the proxy ended before it listened"))),
  ]);
  await run([...host.prefix, "iptables-restore"], natTable(port));
  return { close: () => closeLink(host, child) };
}

async function closeLink(host: Host, child: ChildProcess): Promise<void> {
  await run([...host.prefix, "iptables-restore"], natTable(null));
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** Only what comes from other machines is redirected, so the proxy itself reaches the server. */
function natTable(port: number | null): string {
  const rule = port === null ? [] : [`-A PREROUTING -p tcp --dport ${port} -j REDIRECT --to-ports ${PROXY_PORT}`];
  const policies = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"].map((chain) => `:${chain} ACCEPT [0:0]`);
  return ["*nat", ...policies, ...rule, "COMMIT"].join("\n");
}
