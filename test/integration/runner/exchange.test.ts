import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Exchanges, openExchanges } from "../../../src/cli/runner/runner-exchange.js";
import type { ExchangePeer } from "../../../src/executor/run/exchange/index.js";
import type { BatchInput } from "../../../src/executor/run/network.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { parseHostPort } from "../../../src/node/network/tcp-transport.js";
import type { RunnerStart } from "../../../src/wire/runner-start.js";
import { quietLog } from "../../support/manual-clock.js";
import { waitFor } from "../../support/wait-for.js";

const KEY = "5a".repeat(32);
const opened: Exchanges[] = [];
const children: ChildProcess[] = [];
let folder = "";
let program = "";

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-exchange-"));
  program = path.join(folder, "exchange-child.mjs");
  const entry = path.join(import.meta.dirname, "exchange-child.ts");
  await build({ entryPoints: [entry], outfile: program, bundle: true, format: "esm", platform: "node", logLevel: "error" });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const exchanges of opened.splice(0)) await exchanges.close();
  await waitFor(() => sockets() === 0);
});

/** Connections and listeners of this process (the one to vitest is a pipe). */
const sockets = () => process.getActiveResourcesInfo().filter((name) => /^TCP/.test(name)).length;

async function openExecutor(processId: string, more: { readonly key?: string; readonly application?: string } = {}) {
  const start = {
    processId,
    application: { id: more.application ?? "app-1-1" },
    applicationKey: more.key ?? KEY,
    listenHost: "127.0.0.1",
  };
  const exchanges = await openExchanges(start as RunnerStart, createNodeEnv({ log: quietLog }));
  opened.push(exchanges);
  return { exchanges, peer: { processId, dataAddress: exchanges.address } };
}

const order = (subtask: number, peers: readonly ExchangePeer[], number = 1) => ({
  try: number,
  subtask,
  parallelism: peers.length,
  peers: [...peers],
});
const channel = (fromSubtask: number, toSubtask: number) => ({ edge: "edge", fromSubtask, toSubtask });
const lost = (processId: string, cause?: string) => ({
  code: "EXECUTOR_LOST",
  message: expect.stringContaining(processId),
  ...(cause === undefined ? {} : { details: expect.objectContaining({ cause }) }),
});

/** The next batch or end, waited for. */
async function take(input: BatchInput): Promise<unknown[] | null> {
  let taken = input.poll();
  await waitFor(() => {
    taken ??= input.poll();
    return taken !== undefined;
  });
  return taken?.records ?? null;
}

