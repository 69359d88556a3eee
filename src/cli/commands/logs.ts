/**
 * `holdfast logs APP [-f]`: the logs of an application's processes, read from the workers that hold them.
 * What a user wrote in a job runs in its executors, so a job's logs are those of all its processes, each line with the id of its process; a
 * program is one process, and its bytes are printed as they are.
 */
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import type { LogChunk, LogStream } from "../../host/client/client-logs.js";
import { parseProcessId } from "../../wire/ids.js";
import { type ClusterClient, openClient } from "../client/cluster-client.js";
import { type ClusterOptions, newCommand, onInterrupt, remark, withCluster } from "../command.js";
import { parseChoice } from "../parse.js";

interface LogsOptions extends ClusterOptions {
  readonly follow?: boolean;
  readonly stream: string;
  readonly process?: string;
  readonly driver?: boolean;
  readonly all?: boolean;
}

export function command(): Command {
  const examples = [
    "holdfast logs app-3-1",
    "holdfast logs app-3-1 -f --stream both",
    "holdfast logs app-3-1 --driver --stream stderr",
    "holdfast logs app-3-1 --process app-3-1.d1.e2",
    "holdfast logs app-3-1 --json | jq -r .line",
  ];
  const summary =
    "Print the logs of an application: of the newest attempt of a program, or of all processes of a job, each line with its process id.";
  return withCluster(newCommand("logs", summary, examples))
    .argument("<app>", "id of the application, or the --id it was submitted with")
    .option("-f, --follow", "go on until the application has ended")
    .option("--stream <name>", "stdout | stderr | both", "stdout")
    .option("--process <id>", "one process, without its id (see: holdfast status)")
    .option("--driver", "of a job: the driver only, without its id")
    .option("--all", "every process of every attempt, each line with its process id")
    .action(async (app: string, options: LogsOptions) => {
      const stream = parseChoice("--stream", options.stream, ["stdout", "stderr", "both"] as const);
      const streams: readonly LogStream[] = stream === "both" ? ["stdout", "stderr"] : [stream];
      const interrupt = onInterrupt();
      await using client = await openClient(options, interrupt.signal);
      const { wanted, prefixed } = await choiceOf(client, app, options);
      const out = options.json === true ? lineOutput(jsonLine) : prefixed ? lineOutput(prefixedLine) : plainOutput();
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

interface Choice {
  wanted(processId: string): boolean;
  /** Each line with the id of its process: whenever lines of several processes at a time may come. */
  readonly prefixed: boolean;
}

/** Which processes; when not following, only those of the newest attempt that wrote something. */
async function choiceOf(client: ClusterClient, app: string, options: LogsOptions): Promise<Choice> {
  const follows = options.follow === true;
  const { processes } = await client.call("logs.locate", { application: app });
  const ids = processes.map((entry) => entry.processId);
  if (options.process !== undefined) {
    if (!ids.includes(options.process) && !follows) {
      const hint = ids.length === 0 ? `See its state: holdfast status ${app}` : `It has: ${ids.join(", ")}`;
      throw new CodedError("NOT_FOUND", `${app} has no process ${options.process}.`, { hint });
    }
    return { wanted: (processId) => processId === options.process, prefixed: false };
  }
  if (options.all === true) return { wanted: () => true, prefixed: true };
  if (ids.length === 0 && !follows) {
    throw new CodedError("NOT_FOUND", `${app} has no process that wrote logs yet.`, {
      hint: `See its state: holdfast status ${app}`,
    });
  }
  const { application } = await client.call("status", { application: app, after: null, waitMs: 0 });
  const driverOnly = options.driver === true || application.kind === "process";
  const newest = Math.max(...ids.map(attemptOf));
  return {
    wanted: (processId) => (follows || attemptOf(processId) === newest) && (!driverOnly || isDriver(processId)),
    prefixed: !driverOnly,
  };
}

const isDriver = (processId: string): boolean => parseProcessId(processId)?.executor === null;
const attemptOf = (processId: string): number => parseProcessId(processId)?.attempt ?? 0;

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

type Line = Pick<LogChunk, "processId" | "stream"> & { readonly line: string };

const prefixedLine = ({ processId, stream, line }: Line): string => `${processId}${stream === "stderr" ? "!" : ""} ${line}\n`;
const jsonLine = ({ processId, stream, line }: Line): string => `${JSON.stringify({ process: processId, stream, line })}\n`;

/** Whole lines, also where a chunk ends within one. */
function lineOutput(show: (line: Line) => string): Output {
  const rests = new Map<
    string,
    Pick<LogChunk, "processId" | "stream"> & { readonly decoder: InstanceType<typeof TextDecoder>; text: string }
  >();
  return {
    chunk: async ({ processId, stream, bytes }) => {
      const key = `${processId}/${stream}`;
      const rest = rests.get(key) ?? { processId, stream, decoder: new TextDecoder(), text: "" };
      rests.set(key, rest);
      const lines = (rest.text + rest.decoder.decode(bytes, { stream: true })).split("\n");
      rest.text = lines.pop() ?? "";
      if (lines.length > 0) await write(lines.map((line) => show({ processId, stream, line })).join(""));
    },
    end: () => {
      for (const { text, ...of } of rests.values()) if (text !== "") process.stdout.write(show({ ...of, line: text }));
    },
  };
}
