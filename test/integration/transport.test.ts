import net from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { CodedError } from "../../src/base/errors.js";
import type { Connection, Listener } from "../../src/env/transport.js";
import type { TcpTransportOptions } from "../../src/node/network/tcp-transport.js";
import { createTcpTransport, parseHostPort } from "../../src/node/network/tcp-transport.js";
import { waitFor } from "../support/wait-for.js";

const never = new AbortController().signal;
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function openPair(options: TcpTransportOptions = {}) {
  const transport = createTcpTransport(options);
  const accepted: Connection[] = [];
  const listener = await transport.listen("127.0.0.1:0", (connection) => accepted.push(connection));
  const near = await transport.connect(listener.address, { signal: never, timeoutMs: 60_000 });
  await waitFor(() => accepted.length === 1);
  const far = accepted[0] as Connection;
  closers.push(
    () => listener.close(),
    () => near.destroy(),
    () => far.destroy(),
  );
  return { transport, listener, near, far };
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (reason) => reason as CodedError,
  );

/** A listener whose port is known to be closed again. */
async function deadAddress(): Promise<string> {
  const listener = await createTcpTransport().listen("127.0.0.1:0", () => {});
  await listener.close();
  return listener.address;
}

describe("the TCP transport", () => {
  test("delivers frames whole, in order, in both directions, from nothing to 4 MB", async () => {
    const { near, far } = await openPair();
    const sizes = [0, 1, 4095, 4096, 4097, 65_536, 4 * 1024 * 1024, 3];
    const got: Uint8Array[] = [];
    far.onFrame((frame) => {
      got.push(frame);
      far.send(frame);
    });
    const back: number[] = [];
    near.onFrame((frame) => back.push(frame.length));
    for (const [index, size] of sizes.entries()) near.send(new Uint8Array(size).fill(index));
    await waitFor(() => back.length === sizes.length);
    expect(back).toEqual(sizes);
    for (const [index, frame] of got.entries()) expect(frame.every((byte) => byte === index)).toBe(true);
  });

  test("keeps frames that arrive before anybody listens", async () => {
    const { near, far } = await openPair();
    near.send(Uint8Array.of(1));
    near.send(Uint8Array.of(2));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const got: number[] = [];
    far.onFrame((frame) => got.push(frame[0] ?? -1));
    await waitFor(() => got.length === 2);
    expect(got).toEqual([1, 2]);
  });

  test("tells a dead address at once as CONNECTION_REFUSED", async () => {
    const address = await deadAddress();
    const error = await failure(createTcpTransport().connect(address, { signal: never, timeoutMs: 600_000 }));
    expect(error.code).toBe("CONNECTION_REFUSED");
    expect(error.message).toContain(address);
  });

  test("rejects a malformed address, an unknown host and an address in use by their codes", async () => {
    const transport = createTcpTransport();
    expect((await failure(transport.connect("nonsense", { signal: never, timeoutMs: 100 }))).code).toBe("INVALID_ARGUMENT");
    const { listener } = await openPair();
    expect((await failure(transport.listen(listener.address, () => {}))).code).toBe("ADDRESS_IN_USE");
    expect((await failure(transport.listen("203.0.113.7:0", () => {}))).code).toBe("INVALID_ARGUMENT");
    expect(parseHostPort("[::1]:80")).toEqual({ host: "::1", port: 80 });
    for (const bad of ["", ":80", "h:", "h:99999", "a b:1", "http://h:80", "::1:80"])
      expect(() => parseHostPort(bad)).toThrow(/not an address/);
  });

  test("gives up a connect at its signal", async () => {
    const transport = createTcpTransport();
    const control = new AbortController();
    const reason = new Error("stop");
    const aborted = failure(transport.connect("127.0.0.1:9", { signal: control.signal, timeoutMs: 60_000 }));
    control.abort(reason);
    expect(await aborted).toBe(reason);
    expect(await failure(transport.connect("127.0.0.1:9", { signal: AbortSignal.abort(reason), timeoutMs: 100 }))).toBe(reason);
  });

  test("ends with CONNECTION_LOST when the other side goes, with CLOSED on the side that closes, after sending what is queued", async () => {
    const { near, far } = await openPair();
    let bytes = 0;
    far.onFrame((frame) => {
      bytes += frame.length;
    });
    for (let index = 0; index < 20; index += 1) near.send(new Uint8Array(1024 * 1024));
    near.close();
    expect((await near.ended).code).toBe("CLOSED");
    expect((await far.ended).code).toBe("CONNECTION_LOST");
    expect(bytes).toBe(20 * 1024 * 1024);
    expect(near.send(Uint8Array.of(1))).toBe(true);
  });

  test("ends a frame above the bound before it arrives", async () => {
    const { listener, far } = await openPair({ maxFrameBytes: 1000 });
    void far;
    const accepted: Connection[] = [];
    const transport = createTcpTransport({ maxFrameBytes: 1000 });
    const other: Listener = await transport.listen("127.0.0.1:0", (connection) => {
      connection.onFrame(() => {});
      accepted.push(connection);
    });
    closers.push(() => other.close());
    const raw = net.connect({ host: "127.0.0.1", port: parseHostPort(other.address).port });
    raw.on("error", () => {});
    raw.write(Uint8Array.of(0, 0, 3, 233));
    await waitFor(() => accepted.length === 1);
    expect((await (accepted[0] as Connection).ended).code).toBe("LIMIT_EXCEEDED");
    expect(listener.address).not.toBe(other.address);
  });

  test("slows the sender when the reader pauses, and lets it go on afterwards", async () => {
    const { near, far } = await openPair({ highWaterBytes: 64 * 1024 });
    let got = 0;
    far.onFrame(() => {
      got += 1;
    });
    far.pause();
    const frame = new Uint8Array(64 * 1024);
    let sent = 0;
    // The kernel's own buffers take some megabytes first.
    while (sent < 400) {
      sent += 1;
      if (!near.send(frame)) {
        const drained = await Promise.race([
          near.drained().then(() => true),
          new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 200)),
        ]);
        if (!drained) break;
      }
    }
    expect(sent).toBeLessThan(400);
    expect(got).toBe(0);
    const drained = near.drained();
    far.resume();
    await drained;
    await waitFor(() => got === sent);
  });

  test("hands out nothing while paused, also of what has arrived, and goes on in order", async () => {
    const { near, far } = await openPair();
    const got: number[] = [];
    far.onFrame((frame) => {
      got.push(frame[0] ?? -1);
      if (got.length === 3) far.pause();
    });
    for (let index = 0; index < 10; index += 1) near.send(Uint8Array.of(index));
    await waitFor(() => got.length === 3);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(got).toEqual([0, 1, 2]);
    far.resume();
    await waitFor(() => got.length === 10);
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("ends a connection whose queue grows beyond its bound with LIMIT_EXCEEDED", async () => {
    const { near, far } = await openPair({ maxQueuedBytes: 1024 * 1024 });
    far.pause();
    for (let index = 0; index < 100; index += 1) near.send(new Uint8Array(256 * 1024));
    expect((await near.ended).code).toBe("LIMIT_EXCEEDED");
    await near.drained();
  });

  test("frees the port when the listener closes, while connections go on", async () => {
    const { near, far, listener, transport } = await openPair();
    await listener.close();
    expect((await failure(transport.connect(listener.address, { signal: never, timeoutMs: 1_000 }))).code).toBe(
      "CONNECTION_REFUSED",
    );
    const again = await transport.listen(listener.address, () => {});
    closers.push(() => again.close());
    let got = 0;
    far.onFrame(() => {
      got += 1;
    });
    near.send(Uint8Array.of(1));
    await waitFor(() => got === 1);
  });
});
