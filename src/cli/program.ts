/**
 * The commands of `holdfast`: finds the command, loads only its module, runs it, and turns what it throws into a sentence and an exit code.
 * Boundary: knows the names of commands; everything else of a command stands in its own file under commands/.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { CodedError } from "../base/errors.js";
import { allowManyWaits } from "../node/network/listener-limit.js";
import { type HeadStart, headStartFor } from "./client/head-start.js";
import { remark, showError } from "./command.js";
import { hidePasswords, ownWords, PASSWORD_WARNING } from "./password-on-command-line.js";

type CommandModule = { readonly command: (headStart: HeadStart | null) => Command };

/** In the order in which `--help` shows them. */
const COMMANDS: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<CommandModule> }>> = {
  run: { summary: "run a job on an embedded cluster of this machine", load: () => import("./commands/run.js") },
  submit: { summary: "submit a job or any program to a cluster", load: () => import("./commands/submit.js") },
  plan: { summary: "show what a job would run as, and what it guarantees", load: () => import("./commands/plan.js") },
  list: { summary: "list applications", load: () => import("./commands/list.js") },
  status: { summary: "show one application", load: () => import("./commands/status.js") },
  logs: { summary: "print an application's logs", load: () => import("./commands/logs.js") },
  events: { summary: "print what happened in the cluster", load: () => import("./commands/events.js") },
  cancel: { summary: "cancel an application", load: () => import("./commands/cancel.js") },
  forget: { summary: "remove what is kept of an ended application", load: () => import("./commands/forget.js") },
  checkpoints: { summary: "list the checkpoints of a job", load: () => import("./commands/checkpoints.js") },
  checkpoint: { summary: "take a checkpoint of a job now", load: () => import("./commands/checkpoint.js") },
  savepoint: { summary: "write the state of a job to a directory", load: () => import("./commands/savepoint.js") },
  resume: { summary: "let a parked job go on", load: () => import("./commands/resume.js") },
  cluster: { summary: "show masters, epoch and counts", load: () => import("./commands/cluster.js") },
  workers: { summary: "list workers", load: () => import("./commands/workers.js") },
  drain: { summary: "move work away from a worker", load: () => import("./commands/drain.js") },
  gone: { summary: "say that a worker never comes back", load: () => import("./commands/gone.js") },
  removals: { summary: "show, hold or continue the removal of workers", load: () => import("./commands/removals.js") },
  handover: { summary: "let a standby take over from the leader", load: () => import("./commands/handover.js") },
  master: { summary: "run a master (active or standby)", load: () => import("./commands/master.js") },
  worker: { summary: "run a worker of this machine", load: () => import("./commands/worker.js") },
  secret: { summary: "make a cluster secret", load: () => import("./commands/secret.js") },
  doctor: { summary: "check this machine and a cluster", load: () => import("./commands/doctor.js") },
};

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

async function programFor(name: string | undefined, headStart: HeadStart | null): Promise<Command> {
  const program = new Command("holdfast")
    .description("A highly available cluster for TypeScript jobs, in which any process may die.")
    .version(version(), "-V, --version")
    .showSuggestionAfterError(true)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast run job.ts --param input=data.ndjson\n  $ holdfast submit job.ts --wait\n  $ holdfast submit --supervise -- node server.js",
    );
  const known = name === undefined ? undefined : COMMANDS[name];
  for (const [other, entry] of Object.entries(COMMANDS)) {
    if (known !== undefined && other === name) program.addCommand((await entry.load()).command(headStart));
    // The others are names only: enough for help and for naming the nearest one, without loading their code.
    else program.command(other).description(entry.summary);
  }
  return program;
}

function prepare(command: Command): void {
  command.exitOverride();
  command.configureOutput({ outputError: () => {}, writeErr: () => {} });
  for (const child of command.commands) prepare(child);
}

/** Commander's own refusals (unknown command or option, missing argument) as our error, with exit code 2. */
function fromCommander(error: CommanderError, command: string | undefined): CodedError {
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const hint = rest.join(" ").trim() || `Run: holdfast ${command === undefined ? "" : `${command} `}--help`;
  return new CodedError(
    error.code === "commander.unknownCommand" ? "UNKNOWN_COMMAND" : "INVALID_ARGUMENT",
    `${first}.`.replace(/\.\.$/, "."),
    { hint },
  );
}

/** `help COMMAND` is `COMMAND --help`; only the named command's module is loaded. */
function withoutHelpWord(argv: readonly string[]): readonly string[] {
  const [node = "", program = "", first, second] = argv;
  return first === "help" && second !== undefined ? [node, program, second, "--help"] : argv;
}

async function main(given: readonly string[]): Promise<number> {
  const argv = withoutHelpWord(given);
  // With --json standard error holds the error's object only.
  if (hidePasswords(argv) && !ownWords(argv).includes("--json")) remark(PASSWORD_WARNING);
  const headStart = headStartFor(argv.slice(2));
  try {
    return await runCommand(argv, headStart);
  } finally {
    headStart?.close();
  }
}

async function runCommand(argv: readonly string[], headStart: HeadStart | null): Promise<number> {
  const name = argv.slice(2).find((word) => !word.startsWith("-"));
  const program = await programFor(name, headStart);
  prepare(program);
  const json = argv.includes("--json") && !(argv.includes("--") && argv.indexOf("--") < argv.indexOf("--json"));
  try {
    if (argv.length === 2) {
      program.outputHelp();
      return 2;
    }
    await program.parseAsync([...argv]);
    return process.exitCode === undefined ? 0 : Number(process.exitCode);
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return 0;
      return showError(fromCommander(thrown, name !== undefined && Object.hasOwn(COMMANDS, name) ? name : undefined), json);
    }
    return showError(thrown, json);
  }
}

// Whoever read the output has gone (`holdfast list | head`): that is no failure of the command.
process.stdout.on("error", (thrown: NodeJS.ErrnoException) => {
  if (thrown.code === "EPIPE") process.exit(0);
  throw thrown;
});
// A log that nobody reads any more, or whose disk is full, must not end a master or a worker.
process.stderr.on("error", () => {});

allowManyWaits();

// Timers of ours never keep a process alive, so a command that only waits would end with them.
const keepAlive = setInterval(() => {}, 60_000);
try {
  process.exitCode = await main(process.argv);
} finally {
  clearInterval(keepAlive);
}
