/** Starts level-child.ts as real processes and listens to them. */
import { type ChildProcess, fork } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";
import { waitFor } from "../../support/wait-for.js";
import type { FromChild, ToChild } from "./level-child.js";

type Said<K extends FromChild["kind"]> = Extract<FromChild, { readonly kind: K }>;

export interface LevelProcess {
  readonly pid: number;
  readonly said: readonly FromChild[];
  tell(kind: ToChild["kind"]): void;
  /** The next message of that kind that was not taken before and that fits. */
  hear<K extends FromChild["kind"]>(kind: K, fits?: (message: Said<K>) => boolean): Promise<Said<K>>;
  signal(name: NodeJS.Signals): void;
  /** Resolves when the process has ended and all it said has been heard. */
  readonly gone: Promise<void>;
}

export interface LevelProcesses {
  start(directory: string, candidate: string): LevelProcess;
  /** Kills whatever still runs on the directory, and waits for its end: nothing writes there any more. */
  end(directory: string): Promise<void>;
  /** Kills whatever still runs and removes the program. */
  close(): Promise<void>;
}

export async function levelProcesses(): Promise<LevelProcesses> {
  // Below node_modules, so that the bundle finds classic-level.
  const folder = path.resolve(`node_modules/.cache/holdfast-level-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  const program = path.join(folder, "level-child.mjs");
  const entry = path.resolve("test/integration/stores/level-child.ts");
  await build({
    entryPoints: [entry],
    outfile: program,
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "error",
  });
  const started: { readonly child: ChildProcess; readonly directory: string; readonly gone: Promise<void> }[] = [];
  const kill = async (which: typeof started) => {
    for (const { child } of which) child.kill("SIGKILL");
    await Promise.all(which.map(({ gone }) => gone));
  };
  return {
    start(directory, candidate) {
      const child = fork(program, [directory, candidate], { stdio: ["ignore", "inherit", "inherit", "ipc"], execArgv: [] });
      const levelProcess = listenTo(child);
      started.push({ child, directory, gone: levelProcess.gone });
      return levelProcess;
    },
    end: (directory) => kill(started.filter((one) => one.directory === directory)),
    async close() {
      await kill(started);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function listenTo(child: ChildProcess): LevelProcess {
  const said: FromChild[] = [];
  const taken = new Set<FromChild>();
  child.on("message", (message: FromChild) => said.push(message));
  // "close" comes after the IPC channel has been read to its end, "exit" may come before.
  const disconnected = new Promise<void>((resolve) => child.once("disconnect", resolve));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    pid: child.pid ?? 0,
    said,
    gone: Promise.all([disconnected, exited]).then(() => {}),
    tell(kind) {
      if (child.connected) child.send({ kind } satisfies ToChild);
    },
    async hear<K extends FromChild["kind"]>(kind: K, fits: (message: Said<K>) => boolean = () => true) {
      const find = () =>
        said.find((message): message is Said<K> => message.kind === kind && !taken.has(message) && fits(message as Said<K>));
      await waitFor(() => find() !== undefined).catch(() => {
        throw new Error(`process ${child.pid} did not say "${kind}"; it said ${JSON.stringify(said.slice(-5))}`);
      });
      const message = find();
      if (message === undefined) throw new Error("unreachable");
      taken.add(message);
      return message;
    },
    signal: (name) => void child.kill(name),
  };
}
