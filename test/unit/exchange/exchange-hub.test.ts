import { describe, expect, test } from "vitest";
import { HOLD_MS, MAX_HELD_CONNECTIONS } from "../../../src/executor/run/exchange/index.js";
import { settle } from "../../support/manual-clock.js";
import { channel, dialAs, drain, isPending, openStage } from "./support.js";

const hasEnded = async (connection: { readonly ended: Promise<unknown> }) => !(await isPending(connection.ended));

describe("connections and tries", () => {
  test("a connection that comes before its try waits for it, and loses nothing", async () => {
    const { at, env } = await openStage(2);
    const output = at(0).open().output(channel(0, 1));
    await settle();
    for (let number = 0; number < 5; number++) await output.send([number], 0, 1);
    output.end();
    await env.clock.advance(HOLD_MS - 1);
    const input = at(1)
      .open()
      .input([channel(0, 1)]);
    expect(await drain(input)).toEqual([[0], [1], [2], [3], [4], null]);
    expect(env.clock.timers()).toBe(0);
  });

  test("it does not wait for ever: its sender learns that the executor is not there for this try", async () => {
    const { at, env } = await openStage(2);
    const network = at(0).open();
    const output = network.output(channel(0, 1));
    await settle();
    output.send([1], 0, 1);
    output.end();
    const closed = expect(network.close()).rejects.toMatchObject({ code: "EXECUTOR_LOST" });
    await env.clock.advance(HOLD_MS + 1);
    await closed;
    expect(at(1).refused).toEqual([expect.stringContaining("did not begin here within")]);
  });

  test("at most so many wait", async () => {
    const { at, env } = await openStage(2);
    const dialler = { processId: "executor-0", attempt: "1.1", try: 1 };
    for (let count = 0; count < MAX_HELD_CONNECTIONS; count++) await dialAs(env.transport, at(1).dataAddress, dialler);
    await settle();
    expect(at(1).refused).toEqual([]);
    const one = await dialAs(env.transport, at(1).dataAddress, dialler);
    expect(await hasEnded(one)).toBe(true);
    expect(at(1).refused).toEqual(["too many connections wait for their try"]);
  });

  test("one that waits for a later try is not given to an earlier one", async () => {
    const { at } = await openStage(2);
    at(0).open(1);
    const output = at(0).open(2).output(channel(0, 1));
    await settle();
    await output.send(["of try 2"], 0, 1);
    const first = at(1)
      .open(1)
      .input([channel(0, 1)]);
    expect(await drain(first)).toEqual([]);
    const second = at(1)
      .open(2)
      .input([channel(0, 1)]);
    expect(await drain(second)).toEqual([["of try 2"]]);
    expect(() => first.poll()).toThrow(expect.objectContaining({ code: "ABORTED" }));
  });

  test("connections of a try that is over, of another attempt, and of strangers to the try are refused", async () => {
    const { at, env } = await openStage(2);
    at(1).open(1);
    at(1).open(2);
    const connections = [
      { processId: "executor-0", attempt: "1.1", try: 1 },
      { processId: "executor-0", attempt: "7.2", try: 2 },
      { processId: "executor-9", attempt: "1.2", try: 2 },
      { processId: "executor-1", attempt: "1.2", try: 2 },
    ];
    for (const dialler of connections) {
      const connection = await dialAs(env.transport, at(1).dataAddress, dialler);
      expect(await hasEnded(connection)).toBe(true);
    }
    expect(at(1).refused).toEqual(["its try is over", "its try is over", "it has no part in the try", "it has no part in the try"]);
  });

  test("a second connection of the same executor is refused, and the first goes on", async () => {
    const { at, env } = await openStage(2);
    const output = at(0).open().output(channel(0, 1));
    const input = at(1)
      .open()
      .input([channel(0, 1)]);
    await settle();
    const second = await dialAs(env.transport, at(1).dataAddress, { processId: "executor-0", attempt: "1.1", try: 1 });
    expect(await hasEnded(second)).toBe(true);
    await output.send([1], 0, 1);
    expect(await drain(input)).toEqual([[1]]);
  });

  test("a new try ends the connections of the one before", async () => {
    const { at } = await openStage(2);
    const old = at(0).open(1).output(channel(0, 1));
    const input = at(1)
      .open(1)
      .input([channel(0, 1)]);
    await settle();
    at(0).open(2);
    await expect(old.send([1], 0, 1)).rejects.toMatchObject({ code: "ABORTED" });
    await settle();
    expect(() => input.poll()).toThrow(expect.objectContaining({ code: "EXECUTOR_LOST" }));
  });

  test("after close nothing is held, open or accepted", async () => {
    const { at, env } = await openStage(2);
    const held = await dialAs(env.transport, at(1).dataAddress, { processId: "executor-0", attempt: "1.2", try: 2 });
    at(1).open(1);
    const open = await dialAs(env.transport, at(1).dataAddress, { processId: "executor-0", attempt: "1.1", try: 1 });
    open.onFrame(() => undefined);
    await settle();
    await at(1).hub.close();
    expect(await hasEnded(held)).toBe(true);
    expect(await hasEnded(open)).toBe(true);
    const late = await dialAs(env.transport, at(1).dataAddress, { processId: "executor-0", attempt: "1.1", try: 1 });
    expect(await hasEnded(late)).toBe(true);
    expect(env.clock.timers()).toBe(0);
  });
});
