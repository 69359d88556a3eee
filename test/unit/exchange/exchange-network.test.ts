import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { FRAME_HEADER_BYTES } from "../../../src/executor/run/exchange/index.js";
import { settle } from "../../support/manual-clock.js";
import { channel, dialAs, drain, fill, isPending, openPair, openStage } from "./support.js";

const numbered = (batch: number) => [{ batch, text: `record ${batch}` }];
const lost = (processId: string) => ({ code: "EXECUTOR_LOST", message: expect.stringContaining(processId) });

describe("batches between executors", () => {
  test("they arrive whole, in order, with equal records, and then the end", async () => {
    const { output, input, networks } = await openPair();
    expect(output.send([1, "two", { three: 3n }, null, undefined], 0, 5)).toBe(true);
    expect(output.send(["left out", new Date(5), "left out"], 1, 1)).toBe(true);
    output.end();
    expect(await drain(input)).toEqual([[1, "two", { three: 3n }, null, undefined], [new Date(5)], null]);
    await Promise.all(networks.map((network) => network.close()));
  });

  test("the sender may change its array after the call", async () => {
    const { output, input } = await openPair({ creditsPerChannel: 1 });
    const records = ["first"];
    expect(output.send(records, 0, 1)).toBe(true);
    records[0] = "second";
    const blocked = output.send(records, 0, 1);
    records[0] = "third";
    expect(await drain(input)).toEqual([["first"], ["second"]]);
    await blocked;
  });

  test("what was sent before the connection was there arrives too", async () => {
    const stage = await openStage(2);
    const output = stage.at(0).open().output(channel(0, 1));
    const sent = output.send(["early"], 0, 1);
    await settle();
    const input = stage
      .at(1)
      .open()
      .input([channel(0, 1)]);
    await sent;
    output.end();
    expect(await drain(input)).toEqual([["early"], null]);
  });

  test("a receiver that opens its input late has lost nothing", async () => {
    const stage = await openStage(2);
    const output = stage.at(0).open().output(channel(0, 1));
    const receiver = stage.at(1).open();
    await settle();
    output.send([1], 0, 1);
    output.send([2], 0, 1);
    output.end();
    await settle();
    expect(await drain(receiver.input([channel(0, 1)]))).toEqual([[1], [2], null]);
  });

  test("a subtask's channel to itself hands over the very records, without encoding them", async () => {
    const stage = await openStage(2);
    const network = stage.at(0).open();
    const record = { only: () => "functions can't be encoded" };
    network.output(channel(0, 0)).send([record], 0, 1);
    const next = network.input([channel(0, 0), channel(1, 0)]).poll();
    expect(next?.channel).toEqual(channel(0, 0));
    expect(next?.records?.[0]).toBe(record);
    expect(stage.at(0).sentBytes()).toBe(0);
  });

  test("channels take turns, the own process's among them", async () => {
    const stage = await openStage(3);
    const networks = [0, 1, 2].map((subtask) => stage.at(subtask).open());
    const input = networks[0]?.input([channel(0, 0), channel(1, 0), channel(2, 0)]);
    for (const [from, network] of networks.entries()) {
      const output = network.output(channel(from, 0));
      await settle();
      for (let number = 0; number < 4; number++) output.send([number], 0, 1);
    }
    await settle();
    const order = Array.from({ length: 12 }, () => input?.poll()?.channel.fromSubtask);
    for (const from of [0, 1, 2]) expect(order.slice(0, 6)).toContain(from);
    expect([...order].sort()).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
  });

  test("the listener is told when a poll may find something, and not from within a poll", async () => {
    const { output, input } = await openPair();
    let inPoll = false;
    const told: boolean[] = [];
    input.onReady(() => told.push(inPoll));
    expect(input.poll()).toBeUndefined();
    output.send([1], 0, 1);
    await settle();
    expect(told).toEqual([false]);
    inPoll = true;
    input.poll();
    inPoll = false;
    output.end();
    await settle();
    expect(told).toEqual([false, false]);
  });

  test("whatever the order of sends and polls, every channel gives its batches once, in order", async () => {
    const step = fc.record({
      kind: fc.constantFrom("send", "send", "poll", "settle"),
      lane: fc.nat(3),
      count: fc.integer({ min: 1, max: 40 }),
    });
    const run = async (steps: { kind: string; lane: number; count: number }[]) => {
      const stage = await openStage(2, { creditsPerChannel: 2, maxPayloadBytes: 512 });
      const networks = [stage.at(0).open(), stage.at(1).open()] as const;
      const ids = [channel(0, 1, "a"), channel(0, 1, "b"), channel(1, 1, "a"), channel(0, 1, "c")];
      const outputs = ids.map((id) => networks[id.fromSubtask === 0 ? 0 : 1].output(id));
      const input = networks[1].input(ids);
      const pending = ids.map(() => null as Promise<void> | null);
      const sent = ids.map(() => 0);
      const received = ids.map(() => [] as unknown[]);
      let ended = 0;
      const poll = () => {
        const next = input.poll();
        if (next === undefined) return false;
        const lane = ids.findIndex((id) => id.edge === next.channel.edge && id.fromSubtask === next.channel.fromSubtask);
        if (next.records === null) ended++;
        else received[lane]?.push(...next.records);
        return true;
      };
      for (const { kind, lane, count } of steps) {
        if (kind === "poll") poll();
        else if (kind === "settle") await settle();
        else if (pending[lane] === null) {
          const from = sent[lane] ?? 0;
          const answer = outputs[lane]?.send(
            Array.from({ length: count }, (_, i) => ({ n: from + i, text: `number ${from + i}` })),
            0,
            count,
          );
          sent[lane] = from + count;
          if (answer !== true && answer !== undefined) {
            pending[lane] = answer.then(() => {
              pending[lane] = null;
            });
          }
        }
      }
      const finish = outputs.map(async (output, lane) => {
        await pending[lane];
        output.end();
      });
      while (ended < ids.length) if (!poll()) await settle();
      await Promise.all(finish);
      await Promise.all(networks.map((network) => network.close()));
      for (const lane of ids.keys())
        expect(received[lane]?.map((record) => (record as { n: number }).n)).toEqual(
          Array.from({ length: sent[lane] ?? 0 }, (_, n) => n),
        );
      expect(networks[1].waiting().waitingBytes).toBe(0);
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), run), { numRuns: 40, seed: 7 });
  });
});

