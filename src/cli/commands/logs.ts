/** `holdfast logs APP [-f]`: the logs of an application's processes, read from the workers that hold them. */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import type { LogChunk, LogStream } from "../../host/client-logs.js";
import { parseProcessId } from "../../wire/ids.js";
import { type ClusterClient, openClient } from "../cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, remark, withCluster } from "../command.js";
import { parseChoice } from "../parse.js";

interface LogsOptions extends ClusterOptions {
  readonly follow?: boolean;
  readonly stream: string;
  readonly process?: string;
  readonly all?: boolean;
}

export function command(): Command {
  const examples = [
    "holdfast logs app-3-1",
    "holdfast logs app-3-1 -f --stream stderr",
    "holdfast logs app-3-1 --process app-3-1.d1.e2",
    "holdfast logs app-3-1 --all",
  ];
  return withCluster(
    newCommand("logs", "Print the logs of an application: of its newest driver (or program), or of a named process.", examples),
  )
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("-f, --follow", "go on until the application has ended")
    .option("--stream <name>", "stdout | stderr | both", "stdout")
    .option("--process <id>", "one process (see: holdfast status)")
    .option("--all", "every process of the application, each line with its process id")
    .action(async (app: string, options: LogsOptions) => {
      const stream = parseChoice("--stream", options.stream, ["stdout", "stderr", "both"] as const);
      const streams: readonly LogStream[] = stream === "both" ? ["stdout", "stderr"] : [stream];
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const wanted = await wantedOf(client, app, options);
      const out = options.all === true ? prefixedOutput() : plainOutput();
      try {
        await client.readLogs({
          application: app,
          streams,
          follow: options.follow === true,
          wanted,
          onChunk: out.chunk,
          onUnreachable: (processId, error) => remark(`The logs of ${processId} cannot be read now: ${error.message}`),
        });
      } catch (thrown) {
        if (options.follow !== true || interrupt.name() === null) throw thrown;
      } finally {
        out.end();
      }
    });
}

/** Which processes: the named one, all, or drivers (when not following: only the newest attempt's). */
async function wantedOf(client: ClusterClient, app: string, options: LogsOptions): Promise<(processId: string) => boolean> {
  const { processes } = await client.call("logs.locate", { application: app });
  const ids = processes.map((entry) => entry.processId);
  if (options.process !== undefined) {
    if (!ids.includes(options.process) && options.follow !== true) {
      const hint = ids.length === 0 ? `See its state: holdfast status ${app}` : `It has: ${ids.join(", ")}`;
      throw new CodedError("NOT_FOUND", `${app} has no process ${options.process}.`, { hint });
    }
    return (processId) => processId === options.process;
  }
  if (options.all === true) return () => true;
  const isDriver = (processId: string) => parseProcessId(processId)?.executor === null;
  if (options.follow === true) return isDriver;
  const newest = ids.filter(isDriver).at(-1);
  if (newest === undefined) {
    throw new CodedError("NOT_FOUND", `${app} has no process that wrote logs yet.`, {
      hint: `See its state: holdfast status ${app}`,
    });
  }
  return (processId) => processId === newest;
}

interface Output {
  chunk(chunk: LogChunk): Promise<void>;
  end(): void;
}

function write(text: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (process.stdout.write(text)) resolve();
    else process.stdout.once("drain", resolve);
  });
}

/** The bytes as they are: logs belong to the user, and may be piped on. */
function plainOutput(): Output {
  return { chunk: (chunk) => write(chunk.bytes), end: () => {} };
}

function prefixedOutput(): Output {
  const rests = new Map<string, { readonly decoder: InstanceType<typeof TextDecoder>; text: string }>();
  return {
    chunk: async ({ processId, stream, bytes }) => {
      const key = stream === "stderr" ? `${processId}!` : processId;
      const rest = rests.get(key) ?? { decoder: new TextDecoder(), text: "" };
      rests.set(key, rest);
      const lines = (rest.text + rest.decoder.decode(bytes, { stream: true })).split("\n");
      rest.text = lines.pop() ?? "";
      if (lines.length > 0) await write(lines.map((line) => `${key} ${line}\n`).join(""));
    },
    end: () => {
      for (const [key, { text }] of rests) if (text !== "") process.stdout.write(`${key} ${text}\n`);
    },
  };
}
