/** Calls to a cluster from a virtual machine: the other end of client-program.ts. Each call rejects with a CodedError, as the library's. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { CodedError, type ErrorCode } from "../../../src/base/errors.js";
import type { OperationInput, OperationName, OperationOutput } from "../../../src/wire/operations.js";

/** What an operator does by hand; `tree` and `deleteTree` answer the znode and all below it, parents first. */
export interface ZnodeCall {
  readonly op: "tree" | "delete" | "deleteTree";
  readonly path: string;
}

export interface RemoteClient {
  znode(call: ZnodeCall): Promise<readonly { readonly path: string; readonly base64: string }[]>;
  call<N extends OperationName>(name: N, input: OperationInput<N>): Promise<OperationOutput<N>>;
  close(): Promise<void>;
}

export interface RemoteClientOptions {
  /** Words before the command: where it runs. */
  readonly prefix: readonly string[];
  /** The bundled client-program.ts. */
  readonly program: string;
  readonly master: string;
  readonly secretFile: string;
  /** How long each call looks for a leader. */
  readonly timeout: string;
  readonly cwd: string;
  /** `host:port,host:port`. */
  readonly zookeeper: string;
}

type Answer =
  | { readonly ready: true }
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } };

interface Waiting {
  readonly resolve: (output: never) => void;
  readonly reject: (reason: CodedError) => void;
}

export async function startRemoteClient(options: RemoteClientOptions): Promise<RemoteClient> {
  const { prefix, program, master, secretFile, timeout, cwd, zookeeper } = options;
  const argv = [...prefix, "setpriv", "--pdeathsig", "KILL", process.execPath, program, master, secretFile, timeout, zookeeper];
  const child = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["pipe", "pipe", "pipe"], cwd });
  const waiting = new Map<number, Waiting>();
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors = `${errors}${chunk}`.slice(-4_000);
  });
  child.stdin.on("error", () => {});
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => {
      for (const { reject } of waiting.values()) reject(new CodedError("CONNECTION_LOST", `the client ended: ${errors}`));
      waiting.clear();
      resolve();
    });
  });
  await new Promise<void>((resolve, reject) => {
    void exited.then(() => reject(new Error(`the client ended before it was ready: ${errors}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      if ("ready" in answer) return resolve();
      const call = waiting.get(answer.id);
      waiting.delete(answer.id);
      if ("output" in answer) call?.resolve(answer.output as never);
      else call?.reject(new CodedError(answer.error.code, answer.error.message));
    });
  });
  return remoteClient(child, waiting, exited);
}

function remoteClient(child: ChildProcess, waiting: Map<number, Waiting>, exited: Promise<void>): RemoteClient {
  let nextId = 1;
  const ask = (name: string, input: object): Promise<never> => {
    const id = nextId++;
    return new Promise((resolve, reject) => {
      if (child.exitCode !== null || child.signalCode !== null)
        return reject(new CodedError("CONNECTION_LOST", "the client has ended"));
      waiting.set(id, { resolve, reject });
      child.stdin?.write(`${JSON.stringify({ id, name, input })}\n`);
    });
  };
  return {
    znode: (call) => ask("znode", call),
    call: (name, input) => ask(name, input),
    close: async () => {
      child.stdin?.end();
      await exited;
    },
  };
}
