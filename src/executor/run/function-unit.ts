/** map, filter and flatMap have no state; this finishes the records for which their function gave a promise, or something to iterate. */
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable } from "./chain-nodes.js";
import { iteratorOf } from "./thenable.js";

export class FunctionUnit implements Resumable {
  private readonly chain: Chain;
  private readonly node: ChainNode;

  constructor(chain: Chain, node: ChainNode) {
    this.chain = chain;
    this.node = node;
  }

  async resume({ record, value }: Deferred): Promise<void> {
    const { chain, node } = this;
    const result = await chain.result(node, value, record);
    if (node.spec.kind === "flatMap") await emitIterable(chain, node, result);
    else if (node.spec.kind === "map") await chain.emit(node.main, result);
    else if (result) await chain.emit(node.main, record);
  }
}

/** Elements of a synchronous iterator that are emitted together. */
const CHUNK_RECORDS = 64;

/** Emits what an (async) iterable gives, as fast as it can be taken: an async one element by element, as they come. */
export async function emitIterable(chain: Chain, node: ChainNode, iterable: unknown): Promise<void> {
  const iterator = iteratorOf(iterable);
  if (iterator === null)
    throw chain.failed(node.index, new TypeError(`its function returned ${describe(iterable)} instead of an iterable`));
  const chunk: unknown[] = [];
  try {
    for (;;) {
      const pulled = pull(chain, node, iterator);
      const next = pulled instanceof Promise ? await pulled : pulled;
      if (next.done !== true) chunk.push(next.value);
      if (next.done === true || chunk.length === CHUNK_RECORDS || pulled instanceof Promise) {
        const waiting = chunk.length === 1 ? chain.emit(node.main, chunk[0]) : chain.emitBatch(node.main, chunk, chunk.length);
        if (waiting !== undefined) await waiting;
        chunk.length = 0;
      }
      if (next.done === true) return;
    }
  } catch (thrown) {
    await endIterator(iterator);
    throw thrown;
  }
}

/** The generator's own clean-up; what it throws now is less telling than why it was ended. */
async function endIterator(iterator: AsyncIterator<unknown> | Iterator<unknown>): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // See above.
  }
}

/** Awaits only async iterators: a promise per record costs more than everything else. */
function pull(
  chain: Chain,
  node: ChainNode,
  iterator: AsyncIterator<unknown> | Iterator<unknown>,
): IteratorResult<unknown> | Promise<IteratorResult<unknown>> {
  try {
    const next = iterator.next();
    return "then" in next ? (chain.result(node, next) as Promise<IteratorResult<unknown>>) : next;
  } catch (thrown) {
    throw chain.failed(node.index, thrown);
  }
}

function describe(value: unknown): string {
  return value === null || value === undefined ? String(value) : `a ${typeof value}`;
}
