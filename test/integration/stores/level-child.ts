/**
 * A master in small, as a process of its own: campaigns for the directory and, when told so, writes numbered records as fast as it can.
 * Talks to the test over IPC (level-processes.ts).
 */
import { campaign, type Leadership } from "../../../src/coordination/leadership.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { createLevelStore } from "../../../src/node/level-store/level-store.js";

export type ToChild = { readonly kind: "nudge" | "write" | "hold" | "read" | "resign" | "exit" };
export type FromChild =
  | { readonly kind: "waiting"; readonly owner: string | null; readonly reason: string }
  | { readonly kind: "leading"; readonly epoch: number }
  | { readonly kind: "acknowledged"; readonly key: string }
  | { readonly kind: "ended"; readonly code: string }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "records"; readonly keys: readonly string[] };

const [directory = "", candidate = ""] = process.argv.slice(2);
const clock = createNodeClock();
const store = createLevelStore({ directory, clock, reserveBytes: 0 });
const running = new AbortController();
const { signal } = running;
const send = (message: FromChild) => void process.send?.(message);
let writing = false;
let leader: Leadership | undefined;

async function writeOn(leadership: Leadership): Promise<void> {
  writing = true;
  const value = new TextEncoder().encode("x".repeat(200));
  for (let count = 0; writing && leadership.active(); count++) {
    const key = `${leadership.epoch}/${String(count).padStart(6, "0")}`;
    await leadership.commit(
      [
        { key, value },
        { key: "last", value: new TextEncoder().encode(key) },
      ],
      { signal },
    );
    send({ kind: "acknowledged", key });
  }
}

async function readAll(leadership: Leadership): Promise<void> {
  const keys: string[] = [];
  for await (const page of leadership.readRecords({ prefix: "", signal })) keys.push(...page.map((record) => record.key));
  send({ kind: "records", keys });
}

process.on("message", (message: ToChild) => {
  if (message.kind === "nudge") store.nudge();
  if (message.kind === "hold") writing = false;
  if (message.kind === "write" && leader !== undefined) void writeOn(leader);
  if (message.kind === "read" && leader !== undefined) void readAll(leader);
  if (message.kind === "resign") void leader?.resign();
  if (message.kind === "exit") void store.close().then(() => process.exit(0));
});
process.on("disconnect", () => process.exit(0));

try {
  leader = await campaign(store, {
    candidate,
    ttlMs: 6_000,
    clock,
    signal,
    onWaiting: ({ owner, reason }) => send({ kind: "waiting", owner: owner ?? null, reason }),
  });
  send({ kind: "leading", epoch: leader.epoch });
  send({ kind: "ended", code: (await leader.ended).code });
} catch (thrown) {
  const { code = "?", message = String(thrown) } = thrown as { readonly code?: string; readonly message?: string };
  send({ kind: "failed", code, message });
}
