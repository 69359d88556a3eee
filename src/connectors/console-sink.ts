/**
 * Lines on the standard output of the process. Not transactional: what was printed stays printed, so a job that goes on from a checkpoint prints again what
 * came after it (at least once).
 */
import type { ConsoleSinkDescriptor, SinkConnector, SinkWriter } from "../dataflow/connector.js";
import { plainText } from "./line-sinks.js";

/** Prints text; a promise when the other side is slow. */
export type Print = (text: string) => void | Promise<void>;

export function consoleSink(descriptor: ConsoleSinkDescriptor, print: Print = printToStdout): SinkConnector<unknown> {
  const prefix = descriptor.prefix ?? "";
  const writer: SinkWriter<unknown> = {
    write(records, count) {
      let text = "";
      for (let i = 0; i < count; i++) text += `${prefix}${plainText(records[i])}\n`;
      return print(text);
    },
    // Whatever was written is with the standard output already, or the engine still waits for its promise.
    checkpoint: async () => ({ committables: [], state: null }),
    prepare: async () => null,
    abort: async () => undefined,
    close: async () => undefined,
  };
  return { appears: "at-checkpoint", open: async () => writer, commit: async () => undefined, cleanUp: async () => undefined };
}

function printToStdout(text: string): void | Promise<void> {
  if (process.stdout.write(text)) return;
  return new Promise((resolve) => {
    const done = (): void => {
      process.stdout.off("drain", done);
      process.stdout.off("close", done);
      resolve();
    };
    // A reader that went away (EPIPE) never drains; its `close` ends the wait.
    process.stdout.once("drain", done);
    process.stdout.once("close", done);
  });
}
