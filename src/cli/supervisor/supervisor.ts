/**
 * The parent of a master: starts the real master as its child, starts it again when it dies, and kills it when its event loop hangs.
 *
 * Why a parent: a process that is dead is noticed by its standby within milliseconds (the kernel closes its connections and frees the lock of its
 * store), a process that hangs by nobody before a session expires, and with a store that is a lock, never. So a hung master is made a dead one.
 * A stopped one (SIGSTOP) is as hung as any: it can't be told apart from outside, and it keeps the lock just the same.
 *
 * Boundary: loads no more than Node itself; decides nothing about the cluster. What it says goes to standard error, as the master's log does.
 * Invariants:
 *   1. One child at a time. When this process has ended the child has ended or is about to: killed with -9, its end of the pipe closes, and the
 *      child kills itself at that moment (supervised.ts). So kill -9 of the command is kill -9 of the master.
 *   2. A child that ended in order, could not even start, or ended for an error that a restart does not heal, ends this process with the same
 *      exit code; what was wrong it has said itself.
 *   3. Judged is only time in which this process itself ran, and only a child that has once proved its life (silence.ts).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Duplex } from "node:stream";
import { createRestartPace } from "./restart-pace.js";
import { createSilence, type Silence, TICK_MS } from "./silence.js";
import {
  createLines,
  parseFromMaster,
  type StopName,
  SUPERVISOR_FD,
  SUPERVISOR_FD_VARIABLE,
  type SupervisedSettings,
} from "./supervisor-line.js";

/** A child that has not come up by then never will: it is stopped, or its start hangs. */
const START_LIMIT_MS = 60_000;
const EXIT_CODES: Readonly<Record<StopName, number>> = { SIGINT: 130, SIGTERM: 143 };

/** How a child ended. */
interface Ended {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** It said that it would end, or never came up: starting it again is of no use. */
  readonly forGood: boolean;
  readonly hung: boolean;
  readonly livedMs: number;
}

interface Asked {
  readonly name: StopName;
  count: number;
}

/** `argv`: the program and its words. Resolves with the exit code of the command. */
export async function superviseMaster(argv: readonly string[]): Promise<number> {
  const pace = createRestartPace();
  let asked: Asked | null = null;
  let child: Child | null = null;
  let wake: () => void = () => {};
  const on = (name: StopName) => () => {
    if (asked === null) asked = { name, count: 0 };
    asked.count += 1;
    // Once is a wish, twice is an order, as with every command.
    if (asked.count === 1) child?.stop(name);
    else child?.kill();
    wake();
  };
  // A log that nobody reads any more must not end a master.
  process.stderr.on("error", () => {});
  process.on("SIGTERM", on("SIGTERM"));
  process.on("SIGINT", on("SIGINT"));
  const stopped = () => asked as Asked | null;
  const settings: { latest: SupervisedSettings | null } = { latest: null };
  for (;;) {
    child = startChild(argv, pace.patience(), settings);
    const ended = await child.ended;
    child = null;
    const stop = stopped();
    if (ended.exitCode !== null && (ended.forGood || stop !== null)) return ended.exitCode;
    if (stop !== null) return EXIT_CODES[stop.name];
    const pauseMs = pace.ended(ended);
    say(settings.latest, `${describe(ended)}. It is started again in ${pauseMs} ms.`);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    const meanwhile = stopped();
    if (meanwhile !== null) return EXIT_CODES[meanwhile.name];
  }
}

interface Child {
  readonly ended: Promise<Ended>;
  stop(name: StopName): void;
  kill(): void;
}

