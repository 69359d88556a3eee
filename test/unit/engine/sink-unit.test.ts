import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../../src/base/json.js";
import type { WriterCheckpoint } from "../../../src/dataflow/connector.js";
import type { Chain } from "../../../src/executor/run/chain.js";
import type { ChainNode } from "../../../src/executor/run/chain-nodes.js";
import { MAX_UNCONFIRMED, SinkUnit } from "../../../src/executor/run/sink-unit.js";

function sinkOf(checkpoint: () => Promise<WriterCheckpoint>): SinkUnit {
  const writer = {
    ...{ write: () => undefined, checkpoint, prepare: async () => null },
    ...{ abort: async () => undefined, close: async () => undefined },
  };
  const node = { spec: { uid: "out" }, functions: { kind: "sink", custom: null } } as unknown as ChainNode;
  return new SinkUnit({} as Chain, node, writer);
}

/** So many pieces with each checkpoint. */
function sinkThatStages(pieces: number): SinkUnit {
  let staged = 0;
  return sinkOf(async () => ({ committables: Array.from({ length: pieces }, (): JsonValue => staged++), state: null }));
}

describe("output of checkpoints that fail one after the other", () => {
  test("is told with each one until so much waits that the try is given up, by the sink's name: the next try has none of it", async () => {
    const sink = sinkThatStages(MAX_UNCONFIRMED / 2);
    for (const id of [1, 2]) expect((await sink.checkpoint(id)).committables).toHaveLength((id * MAX_UNCONFIRMED) / 2);
    expect((await sink.checkpoint(3)).committables).toHaveLength(1.5 * MAX_UNCONFIRMED);
    await expect(sink.checkpoint(4)).rejects.toMatchObject({
      code: "CHECKPOINT_FAILED",
      message: expect.stringMatching(/^Sink 'out' holds 15000 pieces/),
      hint: expect.stringContaining("holdfast checkpoints"),
      details: { operator: "out", newTry: true },
    });
  });

  test("waits no more once a later one is complete", async () => {
    const sink = sinkThatStages(MAX_UNCONFIRMED / 2);
    for (const id of [1, 2, 3]) await sink.checkpoint(id);
    sink.confirm(2);
    expect((await sink.checkpoint(4)).committables).toEqual(
      Array.from({ length: MAX_UNCONFIRMED }, (_, piece) => MAX_UNCONFIRMED + piece),
    );
  });

  test("that is still being staged when the next checkpoint begins is told with that one, whichever is staged first", async () => {
    const staging: ((piece: string) => void)[] = [];
    const sink = sinkOf(() => new Promise((resolve) => staging.push((piece) => resolve({ committables: [piece], state: null }))));
    const [first, second] = [sink.checkpoint(1), sink.checkpoint(2)];
    staging[1]?.("second");
    staging[0]?.("first");
    await first;
    expect((await second).committables).toEqual(["first", "second"]);
    sink.confirm(2);
    const third = sink.checkpoint(3);
    staging[2]?.("third");
    expect((await third).committables).toEqual(["third"]);
  });
});
