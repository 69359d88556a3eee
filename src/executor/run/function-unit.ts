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
    const result = await chain.result(node, value);
    if (node.spec.kind === "flatMap") await emitIterable(chain, node, result);
    else if (node.spec.kind === "map") await chain.emit(node.main, result);
    else if (result) await chain.emit(node.main, record);
  }
}

/** Emits what an (async) iterable gives, one by one, as fast as it can be taken. */
export async function emitIterable(chain: Chain, node: ChainNode, iterable: unknown): Promise<void> {
  const iterator = iteratorOf(iterable);
  if (iterator === null)
    throw chain.failed(node.index, new TypeError(`its function returned ${describe(iterable)} instead of an iterable`));
  let emitted = 0;
  try {
    for (;;) {
      const pulled = pull(chain, node, iterator);
      const next = pulled instanceof Promise ? await pulled : pulled;
      if (next.done === true) return;
      const waiting = chain.emit(node.main, next.value);
      if (waiting !== undefined) await waiting;
      if ((++emitted & 255) === 0) await chain.breathe();
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
