/** Writes transaction logs as ZooKeeper does, so that tests can say exactly what stands in them. */
import type { LoggedOperation } from "../../support/zookeeper-log.js";

const TYPE = { create: 1, delete: 2, set: 5, check: 13, multi: 14, error: -1 } as const;

export class Jute {
  readonly #parts: Buffer[] = [];

  int(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    this.#parts.push(bytes);
    return this;
  }

  long(value: bigint): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(value);
    this.#parts.push(bytes);
    return this;
  }

  bool(value: boolean): this {
    this.#parts.push(Buffer.from([value ? 1 : 0]));
    return this;
  }

  buffer(value: Uint8Array): this {
    this.int(value.length).#parts.push(Buffer.from(value));
    return this;
  }

  text(value: string): this {
    return this.buffer(Buffer.from(value));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function body(operation: LoggedOperation): { readonly type: number; readonly bytes: Buffer } {
  const jute = new Jute();
  switch (operation.op) {
    case "create":
      jute.text(operation.path).buffer(operation.data).int(1).int(31).text("world").text("anyone").bool(operation.ephemeral).int(1);
      return { type: TYPE.create, bytes: jute.bytes() };
    case "set":
      return { type: TYPE.set, bytes: jute.text(operation.path).buffer(operation.data).int(operation.version).bytes() };
    case "delete":
      return { type: TYPE.delete, bytes: jute.text(operation.path).bytes() };
    case "check":
      return { type: TYPE.check, bytes: jute.text(operation.path).int(0).bytes() };
    case "other":
      return { type: operation.type, bytes: jute.bytes() };
  }
}

export interface WrittenTransaction {
  readonly zxid: bigint;
  readonly operations: readonly LoggedOperation[];
  /** As ZooKeeper logs a multi that was refused: with an error in place of each operation. */
  readonly refused?: boolean;
}

export function logFile(transactions: readonly WrittenTransaction[]): Buffer {
  const header = new Jute().int(0x5a4b4c47).int(2).long(0n).bytes();
  return Buffer.concat([header, ...transactions.map(record)]);
}

function record({ zxid, operations, refused = false }: WrittenTransaction): Buffer {
  const jute = new Jute().long(0x1234n).int(7).long(zxid).long(1_700_000_000_000n);
  const [only] = operations;
  if (operations.length === 1 && only !== undefined && !refused) {
    const { type, bytes } = body(only);
    return sealed(Buffer.concat([jute.int(type).bytes(), bytes]));
  }
  jute.int(TYPE.multi).int(operations.length);
  for (const operation of operations) {
    const { type, bytes } = refused ? { type: TYPE.error, bytes: new Jute().int(-101).bytes() } : body(operation);
    jute.int(type).buffer(bytes);
  }
  return sealed(jute.bytes());
}

function sealed(bytes: Buffer): Buffer {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  return Buffer.concat([
    new Jute()
      .long(BigInt(high * 65_536 + low))
      .int(bytes.length)
      .bytes(),
    bytes,
    Buffer.from("B"),
  ]);
}