function startChild(argv: readonly string[], patience: number, settings: { latest: SupervisedSettings | null }): Child {
  const startedAt = performance.now();
  const started = spawn(process.execPath, [...process.execArgv, ...argv], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { ...process.env, [SUPERVISOR_FD_VARIABLE]: String(SUPERVISOR_FD) },
  });
  const line = started.stdio[SUPERVISOR_FD] as Duplex | null | undefined;
  let silence: Silence | null = null;
  let isUp = false;
  let saysOver = false;
  let hung = false;
  // Its end shows in its exit; what was written to it last is of no use then.
  line?.on("error", () => {});
  line?.setEncoding("utf8").on(
    "data",
    createLines((text) => {
      const said = parseFromMaster(text);
      if (said?.word === "up") {
        settings.latest = said.settings;
        isUp = true;
        silence = createSilence(said.settings.hungAfterMs * patience, performance.now());
      }
      if (said?.word === "over") saysOver = true;
      silence?.heard(performance.now());
    }),
  );
  const starvation = createStarvation(started);
  const ticks = setInterval(() => {
    const now = performance.now();
    const isHung = silence === null ? now - startedAt > START_LIMIT_MS : silence.tick(now, starvation());
    if (!isHung || hung) return;
    hung = true;
    const howLong = silence === null ? `did not come up within ${START_LIMIT_MS} ms` : silentFor(silence);
    say(settings.latest, `The master, process ${started.pid}, ${howLong}: it is killed, so that another can lead.`);
    started.kill("SIGKILL");
  }, TICK_MS);
  const ended = new Promise<Ended>((resolve) => {
    let over = false;
    const end = (exitCode: number | null, signal: NodeJS.Signals | null, forGood: boolean) => {
      if (over) return;
      over = true;
      clearInterval(ticks);
      line?.destroy();
      resolve({ exitCode, signal, forGood, hung, livedMs: performance.now() - startedAt });
    };
    started.once("exit", (exitCode, signal) => {
      end(exitCode, signal, exitCode === 0 || saysOver || !isUp);
    });
    started.once("error", (thrown) => {
      say(settings.latest, `The master cannot be started: ${thrown.message}.`);
      end(null, null, false);
    });
  });
  return {
    ended,
    stop: (name) => void line?.write(`stop ${name}\n`),
    kill: () => void started.kill("SIGKILL"),
  };
}

const silentFor = (silence: Silence): string => `has not proved its life for ${Math.round(silence.silentMs())} ms`;

function describe({ exitCode, signal, hung }: Ended): string {
  if (hung) return "The master hung and was killed";
  if (signal !== null) return `The master was ended by ${signal}`;
  return exitCode === null ? "The master did not start" : `The master ended unexpectedly with exit code ${exitCode}`;
}

/** Milliseconds since the last call in which the process was ready to run and had no processor. Where the kernel does not tell: 0. */
function createStarvation(child: ChildProcess): () => number {
  let before: { readonly ranMs: number; readonly waitedMs: number; readonly at: number } | null = null;
  return () => {
    const at = performance.now();
    const { pid } = child;
    const scheduled = /^([0-9]+) ([0-9]+)/.exec(readProc(`/proc/${pid}/schedstat`));
    const earlier = before;
    if (scheduled === null) {
      before = null;
      return 0;
    }
    before = { ranMs: Number(scheduled[1]) / 1e6, waitedMs: Number(scheduled[2]) / 1e6, at };
    if (earlier === null) return 0;
    // The wait that is under way is added by the kernel only at its end; until then it shows as being ready and not getting on.
    const waits = before.ranMs === earlier.ranMs && /\) R /.test(readProc(`/proc/${pid}/stat`));
    return waits ? at - earlier.at : before.waitedMs - earlier.waitedMs;
  };
}

function readProc(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

/** In the form of the master's own log, without loading it. */
function say(settings: SupervisedSettings | null, sentence: string): void {
  const time = new Date().toISOString();
  const line =
    settings?.logFormat === "json"
      ? JSON.stringify({ level: 40, time, role: "supervisor", id: String(process.pid), msg: sentence })
      : `${time.slice(11, 23)} supervisor ${process.pid}  WARN ${sentence}`;
  process.stderr.write(`${line}\n`);
}
