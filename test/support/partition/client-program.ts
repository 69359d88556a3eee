/**
 * A client of the cluster on a virtual machine of its own: reads calls as JSON lines, carries all of them out at once, writes each answer as a
 * line. remote-client.ts is the other end of the pipe.
 */
import { createInterface } from "node:readline";
import { CodedError } from "../../../src/base/errors.js";
import { openClient } from "../../../src/cli/cluster-client.js";
import type { OperationName } from "../../../src/wire/operations.js";

interface Asked {
  readonly id: number;
  readonly name: OperationName;
  readonly input: never;
}

const [master = "", secretFile = "", timeout = "20s"] = process.argv.slice(2);
const control = new AbortController();
// Nothing else keeps the process while it looks for a leader.
setInterval(() => {}, 60_000);
const client = await openClient({ master, timeout, json: true, secretFile }, control.signal);
const answer = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const { id, name, input } = JSON.parse(line) as Asked;
  client.call(name, input).then(
    (output) => answer({ id, output }),
    (thrown) => {
      const { code, message } = CodedError.from(thrown);
      answer({ id, error: { code, message } });
    },
  );
});
// The end of its input is the end of the test.
input.on("close", () => process.exit(0));
answer({ ready: true });
