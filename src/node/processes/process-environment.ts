/**
 * What user processes get to see: an allow-list of the worker's environment, the application's own variables, and Holdfast's names.
 * Nothing else passes, so no secret of the worker's environment can reach user code.
 */
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";
import { CodedError } from "../../base/errors.js";

const PASSED_ON = /^(PATH|HOME|LANG|LC_[A-Z]+|TZ|TMPDIR)$/;
const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";
/** Names the launch in the environment of a process and of all that it starts, so that they are found wherever they hide. */
export const TOKEN_VARIABLE = "HOLDFAST_LAUNCH";

export type Environment = Readonly<Record<string, string>>;

/** For user code that a command runs as its caller's own: everything but the URL of the masters, which may hold a password. */
export function withoutUrls(own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { HOLDFAST_MASTER: _masters, ...others } = own;
  return others;
}

export function userEnvironment(
  own: NodeJS.ProcessEnv,
  application: Environment,
  processId: string | null,
  token: string,
): Environment {
  const env: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const [name, value] of Object.entries(own)) if (value !== undefined && PASSED_ON.test(name)) env[name] = value;
  Object.assign(env, application);
  if (processId !== null) env.HOLDFAST_PROCESS = processId;
  env[TOKEN_VARIABLE] = token;
  return env;
}

/** Throws LAUNCH_FAILED when the command is not an executable file, or its directory is none: better than an exit code 127 later. */
export function checkCommand(argv: readonly string[], env: Environment, directory: string): void {
  const command = argv[0];
  if (command === undefined || command === "") throw new CodedError("LAUNCH_FAILED", "the command is empty");
  for (const text of [...argv, directory])
    if (text.includes("\0")) throw new CodedError("LAUNCH_FAILED", "an argument holds a zero byte");
  if (!isDirectory(directory)) throw new CodedError("LAUNCH_FAILED", `the directory ${directory} does not exist on this worker`);
  if (command.includes("/")) {
    if (!isExecutable(path.resolve(directory, command)))
      throw notExecutable(command, `it is not an executable file on this worker`);
    return;
  }
  const folders = (env.PATH ?? DEFAULT_PATH).split(":");
  if (!folders.some((folder) => isExecutable(path.resolve(directory, folder, command))))
    throw notExecutable(command, `it is in no folder of PATH (${folders.join(":")})`);
}

function notExecutable(command: string, why: string): CodedError {
  return new CodedError("LAUNCH_FAILED", `cannot run ${command}: ${why}`, {
    hint: "Install it on every worker, or give its full path.",
  });
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function isDirectory(folder: string): boolean {
  try {
    return statSync(folder).isDirectory();
  } catch {
    return false;
  }
}
