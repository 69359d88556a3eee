/** `holdfast logs APP [-f]`: the logs of an application's processes, read from the workers that hold them. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { parseProcessId } from "../../wire/ids.js";
import { openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, withCluster } from "../command.js";
import { parseChoice } from "../parse.js";

interface LogsOptions extends ClusterOptions {
  readonly follow?: boolean;
  readonly stream: string;
  readonly process?: string;
  readonly all?: boolean;
}

const POLL_MS = 10_000;

export function command(): Command {
  return withCluster(
    newCommand("logs", "Print the logs of an application: of its newest driver (or program), or of a named process.", [
      "holdfast logs app-3-1",
      "holdfast logs app-3-1 -f --stream stderr",
      "holdfast logs app-3-1 --process app-3-1.d1.e2",
      "holdfast logs app-3-1 --all",
    ]),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("-f, --follow", "go on until the application has ended")
    .option("--stream <name>", "stdout | stderr", "stdout")
    .option("--process <id>", "one process (see: holdfast status)")
    .option("--all", "every process of the application, each line with its process id")
    .action(async (app: string, options: LogsOptions) => {
      const stream = parseChoice("--stream", options.stream, ["stdout", "stderr"] as const);
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const followed = new Map<string, Promise<void>>();
      for (;;) {
        const located = await client.call("logs.locate", { application: app });
        const wanted = choose(located.processes, options);
        if (wanted.length === 0 && (located.final || options.follow !== true)) throw nothingFound(app, options, located.processes);
        for (const { processId, address } of wanted) {
          if (address === null || followed.has(processId)) continue;
          followed.set(
            processId,
            copy(client, { address, processId, stream, follow: options.follow === true, prefix: options.all === true }),
          );
        }
        if (located.final || options.follow !== true) {
          await Promise.all(followed.values());
          return;
        }
        // A new attempt may start elsewhere: look again when something ends, and now and then.
        await Promise.race([...followed.values(), client.pause(1000)]);
        await client.pause(200);
      }
    });
}

type Located = {
  readonly processId: string;
  readonly worker: string | null;
  readonly address: string | null;
  readonly state: string;
};

function choose(processes: readonly Located[], options: LogsOptions): readonly Located[] {
  if (options.process !== undefined) return processes.filter((entry) => entry.processId === options.process);
  if (options.all === true) return processes;
  const drivers = processes.filter((entry) => parseProcessId(entry.processId)?.executor === null);
  return drivers.slice(-1);
}

function nothingFound(app: string, options: LogsOptions, processes: readonly Located[]): CodedError {
  const what = options.process === undefined ? `${app} has no process that wrote logs` : `${app} has no process ${options.process}`;
  const hint =
    processes.length === 0
      ? `See its state: holdfast status ${app}`
      : `It has: ${processes.map((entry) => entry.processId).join(", ")}`;
  return new CodedError("NOT_FOUND", `${what}.`, { hint });
}

type Client = Awaited<ReturnType<typeof openClient>>;
interface CopyOptions {
  readonly address: string;
  readonly processId: string;
  readonly stream: "stdout" | "stderr";
  readonly follow: boolean;
  readonly prefix: boolean;
}

async function copy(client: Client, { address, processId, stream, follow, prefix }: CopyOptions): Promise<void> {
  await using worker = await client.openWorker(address);
  let offset = 0;
  let rest = "";
  const decoder = new TextDecoder();
  const write = (text: string) => {
    if (!prefix) {
      process.stdout.write(text);
      return;
    }
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) process.stdout.write(`${processId} ${line}\n`);
  };
  for (;;) {
    const part = await worker.call("logs.read", {
      processId,
      stream,
      offset,
      limitBytes: 256 * 1024,
      waitMs: follow ? POLL_MS : 0,
    });
    const bytes = Buffer.from(part.base64, "base64");
    write(decoder.decode(bytes, { stream: true }));
    offset += bytes.length;
    if (bytes.length === 0 && (!follow || part.ended)) break;
  }
  if (rest !== "") process.stdout.write(`${processId} ${rest}\n`);
}