describe("credits", () => {
  test("a channel takes as many batches as it has credits, and one more that has to wait", async () => {
    const { output, input } = await openPair({ creditsPerChannel: 4 });
    const { sent, blocked } = fill(output, numbered);
    expect(sent).toBe(5);
    expect(await isPending(blocked)).toBe(true);
    input.poll();
    input.poll();
    expect(await isPending(blocked)).toBe(false);
    expect(await drain(input)).toEqual([[numbered(2)[0]], [numbered(3)[0]], [numbered(4)[0]]]);
  });

  test("a full channel delays no other one on the same connection", async () => {
    const stage = await openStage(2, { creditsPerChannel: 2 });
    const [sender, receiver] = [stage.at(0).open(), stage.at(1).open()];
    const [slow, quick] = [sender.output(channel(0, 1, "slow")), sender.output(channel(0, 1, "quick"))];
    receiver.input([channel(0, 1, "slow")]);
    const input = receiver.input([channel(0, 1, "quick")]);
    await settle();
    const { blocked } = fill(slow, numbered);
    for (let number = 0; number < 50; number++) {
      await quick.send([number], 0, 1);
      expect(await drain(input)).toEqual([[number]]);
    }
    expect(await isPending(blocked)).toBe(true);
  });

  test("a fast producer and a stalled consumer: what is encoded never exceeds credits x the largest batch", async () => {
    const maxPayloadBytes = 4_096;
    const { output, input, networks, at } = await openPair({ creditsPerChannel: 4, maxPayloadBytes });
    const wide = (batch: number) => Array.from({ length: 64 }, (_, i) => ({ n: i, text: `${batch}.${i} `.repeat(60) }));
    let total = 0;
    let blocked: Promise<void> | null = null;
    const expected: unknown[] = [];
    const received: unknown[] = [];
    for (let batch = 0; batch < 20; batch++) {
      const records = wide(batch);
      expected.push(...records);
      const before = at(0).sentBytes();
      const answer = output.send(records, 0, records.length);
      expect(at(0).sentBytes() - before).toBeLessThanOrEqual(4 * (maxPayloadBytes + FRAME_HEADER_BYTES));
      if (answer === true) continue;
      blocked = answer;
      // The consumer is stalled: nothing more is encoded, however long it takes.
      await settle();
      expect(networks[1].waiting().waitingBytes).toBeLessThanOrEqual(4 * maxPayloadBytes);
      expect(await isPending(blocked)).toBe(true);
      while (await isPending(blocked)) {
        const next = input.poll();
        received.push(...(next?.records ?? []));
        total++;
      }
    }
    output.end();
    for (const records of await drain(input)) received.push(...(records ?? []));
    expect(received).toEqual(expected);
    expect(total).toBeGreaterThan(20);
    expect(networks[1].waiting().peakBytes).toBeLessThanOrEqual(4 * maxPayloadBytes);
    expect(networks[1].waiting().peakBytes).toBeGreaterThan(maxPayloadBytes);
  });

  test("large batches are stopped by their bytes before the credits are used up, and go on", async () => {
    const { output, input, networks } = await openPair({ creditsPerChannel: 64, windowBytesPerChannel: 10_000 });
    const large = (number: number) => [new Uint8Array(6_000).fill(number)];
    const { sent, blocked } = fill(output, large);
    expect(sent).toBe(3);
    await settle();
    expect(networks[1].waiting().waitingBytes).toBeLessThan(10_000 + 7_000);
    expect(await drain(input)).toEqual([large(0), large(1), large(2)]);
    await blocked;
    for (let number = 0; number < 20; number++) {
      await output.send(large(number), 0, 1);
      expect(await drain(input)).toEqual([large(number)]);
    }
  });

  test("while the connection takes nothing, a channel with credits waits as well", async () => {
    const { output, input, env, at } = await openPair({ creditsPerChannel: 8 });
    env.transport.freeze(at(1).dataAddress);
    const large = () => [new Uint8Array(300_000)];
    const { sent, blocked } = fill(output, large);
    expect(sent).toBe(2);
    expect(await isPending(blocked)).toBe(true);
    env.transport.thaw(at(1).dataAddress);
    await settle();
    expect(await drain(input)).toHaveLength(2);
    expect(await isPending(blocked)).toBe(false);
  });
});

