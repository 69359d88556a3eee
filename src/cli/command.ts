/**
 * What all commands share: the options that reach a cluster, how an error is shown, which exit code it gives, and Ctrl-C.
 *
 * Exit codes (design.md 7): 0 done, 1 the application failed, 2 wrong usage, 3 no master reachable in time, 4 refused; 130 interrupted.
 */
import { setMaxListeners } from "node:events";
import { Command } from "commander";
import { CodedError, ERROR_CODES } from "../base/errors.js";
import { parseDurationMs } from "./parse.js";
import { styleFor } from "./terminal.js";

export const DEFAULT_MASTER = "127.0.0.1:7077";

export interface ClusterOptions {
  readonly master: string;
  readonly secretFile?: string;
  readonly timeout: string;
  readonly json?: boolean;
}

/** A command whose `--help` ends with examples. */
export function newCommand(name: string, summary: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(summary)
    .showHelpAfterError("(add --help for all options and examples)")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}`).join("\n")}`);
}

export function withJson(command: Command): Command {
  return command.option("--json", "print JSON in the stable shapes of docs/json.md");
}

/** Options of every command that talks to a cluster. */
export function withCluster(command: Command): Command {
  return withJson(
    command
      .option(
        "--master <url>",
        "h1:p1,h2:p2 | holdfast://h1:p1,h2:p2 | zk://z1:2181,z2:2181/path | file:///path (or HOLDFAST_MASTER)",
        process.env.HOLDFAST_MASTER || DEFAULT_MASTER,
      )
      .option("--secret-file <path>", "the cluster secret (or HOLDFAST_SECRET_FILE)", process.env.HOLDFAST_SECRET_FILE || undefined)
      .option("--timeout <duration>", "how long to look for a leading master", "10s"),
  );
}

export const timeoutMsOf = (options: { readonly timeout: string }): number => parseDurationMs("--timeout", options.timeout);

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Progress and remarks go to standard error, so that standard output holds only the answer. */
export function remark(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function showError(thrown: unknown, json: boolean): number {
  const error = CodedError.from(thrown);
  const { exitCode } = ERROR_CODES[error.code];
  if (json) {
    process.stderr.write(`${JSON.stringify({ error: error.toShape() })}\n`);
    return exitCode;
  }
  const style = styleFor(process.stderr);
  process.stderr.write(`${style.red("error:")} ${error.message} ${style.dim(`[${error.code}]`)}\n`);
  if (error.hint !== null) process.stderr.write(`  ${error.hint}\n`);
  // A stack is for our own defects only; a user's mistake never shows one.
  if (error.code === "INTERNAL" && error.stack !== undefined) process.stderr.write(`${error.stack}\n`);
  return exitCode;
}

export interface Interrupt {
  readonly signal: AbortSignal;
  /** The signal's name once it came. */
  readonly name: () => "SIGINT" | "SIGTERM" | null;
  /** As the first one, from elsewhere than the terminal: a signal that comes too is not the second. */
  ask(name: "SIGINT" | "SIGTERM"): void;
  dispose(): void;
}

/** The first Ctrl-C (or SIGTERM) aborts the signal, the second ends the process at once. */
export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  // Reading the logs of many processes waits for each of them: that many listeners are no leak, which Node would warn of.
  setMaxListeners(0, controller.signal);
  let came: "SIGINT" | "SIGTERM" | null = null;
  let signalled = false;
  const ask = (name: "SIGINT" | "SIGTERM") => {
    came ??= name;
    controller.abort(new CodedError("ABORTED", `Interrupted by ${came}.`));
  };
  const on = (name: "SIGINT" | "SIGTERM") => () => {
    if (signalled) process.exit(name === "SIGINT" ? 130 : 143);
    signalled = true;
    ask(name);
  };
  const onInt = on("SIGINT");
  const onTerm = on("SIGTERM");
  process.on("SIGINT", onInt);
  process.on("SIGTERM", onTerm);
  return {
    signal: controller.signal,
    name: () => came,
    ask,
    dispose: () => {
      process.off("SIGINT", onInt);
      process.off("SIGTERM", onTerm);
    },
  };
}