describe("exchanges over TCP", () => {
  test("millions of records go both ways at once, each once and in order", async () => {
    const executors = [await openExecutor("x-0"), await openExecutor("x-1")];
    const peers = executors.map(({ peer }) => peer);
    const networks = executors.map(({ exchanges }, subtask) => exchanges.open("1.1", order(subtask, peers)));
    const COUNT = 1_000_000;
    const BATCH = 1_000;
    const send = async (subtask: number) => {
      const output = networks[subtask]?.output(channel(subtask, 1 - subtask));
      for (let from = 0; from < COUNT; from += BATCH) {
        const records = Array.from({ length: BATCH }, (_, i) => ({ n: from + i, text: `number ${(from + i) % 1_000}` }));
        const answer = output?.send(records, 0, BATCH);
        if (answer !== true) await answer;
      }
      output?.end();
    };
    const receive = (subtask: number) =>
      new Promise<number>((resolve, reject) => {
        const input = networks[subtask]?.input([channel(1 - subtask, subtask)]);
        let next = 0;
        const drain = () => {
          for (let batch = input?.poll(); batch !== undefined; batch = input?.poll()) {
            if (batch.records === null) return resolve(next);
            for (const record of batch.records as { n: number; text: string }[]) {
              if (record.n !== next || record.text !== `number ${next % 1_000}`)
                return reject(new Error(`${record.n} is not ${next}`));
              next++;
            }
          }
        };
        input?.onReady(drain);
        drain();
      });
    const received = await Promise.all([receive(0), receive(1), send(0), send(1)]);
    expect(received.slice(0, 2)).toEqual([COUNT, COUNT]);
    await Promise.all(networks.map((network) => network.close()));
  });

  test("records as large as a payload may be, and batches of many large ones", async () => {
    const executors = [await openExecutor("x-0"), await openExecutor("x-1")];
    const peers = executors.map(({ peer }) => peer);
    const output = executors[0]?.exchanges.open("1.1", order(0, peers)).output(channel(0, 1));
    const input = executors[1]?.exchanges.open("1.1", order(1, peers)).input([channel(0, 1)]);
    const records = [new Uint8Array(15_000_000).fill(7), ...Array.from({ length: 40 }, (_, i) => "é".repeat(500_000 + i))];
    const sent = Promise.resolve(output?.send(records, 0, records.length));
    let received = 0;
    while (received < records.length) {
      for (const record of (await take(input as BatchInput)) ?? []) {
        const expected = records[received++];
        expect(
          typeof record === "string" ? record === expected : Buffer.compare(record as Uint8Array, expected as Uint8Array),
        ).toBe(typeof record === "string" ? true : 0);
      }
    }
    await sent;
  });

  test("an executor with another key, or of another application, is refused", async () => {
    const receiver = await openExecutor("x-1");
    for (const more of [{ key: "00".repeat(32) }, { application: "app-2-1" }]) {
      const stranger = await openExecutor("x-0", more);
      const peers = [stranger.peer, receiver.peer];
      const output = stranger.exchanges.open("1.1", order(0, peers)).output(channel(0, 1));
      await expect(output.send([1], 0, 1)).rejects.toMatchObject(lost("x-1", "UNAUTHENTICATED"));
    }
  });

  test("another executor at the address of a peer is not taken for it", async () => {
    const [sender, other] = [await openExecutor("x-0"), await openExecutor("x-7")];
    const peers = [sender.peer, { processId: "x-1", dataAddress: other.peer.dataAddress }];
    const output = sender.exchanges.open("1.1", order(0, peers)).output(channel(0, 1));
    await expect(output.send([1], 0, 1)).rejects.toMatchObject({ ...lost("x-1"), message: expect.stringContaining("x-7") });
  });

  test("an executor that has gone is lost at once, and not the others of the next try", async () => {
    const [sender, gone, third] = [await openExecutor("x-0"), await openExecutor("x-1"), await openExecutor("x-2")];
    await gone.exchanges.close();
    const output = sender.exchanges.open("1.1", order(0, [sender.peer, gone.peer])).output(channel(0, 1));
    await expect(output.send([1], 0, 1)).rejects.toMatchObject(lost("x-1", "CONNECTION_REFUSED"));
    const peers = [sender.peer, third.peer];
    const input = third.exchanges.open("1.2", order(1, peers, 2)).input([channel(0, 1)]);
    await sender.exchanges
      .open("1.2", order(0, peers, 2))
      .output(channel(0, 1))
      .send(["again"], 0, 1);
    expect(await take(input)).toEqual(["again"]);
  });

  test("garbage on the data port disturbs nobody", async () => {
    const executors = [await openExecutor("x-0"), await openExecutor("x-1")];
    const peers = executors.map(({ peer }) => peer);
    const output = executors[0]?.exchanges.open("1.1", order(0, peers)).output(channel(0, 1));
    const input = executors[1]?.exchanges.open("1.1", order(1, peers)).input([channel(0, 1)]);
    const ends = [Buffer.alloc(100_000, 0xff), Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.from([0, 0, 0, 2, 123, 125])].map(
      (bytes) => {
        const socket = net.connect({ ...parseHostPort(peers[1]?.dataAddress ?? "") });
        socket.on("error", () => undefined);
        socket.write(bytes);
        socket.resume();
        return new Promise((resolve) => socket.on("close", resolve));
      },
    );
    await Promise.all(ends);
    await output?.send(["undisturbed"], 0, 1);
    expect(await take(input as BatchInput)).toEqual(["undisturbed"]);
  });
});

describe("two processes", () => {
  /** A child that sends without end to this process, which has not polled yet. */
  async function openSender() {
    const receiver = await openExecutor("x-0");
    let sent = 0;
    let dataAddress = "";
    const child = fork(program, ["x-1", "app-1-1", KEY, JSON.stringify([receiver.peer])], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    children.push(child);
    child.on("message", (message: { dataAddress?: string; sent?: number }) => {
      dataAddress = message.dataAddress ?? dataAddress;
      sent = message.sent ?? sent;
    });
    await waitFor(() => dataAddress !== "");
    const peers = [receiver.peer, { processId: "x-1", dataAddress }];
    const network = receiver.exchanges.open("1.1", order(0, peers));
    return { child, network, input: network.input([channel(1, 0)]), sent: () => sent };
  }

  /** Waits until the sender has sent as much as it may, and for a while that it sends no more. */
  async function stalled(sent: () => number, least: number): Promise<number> {
    let last = -1;
    let since = performance.now();
    await waitFor(() => {
      if (sent() !== last) {
        last = sent();
        since = performance.now();
      }
      return last >= least && performance.now() - since > 300;
    });
    return last;
  }

  test("a consumer that stops stops its producer, and what waits is bounded", async () => {
    const { network, input, sent } = await openSender();
    // As many batches as there are credits, and the one that waits for the next.
    expect(await stalled(sent, 33)).toBe(33);
    const { peakBytes } = network.waiting();
    expect(peakBytes).toBeGreaterThan(32 * 256 * 200);
    expect(peakBytes).toBeLessThan(32 * 256 * 260);
    for (let batch = 0; batch < 500; batch++) {
      const records = (await take(input)) as { n: number }[];
      expect(records[0]?.n).toBe(batch * 256);
    }
    expect((await stalled(sent, 500)) - 500).toBeLessThanOrEqual(33);
    expect(network.waiting().peakBytes).toBeLessThan(32 * 256 * 260);
  });

  test("a sender killed with SIGKILL fails the poll with its name", async () => {
    const { child, input } = await openSender();
    expect(await take(input)).toHaveLength(256);
    child.kill("SIGKILL");
    let error: unknown = null;
    await waitFor(() => {
      try {
        input.poll();
      } catch (thrown) {
        error = thrown;
      }
      return error !== null;
    });
    expect(error).toMatchObject(lost("x-1", "CONNECTION_LOST"));
  });
});
