/**
 * A client of the cluster on a virtual machine of its own: reads calls as JSON lines, carries all of them out at once, writes each answer as a
 * line. It also is the operator who reads and deletes znodes by hand. remote-client.ts is the other end of the pipe.
 */
import { createInterface } from "node:readline";
import { CodedError } from "../../../src/base/errors.js";
import { openClient } from "../../../src/cli/client/cluster-client.js";
import type { OperationName } from "../../../src/wire/operations.js";
import { connectZooKeeper, type ZooKeeper } from "../../../src/zookeeper/index.js";
import type { ZnodeCall } from "./remote-client.js";

interface Asked {
  readonly id: number;
  readonly name: OperationName | "znode";
  readonly input: never;
}

type Znode = { readonly path: string; readonly base64: string };

const ZNODE_MS = 5_000;

const [master = "", secretFile = "", timeout = "20s", zookeeper = ""] = process.argv.slice(2);
const control = new AbortController();
// Nothing else keeps the process while it looks for a leader.
setInterval(() => {}, 60_000);
const client = await openClient({ master, timeout, json: true, secretFile }, control.signal);
const answer = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const { id, name, input } = JSON.parse(line) as Asked;
  const called = name === "znode" ? znode(input) : client.call(name, input);
  called.then(
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

/** Over a session of its own, so that nothing of it outlives the call. Rejects when ZooKeeper does not answer in time. */
async function znode({ op, path }: ZnodeCall): Promise<readonly Znode[]> {
  const session = connectZooKeeper({ servers: zookeeper, sessionTimeoutMs: 2_000 });
  const patience = { signal: AbortSignal.timeout(ZNODE_MS) };
  try {
    if (op === "delete") await session.delete(path, -1, patience);
    const tree = op === "delete" ? [] : await treeOf(session, path, patience);
    if (op === "deleteTree") for (const one of [...tree].reverse()) await session.delete(one.path, -1, patience);
    return tree;
  } finally {
    await session.close();
  }
}

/** A znode and all below it, parents first. */
async function treeOf(session: ZooKeeper, path: string, patience: { readonly signal: AbortSignal }): Promise<readonly Znode[]> {
  const { data } = await session.getData(path, patience);
  const { children } = await session.getChildren(path, patience);
  const below = await Promise.all(children.map((name) => treeOf(session, `${path}/${name}`, patience)));
  return [{ path, base64: Buffer.from(data).toString("base64") }, ...below.flat()];
}
