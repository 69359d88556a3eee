/** A worker's own listener: clients read the logs of its processes here (operation `logs.read`), also while no master is there. */
import { bytesToBase64 } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { type Clock, sleep } from "../../env/clock.js";
import type { Launcher } from "../../env/launcher.js";
import { OPERATIONS, type OperationInput, type OperationOutput } from "../../wire/operations.js";
import type { Link, LinkMessage } from "../link/link.js";

/** What may be asked here. */
export const WORKER_REQUESTS = { "logs.read": OPERATIONS["logs.read"].input } as const;
const LOOK_EVERY_MS = 100;

export interface LogReader {
  readonly launcher: Pick<Launcher, "readLog">;
  readonly clock: Clock;
  isLive(processId: string): boolean;
}

export function serveLogs(link: Link, reader: LogReader, signal: AbortSignal): void {
  const gone = new AbortController();
  link.ended.then((reason) => gone.abort(reason));
  const either = AbortSignal.any([signal, gone.signal]);
  link.onMessage((message: LinkMessage) => {
    const { requestId } = message;
    if (requestId === null) return;
    readLog(message.body as OperationInput<"logs.read">, reader, either).then(
      (output) => link.reply(requestId, output),
      (thrown) => link.replyError(requestId, CodedError.from(thrown).toShape()),
    );
  });
}

/** Answers as soon as there is something to read or to say, at the latest after `waitMs`. */
export async function readLog(
  input: OperationInput<"logs.read">,
  reader: LogReader,
  signal: AbortSignal,
): Promise<OperationOutput<"logs.read">> {
  const deadline = reader.clock.now() + input.waitMs;
  for (;;) {
    // In this order: what is written before the end is read after it.
    const live = reader.isLive(input.processId);
    const {
      bytes,
      sizeBytes,
      offset = input.offset,
    } = await reader.launcher.readLog(input.processId, input.stream, input.offset, input.limitBytes);
    const ended = !live && offset + bytes.length >= sizeBytes;
    if (bytes.length > 0 || ended || reader.clock.now() >= deadline)
      return { base64: bytesToBase64(bytes), sizeBytes, ended, ...(offset === input.offset ? {} : { offset }) };
    await sleep(reader.clock, Math.min(LOOK_EVERY_MS, deadline - reader.clock.now()), signal);
  }
}