describe("records that can't be sent", () => {
  test("a record larger than a payload may be is refused, naming the exchange", async () => {
    const { output } = await openPair({ maxPayloadBytes: 1_000 });
    await expect(output.send(["x".repeat(5_000)], 0, 1)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("exchange edge"),
    });
  });

  test("a function in a record is a bad record", async () => {
    const { output } = await openPair();
    await expect(output.send([{ f: () => 1 }], 0, 1)).rejects.toMatchObject({ code: "BAD_RECORD" });
  });

  test("so is one that had to wait for a credit", async () => {
    const { output, input } = await openPair({ creditsPerChannel: 1 });
    output.send([1], 0, 1);
    const blocked = output.send([{ f: () => 1 }], 0, 1);
    const failed = expect(blocked).rejects.toMatchObject({ code: "BAD_RECORD" });
    expect(await drain(input)).toEqual([[1]]);
    await failed;
  });
});

describe("the end of a try", () => {
  test("close waits until the receivers have everything", async () => {
    const { output, input, networks, env, at } = await openPair();
    env.transport.freeze(at(1).dataAddress);
    output.send([1], 0, 1);
    output.end();
    const closed = networks[0].close();
    expect(await isPending(closed)).toBe(true);
    env.transport.thaw(at(1).dataAddress);
    await closed;
    expect(await drain(input)).toEqual([[1], null]);
  });

  test("close rejects when a receiver is lost before it has everything", async () => {
    const { output, networks, at, env } = await openPair();
    env.transport.freeze(at(1).dataAddress);
    output.send([1], 0, 1);
    output.end();
    const closed = networks[0].close();
    const failed = expect(closed).rejects.toMatchObject(lost("executor-1"));
    await at(1).die();
    await failed;
    await networks[0].close();
  });

  test("a reason ends a close that waits", async () => {
    const { output, networks, at, env } = await openPair();
    env.transport.freeze(at(1).dataAddress);
    output.end();
    const failed = expect(networks[0].close()).rejects.toMatchObject({ code: "ABORTED" });
    await networks[0].close(new CodedError("ABORTED", "cancelled"));
    await failed;
  });

  test("the receiver may close first", async () => {
    const { output, input, networks } = await openPair();
    output.send([1], 0, 1);
    output.end();
    expect(await drain(input)).toEqual([[1], null]);
    await networks[1].close();
    await settle();
    await networks[0].close();
  });

  test("executors that send to each other end together", async () => {
    const stage = await openStage(3);
    const networks = stage.executors.map((executor) => executor.open());
    const all = [0, 1, 2];
    const inputs = all.map((to) => networks[to]?.input(all.map((from) => channel(from, to))));
    for (const from of all) {
      for (const to of all) {
        const output = networks[from]?.output(channel(from, to));
        output?.send([`${from}${to}`], 0, 1);
        await settle();
        output?.end();
      }
    }
    for (const input of inputs)
      expect(await drain(input ?? { poll: () => undefined, onReady: () => undefined, release: () => undefined })).toHaveLength(6);
    await Promise.all(networks.map((network) => network.close()));
  });

  test("pending sends and polls end with the reason", async () => {
    const { output, input, networks } = await openPair({ creditsPerChannel: 1 });
    const { blocked } = fill(output, numbered);
    const failed = expect(blocked).rejects.toMatchObject({ code: "ABORTED", message: "enough" });
    await networks[0].close(new CodedError("ABORTED", "enough"));
    await failed;
    await expect(output.send([1], 0, 1)).rejects.toMatchObject({ code: "ABORTED" });
    await networks[1].close();
    await networks[1].close();
    expect(() => input.poll()).toThrow();
  });

  test("closed while its channels are open, it has failed for the neighbours", async () => {
    const { input, networks } = await openPair();
    await networks[0].close();
    await settle();
    expect(() => input.poll()).toThrow(expect.objectContaining(lost("executor-0")));
  });
});

