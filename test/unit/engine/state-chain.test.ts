import { describe, expect, test } from "vitest";
import { MAX_CHANGE_BLOBS, StateChain } from "../../../src/executor/run/checkpoint/state-chain.js";

let made = 0;
const blob = (sizeBytes: number) => ({ sha256: String(++made).padStart(64, "0"), sizeBytes });

/** One checkpoint whose state takes so many bytes; its handles. */
function take(chain: StateChain, id: number, sizeBytes: number, completed = id - 1) {
  chain.settle(completed);
  const isFull = chain.wantsFull();
  chain.begin(id);
  const written = sizeBytes === 0 ? [] : [blob(sizeBytes)];
  return { isFull, written, handles: chain.written(id, isFull, written) };
}

describe("the blobs of an operator's state", () => {
  test("are a base and what has changed since; unchanged state is not written again", () => {
    const chain = new StateChain(null);
    const base = take(chain, 1, 100);
    expect(base.isFull).toBe(true);
    const change = take(chain, 2, 10);
    expect(change).toMatchObject({ isFull: false, handles: [...base.written, ...change.written] });
    expect(take(chain, 3, 0).handles).toEqual(change.handles);
  });

  test("go on from those that the state was restored from", () => {
    const restored = [blob(100), blob(5)];
    expect(take(new StateChain(restored), 7, 1).handles.slice(0, 2)).toEqual(restored);
  });

  test("of a checkpoint that is not known to be complete are not built upon", () => {
    const chain = new StateChain(null);
    const base = take(chain, 1, 100);
    take(chain, 2, 10);
    expect(chain.settle(1)).toBe(false);
    const next = take(chain, 3, 20, 1);
    expect(next.handles).toEqual([...base.written, ...next.written]);
  });

  test("are written anew when the changes outgrow the base, or are too many", () => {
    const chain = new StateChain(null);
    take(chain, 1, 100);
    expect([take(chain, 2, 60).isFull, take(chain, 3, 60).isFull, take(chain, 4, 130).isFull]).toEqual([false, false, true]);
    const small = new StateChain(null);
    take(small, 1, 1_000_000);
    for (let id = 2; id < 2 + MAX_CHANGE_BLOBS; id++) expect(take(small, id, 1).isFull).toBe(false);
    expect(take(small, 2 + MAX_CHANGE_BLOBS, 1).isFull).toBe(true);
  });

  test("that come when another checkpoint has begun are nobody's", () => {
    const chain = new StateChain(null);
    chain.begin(1);
    chain.begin(2);
    expect(chain.written(1, true, [blob(10)])).toEqual([]);
    expect(chain.settle(2)).toBe(false);
  });
});