describe("a neighbour that fails", () => {
  test("its death fails polls and sends with EXECUTOR_LOST and its name", async () => {
    const stage = await openStage(2, { creditsPerChannel: 1 });
    const networks = [stage.at(0).open(), stage.at(1).open()] as const;
    const output = networks[0].output(channel(0, 1));
    const input = networks[0].input([channel(0, 0), channel(1, 0)]);
    networks[1].output(channel(1, 0));
    networks[1].input([channel(0, 1)]);
    await settle();
    const { blocked } = fill(output, numbered);
    const failed = expect(blocked).rejects.toMatchObject(lost("executor-1"));
    let told = 0;
    input.onReady(() => told++);
    await stage.at(1).die();
    await failed;
    expect(told).toBeGreaterThan(0);
    expect(() => input.poll()).toThrow(expect.objectContaining(lost("executor-1")));
    await expect(output.send([1], 0, 1)).rejects.toMatchObject(lost("executor-1"));
    const own = networks[0].output(channel(0, 0));
    await expect(Promise.resolve(own.send([1], 0, 1))).rejects.toMatchObject(lost("executor-1"));
  });

  test("an executor that is not there any more is lost at once", async () => {
    const stage = await openStage(2);
    await stage.at(1).die();
    const output = stage.at(0).open().output(channel(0, 1));
    await expect(output.send([1], 0, 1)).rejects.toMatchObject(lost("executor-1"));
  });

  test("the reason of its failure is told to both sides of its connections", async () => {
    const stage = await openStage(3);
    const networks = stage.executors.map((executor) => executor.open());
    const output = networks[0]?.output(channel(0, 1));
    networks[1]?.output(channel(1, 2));
    const input = networks[2]?.input([channel(1, 2)]);
    await settle();
    await networks[1]?.close(new CodedError("OPERATOR_FAILED", "division by zebra"));
    await settle();
    const what = { code: "EXECUTOR_LOST", message: expect.stringMatching(/executor-1.*division by zebra/) };
    await expect(Promise.resolve(output?.send([1], 0, 1))).rejects.toMatchObject(what);
    expect(() => input?.poll()).toThrow(expect.objectContaining(what));
  });

  test("the next try works with the same executors", async () => {
    const { at, networks, output } = await openPair();
    await networks[1].close(new CodedError("OPERATOR_FAILED", "once"));
    await settle();
    await expect(output.send([1], 0, 1)).rejects.toMatchObject({ code: "EXECUTOR_LOST" });
    const next = at(0).open(2).output(channel(0, 1));
    const input = at(1)
      .open(2)
      .input([channel(0, 1)]);
    await next.send([2], 0, 1);
    next.end();
    expect(await drain(input)).toEqual([[2], null]);
  });

  test("a connection that was given up before it carried anything is no failure; the next one takes its place", async () => {
    const stage = await openStage(2);
    const [sender, receiver] = [stage.at(0), stage.at(1).open()];
    const input = receiver.input([channel(0, 1)]);
    // As a busy event loop finds them later: one that has ended, and one whose end it has not seen.
    const dialler = { processId: sender.processId, attempt: "1.1", try: 1 };
    (await dialAs(stage.env.transport, stage.at(1).dataAddress, dialler)).destroy();
    await settle();
    const unseen = await dialAs(stage.env.transport, stage.at(1).dataAddress, dialler);
    await settle();
    const output = sender.open().output(channel(0, 1));
    await settle();
    expect(await isPending(unseen.ended)).toBe(false);
    await output.send([1], 0, 1);
    output.end();
    expect(await drain(input)).toEqual([[1], null]);
    expect(stage.at(1).refused).toEqual([]);
  });

  test("a second connection beside one that carries batches is refused", async () => {
    const { env, at, output, input } = await openPair();
    const second = await dialAs(env.transport, at(1).dataAddress, { processId: "executor-0", attempt: "1.1", try: 1 });
    await settle();
    expect(await isPending(second.ended)).toBe(false);
    expect(at(1).refused).toEqual(["it is connected already"]);
    await output.send([1], 0, 1);
    expect(await drain(input)).toEqual([[1]]);
  });

  test("one that has left without a channel that is waited for is lost", async () => {
    const stage = await openStage(2);
    const [sender, receiver] = [stage.at(0).open(), stage.at(1).open()];
    const input = receiver.input([channel(0, 1, "one"), channel(0, 1, "two")]);
    sender.output(channel(0, 1, "one")).end();
    await settle();
    await sender.close();
    expect(() => input.poll()).toThrow(expect.objectContaining(lost("executor-0")));
  });
});
